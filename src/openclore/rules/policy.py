"""What an operator may set about the market. Defaults follow the public service's documentation."""

from typing import Literal

import msgspec

from ..api.currencies import Currency
from . import money


class Fees(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Percentages of an order's spend, and amounts per order.

    The renter pays `renter_percent` on top of the price. The host gives up `host_percent` plus the
    surcharge of the currency. Bids have percentages of their own. A Proof of Holding stake takes up to
    `poh_max_reduction_percent` percent off either side's fee, all of it from `poh_max_amount` CLORE on.
    `creation` is charged once an order has run for `creation_grace_seconds`.
    """

    renter_percent: float = 5.0
    host_percent: float = 5.0
    spot_renter_percent: float = 1.25
    spot_host_percent: float = 1.25
    host_surcharge_percent: dict[Currency, float] = msgspec.field(
        default_factory=lambda: {Currency.BITCOIN: 15.0, Currency.USD: 15.0}
    )
    poh_max_reduction_percent: float = 50.0
    poh_max_amount: float = 2_000_000.0
    creation: dict[Currency, float] = msgspec.field(default_factory=lambda: {Currency.USD: 0.1})
    creation_grace_seconds: int = 600

    def __post_init__(self) -> None:
        percents = [
            self.renter_percent,
            self.host_percent,
            self.spot_renter_percent,
            self.spot_host_percent,
            self.poh_max_reduction_percent,
            *self.host_surcharge_percent.values(),
        ]
        if not all(0 <= percent <= 100 for percent in percents):
            raise ValueError("fees: a percentage is 0 to 100")
        worst = max(self.host_percent, self.spot_host_percent)
        if worst + max(self.host_surcharge_percent.values(), default=0) > 100:
            raise ValueError("fees: a host's percentage and a surcharge together can't exceed 100")
        if any(not 0 <= amount <= 10**6 for amount in self.creation.values()):
            raise ValueError("fees: a creation fee is 0 to 1000000")
        if self.creation_grace_seconds < 0:
            raise ValueError("fees: creation_grace_seconds can't be negative")
        if self.poh_max_amount <= 0:
            raise ValueError("fees: poh_max_amount must be above 0")

    def renter_basis_points(self, *, bid: bool = False, poh_stake: int = 0) -> int:
        return self._reduced(self.spot_renter_percent if bid else self.renter_percent, poh_stake)

    def host_basis_points(self, currency: Currency, *, bid: bool = False, poh_stake: int = 0) -> int:
        percent = self.spot_host_percent if bid else self.host_percent
        return self._reduced(percent, poh_stake) + round(self.host_surcharge_percent.get(currency, 0.0) * 100)

    def _reduced(self, percent: float, poh_stake: int) -> int:
        """Basis points after the reduction for a stake (10⁻⁸ CLORE), which is a whole number of percent."""
        share = min(poh_stake / (self.poh_max_amount * money.SCALE), 1.0)
        reduction_percent = round(share * self.poh_max_reduction_percent)
        return round(percent * (100 - reduction_percent))


class Spot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How bids may be lowered: once in `lowering_every_seconds`, by at most `max_step` per day and currency.

    The step for bitcoin is documented; the others are about as many dollars.
    """

    lowering_every_seconds: int = 600
    max_step: dict[Currency, float] = msgspec.field(
        default_factory=lambda: {Currency.BITCOIN: 0.000001, Currency.CLORE: 10.0, Currency.USD: 0.05}
    )

    def __post_init__(self) -> None:
        if self.lowering_every_seconds < 0 or any(not 0 <= step <= 10**6 for step in self.max_step.values()):
            raise ValueError("spot: lowering_every_seconds and max_step can't be negative")


class Gigaspot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`images` maps the 24-digit ids that bidders name to container images of this market's hosts.

    The public service's ids of its Ubuntu base image is the default; its registry is not public.
    """

    images: dict[str, str] = msgspec.field(
        default_factory=lambda: {"a3f9c4d7e5b088d8a0bff880": "ubuntu:24.04"}
    )


class OrderBounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a renter may ask for; narrower than what the wire allows, never wider."""

    ports_max: int = 5
    env_variables_max: int = 64
    env_value_length_max: int = 1_536
    command_length_max: int = 16_384


class Webhooks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether messages may go to addresses that not everybody reaches, how long a receiver has to answer
    one, and how many webhooks an account may have.
    """

    allow_private_addresses: bool = False
    timeout_seconds: float = 10.0
    account_max: int = 20

    def __post_init__(self) -> None:
        if not 0.1 <= self.timeout_seconds <= 60:
            raise ValueError("webhooks: timeout_seconds is 0.1 to 60")
        if self.account_max < 0:
            raise ValueError("webhooks: account_max can't be negative")


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The market's settings.

    Attributes:
        orders_max: simultaneous orders of a new account.
        orders_per_day_max: orders an account may make per UTC day; 0: any number.
        required_price: whether an order's `required_price` must be the price, or is the highest that will do.
        servers_max: servers a new account may register.
        post_every_seconds: how long an order may run before what it accrued is posted to the ledger.
        offline_after_seconds: silence after which a host counts as offline; its orders stop accruing then.
        host_lost_after_seconds: absence after which a host's orders end.
        event_streams_max: event streams that an account may have open at once, per server process.
        idempotency_seconds: how long the answer to an idempotency key is kept.
    """

    fees: Fees = Fees()
    spot: Spot = Spot()
    gigaspot: Gigaspot = Gigaspot()
    order_bounds: OrderBounds = OrderBounds()
    webhooks: Webhooks = Webhooks()
    orders_max: int = 32
    orders_per_day_max: int = 0
    required_price: Literal["exact", "at_most"] = "exact"
    servers_max: int = 16
    post_every_seconds: int = 3_600
    offline_after_seconds: int = 15
    host_lost_after_seconds: int = 7_200
    event_streams_max: int = 10
    idempotency_seconds: int = 86_400

    def __post_init__(self) -> None:
        for name in (
            "orders_max",
            "servers_max",
            "post_every_seconds",
            "offline_after_seconds",
            "idempotency_seconds",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"policy: {name} must be at least 1")
        if self.host_lost_after_seconds < self.offline_after_seconds:
            raise ValueError("policy: host_lost_after_seconds can't be less than offline_after_seconds")
