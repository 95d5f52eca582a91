"""When something is worth a message. Pure: no clock, no I/O.

    well ──── the condition holds, for `hold` ────> said, and again by and by
     ^                                                │
     └──── it holds no longer ────────────────────────┘  says that it is back

Between the two marks of a figure nothing changes, so that one that moves about a mark says one thing, not
many. What can't be told just now (nothing was read lately) changes nothing. Beside it, reading itself may
fail: a few failures in a row, or failing for long, say "blind" once, and the next reading says "sighted".
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from openclore.api.durations import words_of

from .actions import Note, not_about, without_figures
from .conditions import Case, Cases, Evidence, Happening, Said, treatment
from .file import (
    Alert,
    File,
    Messages,
    ServerFree,
    ServerOffline,
    ServerRented,
    WalletBelow,
    WalletHoursBelow,
)
from .memory import AlertsMemory, Blindness, Message, Standing
from .observation import OFFERS, ORDERS, SERVERS, WALLETS, Failed, Observation, Reading, fresh
from .outbox import is_quiet, is_stuck, local, packed
from .servers import unmatched
from .templates import filled

FAILURES_TO_SAY = 3
FAILING_SECONDS_TO_SAY = 900
"""Or two failures at least, so long apart."""
LISTED_MAX = 5
"""So many parts that can't be read are named in a title."""
NOTE_FORGOTTEN_SECONDS = 3_600
"""A note not made for so long is news when it is made again."""


def plan_alerts(
    file: File, seen: Observation, memory: AlertsMemory, notes: Sequence[Note], now: int
) -> AlertsMemory:
    """The memory after a look; what there is to tell waits in its outbox.

    Args:
        notes: of other plans that somebody should hear of; each is told once, not in every round.
        now: Unix seconds.
    """
    teller = _Teller(file.messages, memory, now)
    blind = _look_about(teller, file, trouble(file, seen, memory, now), memory.blind)
    standings: dict[str, Mapping[str, Standing]] = {}
    compared: dict[str, Mapping[str, str]] = {}
    for name, alert in file.alerts.items():
        key = f"{kind_of(alert)} {name}"
        standings[key], before = memory.standings.get(key, {}), memory.seen.get(key)
        if before is not None:
            compared[key] = before
        evidence = Evidence(seen, now, file.stale_after, standings[key].__contains__)
        treated = treatment(alert)
        if isinstance(treated, Happening):
            happened = treated.happened(alert, evidence, before)
            if happened is not None:
                compared[key] = happened.seen
                for subject, said in happened.said:
                    teller.say(kind_of(alert), name, subject, said)
            continue
        cases = treated.cases(alert, evidence)
        if cases is not None:
            old = _old_news(treated.news, cases, before)
            standings[key] = _judged(teller, name, alert, cases, standings[key], old)
            compared[key] = _met(cases, before) if treated.news == "changes" else {}
    after = msgspec.structs.replace(
        memory,
        standings={key: held for key, held in standings.items() if held},
        seen=compared,
        blind=blind,
        notes=_tell_notes(teller, notes, seen, memory.notes),
        gathering=(*memory.gathering, *teller.said),
        next_id=memory.next_id + len(teller.said),
    )
    return packed(file.messages, after, now)


def kind_of(alert: Alert) -> str:
    """An alert's kind as its file writes it: "wallet_below"."""
    return str(alert.__struct_config__.tag)


def trouble(file: File, seen: Observation, memory: AlertsMemory, now: int) -> dict[str, Failed]:
    """Why what the file needs is not known now, by part.

    A wallet that was never there is told at once: trying again won't make it.
    """
    readings: dict[str, Reading[Any] | None] = {
        WALLETS: seen.wallets, OFFERS: seen.offers, SERVERS: seen.servers, ORDERS: seen.orders,
    }  # fmt: skip
    old = {
        part: Failed(f"the last answer is {words_of(now - reading.at)} old")
        for part, reading in readings.items()
        if reading is not None and now - reading.at > file.stale_after
    }
    read_before = {
        alert.wallet
        for name, alert in file.alerts.items()
        if isinstance(alert, WalletBelow | WalletHoursBelow) and f"{kind_of(alert)} {name}" in memory.seen
    }
    gone = {
        f"wallet {name}": Failed(f"there is {text}", final=name not in read_before)
        for name, text in missing_wallets(file, seen, now).items()
    }
    return {**gone, **old, **seen.failed}


