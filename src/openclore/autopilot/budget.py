"""What renting may cost, in dollars with all fees, so that no budget is exceeded even if the worst comes.

A budget has windows: the present hour and day (UTC), and all time. For each, what was spent so far and the
most that everything running or asked for can cost until it can be stopped must fit. Wherever something is
not known exactly, the higher figure counts: fees before any reduction, the fee for a creation at once
although it may never be charged, a minute more than was told, an order as running from when it was asked for.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from openclore.api.account import RenterFeesReply
from openclore.api.currencies import Currency
from openclore.api.orders import OrderType

from .file import Budget
from .memory import Spent

HOUR_SECONDS = 3_600
DAY_SECONDS = 86_400
FEE_PERCENT: Mapping[OrderType, float] = {"on-demand": 5.0, "spot": 1.25}
"""On top of the price, where the market does not tell."""
CREATION_FEE: Mapping[str, float] = {Currency.USD.value: 0.1}
CREATION_CHARGED_SECONDS = 1_260
"""The fee for a creation is charged at once or, as documented, after ten minutes, and of an order we know for
certain only when it was decided on: it may be made ten minutes later. So the fee may fall in either of two
windows, and counts in both."""
_EPSILON = 1e-9


class Tariff(NamedTuple):
    """What money is worth and which fees there are, as the market tells."""

    rates: Mapping[str, float]
    fees: RenterFeesReply | None

    def usd(self, amount: float, currency: str) -> float | None:
        """None where the rate is not known."""
        rate = self.rates.get(currency)
        return amount * rate if _is_amount(rate) and rate else None

    def usd_with_fees(self, amount: float, kind: OrderType, currency: str) -> float | None:
        """What a price comes to, before any reduction that the market may grant."""
        usd = self.usd(amount, currency)
        return None if usd is None else usd * (1 + self._percent(kind, currency) / 100)

    def usd_at_once(self, kind: OrderType, currency: str) -> float:
        """The fee for the creation of an order."""
        return self.usd(self._creation(kind, currency), currency) or 0.0

    def _percent(self, kind: OrderType, currency: str) -> float:
        told = self.fees.renter_fees if self.fees else None
        table = (told.spot if kind == "spot" else told.on_demand) if told else None
        base = (table.base or {}).get(currency) if table else None
        extra = (table.surcharge or {}).get(currency) if table else None
        return (base if base is not None and _is_amount(base) else FEE_PERCENT[kind]) + (
            extra if extra is not None and _is_amount(extra) else 0.0
        )

    def _creation(self, kind: OrderType, currency: str) -> float:
        told = self.fees.creation_fees if self.fees else None
        table = (told.spot if kind == "spot" else told.on_demand) if told else None
        amount = (CREATION_FEE if table is None else table).get(currency)
        return amount if amount is not None and _is_amount(amount) else 0.0


def _is_amount(number: float | None) -> bool:
    return number is not None and math.isfinite(number) and number >= 0


class Cost(NamedTuple):
    """Something that costs money from `since` on; `spent` is what was charged as of `spent_at`.

    `highest` is the highest `usd_per_hour` it ever had, `until` the latest time by which it can be stopped.
    """

    usd_per_hour: float
    highest: float
    usd_at_once: float
    since: int
    spent: Spent
    spent_at: int
    until: int
    stays: bool = True


class Excess(NamedTuple):
    """A budget that would be exceeded."""

    window: str
    limit: float
    would_be: float

    def __str__(self) -> str:
        return f"the budget {self.window} is {self.limit:.2f} $, and it could come to {self.would_be:.2f} $"


def excess(budget: Budget, over: Spent, costs: Sequence[Cost], now: int) -> Excess | None:
    """The first budget that could be exceeded if all of `costs` go on until they can be stopped.

    Args:
        over: what orders that are over have cost.
    """
    rates = sum(cost.usd_per_hour for cost in costs if cost.stays)
    if budget.per_hour is not None and rates > budget.per_hour + _EPSILON:
        return Excess("per hour", budget.per_hour, rates)
    for name, limit, seconds in (
        ("per hour", budget.per_hour, HOUR_SECONDS),
        ("per day", budget.per_day, DAY_SECONDS),
    ):
        if limit is None:
            continue
        begin = now // seconds * seconds
        end = begin + seconds
        present = _in_window(over, begin, seconds) + sum(
            _at_most(cost, begin, min(cost.until, end), seconds) for cost in costs
        )
        next_one = sum(_at_most(cost, end, cost.until, seconds) for cost in costs if cost.until > end)
        if max(present, next_one) > limit + _EPSILON:
            return Excess(name, limit, max(present, next_one))
    if budget.total is not None:
        total = over.total + sum(_at_most(cost, 0, cost.until, 0) for cost in costs)
        if total > budget.total + _EPSILON:
            return Excess("in total", budget.total, total)
    return None


def added(spent: Spent, usd: float, usd_per_hour: float, since: int, at: int) -> Spent:
    """After it came to so much more between two looks: as much of it as can be in the window of the later."""

    def within(seconds: int) -> float:
        begin = at // seconds * seconds
        most = usd if since >= begin else (_minutes(at - begin) + 1) * usd_per_hour / 60
        return _in_window(spent, begin, seconds) + min(usd, most)

    return Spent(
        at // HOUR_SECONDS,
        within(HOUR_SECONDS),
        at // DAY_SECONDS,
        within(DAY_SECONDS),
        spent.total + usd,
    )


def ended(spent: Spent, usd_at_once: float, made_at: int, at: int) -> Spent:
    """What an order has cost that is over, with the fee for its creation in each window it may be in."""

    def within(seconds: int) -> float:
        begin = at // seconds * seconds
        fee = usd_at_once if made_at + CREATION_CHARGED_SECONDS >= begin else 0.0
        return _in_window(spent, begin, seconds) + fee

    return Spent(
        at // HOUR_SECONDS,
        within(HOUR_SECONDS),
        at // DAY_SECONDS,
        within(DAY_SECONDS),
        spent.total + usd_at_once,
    )


def not_after(spent: Spent, now: int) -> Spent:
    """With what was spent in an hour or a day yet to come as spent in the present one."""
    return msgspec.structs.replace(
        spent, hour=min(spent.hour, now // HOUR_SECONDS), day=min(spent.day, now // DAY_SECONDS)
    )


def _in_window(spent: Spent, begin: int, seconds: int) -> float:
    """What was spent in the window that begins then; 0 seconds: ever."""
    if seconds == HOUR_SECONDS:
        return spent.in_hour if spent.hour == begin // HOUR_SECONDS else 0.0
    if seconds == DAY_SECONDS:
        return spent.in_day if spent.day == begin // DAY_SECONDS else 0.0
    return spent.total


def _at_most(cost: Cost, begin: int, end: int, seconds: int) -> float:
    """The most it can have cost in a window by `end`.

    Two bounds hold: what was told and a minute more than what could be charged since, and all its minutes in
    the window at its highest price. The first is better for what paused, the second exact for what did not.
    Where more was told than the second allows, a clock was set back, and only the first holds.
    """
    since = max(begin, cost.since)
    told = _in_window(cost.spent, begin, seconds)
    since_told = (_minutes(end - max(begin, cost.spent_at)) + 1) * cost.usd_per_hour / 60
    whole = _minutes(end - since) * cost.highest / 60
    if told > _minutes(cost.spent_at + 1 - since) * cost.highest / 60 + _EPSILON:
        whole = math.inf
    fee = cost.usd_at_once if cost.since + CREATION_CHARGED_SECONDS >= begin else 0.0
    return min(told + since_told, whole) + fee


def _minutes(seconds: int) -> int:
    """Minutes that can begin within so long."""
    return max(0, -(-seconds // 60))
