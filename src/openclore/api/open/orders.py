"""Orders by id, with a limit to what they may cost and a lease."""

from typing import Annotated, Any

import msgspec

from ..base import Part, Reply, Request
from ..orders import CreateOrder, Order

LEASE_SECONDS_MIN = 60
LEASE_SECONDS_MAX = 3_000 * 3_600

LeaseSeconds = Annotated[int, msgspec.Meta(ge=LEASE_SECONDS_MIN, le=LEASE_SECONDS_MAX)]
SpendMax = Annotated[float, msgspec.Meta(gt=0, le=1e9)]


class PlaceOrder(CreateOrder, kw_only=True):
    """`create_order` with two safety catches.

    `spend_max` is the most the order may cost in all, fees included, in its currency: it ends before it
    would cost more. With `lease_seconds` it ends by itself unless the lease is renewed in time.
    """

    spend_max: SpendMax | None = None
    lease_seconds: LeaseSeconds | None = None


class RenewLease(Request):
    """The order now ends by itself in `lease_seconds`; null: not any more."""

    lease_seconds: LeaseSeconds | None


class OrderStep(Part):
    """Something that happened to an order at `at` (Unix s): an event's kind and what it says."""

    event_id: int
    at: int
    kind: str
    data: dict[str, Any] = {}


class OrderDetail(Part):
    """An order with all that is known of it.

    `charged` is what it has cost so far with all fees, in its currency; `key` names the API key that made it.
    """

    order: Order
    charged: float
    history: list[OrderStep]
    lease_until: int | None = None
    spend_max: float | None = None
    key: str | None = None


class OrderReply(Reply):
    order: OrderDetail
