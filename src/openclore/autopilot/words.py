"""Actions as sentences, for the log, for `plan` and for `status`."""

from collections.abc import Iterator
from typing import assert_never

from openclore.api.durations import words_of

from .actions import (
    AnyAction,
    CancelOrder,
    Change,
    PlaceOrder,
    Rebid,
    RenewLease,
    SetBackgroundJob,
    SetSettings,
)


def sentence(action: AnyAction) -> str:
    """What is done, without the reason: "Cancel order 17"."""
    match action:
        case PlaceOrder():
            what = "Bid for" if action.type == "spot" else "Rent"
            return f"{what} server {action.server_id} at {plain(action.price)} {action.currency} a day"
        case CancelOrder():
            return f"Cancel order {action.order_id}"
        case Rebid():
            before = "" if action.before is None else f"{plain(action.before)} -> "
            return f"Bid {before}{plain(action.price)} a day for order {action.order_id}"
        case RenewLease():
            return f"Keep order {action.order_id} for another {words_of(action.seconds)}"
        case SetSettings():
            changes = ", ".join(said for change in action.changes for said in _changes(change))
            return f"Set {action.server}: {changes}"
        case SetBackgroundJob():
            job = f"run {action.job.image}" if action.job else "run nothing"
            return f"Have {action.server} {job} while nobody rents it"
        case _:
            assert_never(action)


LONG = 1e18
"""Numbers from here on are no amounts, but what somebody mistyped or a market made up."""

_MEMBERS = {
    "availability": "public",
    "mrl": "longest rental in hours",
    "on_demand": "on demand",
    "spot": "lowest bid",
    "enabled": "accepted",
}
_COINS = {"bitcoin": "btc", "clore": "clore", "usd": "usd"}


def _changes(change: Change) -> Iterator[str]:
    """What a change of settings changes, as people say it: "on demand 12.01 -> 10.81 usd"."""
    coin, _, member = change.member.partition("_")
    if change.member == "usd_pricing" and isinstance(change.after, dict):
        for currency, prices in change.after.items():
            before = (change.before or {}).get(currency) or {}
            for kind, price in prices.items():
                if price != before.get(kind):
                    named = f"{_MEMBERS.get(kind, kind)} {_shown(before.get(kind))} -> {_shown(price)} $"
                    yield f"{named} in {currency}"
    elif coin in _COINS and member in _MEMBERS:
        yield f"{_MEMBERS[member]} {_shown(change.before)} -> {_shown(change.after)} {_COINS[coin]}"
    else:
        name = _MEMBERS.get(change.member, change.member)
        yield f"{name} {_shown(change.before)} -> {_shown(change.after)}"


def plain(number: float) -> str:
    """A number without exponent and without zeros at its end, unless it would be long: 0.0000312, 1e+300."""
    return f"{number:.10f}".rstrip("0").rstrip(".") if abs(number) < LONG else f"{number:g}"


def cents(usd: float) -> str:
    """Dollars with two decimals, unless that would be long."""
    return f"{usd:.2f}" if abs(usd) < LONG else f"{usd:g}"


def _shown(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return plain(value)
        case _:
            return str(value)
