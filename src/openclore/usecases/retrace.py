"""An order's states, meter and prices once more, by the market's own rules, from the event log alone."""

from bisect import bisect
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import UNSET

from ..rules import billing, money, spot
from ..rules.orders import Order, State
from ..store.audit import Happening
from ..store.events import Kind

T = TypeVar("T")
AHEAD_SECONDS_MAX = 3_600
"""How far beyond the second at which something happens to an order it may be charged already: somebody who
came later wrote first, or the clock was turned back.
"""


class Contradiction(Exception):
    """Something in the log that can't have happened."""

    def __init__(self, what: str, expected: object, found: object) -> None:
        super().__init__(what)
        self.expected, self.found = expected, found


class Stretch(NamedTuple):
    """A time in which the meter runs: since when, from how many seconds on, up to how many."""

    since: int
    seconds_before: int
    seconds: int


class Segment(NamedTuple):
    """A price, what the minutes before it cost and how many they were; None: the log does not say."""

    price: int
    spend_before: int | None
    minutes_before: int | None


class Retraced(NamedTuple):
    """What became of an order: as it is now, when its meter ran, and its prices.

    Its meter may have run for `vague_seconds` more: logs of earlier commits do not say where it stopped.
    """

    order: Order
    stretches: list[Stretch]
    segments: list[Segment]
    vague_seconds: int

    def seconds_at(self, at: int) -> int:
        """For how long the meter had run at `at`."""
        place = bisect(self.stretches, at, key=lambda stretch: stretch.since)
        if place == 0:
            return 0
        since, before, most = self.stretches[place - 1]
        return min(before + at - since, most)


def retraced(last: Order, made: Happening, log: Iterable[Happening]) -> Retraced:
    """What became of an order since it was made; of how it is kept, only its terms count.

    Raises:
        Contradiction
    """
    order = msgspec.structs.replace(
        last,
        price=last.price if made.price is None else made.price,
        state=State.WAITING if last.is_bid else State.PLACED,
        active_seconds=0,
        active_since=None if last.is_bid else last.created_at,
        began=not last.is_bid,
        posted_at=last.created_at,
        lease_until=_lease(made, last),
        spend_before=0,
        minutes_before=0,
        deployed=False,
        lowered_at=None,
        ended_at=None,
        end_reason=None,
    )
    stretches: list[Stretch] = []
    segments = [Segment(order.price, 0, 0)]
    online, vague_seconds = True, 0
    for happening in log:
        before = order = _charged(order, happening)
        at = happening.at
        match happening.kind:
            case Kind.ORDER_DEPLOYING:
                order = msgspec.structs.replace(order, state=State.DEPLOYING)
            case Kind.ORDER_RUNNING:
                order = msgspec.structs.replace(order, state=State.RUNNING, deployed=True)
            case Kind.ORDER_WON:
                order = msgspec.structs.replace(order, state=State.PLACED, posted_at=max(order.posted_at, at))
                order = billing.started(order, at) if online else order
            case Kind.ORDER_OUTBID:
                order = spot.outbid(billing.stopped(order, at))
                order = msgspec.structs.replace(order, posted_at=max(order.posted_at, at))
            case Kind.ORDER_REPRICED:
                order = spot.at_price(order, _price(happening, order), at)
                before_it = (None, None) if vague_seconds else (order.spend_before, order.minutes_before)
                segments.append(Segment(order.price, *before_it))
            case Kind.ORDER_LEASED:
                order = msgspec.structs.replace(order, lease_until=_lease(happening, order))
            case Kind.ORDER_ENDED:
                order = billing.ended(order, at, _said(happening, "why", happening.said.reason))
            case Kind.SERVER_ONLINE:
                online = True
                order = billing.started(order, at)
            case Kind.SERVER_OFFLINE:
                online = False
                order = billing.stopped(order, _said(happening, "since when", happening.said.seen_until))
                if before.active_since is not None and happening.said.charged_until is None:
                    vague_seconds += max(0, at - order.posted_at)
        if before.active_since is not None and order.active_since is None:
            stretches.append(Stretch(before.active_since, before.active_seconds, order.active_seconds))
    if order.active_since is not None:
        most = billing.active_seconds(order, order.ends_at)
        stretches.append(Stretch(order.active_since, order.active_seconds, most))
    return Retraced(order, stretches, segments, vague_seconds)


def _said(happening: Happening, what: str, value: T | None) -> T:
    """
    Raises:
        Contradiction
    """
    if value is None:
        raise Contradiction(f"what {happening.kind} (event {happening.id}) says", what, "nothing of it")
    return value


def _price(happening: Happening, order: Order) -> int:
    """
    Raises:
        Contradiction: the log says none, or the one that the order has.
    """
    price = _said(happening, "its price", happening.price)
    if price == order.price:
        what = f"the price that {happening.kind} (event {happening.id}) says"
        raise Contradiction(what, "another than before", money.to_text(price))
    return price


def _lease(happening: Happening, order: Order) -> int | None:
    """Until when an order lives from then on; as it is kept, where the log says nothing of it."""
    said = happening.said.lease_until
    return order.lease_until if said is UNSET else said


def _charged(order: Order, happening: Happening) -> Order:
    """The order that something happens to, as it is charged then.

    Raises:
        Contradiction
    """
    what = f"{happening.kind} (event {happening.id})"
    fitting = _FITTING.get(happening.kind, _ACTIVE)
    if order.state not in fitting:
        raise Contradiction(f"its state before {what}", " or ".join(fitting), order.state)
    charged_until = happening.said.charged_until
    if charged_until is None:
        return order
    if charged_until > happening.at + AHEAD_SECONDS_MAX:
        raise Contradiction(
            f"up to when the order was charged at {what}",
            f"{happening.at + AHEAD_SECONDS_MAX} at the latest",
            charged_until,
        )
    return msgspec.structs.replace(order, posted_at=max(order.posted_at, charged_until))


_ACTIVE = tuple(state for state in State if state is not State.ENDED)
_FITTING = {
    Kind.ORDER_DEPLOYING: (State.PLACED,),
    Kind.ORDER_RUNNING: (State.PLACED, State.DEPLOYING),
    Kind.ORDER_WON: (State.WAITING,),
    Kind.ORDER_OUTBID: tuple(state for state in _ACTIVE if state is not State.WAITING),
}
"""The states in which it can happen, where not in all."""
