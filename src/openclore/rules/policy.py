"""What an operator may set about the market. Defaults follow the public service's documentation."""

import msgspec

from ..api.currencies import Currency


class Fees(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Percentages of an on-demand order's spend, and amounts per order.

    The renter pays `renter_percent` on top of the price. The host gives up `host_percent` plus the
    surcharge of the currency. `creation` is charged once an order has run for `creation_grace_seconds`.
    """

    renter_percent: float = 5.0
    host_percent: float = 5.0
    host_surcharge_percent: dict[Currency, float] = msgspec.field(
        default_factory=lambda: {Currency.BITCOIN: 15.0, Currency.USD: 15.0}
    )
    creation: dict[Currency, float] = msgspec.field(default_factory=lambda: {Currency.USD: 0.1})
    creation_grace_seconds: int = 600

    def __post_init__(self) -> None:
        percents = [self.renter_percent, self.host_percent, *self.host_surcharge_percent.values()]
        if not all(0 <= percent <= 100 for percent in percents):
            raise ValueError("fees: a percentage is 0 to 100")
        worst = self.host_percent + max(self.host_surcharge_percent.values(), default=0)
        if worst > 100:
            raise ValueError("fees: host_percent and a surcharge together can't exceed 100")
        if any(not 0 <= amount <= 10**6 for amount in self.creation.values()):
            raise ValueError("fees: a creation fee is 0 to 1000000")
        if self.creation_grace_seconds < 0:
            raise ValueError("fees: creation_grace_seconds can't be negative")

    def renter_basis_points(self) -> int:
        return round(self.renter_percent * 100)

    def host_basis_points(self, currency: Currency) -> int:
        return round((self.host_percent + self.host_surcharge_percent.get(currency, 0.0)) * 100)


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The market's settings.

    Attributes:
        orders_max: simultaneous orders of a new account.
        servers_max: servers a new account may register.
        post_every_seconds: how long an order may run before what it accrued is posted to the ledger.
        offline_after_seconds: silence after which a host counts as offline; its orders stop accruing then.
        host_lost_after_seconds: absence after which a host's orders end.
    """

    fees: Fees = Fees()
    orders_max: int = 32
    servers_max: int = 16
    post_every_seconds: int = 3_600
    offline_after_seconds: int = 15
    host_lost_after_seconds: int = 7_200

    def __post_init__(self) -> None:
        for name in ("orders_max", "servers_max", "post_every_seconds", "offline_after_seconds"):
            if getattr(self, name) < 1:
                raise ValueError(f"policy: {name} must be at least 1")
        if self.host_lost_after_seconds < self.offline_after_seconds:
            raise ValueError("policy: host_lost_after_seconds can't be less than offline_after_seconds")
