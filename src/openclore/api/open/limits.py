"""Spend limits: the most an account, or one of its keys, may spend."""

from typing import Annotated, Literal

import msgspec

from ..base import NO_NUL, Part, Reply, Request
from ..currencies import Currency
from .orders import SpendMax

Period = Literal["total", "day"]


class SetSpendLimit(Request):
    """At most `amount` of a currency, fees included, from now on (`total`) or per UTC day (`day`).

    `key` names an API key of the account; without it the limit is the whole account's. Orders that would
    exceed a limit are refused with `spend_limit_reached`; running ones end before they exceed it, the newest
    first. A limit set again counts from then on. A key that has a limit of its own can't change limits.
    """

    currency: Currency
    amount: SpendMax
    period: Period = "total"
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=NO_NUL)] | None = None


class SpendLimit(Part):
    """`spent` counts since `since` (Unix s)."""

    id: int
    currency: str
    amount: float
    period: Period
    spent: float
    since: int
    key: str | None = None


class SpendLimitReply(Reply):
    limit: SpendLimit


class SpendLimitsReply(Reply):
    limits: list[SpendLimit] = []
