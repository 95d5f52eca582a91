"""GET /renter_fees, GET /poh_balance."""

from typing import Any

import msgspec

from .base import Part, Reply


class FeeTable(Part):
    """Currency to percent added to the renter's price; `extra` comes on top.

    The Python client calls it `surcharge`: there, `extra` holds the members that it does not know.
    """

    base: dict[str, float | None] | None = None
    surcharge: dict[str, float | None] | None = msgspec.field(default=None, name="extra")


class RenterFees(Part):
    on_demand: FeeTable | None = None
    spot: FeeTable | None = None


class CreationFees(Part):
    """Currency to the amount per order; a currency that is not named has none."""

    on_demand: dict[str, float | None] | None = None
    spot: dict[str, float | None] | None = None


class PohConfig(Part):
    """A stake of `max_poh_amount` CLORE or more takes `max_reduction_percent` percent off the fee."""

    max_reduction_percent: float | None = None
    max_poh_amount: float | None = None


class RenterFeesReply(Reply):
    """`poh_balance` is the caller's Proof of Holding stake, in CLORE; the fees are before its reduction."""

    renter_fees: RenterFees | None = None
    creation_fees: CreationFees | None = None
    poh_config: PohConfig | None = None
    poh_balance: float | None = None


class PohItem(Part):
    """An address whose holding was proven."""

    user: int | None = None
    address: str | None = None
    signature: str | None = None
    message: str | None = None
    created: int | None = None
    unique: Any = None
    remove: Any = None
    status: Any = None
    balance: float | None = None
    last_check: int | None = None


class PohOffers(Part):
    rented_amount: float | None = None
    rented_on_marketplace_amount: float | None = None
    rented_finished_amount: float | None = None
    leased_amount: float | None = None
    leased_finished_amount: float | None = None


class PohBalance(Part):
    """In CLORE."""

    total: float | None = None
    free_amount: float | None = None
    reward_amount: float | None = None
    offers: PohOffers | None = None


class PohBalanceReply(Reply):
    items: list[PohItem] = []
    balance: PohBalance | None = None
    count: int | None = None
