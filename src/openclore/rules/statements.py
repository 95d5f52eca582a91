"""How a charge was computed: the words that its line on a statement carries, what they come to, and its hash.

    price=2 minutes=0..61 spend_before=0 host_fee=5% paid_before=0.08194445

docs/money.md has the formula for whoever computes it anew.
"""

import re
from functools import cache
from hashlib import sha256

import msgspec

from . import billing, money
from .orders import Order

CREDIT = "credit"
"""Comes from outside; nothing is computed."""
RENTAL = "rental"
"""Goes to the host."""
FEES = "fees"
"""Goes to the market."""


class Basis(msgspec.Struct, frozen=True, kw_only=True):
    """What an order's transfer is computed from. Amounts are 10⁻⁸ of the currency, fees basis points.

    `price` per day counts for the minutes after `minutes_before` up to `minutes`, those before cost
    `spend_before`; `paid_before` is what the receiver had before. The fees that a transfer does not depend on
    are left out of it.
    """

    price: int
    minutes_before: int
    minutes: int
    spend_before: int
    host_fee: int
    paid_before: int
    renter_fee: int = 0
    creation_fee: int = 0

    @property
    def spend(self) -> int:
        return self.spend_before + billing.spend(self.price, self.minutes - self.minutes_before)


def basis(order: Order, now: int, kind: str) -> Basis:
    """What the transfer of a kind to post at `now` is computed from."""
    seconds = billing.active_seconds(order, now)
    both = kind == FEES
    return Basis(
        price=order.price,
        minutes_before=order.minutes_before,
        minutes=max(billing.started_minutes(seconds), order.minutes_before),
        spend_before=order.spend_before,
        host_fee=order.host_fee,
        paid_before=order.paid_market if both else order.paid_host,
        renter_fee=order.renter_fee if both else 0,
        creation_fee=billing.creation_fee(order, seconds) if both else 0,
    )


def terms(order: Order) -> dict[str, str | int | None]:
    """What an order is made with and its cost depends on for good, as the event log says it."""
    return {
        "renter_fee": _percent(order.renter_fee),
        "host_fee": _percent(order.host_fee),
        "creation_fee": money.to_text(order.creation_fee),
        "creation_grace_seconds": order.creation_grace_seconds,
        "mrl_seconds": order.mrl_seconds,
        "spend_max": None if order.spend_max is None else money.to_text(order.spend_max),
    }


def amount(kind: str, basis: Basis) -> int:
    """The transfer that follows from its basis."""
    cost = billing.shares(basis.spend, basis.renter_fee, basis.host_fee, basis.creation_fee)
    return (cost.to_market if kind == FEES else cost.to_host) - basis.paid_before


def text(kind: str, basis: Basis) -> str:
    """The basis as a statement says it."""
    renter_fee = f"renter_fee={_percent(basis.renter_fee)} " if kind == FEES else ""
    creation_fee = f"creation_fee={money.to_text(basis.creation_fee)} " if kind == FEES else ""
    return (
        f"price={money.to_text(basis.price)} minutes={basis.minutes_before}..{basis.minutes} "
        f"spend_before={money.to_text(basis.spend_before)} {renter_fee}host_fee={_percent(basis.host_fee)} "
        f"{creation_fee}paid_before={money.to_text(basis.paid_before)}"
    )


_TEXT = re.compile(
    r"price=(?P<price>\S+) minutes=(?P<minutes_before>\d+)\.\.(?P<minutes>\d+) "
    r"spend_before=(?P<spend_before>\S+) (?:renter_fee=(?P<renter_fee>\S+)% )?host_fee=(?P<host_fee>\S+)% "
    r"(?:creation_fee=(?P<creation_fee>\S+) )?paid_before=(?P<paid_before>\S+)"
)


def parsed(words: str) -> Basis | None:
    """The basis that a text says; None if it says none."""
    match = _TEXT.fullmatch(words)
    if match is None:
        return None
    found = match.groupdict(default="0")
    try:
        return Basis(
            price=money.from_text(found["price"]),
            minutes_before=int(found["minutes_before"]),
            minutes=int(found["minutes"]),
            spend_before=money.from_text(found["spend_before"]),
            host_fee=_basis_points(found["host_fee"]),
            paid_before=money.from_text(found["paid_before"]),
            renter_fee=_basis_points(found["renter_fee"]),
            creation_fee=money.from_text(found["creation_fee"]),
        )
    except ValueError:
        return None


def line_hash(
    previous: str, *, currency: str, at: int, kind: str, reference: str, amount: str, balance: str, how: str
) -> bytes:
    """The hash of a line with these texts; `previous` is the one before it, in hex."""
    line = f"{previous}|{currency}|{at}|{kind}|{reference}|{amount}|{balance}|{how}"
    return sha256(line.encode()).digest()


@cache
def _percent(basis_points: int) -> str:
    """
    >>> _percent(500), _percent(125)
    ('5%', '1.25%')
    """
    return f"{money.to_text(basis_points * money.SCALE // 100)}%"


def _basis_points(percent: str) -> int:
    return money.from_text(percent) * 100 // money.SCALE
