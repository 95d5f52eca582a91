"""When a wallet's balance is worth a message. Pure: no clock, no I/O.

    well ──── balance < below ────────> low       says "low", once
     ^                                   │
     └──── balance >= back_above ────────┘        says "back", once

Between the two marks nothing changes, so that a balance moving about the mark says one thing, not many.
Beside it, reading itself may fail: a few failures in a row, or failing for long, say "blind" once, and the
next reading says "sighted".
"""

from decimal import Decimal
from typing import Literal

import msgspec

BACK_ABOVE_FACTOR = 1.05
"""Without a mark of its own, a balance is back when it is 5 % above the lower one."""
FAILURES_TO_SAY = 3
FAILING_SECONDS_TO_SAY = 900.0
"""Or two failures at least, so long apart."""

Kind = Literal["low", "back", "blind", "sighted"]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What to watch. Amounts in the wallet's currency; `back_above` is not under `below`."""

    wallet: str
    below: float
    back_above: float


class Balance(msgspec.Struct, frozen=True):
    """A reading that worked."""

    amount: float


class Unreadable(msgspec.Struct, frozen=True):
    """A reading that failed. `final`: trying again won't help (the key is not accepted)."""

    reason: str
    final: bool = False


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is known between two readings. `low` is None until the first one."""

    low: bool | None = None
    failures: int = 0
    failing_since: float | None = None
    blind: bool = False


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A message to send. `at`: Unix seconds."""

    kind: Kind
    at: float
    title: str
    body: str


def step(
    rule: Rule, standing: Standing, seen: Balance | Unreadable, now: float
) -> tuple[Standing, list[Alert]]:
    """What is known after a reading, and what to say about it.

    Args:
        now: Unix seconds.
    """
    if isinstance(seen, Unreadable):
        return _failed(rule, standing, seen, now)
    alerts = [_alert(rule, "sighted", now, seen)] if standing.blind else []
    low = _is_low(rule, standing.low, seen.amount)
    if low and not standing.low:
        alerts.append(_alert(rule, "low", now, seen))
    if standing.low and not low:
        alerts.append(_alert(rule, "back", now, seen))
    return Standing(low=low), alerts


def _is_low(rule: Rule, was_low: bool | None, amount: float) -> bool:
    return amount < rule.back_above if was_low else amount < rule.below


def _failed(rule: Rule, standing: Standing, seen: Unreadable, now: float) -> tuple[Standing, list[Alert]]:
    failures = standing.failures + 1
    since = now if standing.failing_since is None else min(standing.failing_since, now)
    long = failures > 1 and now - since >= FAILING_SECONDS_TO_SAY
    say = not standing.blind and (seen.final or failures >= FAILURES_TO_SAY or long)
    after = Standing(low=standing.low, failures=failures, failing_since=since, blind=standing.blind or say)
    return after, [_alert(rule, "blind", now, seen)] if say else []


def _alert(rule: Rule, kind: Kind, now: float, seen: Balance | Unreadable) -> Alert:
    if isinstance(seen, Unreadable):
        return Alert(
            kind=kind,
            at=now,
            title=f"{rule.wallet}: the balance can't be read",
            body=f"Nobody would hear of a low balance of {rule.wallet} now. {seen.reason}",
        )
    amount = plain(seen.amount)
    said = {
        "low": (f"{rule.wallet} is low: {amount}", f"The balance is {amount}, below {plain(rule.below)}."),
        "back": (
            f"{rule.wallet} is back: {amount}",
            f"The balance is {amount}, again at or above {plain(rule.back_above)}.",
        ),
        "sighted": (
            f"{rule.wallet}: the balance can be read again",
            f"The balance of {rule.wallet} can be read again: {amount}.",
        ),
    }
    title, body = said[kind]
    return Alert(kind=kind, at=now, title=title, body=body)


def plain(amount: float) -> str:
    """A number without exponent: 0.0000312."""
    text = f"{Decimal(repr(amount)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


# What was decided but not yet delivered -------------------------------------------------------------


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """An alert and which targets (by `target_id`) have it."""

    alert: Alert
    delivered: tuple[str, ...] = ()


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """All that a restart must not forget."""

    standing: Standing = Standing()
    outbox: tuple[Parcel, ...] = ()


def observe(rule: Rule, memory: Memory, seen: Balance | Unreadable, now: float) -> Memory:
    """The memory after a reading; new alerts wait in its outbox."""
    standing, alerts = step(rule, memory.standing, seen, now)
    return Memory(standing=standing, outbox=(*memory.outbox, *(Parcel(alert=alert) for alert in alerts)))


def delivered(memory: Memory, index: int, target: str, targets: frozenset[str]) -> Memory:
    """The memory after a delivery; a parcel leaves the outbox when every present target has it."""
    parcel = memory.outbox[index]
    parcel = Parcel(alert=parcel.alert, delivered=(*parcel.delivered, target))
    rest = () if targets <= set(parcel.delivered) else (parcel,)
    outbox = (*memory.outbox[:index], *rest, *memory.outbox[index + 1 :])
    return Memory(standing=memory.standing, outbox=outbox)


def without_delivered(memory: Memory, targets: frozenset[str]) -> Memory:
    """The memory without parcels that every present target has; a target may be gone since."""
    waiting = tuple(parcel for parcel in memory.outbox if not targets <= set(parcel.delivered))
    return Memory(standing=memory.standing, outbox=waiting)
