"""Orders: what one is, which states it has and who may move it.

    placed ──> deploying ──> running ──┐
      │            │                   ├──> ended (with a reason)
      └────────────┴───────────────────┘

The agent's reports move an order forward; it never moves back. Everything may end it.
"""

from enum import StrEnum

import msgspec

from ..api.codes import Refusal
from ..api.currencies import Currency
from ..api.hostlink import Container, PortMap
from .refused import Refused


class State(StrEnum):
    PLACED = "placed"
    DEPLOYING = "deploying"
    RUNNING = "running"
    ENDED = "ended"


class EndReason(StrEnum):
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    EXHAUSTED = "exhausted"
    HOST_LOST = "host_lost"
    FAILED = "failed"


MOVES: dict[State, frozenset[State]] = {
    State.PLACED: frozenset({State.DEPLOYING, State.RUNNING, State.ENDED}),
    State.DEPLOYING: frozenset({State.RUNNING, State.ENDED}),
    State.RUNNING: frozenset({State.ENDED}),
    State.ENDED: frozenset(),
}


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What the host needs to start the container. Emptied of secrets when the order ends."""

    ports: list[PortMap] = []
    http_port: int | None = None
    env: dict[str, str] = {}
    command: str = ""
    registry_auth: str = ""

    def without_secrets(self) -> "Deployment":
        return Deployment(ports=self.ports, http_port=self.http_port)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A rental. Times are Unix seconds, amounts 10⁻⁸ of `currency`, `price` per day, fees in basis points.

    `active_seconds` is the closed part of the time it accrued, `active_since` begins the open part
    (None while the host is away, and once ended). `paid_host` and `paid_market` are what the ledger
    already holds for it; `posted_at` is when that was last brought up to date.
    """

    id: int
    account_id: int
    host_id: int
    server_id: int
    currency: Currency
    image: str
    price: int
    renter_fee: int
    host_fee: int
    creation_fee: int
    creation_grace_seconds: int
    created_at: int
    mrl_seconds: int
    state: State = State.PLACED
    active_seconds: int = 0
    active_since: int | None = None
    paid_host: int = 0
    paid_market: int = 0
    posted_at: int = 0
    deployed: bool = False
    container_detail: str = ""
    ended_at: int | None = None
    end_reason: EndReason | None = None
    end_detail: str = ""
    public_address: str = ""
    deployment: Deployment = Deployment()

    @property
    def ends_at(self) -> int:
        """When its longest rental length is over."""
        return self.created_at + self.mrl_seconds


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules must know of a wanted order to admit it. Amounts as in `Order`."""

    account_id: int
    currency: str
    required_price: int | None
    server_exists: bool
    host_id: int = 0
    server_online: bool = False
    server_rented: bool = False
    accepted: dict[Currency, int] = {}
    active_orders: int = 0
    orders_max: int = 0


def admit(wish: Wish) -> Currency:
    """Check everything about a wanted on-demand order but the money; the currency it will run in.

    Raises:
        Refused: with the first reason that holds, in the order a renter can act on them.
    """
    if not wish.server_exists:
        raise Refused(Refusal.SERVER_DONT_EXIST)
    if wish.host_id == wish.account_id:
        raise Refused(Refusal.CANT_RENT_FROM_YOURSELF)
    if not wish.server_online:
        raise Refused(Refusal.SERVER_OFFLINE)
    if wish.server_rented:
        raise Refused(Refusal.SERVER_ALREADY_RENTED)
    currency = next((c for c in wish.accepted if c == wish.currency), None)
    if currency is None:
        raise Refused(Refusal.CURRENCY_NOT_ALLOWED)
    if wish.required_price is not None and wish.required_price != wish.accepted[currency]:
        raise Refused(Refusal.PRICE_NOT_MATCHING)
    if wish.active_orders >= wish.orders_max:
        raise Refused(Refusal.REACHED_ORDER_LIMIT)
    return currency


def after_report(order: Order, report: Container) -> Order:
    """The order after its agent said how its container is; the same object if that changes nothing.

    A report never ends an order here: `failed` is for the caller to end it with the report's detail.
    """
    state = {
        "pulling": State.DEPLOYING,
        "creating": State.DEPLOYING,
        "running": State.RUNNING,
        "exited": State.RUNNING,
    }.get(report.state, order.state)
    detail = f"exited: {report.detail}".rstrip(": ") if report.state == "exited" else ""
    if state not in MOVES[order.state]:
        state = order.state
    if (state, detail) == (order.state, order.container_detail):
        return order
    return msgspec.structs.replace(
        order, state=state, container_detail=detail, deployed=order.deployed or state is State.RUNNING
    )


def assign_ports(container_ports: list[int], low: int, high: int, last_used: int) -> list[PortMap] | None:
    """Public ports for an order, going round the host's range so that a port rests before it is used again.

    Returns None where the range is smaller than what is wanted.
    """
    size = high - low + 1
    if len(container_ports) > size:
        return None
    start = last_used + 1 - low if low <= last_used <= high else 0
    return [
        PortMap(container=port, public=low + (start + step) % size)
        for step, port in enumerate(container_ports)
    ]
