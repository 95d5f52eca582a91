"""The market in figures, per GPU model."""

from typing import Annotated

import msgspec

from ..base import NO_NUL, Reply, Request


class ModelFigures(msgspec.Struct, omit_defaults=True):
    """One model at one time. Prices are dollars per **hour** and **GPU**, on demand; None where unknown.

    `rented_share` is the part of its listed servers that an order of any type holds, 0 to 1.
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
    """One model by its exact name, hour by hour, oldest first; Unix s, `until` not included."""

    gpu: Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=NO_NUL)]
    since: Annotated[int, msgspec.Meta(ge=0, le=2**40)] = 0
    until: Annotated[int, msgspec.Meta(ge=0, le=2**40)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=2_000)] = 200


class HistoryReply(Reply):
    history: list[ModelFigures] = []
