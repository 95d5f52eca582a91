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
from typing import Protocol

import msgspec

from .act import MarketWriter, carry_out
from .actions import CancelOrder, Note, Outcome, not_about, without_figures
from .file import File
from .memory import AlertsMemory, Memory
from .observation import Observation
from .observe import MarketReader, Observer, Prober, Stopped
from .plan import Plan, done, make_plan
from .reading import Given, Source
from .remember import Known, NotKeptError
from .words import sentence

NOT_BEGUN = "not begun"


class MarketClient(MarketReader, MarketWriter, Protocol):
    """The part of `Clore` that an autopilot needs."""


class Memories(Protocol):
    """Where the memory is kept, see `remember.Keeper`."""

    @property
    def memory(self) -> Memory: ...
    def keep(self, memory: Memory, outcome: Outcome | None = None, known: Known | None = None) -> None: ...


class Postman(Protocol):
    """Who delivers messages, see `notify.py`."""

    def deliver(self, file: File, memory: AlertsMemory, keep: Callable[[AlertsMemory], None]) -> None: ...


class Runner:
    """
    Args:
        tell: hears what happens, for a log.
        date: Unix seconds.
        sleep: lets time pass; unless given, waits until then or until `stop`.
    """

    def __init__(
        self,
        clore: MarketClient,
        source: Source | Given,
        keeper: Memories,
        *,
        prober: Prober,
        postman: Postman,
        tell: Callable[[str], None] = lambda text: None,
        date: Callable[[], float] = time.time,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._clore = clore
        self._source = source
        self._keeper = keeper
        self._postman = postman
        self._tell = tell
        self._date = date
        self._stopped = threading.Event()
        self._observer = Observer(clore, prober, date, self._stopped.is_set)
        self._sleep = sleep or self._stopped.wait
        self._told: frozenset[str] = frozenset()
        self._looking = False

    def stop(self) -> None:
        """End after what is under way; safe in a signal handler."""
        self._stopped.set()

    def interrupt(self) -> None:
        """The same for a signal handler in the thread of `run`: a look that is under way is broken off.

        Raises:
            Stopped: it was looking, which changes nothing.
        """
        self._stopped.set()
        if self._looking:
            raise Stopped

    def run(self) -> None:
        """Rounds until `stop`; one whose memory can't be written does nothing, and there is another."""
        while not self._stopped.is_set():
            began = self._date()
            try:
                self.once()
            except NotKeptError as problem:
                self._tell(str(problem))
            except Stopped:
                return
            if not self._stopped.is_set():
                self._sleep(max(0.0, self._source.file.every - (self._date() - began)))

    def once(self) -> Plan:
        """One round; the plan that was carried out.

        What it saw may get old while it acts: then only cancelling goes on.

        Raises:
            NotKeptError: the memory can't be written; no action was begun that is not in it.
            Stopped: it was told to, before anything was decided.
        """
        self._follow_edits()
        file = self._source.file
        began = self._date()
        seen, plan = self._look_and_plan(file)
        self._keeper.keep(plan.memory, known=_known(seen, plan, int(self._date())))
        self._say_news(plan)
        for action in plan.actions:
            old = self._date() - began > file.stale_after and not isinstance(action, CancelOrder)
            if self._stopped.is_set() or old:
                outcome = Outcome(action=action, at=int(self._date()), done=False, detail=NOT_BEGUN)
            else:
                outcome = carry_out(self._clore, file, action, self._date)
            self._keeper.keep(done(self._keeper.memory, outcome), outcome)
            self._tell(_said(outcome))
        if not self._stopped.is_set():
            self._postman.deliver(file, self._keeper.memory.alerts, self._keep_alerts)
        return plan

    def _look_and_plan(self, file: File) -> tuple[Observation, Plan]:
        self._looking = True
        try:
            return look_and_plan(file, self._observer, self._keeper.memory, self._date, self._file_notes())
        finally:
            self._looking = False

    def _keep_alerts(self, alerts: AlertsMemory) -> None:
        self._keeper.keep(msgspec.structs.replace(self._keeper.memory, alerts=alerts))

    def _file_notes(self) -> tuple[Note, ...]:
        problem = self._source.problem
        if problem is None:
            return ()
        return (Note(for_="file", text=f"an edit can't be followed, going on as before: {problem}"),)

    def _follow_edits(self) -> None:
        if self._source.reload() and self._source.problem is None:
            self._tell("The file was edited and is followed.")

    def _say_news(self, plan: Plan) -> None:
        """Each note and failure once, until it was not there for a round; other figures are no news."""
        reasons = [failed.reason for failed in plan.trouble.values()]
        said = [f"{note.for_}: {note.text}" for note in not_about(plan.notes, reasons)]
        said += [f"can't read {part}: {failed.reason}" for part, failed in plan.trouble.items()]
        news = {without_figures(text): text for text in said}
        for key in sorted(news.keys() - self._told):
            self._tell(news[key])
        self._told = frozenset(news)


def look_and_plan(
    file: File,
    observer: Observer,
    memory: Memory,
    date: Callable[[], float],
    notes: tuple[Note, ...] = (),
) -> tuple[Observation, Plan]:
    """What a round would do now; nothing is changed."""
    seen = observer.observe(file, memory)
    return seen, make_plan(file, seen, memory, int(date()), notes)


def _known(seen: Observation, plan: Plan, now: int) -> Known:
    return Known(
        at=now,
        wallets=dict(seen.wallets.value) if seen.wallets else {},
        offers=len(seen.offers.value) if seen.offers else None,
        servers=len(seen.servers.value) if seen.servers else None,
        orders=len(seen.orders.value) if seen.orders else None,
        problems={part: failed.reason for part, failed in plan.trouble.items()},
        notes=plan.notes,
    )


def _said(outcome: Outcome) -> str:
    said = sentence(outcome.action)
    if outcome.done:
        return f"{said}."
    return f"{said}: {'unclear whether it was done' if outcome.unknown else 'not done'}: {outcome.detail}"
