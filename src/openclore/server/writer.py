"""Calls that change the market, one after another: those that come at the same time share a commit."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from ..store.failures import Cause, cause, for_the_log
from ..store.store import Savepoint, Store, StoreBusy

T = TypeVar("T")

log = structlog.get_logger()

TOGETHER_MAX = 64
"""How many calls share a commit. Of more savepoints in one transaction PostgreSQL makes hard work."""
ANSWER_SECONDS = 10.0
"""How long a caller whose call is being made waits on when it waited for longer than for a turn already."""
TOGETHER_SECONDS = 0.1
"""How long calls are added to those that share a commit."""


class NotShown(SQLAlchemyError):
    """A call was made, but the database failed before what it changed could be seen in this process."""


class Unanswered(SQLAlchemyError):
    """A call is being made, but the database does not answer: nobody knows yet what becomes of it."""


class Writer:
    """One thread for all of a process, and one that shows what was committed while the first goes on. Nobody
    waits for company.

    A call is answered once its transaction is committed and `follow` has run. One that raises leaves nothing,
    and takes nothing from those that it shares a transaction with.
    """

    def __init__(self, store: Store, follow: Callable[[], None]) -> None:
        self._store = store
        self._follow = follow
        self._waiting: deque[_Asked] = deque()
        self._ended: deque[_Asked] = deque()
        self._making = ThreadPoolExecutor(1, "writer")
        self._showing = ThreadPoolExecutor(1, "writer-shows")

    async def make(self, call: Callable[[], T]) -> T:
        """Make a call in its turn, even if the caller is cancelled meanwhile.

        Raises:
            StoreBusy: its turn did not come; nothing was done.
            NotShown: it is done, but the database failed in `follow`.
            Unanswered: it may be done yet.
        Exception: whatever the call raises, or the database when it commits.
        """
        asked = _Asked(call)
        self._waiting.append(asked)
        self._making.submit(self._turn)
        await asyncio.wait({asked.answer}, timeout=self._store.turn_seconds)
        if not asked.answer.done():
            with suppress(ValueError):  # it is being made
                self._waiting.remove(asked)
                raise StoreBusy
            await asyncio.wait({asked.answer}, timeout=ANSWER_SECONDS)
            if not asked.answer.done():
                raise Unanswered("the database does not answer")
        made: T = asked.outcome()
        return made

    def _turn(self) -> None:
        """Make the call that waits for longest, and with it those that wait by then; another turn may have
        done so.
        """
        first = self._next()
        if first is None:
            return
        undone = deque(self._made(first, self._company()))
        while undone:
            alone = undone.popleft()
            self._made(alone, ())
            if _unreachable(alone.error):
                self._end(undone, alone.error)
                return

    def _next(self) -> "_Asked | None":
        with suppress(IndexError):
            return self._waiting.popleft()
        return None

    def _company(self) -> Iterator["_Asked"]:
        until = time.monotonic() + TOGETHER_SECONDS
        for _ in range(1, TOGETHER_MAX):
            asked = self._next() if time.monotonic() < until else None
            if asked is None:
                return
            yield asked

    def _made(self, first: "_Asked", company: Iterable["_Asked"]) -> "list[_Asked]":
        """Make calls in one transaction and answer them.

        Of several, where that failed and surely nothing is done, none is answered and all are returned: each
        may do better alone.
        """
        together, complete = [first], False
        try:
            with self._store.writing() as tx:
                first.make()
                savepoint = Savepoint(tx)
                for asked in company:
                    together.append(asked)
                    savepoint.set()
                    try:
                        asked.make()
                    except BaseException as error:
                        savepoint.go_back()
                        asked.error = error
                complete = True
        except BaseException as error:
            if len(together) > 1 and not (complete and _may_be_done(error)):
                return together
            self._end(together, error)
        else:
            self._end(together)
        return []

    def _end(self, calls: "Iterable[_Asked]", error: BaseException | None = None) -> None:
        """Have calls answered, all with the error if there is one, once it shows what was committed."""
        for asked in calls:
            asked.error = error or asked.error
            self._ended.append(asked)
        self._showing.submit(self._show)

    def _show(self) -> None:
        """Show what was committed by now, and answer; another turn may have done so."""
        shown = [self._ended.popleft() for _ in range(len(self._ended))]
        if not shown:
            return
        try:
            self._follow()
        except SQLAlchemyError as error:
            log.error("what was written can't be shown yet", error=for_the_log(error))
            for asked in shown:
                asked.error = asked.error or NotShown()
        except BaseException as error:
            for asked in shown:
                asked.error = asked.error or error
        for loop, answers in groupby((asked.answer for asked in shown), asyncio.Future.get_loop):
            with suppress(RuntimeError):  # it is closed: nobody waits any more
                loop.call_soon_threadsafe(_answer, list(answers))


def _answer(answers: Iterable[asyncio.Future[None]]) -> None:
    for answer in answers:
        answer.set_result(None)


def _may_be_done(error: BaseException) -> bool:
    """Whether a commit that raised this may have been one."""
    return not isinstance(error, SQLAlchemyError) or cause(error) is None


def _unreachable(error: BaseException | None) -> bool:
    """Whether every other call would fail in the same way, and be as long about it."""
    return isinstance(error, SQLAlchemyError) and cause(error) is Cause.UNREACHABLE


class _Asked:
    """A call, and what came of it once there is an `answer`."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.error: BaseException | None = None
        self._made: Any = None

    def make(self) -> None:
        self.error = None
        self._made = self._call()

    def outcome(self) -> Any:
        """What the call returned.

        Raises:
            Exception: what the call raised.
        """
        if self.error is not None:
            raise self.error
        return self._made