def missing_wallets(file: File, seen: Observation, now: int) -> dict[str, str]:
    """By wallet that alerts are about, that the account has none like it, as a sentence's end."""
    wallets = fresh(seen.wallets, now, file.stale_after)
    if wallets is None:
        return {}
    watched = {a.wallet for a in file.alerts.values() if isinstance(a, WalletBelow | WalletHoursBelow)}
    there = ", ".join(wallets) or "none"
    return {
        str(name): f"no wallet {str(name)!r} with a balance here; there is: {there}"
        for name in sorted(watched)
        if name not in wallets
    }


def unmatched_alerts(file: File, seen: Observation, now: int) -> Iterator[Note]:
    """Notes of alerts about servers that there are none like."""
    servers = fresh(seen.servers, now, file.stale_after)
    for name, alert in file.alerts.items():
        if servers is not None and isinstance(alert, ServerOffline | ServerRented | ServerFree):
            yield from unmatched(f"alerts.{name}", alert.servers, tuple(servers))


class _Teller:
    """Collects what there is to say, with a person's own words where there are."""

    def __init__(self, messages: Messages, memory: AlertsMemory, now: int) -> None:
        self.messages = messages
        self.now = now
        self.reminds = not (is_quiet(messages, now) or is_stuck(memory))
        self.said: list[Message] = []
        self._next_id = memory.next_id

    def say(self, kind: str, alert: str, subject: str, said: Said) -> None:
        names = {"alert": alert, "subject": subject, "title": said.title, "text": said.text, **said.names}
        body = filled(self.messages.templates.get(kind), names, said.text)
        number = self._next_id + len(self.said)
        self.said.append(Message(id=number, kind=kind, at=self.now, title=said.title, body=body))


def _old_news(news: str, cases: Iterable[str], before: Mapping[str, str] | None) -> frozenset[str]:
    """Subjects of which it is no news that it is so."""
    if news == "changes":
        return frozenset(cases) - frozenset(before or ())
    return frozenset(cases) if news == "orders" and before is None else frozenset()


def _met(cases: Cases, before: Mapping[str, str] | None) -> dict[str, str]:
    """Subjects about which something could be told now or before."""
    return {
        subject: "" for subject, case in cases.items() if case.holds is not None or subject in (before or ())
    }


def _judged(
    teller: _Teller,
    name: str,
    alert: Alert,
    cases: Cases,
    before: Mapping[str, Standing],
    old: frozenset[str],
) -> dict[str, Standing]:
    """Where the condition holds."""
    found = {
        subject: _judge(teller, name, alert, subject, case, before.get(subject), subject in old)
        for subject, case in cases.items()
    }
    return {subject: standing for subject, standing in found.items() if standing is not None}


def _judge(
    teller: _Teller, name: str, alert: Alert, subject: str, case: Case, standing: Standing | None, old: bool
) -> Standing | None:
    """What is known of a subject after a look, None while the condition does not hold."""
    kind = kind_of(alert)
    if case.holds is None:
        return standing
    if not case.holds:
        if standing is not None and standing.said and case.back is not None:
            teller.say("back", name, subject, Said(*case.back, {"kind": kind}))
        return None
    if standing is None:
        standing = Standing(since=teller.now, found=old)
    if standing.found:
        return standing
    lasts = teller.now - standing.since
    if not standing.said:
        if lasts < alert.hold:
            return standing
        teller.say(kind, name, subject, case.said)
    elif _reminder_due(teller, alert, standing):
        title, text, names = case.said
        text = f"{text} It has been so for {words_of(lasts)}."
        teller.say(kind, name, subject, Said(f"Still: {title}", text, names))
    else:
        return standing
    return msgspec.structs.replace(standing, said=standing.said + 1, said_at=teller.now)


