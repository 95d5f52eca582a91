"""Texts of a person's own for alerts: `str.format` with the names of their kind, and nothing else. Pure."""

import string
from collections.abc import Mapping
from difflib import get_close_matches

from .words import plain


class Figure(float):
    """A number that is written as people write it, unless a template says how: {amount:.2f}."""

    def __format__(self, how: str) -> str:
        return super().__format__(how) if how else plain(self)


Names = Mapping[str, str | int | Figure]

COMMON: Names = {"alert": "cash", "subject": "USD-Blockchain", "title": "USD is low", "text": "It is low."}
"""What every kind has: the name of the alert, what it is about, and what would be said without a template."""

NAMES: dict[str, Names] = {
    "wallet_below": {
        "wallet": "bitcoin", "amount": Figure(0.5), "below": Figure(1), "back_above": Figure(1.05),
    },
    "wallet_hours_below": {
        "wallet": "bitcoin", "amount": Figure(0.5), "hours": Figure(24), "hours_left": Figure(12),
        "per_hour": Figure(0.04),
    },
    "order_failed": {"order": 1, "server": 2, "image": "ubuntu", "reason": "failed"},
    "outbid": {"order": 1, "server": 2, "image": "ubuntu", "price": Figure(2), "currency": "bitcoin"},
    "host_lost": {"order": 1, "server": 2, "image": "ubuntu"},
    "server_offline": {"server": "rig-1"},
    "server_rented": {"server": "rig-1"},
    "server_free": {"server": "rig-1"},
    "price_above": {"gpu": "4090", "price": Figure(0.4), "level": Figure(0.3), "order_type": "spot"},
    "price_below": {"gpu": "4090", "price": Figure(0.2), "level": Figure(0.3), "order_type": "spot"},
    "event": {"event": "order_ended", "order": 1, "server": 2, "details": "reason: failed"},
    "back": {"kind": "wallet_below"},
    "blind": {"parts": "wallets and orders", "stale_after": "5m"},
    "sighted": {"parts": "wallets and orders"},
    "drift": {"table": "settings.rigs"},
    "strange": {"table": "fleets.train"},
}  # fmt: skip
"""By kind of message, the names a template may use besides, each with a value it could have."""


def check_template(kind: str, text: str) -> None:
    """Whether a template would do.

    Raises:
        ValueError: why not, as a sentence.
    """
    if kind not in NAMES:
        raise ValueError(f"{kind!r} is no kind of message{_like(kind, NAMES)}; there is: {', '.join(NAMES)}")
    known = {**COMMON, **NAMES[kind]}
    try:
        used = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    except ValueError as problem:
        raise ValueError(f"{problem}; a brace of the text itself is written twice") from None
    for name in used:
        if name not in known:
            raise ValueError(f"{{{name}}} is no name{_like(name, known)}; there is: {', '.join(known)}")
    try:
        text.format_map(known)
    except (ValueError, LookupError, AttributeError, TypeError) as problem:
        raise ValueError(f"can't be filled in: {problem}") from None


def filled(template: str | None, names: Names, otherwise: str) -> str:
    """The text of a message; the usual one where there is no template or it can't be filled in."""
    if template is None:
        return otherwise
    try:
        return template.format_map(names)
    except (ValueError, LookupError, AttributeError, TypeError):
        return otherwise


def _like(name: str, known: Mapping[str, object]) -> str:
    close = get_close_matches(name, known, 1)
    return f", did you mean {close[0]!r}?" if close else ""
