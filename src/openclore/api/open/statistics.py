"""The market in figures, per GPU model."""

from typing import Annotated

import msgspec

from ..base import NO_NUL, Part, Reply, Request


class ModelFigures(Part):
    """One model at one time. Prices are dollars per **hour** and **GPU**, on demand; None where unknown.

    Machines without a GPU are a model of their own, priced per hour and machine. `rented` of the listed
    `servers` are held by an order of any type, `rented_share` is that part of them, 0 to 1. `at` (Unix s) is
    the full hour, in a history.
    """

    gpu: str
    servers: int
    gpus: int
    rented: int
    rented_share: float
    price_p10: float | None = None
    price_p50: float | None = None
    price_p90: float | None = None
    at: int | None = None


class ReadStatistics(Request):
    """`gpu` is part of the model's name."""

    gpu: Annotated[str, msgspec.Meta(max_length=128, pattern=NO_NUL)] | None = None


class StatisticsReply(Reply):
    models: list[ModelFigures] = []


class ReadHistory(Request):
    """One model by its exact name, hour by hour, oldest first; Unix s, `until` not included.

    `limit` keeps the newest, or after `since` the oldest: the last `at` + 1 is the `since` that goes on.
    Figures are kept for a year.
    """

    gpu: Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=NO_NUL)]
    since: Annotated[int, msgspec.Meta(ge=0, le=2**40)] | None = None
    until: Annotated[int, msgspec.Meta(ge=0, le=2**40)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=2_000)] = 200


class HistoryReply(Reply):
    history: list[ModelFigures] = []
