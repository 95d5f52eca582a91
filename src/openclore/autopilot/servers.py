"""What pricing and settings of a host's servers share: names, members, and changes put together."""

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from openclore.api.currencies import Currency
from openclore.api.orders import OrderType
from openclore.api.servers import ServerConfig

from .actions import AnyAction, Change, Note, SetSettings
from .file import File
from .observation import Observation

PREFIXES = {Currency.BITCOIN: "bitcoin", Currency.CLORE: "clore", Currency.USD: "usd"}
"""How the members of `SetServerSettings` about a currency begin."""
KINDS: tuple[OrderType, ...] = ("on-demand", "spot")
NAMED_MAX = 3
"""So many servers are named in a note."""
NOTES_MAX = 10
"""So many different ones there are of one table."""


def named(patterns: Iterable[str], name: str) -> bool:
    """Whether a server is meant by a table's patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def unmatched(table: str, patterns: Iterable[str], names: Sequence[str]) -> Iterator[Note]:
    """A note of the patterns that no server of the account has a name like."""
    strange = [pattern for pattern in patterns if not any(named((pattern,), name) for name in names)]
    if strange:
        there = f"there is {several(names)}" if names else "the account has none"
        listed = " or ".join(f'"{pattern}"' for pattern in strange)
        yield Note(for_=table, text=f"no server is named {listed}; {there}")


def unread(
    table: str, seen: Observation, members: Sequence[str], old: Iterable[str], stays: str
) -> list[Note]:
    """A note of all members whose settings are too old; one whose turn to be read is yet to come is not."""
    late = [name for name in old if name in seen.configs or f"server {name}" in seen.failed]
    if not late:
        return []
    why = next(filter(None, (because(seen, f"server {name}") for name in late)), "")
    who = (
        f"the settings of {len(late)} of {len(members)} servers"
        if members[1:]
        else f"{late[0]}: the settings"
    )
    return [Note(for_=table, text=f"{who} can't be read just now{why}; {stays}")]


def together(notes: Iterable[tuple[str, Note]]) -> list[Note]:
    """Notes of servers, one for all of which the same is to say; of many different ones, the first."""
    found: dict[Note, list[str]] = {}
    for server, note in notes:
        found.setdefault(note, []).append(server)
    tables: dict[str, list[Note]] = {}
    for note in found:
        tables.setdefault(note.for_, []).append(note)
    told = []
    for alike in tables.values():
        shown, others = alike[:NOTES_MAX], alike[NOTES_MAX:]
        told += [_of(found[note], note, note.text) for note in shown]
        if others:
            text = f"{len(others)} more things are to say, such as: {others[0].text}"
            told.append(_of([name for note in others for name in found[note]], others[0], text))
    return told


def _of(servers: Iterable[str], note: Note, text: str) -> Note:
    """Of these servers; a table named after its only server names it already."""
    names = tuple(dict.fromkeys(servers))
    if len(names) == 1 and note.for_.endswith(f".{names[0]}"):
        return msgspec.structs.replace(note, text=text)
    return msgspec.structs.replace(note, text=f"{several(names)}: {text}")


def several(names: Sequence[str]) -> str:
    """ "rig-1, rig-2, rig-3 and 9 more"."""
    shown, others = ", ".join(names[:NAMED_MAX]), len(names) - NAMED_MAX
    return f"{shown} and {others} more" if others > 0 else shown


def pricing_of(file: File, server: str, kind: OrderType) -> list[str]:
    """The pricing groups that set this price of the server."""
    return [
        name for name, group in file.pricing.items() if kind in group.prices and named(group.servers, server)
    ]


def merged(actions: Iterable[AnyAction]) -> tuple[AnyAction, ...]:
    """The actions, with one change of settings per server, in the place of its first."""
    found: list[AnyAction] = []
    places: dict[str, int] = {}
    for action in actions:
        if isinstance(action, SetSettings):
            first = found[places[action.server]] if action.server in places else None
            if isinstance(first, SetSettings):
                found[places[action.server]] = _both(first, action)
                continue
            places[action.server] = len(found)
        found.append(action)
    return tuple(found)


def _both(first: SetSettings, second: SetSettings) -> SetSettings:
    return SetSettings(
        for_=", ".join(dict.fromkeys([*first.for_.split(", "), *second.for_.split(", ")])),
        reason=f"{first.reason}; {second.reason}",
        server=first.server,
        changes=joined([*first.changes, *second.changes]),
    )


def joined(changes: Iterable[Change]) -> tuple[Change, ...]:
    """One change per member: those of the same table of values are put together."""
    found: dict[str, Change] = {}
    for change in changes:
        first = found.get(change.member)
        if first is not None:
            change = Change(change.member, first.before, _laid_over(first.after, change.before, change.after))
        found[change.member] = change
    return tuple(found.values())


def _laid_over(base: Any, before: Any, after: Any) -> Any:
    """`base`, with what differs between `before` and `after` put over it."""
    if not isinstance(base, dict) or not isinstance(after, dict):
        return after
    before = before if isinstance(before, dict) else {}
    return base | {
        name: _laid_over(base.get(name), before.get(name), value)
        for name, value in after.items()
        if name not in before or before[name] != value
    }


def member_of(kind: OrderType) -> str:
    return kind.replace("-", "_")


def price_in(config: ServerConfig, kind: OrderType, currency: Currency) -> float | None:
    return ((config.pricing if kind == "on-demand" else config.spot_pricing) or {}).get(currency)


def pegged_mode(config: ServerConfig, currency: Currency) -> str | None:
    """ "usd" where the market keeps the price at an amount of dollars; None where it is set by hand."""
    mode = config.autoprice.get(currency) if isinstance(config.autoprice, dict) else None
    return str(mode) if mode else None


def usd_pricing_of(config: ServerConfig) -> dict[str, dict[str, float | None]]:
    """As plain values."""
    return {
        name: {"on_demand": pair.on_demand, "spot": pair.spot}
        for name, pair in (config.usd_pricing or {}).items()
    }


def because(seen: Observation, part: str) -> str:
    """Why a part could not be read, in brackets, where that is known."""
    failed = seen.failed.get(part)
    return f" ({failed.reason})" if failed else ""
