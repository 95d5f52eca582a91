"""What was said but not yet told to everybody. Pure.

Messages gather until they go out as one parcel; a parcel leaves the outbox when every target has it.
"""

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from .file import Messages
from .memory import AlertsMemory, Message, Parcel

PARCEL_MESSAGES_MAX = 50
WAITING_MESSAGES_MAX = 500
"""So many wait while nobody can be told, or for those who can't while others can; older ones are given up."""
GIVE_UP_SECONDS = 7 * 86_400
"""What somebody has is no longer tried elsewhere after so long."""


def local(when: int, messages: Messages) -> datetime:
    """A moment (Unix s) in the file's timezone."""
    return datetime.fromtimestamp(when, ZoneInfo(messages.timezone))


def is_quiet(messages: Messages, now: int) -> bool:
    return any(hours.covers(local(now, messages)) for hours in messages.quiet)


def is_stuck(memory: AlertsMemory) -> bool:
    """Whether the last parcel still is with nobody, so that what comes now can as well go as one later."""
    return bool(memory.failing and memory.outbox and not memory.outbox[-1].delivered)


def packed(messages: Messages, memory: AlertsMemory, now: int) -> AlertsMemory:
    """With what gathered in a parcel, unless one was packed a moment ago, or hours are quiet."""
    memory = msgspec.structs.replace(memory, gathering=_newest(messages, memory.gathering))
    lately = memory.packed_at is not None and 0 <= now - memory.packed_at < messages.digest
    if not memory.gathering or lately or is_stuck(memory) or is_quiet(messages, now):
        return memory
    size = PARCEL_MESSAGES_MAX
    parcels = [
        Parcel(messages=memory.gathering[start : start + size])
        for start in range(0, len(memory.gathering), size)
    ]
    outbox = (*memory.outbox, *parcels)
    return msgspec.structs.replace(memory, gathering=(), outbox=outbox, packed_at=now)


def _newest(messages: Messages, gathering: tuple[Message, ...]) -> tuple[Message, ...]:
    """Of too many the newest; the first then says how many more there were, by the ids it stands for."""
    if len(gathering) <= WAITING_MESSAGES_MAX:
        return gathering
    oldest, kept = gathering[0], gathering[1 - WAITING_MESSAGES_MAX :]
    since = f"{local(oldest.at, messages):%Y-%m-%d %H:%M %Z}"
    said = Message(
        id=oldest.id,
        kind="more",
        at=oldest.at,
        title=f"And {kept[0].id - oldest.id} more since {since}",
        body=f"Of what could not be told for long, only the last {len(kept)} messages are kept.",
    )
    return (said, *kept)


def first_lacking(memory: AlertsMemory, target: str) -> Parcel | None:
    """The oldest parcel that a target has not."""
    return next((parcel for parcel in memory.outbox if target not in parcel.delivered), None)


def first_for_fallback(
    messages: Messages, memory: AlertsMemory, fallback: str, targets: Iterable[str], now: int
) -> Parcel | None:
    """The oldest parcel that a target lacks which has failed for long, and that the fallback has not."""
    late = [target for target in targets if has_failed_long(messages, memory, target, now)]
    return next(
        (
            parcel
            for parcel in memory.outbox
            if fallback not in parcel.delivered and any(target not in parcel.delivered for target in late)
        ),
        None,
    )


def has_failed_long(messages: Messages, memory: AlertsMemory, target: str, now: int) -> bool:
    since = memory.failing.get(target)
    return since is not None and now - since >= messages.fallback_after


def delivered(memory: AlertsMemory, parcel: Parcel, target: str) -> AlertsMemory:
    """After a target took a parcel."""
    outbox = tuple(
        Parcel(messages=one.messages, delivered=(*one.delivered, target))
        if one.messages == parcel.messages and target not in one.delivered
        else one
        for one in memory.outbox
    )
    failing = {other: since for other, since in memory.failing.items() if other != target}
    return msgspec.structs.replace(memory, outbox=outbox, failing=failing)


def not_delivered(memory: AlertsMemory, target: str, now: int) -> AlertsMemory:
    """After a target could not be told."""
    failing = {**memory.failing, target: min(memory.failing.get(target, now), now)}
    return msgspec.structs.replace(memory, failing=failing)


def tidy(memory: AlertsMemory, targets: frozenset[str], fallbacks: frozenset[str], now: int) -> AlertsMemory:
    """Without parcels that every target has, or somebody has for long or before many others."""
    newer = 0
    waiting: list[Parcel] = []
    for parcel in reversed(memory.outbox):
        newer += len(parcel.messages)
        if not _is_done(parcel, targets, now) and not (parcel.delivered and newer > WAITING_MESSAGES_MAX):
            waiting.append(parcel)
    outbox = tuple(reversed(waiting))
    failing = {target: since for target, since in memory.failing.items() if target in targets | fallbacks}
    return msgspec.structs.replace(memory, outbox=outbox, failing=failing)


def rendered(messages: Messages, parcel: Parcel) -> tuple[str, str]:
    """A parcel's title and text."""
    first, *others = parcel.messages
    if not others:
        return first.title, _with_time(messages, first)
    return (
        f"{len(parcel.messages)} messages: {first.title}, ...",
        "\n\n".join(f"{one.title}\n{_with_time(messages, one)}" for one in parcel.messages),
    )


def _is_done(parcel: Parcel, targets: frozenset[str], now: int) -> bool:
    old = now - parcel.messages[-1].at > GIVE_UP_SECONDS
    return targets <= set(parcel.delivered) or (old and bool(parcel.delivered))


def _with_time(messages: Messages, message: Message) -> str:
    return f"{message.body} ({local(message.at, messages):%Y-%m-%d %H:%M %Z})"