def _reminder_due(teller: _Teller, alert: Alert, standing: Standing) -> bool:
    messages = teller.messages
    treated = treatment(alert)
    if (
        not (messages.remind_after and teller.reminds)
        or isinstance(treated, Happening)
        or not treated.reminds
    ):
        return False
    gap = float(messages.remind_after)
    for _ in range(standing.said - 1):
        gap *= messages.remind_growth
        if gap >= messages.remind_max:
            break
    return teller.now - (standing.said_at or 0) >= min(gap, messages.remind_max)


# Blindness ------------------------------------------------------------------------------------------


def _look_about(
    teller: _Teller, file: File, trouble: Mapping[str, Failed], before: Mapping[str, Blindness]
) -> dict[str, Blindness]:
    """Say what can't be read, and what can be again: each at once, as it is often all of a market."""
    after = {part: _failed(before.get(part), failed, teller.now) for part, failed in trouble.items()}
    blind = [part for part in after if after[part].said and not (part in before and before[part].said)]
    sighted = [part for part in before if before[part].said and part not in trouble]
    if blind:
        reasons = [
            f"{part}: {trouble[part].reason} ({_tries(after[part])} since"
            f" {local(after[part].since, teller.messages):%H:%M %Z})"
            for part in blind
        ]
        text = (
            "\n".join(reasons)
            + f"\nNo action is taken on data older than {file.stale_after}; alerts that need"
            " it say nothing until it can be read again."
        )
        names = {"parts": _listed(blind), "stale_after": str(file.stale_after)}
        teller.say("blind", "", _listed(blind), Said(f"Can't read {_listed(blind)}", text, names))
    if sighted:
        title, text = f"Can read {_listed(sighted)} again", f"{_listed(sighted)}: all is well again."
        teller.say("sighted", "", _listed(sighted), Said(title, text, {"parts": _listed(sighted)}))
    return after


def _failed(before: Blindness | None, failed: Failed, now: int) -> Blindness:
    if before is None:
        return Blindness(since=now, said=failed.final)
    since, failures = min(before.since, now), before.failures + 1
    long = failures >= FAILURES_TO_SAY or now - since >= FAILING_SECONDS_TO_SAY
    return Blindness(since=since, failures=failures, said=before.said or failed.final or long)


def _tries(blindness: Blindness) -> str:
    return "1 try" if blindness.failures == 1 else f"{blindness.failures} tries"


def _listed(parts: Sequence[str]) -> str:
    """ "wallets, orders and offers"; of many, the first."""
    if len(parts) > LISTED_MAX:
        parts = [*parts[: LISTED_MAX - 1], f"{len(parts) - LISTED_MAX + 1} more"]
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


# Notes ----------------------------------------------------------------------------------------------


def _tell_notes(
    teller: _Teller, notes: Sequence[Note], seen: Observation, before: Mapping[str, int]
) -> dict[str, int]:
    """Say those that are new, not what differs in its figures only; blindness has its own words.

    A difference of settings is news whenever it was not there a round ago: it was repaired in between.
    """
    after = {
        key: at
        for key, at in before.items()
        if 0 <= teller.now - at < NOTE_FORGOTTEN_SECONDS and not key.startswith(_DRIFT)
    }
    for note in not_about(notes, [failed.reason for failed in seen.failed.values()]):
        key = (_DRIFT if note.drift else "") + without_figures(f"{note.for_}: {note.text}")
        if key not in (before if note.drift else after):
            title = f"{note.for_} {'differs' if note.drift else 'needs a look'}"
            said = Said(title, note.text, {"table": note.for_})
            teller.say("drift" if note.drift else "strange", note.for_, note.for_, said)
        after[key] = teller.now
    return after


_DRIFT = "drift "
