"""Keeping it so: look, decide, write down, do, tell; again and again, until told to stop.

    observe ──> plan ──> memory on disk ──> act, one by one ──> deliver messages ──> wait
                              ^                     │
                              └──── each outcome ───┘

Whatever moment it is ended at, the next round starts from what is on disk and what the market shows: an
order that was asked for is an intent in the memory until it is found or known not to be there.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from .act import Market as ActingMarket
from .act import carry_out
from .actions import Outcome
from .file import File
from .memory import AlertsMemory
from .observation import Observation
from .observe import Market as SeenMarket
from .observe import Observer, Prober
from .plan import Plan, done, make_plan
from .reading import FileError, load
from .remember import Keeper, Known
from .words import sentence


class Market(SeenMarket, ActingMarket, Protocol):
    """The part of `Clore` that an autopilot needs."""


class Postman(Protocol):
    """Who delivers messages, see `notify.py`."""

    def deliver(self, file: File, memory: AlertsMemory, keep: Callable[[AlertsMemory], None]) -> None: ...


class Source:
    """A file that may be edited at any time; an edit that can't be followed leaves the last good one.

    Raises:
        FileError: it can't be followed at first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = self._stamped()
        self.file = load(path)
        self.problem: FileError | None = None

    def reload(self) -> bool:
        """Look whether it was edited, and follow it if so; whether anything is new."""
        stamp = self._stamped()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self.file, self.problem = load(self.path), None
        except FileError as problem:
            self.problem = problem
        return True

    def _stamped(self) -> tuple[int, int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


class Given:
    """A file that is made up in the program and stays as it is."""

    problem = None

    def __init__(self, file: File) -> None:
        self.file = file

    def reload(self) -> bool:
        return False


class Runner:
    """
    Args:
        tell: hears what happens, for a log.
        date: Unix seconds.
        sleep: lets time pass; unless given, waits until then or until `stop`.
    """

    def __init__(
        self,
        clore: Market,
        source: Source | Given,
        keeper: Keeper,
        *,
        prober: Prober,
        postman: Postman,
        tell: Callable[[str], None] = lambda text: None,
        date: Callable[[], float] = time.time,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._clore = clore
        self._source = source
        self._keeper = keeper
        self._observer = Observer(clore, prober, date)
        self._postman = postman
        self._tell = tell
        self._date = date
        self._stopped = threading.Event()
        self._sleep = sleep or self._wait
        self._told: set[tuple[str, str]] = set()

    def stop(self) -> None:
        """End after what is under way; safe in a signal handler."""
        self._stopped.set()

    def run(self) -> None:
        """Rounds until `stop`."""
        while not self._stopped.is_set():
            began = self._date()
            self.once()
            if not self._stopped.is_set():
                self._sleep(max(0.0, self._source.file.every - (self._date() - began)))

    def once(self) -> Plan:
        """One round; the plan that was carried out."""
        self._follow_edits()
        file = self._source.file
        seen, plan = look_and_plan(file, self._observer, self._keeper, self._date)
        self._keeper.keep(plan.memory, known=_known(seen, plan, int(self._date())))
        self._say_news(seen, plan)
        for action in plan.actions:
            if self._stopped.is_set():
                outcome = Outcome(action=action, at=int(self._date()), done=False, detail="not begun")
            else:
                outcome = carry_out(self._clore, file, action, self._date)
            self._keeper.keep(done(self._keeper.memory, outcome), outcome)
            self._tell(_said(outcome))
        if not self._stopped.is_set():
            self._postman.deliver(file, self._keeper.memory.alerts, self._keep_alerts)
        return plan

    def _keep_alerts(self, alerts: AlertsMemory) -> None:
        self._keeper.keep(msgspec.structs.replace(self._keeper.memory, alerts=alerts))

    def _follow_edits(self) -> None:
        if self._source.reload():
            problem = self._source.problem
            text = (
                f"The file can't be followed, going on as before:\n{problem}"
                if problem
                else "File read again."
            )
            self._tell(text)

    def _say_news(self, seen: Observation, plan: Plan) -> None:
        """Each note and failure once, until it was not there for a round."""
        said = {(note.for_, note.text) for note in plan.notes}
        said |= {(f"can't read {part}", failed.reason) for part, failed in seen.failed.items()}
        for subject, text in sorted(said - self._told):
            self._tell(f"{subject}: {text}")
        self._told = said

    def _wait(self, seconds: float) -> None:
        """Until it is time for the next round, `stop`, or an edit of the file."""
        self._stopped.wait(seconds)


def look_and_plan(
    file: File, observer: Observer, keeper: Keeper, date: Callable[[], float]
) -> tuple[Observation, Plan]:
    """What a round would do now; nothing is changed."""
    seen = observer.observe(file, keeper.memory)
    return seen, make_plan(file, seen, keeper.memory, int(date()))


def _known(seen: Observation, plan: Plan, now: int) -> Known:
    return Known(
        at=now,
        wallets=dict(seen.wallets.value) if seen.wallets else {},
        offers=len(seen.offers.value) if seen.offers else None,
        servers=len(seen.servers.value) if seen.servers else None,
        orders=len(seen.orders.value) if seen.orders else None,
        problems={part: failed.reason for part, failed in seen.failed.items()},
        notes=plan.notes,
    )


def _said(outcome: Outcome) -> str:
    said = sentence(outcome.action)
    if outcome.done:
        return f"{said}."
    return f"{said}: {'unclear whether it was done' if outcome.unknown else 'not done'}: {outcome.detail}"
