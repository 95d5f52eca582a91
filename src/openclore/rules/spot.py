"""Which order has a machine, and what may be done to a bid. Amounts are 10⁻⁸ of a currency, per day."""

from collections.abc import Mapping, Sequence

import msgspec

from ..api.codes import Refusal
from ..api.currencies import Currency
from . import billing, money
from .orders import Order, State
from .policy import Spot
from .refused import Refused

Rates = Mapping[Currency, int]
"""Currency to 10⁻⁸ dollars for one unit."""


def decide(orders: Sequence[Order], rates: Rates) -> Order | None:
    """The order that should have the machine, among all that are not over.

    An order on demand comes before every bid; then the highest bid in dollars, the earlier one of a tie.
    """
    return next(iter(ranked(orders, rates)), None)


def ranked(orders: Sequence[Order], rates: Rates) -> list[Order]:
    """The orders that are not over, the one that should have the machine first."""
    return sorted(
        (order for order in orders if order.state is not State.ENDED), key=lambda order: _rank(order, rates)
    )


def _rank(order: Order, rates: Rates) -> tuple[bool, int, int, int]:
    """Dollars are compared unrounded: 10⁻¹⁶ of one."""
    dollars = order.price * rates.get(order.currency, 0)
    return order.is_bid, -dollars, order.created_at, order.id


def outbid(order: Order) -> Order:
    """The bid after it lost its machine, its meter stopped already."""
    return msgspec.structs.replace(order, state=State.WAITING, deployed=False, container_detail="")


def at_price(order: Order, price: int, now: int) -> Order:
    """The bid at another price from `now` on."""
    lowered_at = now if price < order.price else order.lowered_at
    return msgspec.structs.replace(billing.repriced(order, now, price), lowered_at=lowered_at)


def check_reprice(order: Order, price: int, floor: int, policy: Spot, now: int) -> None:
    """Whether a bid may become `price`: raising is free, lowering limited in time and in step.

    Raises:
        Refused: amount_too_low, can_lower_every_600_seconds or exceeded_max_step.
    """
    if price < floor:
        raise Refused(Refusal.AMOUNT_TOO_LOW, message=f"the floor is {money.to_text(floor)} per day")
    if price >= order.price:
        return
    if order.lowered_at is not None:
        wait_seconds = order.lowered_at + policy.lowering_every_seconds - now
        if wait_seconds > 0:
            raise Refused(Refusal.CAN_LOWER_EVERY_600_SECONDS, time_to_lowering=wait_seconds)
    step = money.from_wire(policy.max_step.get(order.currency, 0))
    if step and order.price - price > step:
        raise Refused(Refusal.EXCEEDED_MAX_STEP, max_step=money.to_wire(step))
