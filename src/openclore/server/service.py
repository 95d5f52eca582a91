"""What the doors share: the market, the clock, and the copies in memory that follow the event log."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ..api.codes import OPEN_HTTP_STATUS, Code
from ..api.dialects import Dialect
from ..api.endpoints import BASE_PATH, Endpoint
from ..store import events
from ..store.accounts import ApiKey
from ..store.events import Kind
from ..store.failures import Silent
from ..usecases import servers
from ..usecases.market import Market
from .courier import Courier
from .gigaspot import Files
from .keys import Keys
from .limits import Limits
from .links import Links
from .metrics import Metrics
from .positions import Positions
from .replies import Voice
from .settings import Settings
from .snapshot import Snapshot
from .watchers import Watchers
from .writer import Writer

if TYPE_CHECKING:
    from .shared_limits import SharedLimits
    from .wakeups import Wakeups

P = ParamSpec("P")
T = TypeVar("T")

READ_SECONDS = 15.0
"""How long a caller waits for what only reads: while a database is paused, nobody else would say a word."""
_READERS_MAX = 8
_BATCH = 1_000
_OPEN_VOICE = Voice(business_status=OPEN_HTTP_STATUS[Code.BUSINESS])
_FOR_ALL = (Kind.RATES_SET, Kind.PRICES_REPEGGED)


def system_clock() -> int:
    return int(time.time())


class Service:
    """One process's view of a market. Use cases run in threads; what callers write, in one.

    `shared_limits` and `wakeups` are there where processes share a Valkey.
    """

    def __init__(
        self,
        market: Market,
        clock: Callable[[], int] = system_clock,
        settings: Settings = Settings(),  # noqa: B008 -- frozen
    ) -> None:
        self.market = market
        self.clock = clock
        self.settings = settings
        self.metrics = Metrics()
        self.keys = Keys(market)
        self.limits = Limits(settings.pace)
        self.shared_limits: SharedLimits | None = None
        self.wakeups: Wakeups | None = None
        self.snapshot = Snapshot()
        self.positions = Positions(market)
        self.gigaspot = Files(market, settings.pace.spacing_seconds)
        self.links = Links()
        self.watchers = Watchers()
        self.courier = Courier(market.policy.webhooks)
        self.loop_fails = False
        self._readers = ThreadPoolExecutor(_READERS_MAX, "reader")
        self._writer = Writer(market.store, follow=self._show)
        self._voices = {dialect: Voice(dialect, settings.live) for dialect in Dialect}
        self._cursor = 0
        self._following = threading.RLock()

    def start(self) -> None:
        """Take in the market as it is."""
        with self.market.store.reading() as tx:
            self._cursor = events.newest(tx)
        self.refresh(None)

    def voice(self, path: str, key: ApiKey | None = None) -> Voice:
        """How to answer a request to this path."""
        if not path.startswith(BASE_PATH + "/"):
            return _OPEN_VOICE
        pinned = key.dialect if key else None
        return self._voices[pinned or self.settings.dialect]

    async def read(self, use_case: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a use case that changes nothing.

        Raises:
            Silent: the database does not answer.
        Exception: whatever the use case raises.
        """
        return await self.read_within(READ_SECONDS, use_case, *args, **kwargs)

    async def read_within(
        self, seconds: float, use_case: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`read` by whoever has not much time."""
        call = partial(copy_context().run, use_case, *args, **kwargs)
        reading = asyncio.get_running_loop().run_in_executor(self._readers, call)
        deadline = asyncio.timeout(seconds)
        try:
            async with deadline:
                return await reading
        except TimeoutError:
            if not deadline.expired():
                raise
            raise Silent("the database does not answer") from None

    async def write(self, use_case: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a use case; whatever it changed shows everywhere in this process when it returns."""
        return await self._writer.make(lambda: use_case(*args, **kwargs))

    def _show(self) -> None:
        """What was written, to everybody."""
        self.tell()
        self.catch_up()

    def tell(self) -> None:
        """Have the market's other processes catch up now."""
        if self.wakeups is not None:
            self.wakeups.tell()

    async def admit(self, key_id: int, endpoint: Endpoint[Any, Any]) -> float:
        """Let a call in (0.0), or say in how many seconds it could be."""
        if self.shared_limits is not None:
            return await self.shared_limits.admit(key_id, endpoint)
        return self.limits.admit(key_id, endpoint, time.monotonic())

    async def completed(self, key_id: int, endpoint: Endpoint[Any, Any]) -> None:
        """A call that was let in has been answered."""
        if self.shared_limits is not None:
            await self.shared_limits.completed(key_id, endpoint)
        else:
            self.limits.completed(key_id, endpoint, time.monotonic())

    def catch_up(self) -> bool:
        """Bring the copies up to the newest event, whichever process made it; whether there was any."""
        with self._following:
            start = self._cursor
            while self._follow():
                continue
            return self._cursor > start

    def _follow(self) -> bool:
        """Take in what happened next; whether there may be more."""
        looked_at = time.monotonic()
        with self.market.store.reading() as tx:
            happened = events.after(tx, self._cursor, _BATCH)
            everywhere = any(event.kind in _FOR_ALL for event in happened)
            touched = sorted({event.server_id for event in happened if event.server_id is not None})
            changed = {}
            if everywhere or touched:
                changed = servers.listings_in(tx, None if everywhere else touched, self.clock())
        if any(event.kind is Kind.KEY_REVOKED for event in happened):
            self.keys.forget()
        self.snapshot.put(changed)
        self.links.take_offline(
            event.server_id or 0 for event in happened if event.kind is Kind.SERVER_OFFLINE
        )
        self.links.wake(touched)
        self.watchers.tell(happened)
        self.metrics.happened(happened)
        if happened:
            self._cursor = happened[-1].id
        if len(happened) == _BATCH:
            return True
        self.keys.confirm(looked_at)
        self.metrics.current(looked_at)
        return False

    def refresh(self, server_ids: list[int] | None) -> None:
        """Encode the rows of these servers anew, of all if None."""
        with self._following:
            self.snapshot.put(servers.listings(self.market, server_ids, self.clock()))
