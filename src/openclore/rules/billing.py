"""What an order costs, as a function of time, and when a wallet can no longer pay.

A running order costs `floor(price × started_minutes / 1440)`, the first minute at once. Nobody writes
that down every minute: it is computed when looked at and posted when something happens.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from .orders import EndReason, Order, State

MINUTES_PER_DAY = 1_440
PLANNED = frozenset(
    {EndReason.EXPIRED, EndReason.EXHAUSTED, EndReason.LEASE_EXPIRED, EndReason.LIMIT_REACHED}
)
"""Ends at a second known beforehand; a minute that would begin at that very second does not."""


class Cost(NamedTuple):
    """An order's cost since it was made. The shares always add up: `charge == to_host + to_market`.

    `spend` is the price alone; `charge` is what the renter pays: spend, the renter's fee and the
    creation fee (once it ran for the grace period); the host gets the spend less the host's fee, the
    market the rest. Fees round down.
    """

    spend: int
    charge: int
    to_host: int
    to_market: int


def started_minutes(active_seconds: int) -> int:
    """Minutes begun after so many seconds of running; the first begins at once."""
    return active_seconds // 60 + 1


def spend(price: int, minutes: int) -> int:
    """The price alone, `price` per day."""
    return price * minutes // MINUTES_PER_DAY


def active_seconds(order: Order, now: int) -> int:
    """How long the order has accrued at `now`; at its longest rental length no further minute begins."""
    if order.active_since is None:
        return order.active_seconds
    return order.active_seconds + max(0, min(now, order.ends_at - 1) - order.active_since)


def cost(order: Order, now: int) -> Cost:
    """What the order has cost at `now`; nothing before it first ran."""
    if not order.began:
        return Cost(0, 0, 0, 0)
    seconds = active_seconds(order, now)
    minutes = started_minutes(seconds)
    price_part = order.spend_before + spend(order.price, max(0, minutes - order.minutes_before))
    return shares(price_part, order.renter_fee, order.host_fee, creation_fee(order, seconds))


def creation_fee(order: Order, seconds: int) -> int:
    """The creation fee that is due once the order has run for so long."""
    return order.creation_fee if seconds >= order.creation_grace_seconds else 0


def shares(spend: int, renter_fee: int, host_fee: int, creation_fee: int) -> Cost:
    """Who pays and gets what of a spend; fees in basis points."""
    to_host = spend - spend * host_fee // 10_000
    charge = spend + spend * renter_fee // 10_000 + creation_fee
    return Cost(spend, charge, to_host, charge - to_host)


def outstanding(order: Order, now: int) -> int:
    """What the renter owes for the order at `now` and has not paid yet; never below zero."""
    due = cost(order, now)
    return max(0, due.to_host - order.paid_host) + max(0, due.to_market - order.paid_market)


def accrued(orders: Sequence[Order], now: int) -> int:
    """What a wallet owes at `now` for its running orders, beyond what is posted."""
    return sum(outstanding(order, now) for order in orders)


def exhausts_at(balance: int, orders: Sequence[Order]) -> int | None:
    """The first second at which a wallet can't pay its running orders; None if it can to their ends.

    Costs only ever grow, and nearly evenly: it is looked for a minute on either side of where it would be if
    they grew evenly, then in the middle of what is left. It is a minute boundary (or the end of the creation
    fee's grace) because nothing grows in between.
    """
    if not orders:
        return None
    low, high = min(order.posted_at for order in orders), max(order.ends_at for order in orders)
    owed_high = accrued(orders, high)
    if owed_high <= balance:
        return None
    owed_low = accrued(orders, low)
    if owed_low > balance:
        return low
    while high - low > 1:
        evenly = low + (balance - owed_low) * (high - low) // (owed_high - owed_low)
        for shift in (-60, 60, None):
            at = (low + high) // 2 if shift is None else evenly + shift
            if low < at < high:
                owed = accrued(orders, at)
                if owed > balance:
                    high, owed_high = at, owed
                else:
                    low, owed_low = at, owed
    return high


class Purse(NamedTuple):
    """Money that these orders (all, if None) draw on: a wallet, or what a limit leaves of it.

    When it is empty, orders end for `reason`.
    """

    left: int
    order_ids: frozenset[int] | None = None
    reason: EndReason = EndReason.EXHAUSTED

    def drawn_by(self, orders: Sequence[Order]) -> list[Order]:
        return [order for order in orders if self.order_ids is None or order.id in self.order_ids]


def runs_dry_at(purses: Sequence[Purse], orders: Sequence[Order]) -> int | None:
    """The first second at which one of the purses can't pay its orders."""
    times = (exhausts_at(purse.left, purse.drawn_by(orders)) for purse in purses)
    return min((at for at in times if at is not None), default=None)


class Ending(NamedTuple):
    """These orders end at `at`, which their cost does not include."""

    at: int
    order_ids: tuple[int, ...]
    reason: EndReason


def next_ending(purses: Sequence[Purse], orders: Sequence[Order], now: int) -> Ending | None:
    """The earliest planned end among a wallet's orders, not later than `now`; None if there is none.

    Expiry comes before an empty purse at the same second. An empty purse ends the newest running order
    first, then the next, until it can pay the rest at that second.
    """
    first = min(orders, key=lambda order: order.ends_at, default=None)
    empty = runs_dry_at(purses, orders)
    if first is not None and first.ends_at <= now and (empty is None or first.ends_at <= empty):
        reason = first.expiry
        ids = tuple(o.id for o in orders if o.ends_at == first.ends_at and o.expiry is reason)
        return Ending(first.ends_at, ids, reason)
    if empty is None or empty > now:
        return None
    purse = next(p for p in purses if exhausts_at(p.left, p.drawn_by(orders)) == empty)
    drawing = purse.drawn_by(orders)
    running = sorted(
        (order for order in drawing if order.active_since is not None),
        key=lambda order: (order.created_at, order.id),
    )
    ended: list[int] = []
    due = accrued(drawing, empty)
    while running and due > purse.left:
        newest = running.pop()
        due -= outstanding(newest, empty) - outstanding(newest, empty - 1)
        ended.append(newest.id)
    return Ending(empty, tuple(ended), purse.reason) if ended else None


def stopped(order: Order, at: int) -> Order:
    """The order with its meter stopped at `at`, never before what is already posted."""
    if order.active_since is None:
        return order
    until = max(at, order.posted_at)
    counted = active_seconds(order, until)
    return msgspec.structs.replace(order, active_seconds=counted, active_since=None, posted_at=until)


def started(order: Order, at: int) -> Order:
    """The order with its meter running from `at` on, if it has its machine; no second is counted twice."""
    if order.active_since is not None or not order.holds:
        return order
    return msgspec.structs.replace(order, active_since=max(at, order.posted_at), began=True)


def repriced(order: Order, at: int, price: int) -> Order:
    """The order at another price: minutes that have begun, or are posted, keep the price they began at."""
    if not order.began:
        return msgspec.structs.replace(order, price=price)
    at = max(at, order.posted_at)
    return msgspec.structs.replace(
        order,
        price=price,
        spend_before=cost(order, at).spend,
        minutes_before=started_minutes(active_seconds(order, at)),
    )


def last_second(at: int, reason: EndReason) -> int:
    """The last second that counts of an order that ends at `at`."""
    return at - 1 if reason in PLANNED else at


def ended(order: Order, at: int, reason: EndReason, detail: str = "") -> Order:
    """The order ended at `at`; its secrets are gone from then on."""
    order = stopped(order, last_second(at, reason))
    return msgspec.structs.replace(
        order,
        state=State.ENDED,
        ended_at=at,
        end_reason=reason,
        end_detail=detail,
        deployment=order.deployment.without_secrets(),
    )
