"""Which row of `my_orders` is the order just asked for, where the market does not tell its id. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from openclore.api.codes import Refusal
from openclore.api.orders import CreateOrder, Order

from ._wire import Answer

CLOCK_ALLOWANCE_SECONDS = 2.0


@dataclass(slots=True)
class Moment:
    """When a call was sent first: on the client's steady clock, and as a date (Unix s); how often since."""

    clock: float = 0.0
    date: float = 0.0
    times: int = 0


@dataclass(frozen=True, slots=True)
class Sought:
    """The order that is looked for.

    Attributes:
        known: ids of orders that were there before.
        by_id_alone: `known` was complete when the order was asked for, and the market's calendar may be
            another than that of its HTTP answers, as a sandbox's is.
    """

    order: CreateOrder
    known: frozenset[int]
    by_id_alone: bool

    @property
    def spot(self) -> bool:
        return self.order.type == "spot"

    @property
    def occupied(self) -> Refusal:
        """What a market says where this very order is there already."""
        return Refusal.YOU_ALREADY_HAVE_SPOT_ORDER if self.spot else Refusal.SERVER_ALREADY_RENTED


def newest_match(rows: Iterable[Order], sought: Sought, not_before: float) -> Order | None:
    """The row that the order became: its server, type and image, an unknown id, not older than asked."""
    fitting = [
        row
        for row in rows
        if _same(row, sought) and row.id not in sought.known and _young(row, sought, not_before)
    ]
    return max(fitting, key=lambda row: row.id, default=None)


def holder(rows: Iterable[Order], sought: Sought) -> Order | None:
    """An order from before that holds the place of the one looked for."""
    return next(
        (
            row
            for row in rows
            if row.si == sought.order.renting_server
            and bool(row.spot) == sought.spot
            and row.id in sought.known
            and not row.expired
        ),
        None,
    )


def _same(row: Order, sought: Sought) -> bool:
    return (
        row.si == sought.order.renting_server
        and bool(row.spot) == sought.spot
        and row.image in (sought.order.image, None)
    )


def _young(row: Order, sought: Sought, not_before: float) -> bool:
    """Another program of this account may have rented and left the same server a moment ago."""
    if row.ct is None:
        return bool(sought.known) or sought.by_id_alone
    return row.ct >= not_before or (sought.by_id_alone and not row.expired)


def began(sent: Moment, answer: Answer, now: float) -> float:
    """When a call was sent, by the market's calendar; `answer` came to a later one, at `now` of our clock.

    Ours may be wrong; it counts where an answer carries no date.
    """
    try:
        date = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return sent.date - CLOCK_ALLOWANCE_SECONDS
    return date - (now - sent.clock) - CLOCK_ALLOWANCE_SECONDS
