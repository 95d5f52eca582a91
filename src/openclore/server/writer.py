"""Calls that change the market, one after another: those that come at the same time share a commit."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from ..store.failures import cause, for_the_log
from ..store.store import Savepoint, Store, StoreBusy

T = TypeVar("T")

log = structlog.get_logger()

TOGETHER_MAX = 64
"""How many calls share a commit. Of more savepoints in one transaction PostgreSQL makes hard work."""
TOGETHER_SECONDS = 0.1
"""How long calls are added to those that share a commit."""


class NotShown(SQLAlchemyError):
    """A call was made, but the database failed before what it changed could be seen in this process."""


class Writer:
    """One thread for all of a process. Nobody waits for company.

    A call is answered once its transaction is committed and `follow` has run. One that raises leaves nothing,
    and takes nothing from those that it shares a transaction with.
    """

    def __init__(self, store: Store, follow: Callable[[], None]) -> None:
        self._store = store
        self._follow = follow
        self._waiting: deque[_Asked] = deque()
        self._thread = ThreadPoolExecutor(1, "writer")

    async def make(self, call: Callable[[], T]) -> T:
        """Make a call in its turn, even if the caller is cancelled meanwhile.

        Raises:
            StoreBusy: its turn did not come; nothing was done.
            NotShown: it is done, but the database failed in `follow`.
        Exception: whatever the call raises, or the database when it commits.
        """
        asked = _Asked(call)
        self._waiting.append(asked)
        self._thread.submit(self._turn)
        answer = asyncio.wrap_future(asked.answer)
        await asyncio.wait({answer}, timeout=self._store.turn_seconds)
        if not answer.done():
            if asked.answer.cancel():
                raise StoreBusy
            await asyncio.wait({answer})
        made: T = asked.outcome()
        return made

    def _turn(self) -> None:
        """Make the call that waits for longest, and with it those that wait by then; another turn may have
        done so.
        """
        first = self._next()
        if first is not None:
            for undone in self._made(first, self._company()):
                self._made(undone, ())

    def _next(self) -> "_Asked | None":
        while self._waiting:
            asked = self._waiting.popleft()
            if asked.answer.set_running_or_notify_cancel():
                return asked
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
            for asked in together:
                asked.error = error
        try:
            self._follow()
        except SQLAlchemyError as error:
            log.error("what was written can't be shown yet", error=for_the_log(error))
            for asked in together:
                asked.error = asked.error or NotShown()
        except BaseException as error:
            for asked in together:
                asked.error = asked.error or error
        for asked in together:
            asked.answer.set_result(None)
        return []


def _may_be_done(error: BaseException) -> bool:
    """Whether a commit that raised this may have been one."""
    return not isinstance(error, SQLAlchemyError) or cause(error) is None


class _Asked:
    """A call, and what came of it once `answer` is there."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self.answer: Future[None] = Future()
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
