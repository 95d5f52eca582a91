"""Orders: what one is, which states it has and who may move it.

      ┌─────────────────────────────────────────┐
      v                                         │
    placed ──> deploying ──> running ──> waiting (a bid that does not run)
      │            │            │           │
      └────────────┴────────────┴───────────┴──> ended (with a reason)

The agent's reports move an order forward. A bid that loses its machine waits, from wherever it was, and is
placed anew when it wins again. Everything may end an order.
"""

from enum import StrEnum

import msgspec

from ..api.codes import Refusal
from ..api.currencies import Currency
from ..api.gigaspot import GpuClocks
from ..api.hostlink import Container, PortMap
from . import money
from .refused import Refused
from .servers import Pricing


class State(StrEnum):
    PLACED = "placed"
    DEPLOYING = "deploying"
    RUNNING = "running"
    WAITING = "waiting"
    ENDED = "ended"


class Kind(StrEnum):
    """How an order came to its machine: `type` on the wire."""

    ON_DEMAND = "on-demand"
    SPOT = "spot"
    GIGASPOT = "gigaspot"


class EndReason(StrEnum):
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    EXHAUSTED = "exhausted"
    HOST_LOST = "host_lost"
    FAILED = "failed"
    LEASE_EXPIRED = "lease_expired"
    LIMIT_REACHED = "limit_reached"


MOVES: dict[State, frozenset[State]] = {
    State.PLACED: frozenset({State.DEPLOYING, State.RUNNING, State.WAITING, State.ENDED}),
    State.DEPLOYING: frozenset({State.RUNNING, State.WAITING, State.ENDED}),
    State.RUNNING: frozenset({State.WAITING, State.ENDED}),
    State.WAITING: frozenset({State.PLACED, State.ENDED}),
    State.ENDED: frozenset(),
}


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What the host needs to start the container. Emptied of secrets when the order ends."""

    ports: list[PortMap] = []
    http_port: int | None = None
    env: dict[str, str] = {}
    command: str = ""
    registry_auth: str = ""
    autossh: bool = False
    clocks: list[GpuClocks] = []

    def without_secrets(self) -> "Deployment":
        return Deployment(
            ports=self.ports, http_port=self.http_port, autossh=self.autossh, clocks=self.clocks
        )


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A rental. Times are Unix seconds, amounts 10⁻⁸ of `currency`, `price` per day, fees in basis points.

    `active_seconds` is the closed part of the time it accrued, `active_since` begins the open part
    (None while it waits or the host is away, and once ended); it `began` when its first minute did.
    `spend_before` is what the first `minutes_before` minutes cost, before the last change of `price`.
    `paid_host` and `paid_market` are what the ledger already holds for it; `posted_at` is when that was last
    brought up to date. `key_id` is the API key that made it; `lowered_at` is when its bid was last lowered;
    `spend_max` is the most it may be charged.
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
    kind: Kind = Kind.ON_DEMAND
    key_id: int | None = None
    began: bool = False
    spend_before: int = 0
    minutes_before: int = 0
    lowered_at: int | None = None
    original_price_usd: int | None = None
    spend_max: int | None = None
    lease_until: int | None = None

    @property
    def ends_at(self) -> int:
        """When its longest rental length or its lease is over."""
        longest = self.created_at + self.mrl_seconds
        return longest if self.lease_until is None else min(longest, self.lease_until)

    @property
    def expiry(self) -> EndReason:
        """Why it ends at `ends_at`."""
        leased = self.lease_until is not None and self.lease_until < self.created_at + self.mrl_seconds
        return EndReason.LEASE_EXPIRED if leased else EndReason.EXPIRED

    @property
    def holds(self) -> bool:
        """Whether it has the machine."""
        return self.state not in (State.WAITING, State.ENDED)

    @property
    def is_bid(self) -> bool:
        return self.kind is not Kind.ON_DEMAND


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules must know of a wanted order to admit it. Amounts as in `Order`.

    `bid` is None for an order on demand. `rented` is whether an order on demand has the machine, `has_bid`
    whether the account bids on it already.
    """

    account_id: int
    currency: str
    server_exists: bool
    bid: int | None = None
    required_price: int | None = None
    required_price_is_exact: bool = True
    host_id: int = 0
    server_online: bool = False
    on_gigaspot: bool = False
    rented: bool = False
    has_bid: bool = False
    prices: dict[Currency, Pricing] = {}
    active_orders: int = 0
    orders_max: int = 0
    orders_today: int = 0
    orders_per_day_max: int = 0


def admit(wish: Wish) -> Currency:
    """Check everything about a wanted order but the money; the currency it will run in.

    Raises:
        Refused: with the first reason that holds, in the order a renter can act on them.
    """
    if not wish.server_exists:
        raise Refused(Refusal.SERVER_DONT_EXIST)
    if wish.host_id == wish.account_id:
        raise Refused(Refusal.CANT_RENT_FROM_YOURSELF)
    if not wish.server_online:
        raise Refused(Refusal.SERVER_OFFLINE)
    if wish.on_gigaspot:
        raise Refused(Refusal.MACHINE_IS_ON_GIGASPOT)
    if wish.rented:
        raise Refused(Refusal.SERVER_ALREADY_RENTED)
    if wish.bid is not None and wish.has_bid:
        raise Refused(Refusal.YOU_ALREADY_HAVE_SPOT_ORDER)
    currency = next(
        (c for c, pricing in wish.prices.items() if pricing.accepted and c == wish.currency), None
    )
    if currency is None:
        raise Refused(Refusal.CURRENCY_NOT_ALLOWED)
    _check_price(wish, wish.prices[currency])
    if wish.active_orders >= wish.orders_max:
        raise Refused(Refusal.REACHED_ORDER_LIMIT)
    if wish.orders_per_day_max and wish.orders_today >= wish.orders_per_day_max:
        raise Refused(Refusal.REACHED_ORDER_LIMIT_PER_DAY, limit=wish.orders_per_day_max)
    return currency


def _check_price(wish: Wish, pricing: Pricing) -> None:
    if wish.bid is not None:
        if wish.bid < pricing.spot:
            raise Refused(Refusal.TOO_LOW_PRICE, min_price=money.to_wire(pricing.spot))
        return
    expected, price = wish.required_price, pricing.on_demand
    if expected is not None and (price != expected if wish.required_price_is_exact else price > expected):
        raise Refused(Refusal.PRICE_NOT_MATCHING)


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
