"""Who waits in this process for something to happen."""

import asyncio
import threading
from collections.abc import Iterable
from weakref import WeakSet

from ..store.events import Event


class Watcher:
    """Waits for what one account is told, or for anything at all (account None).

    It carries no events: whoever is woken reads the table from where it is, at its own pace.
    """

    def __init__(self, account_id: int | None) -> None:
        self.account_id = account_id
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    async def news(self, timeout_seconds: float) -> bool:
        """Wait until something happened since the last call, or it is time to go; False if nothing did."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True

    def wake(self) -> None:
        """Callable from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)

    def close(self) -> None:
        self.closed = True
        self.wake()


class Watchers:
    """All watchers of this process; one is forgotten when nobody holds it any more."""

    def __init__(self) -> None:
        self._watching: WeakSet[Watcher] = WeakSet()
        self._closed = False
        self._lock = threading.Lock()

    def add(self, account_id: int | None) -> Watcher:
        watcher = Watcher(account_id)
        with self._lock:
            self._watching.add(watcher)
            if self._closed:
                watcher.close()
        return watcher

    def count(self, account_id: int) -> int:
        return sum(watcher.account_id == account_id for watcher in self._all())

    def tell(self, happened: Iterable[Event]) -> None:
        """Wake everybody who is told one of these events."""
        told = {None} | {account for event in happened for account in (event.account_id, event.host_id)}
        for watcher in self._all():
            if watcher.account_id in told:
                watcher.wake()

    def close(self) -> None:
        """Have everybody leave, now and in future: the process is about to end."""
        with self._lock:
            self._closed = True
        for watcher in self._all():
            watcher.close()

    def _all(self) -> list[Watcher]:
        with self._lock:
            return list(self._watching)
