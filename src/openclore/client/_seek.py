"""Which row of `my_orders` is the order just asked for, where the market does not tell its id. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from openclore.api.codes import Refusal
from openclore.api.orders import CreateOrder, Order

from ._wire import Answer

CLOCK_ALLOWANCE_SECONDS = 2.0


@dataclass(slots=True)
class Moment:
    """When a call may have arrived first, on our steady clock and as a date (Unix s); and how often."""

    clock: float = 0.0
    date: float = 0.0
    times: int = 0

    def note(self, clock: float, date: float) -> None:
        if not self.times:
            self.clock, self.date = clock, date
        self.times += 1


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


@dataclass(slots=True)
class Attempt:
    """The way to one order: what is sought, its key, when it was asked for, and what was found at once."""

    sought: Sought
    idempotency_key: str
    sent: Moment = field(default_factory=Moment)
    found: Order | None = None


def newest_match(rows: Iterable[Order], sought: Sought, during: "During") -> Order | None:
    """The row that the order became: its server, type and image, an unknown id, not older than asked."""
    fitting = [
        row
        for row in rows
        if _same(row, sought) and row.id not in sought.known and _young(row, sought, during)
    ]
    return max(fitting, key=lambda row: row.id, default=None)


def _same(row: Order, sought: Sought) -> bool:
    return (
        row.si == sought.order.renting_server
        and bool(row.spot) == sought.spot
        and row.image in (sought.order.image, None)
    )


def _young(row: Order, sought: Sought, during: "During") -> bool:
    """Another program of this account may have rented and left the same server a moment ago."""
    if row.ct is None:
        return bool(sought.known) or sought.by_id_alone
    if row.expired:  # an old one is in no list of before
        return during.begin <= row.ct <= during.end
    return sought.by_id_alone or row.ct >= during.begin


class During(NamedTuple):
    """From when a call was sent first until a later one was answered (Unix s)."""

    begin: float
    end: float

    @classmethod
    def of(cls, sent: Moment, answer: Answer, now: float) -> "During":
        """As HTTP answers date it, for our date may be wrong; `answer` came at `now` of our clock."""
        elapsed = now - sent.clock
        end = sent.date + elapsed if answer.date is None else answer.date
        return cls(end - elapsed - CLOCK_ALLOWANCE_SECONDS, end + CLOCK_ALLOWANCE_SECONDS)
