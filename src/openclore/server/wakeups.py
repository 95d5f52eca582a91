"""How the processes of a market tell each other that something happened, through Valkey.

They need it only to be quick: each looks at the event log by itself every second.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

CHANNEL = "openclore:happened"
TIMEOUT_SECONDS = 1.0
RETRY_SECONDS = 1.0

log = structlog.get_logger()


class Wakeups:
    """Made where the event loop runs. `heard` is called when another process says that something happened."""

    def __init__(self, url: str, heard: Callable[[], None]) -> None:
        # Nothing may happen for hours. Who listens waits for as long; keepalive finds a peer that is gone.
        self._valkey = Valkey.from_url(
            url, socket_connect_timeout=TIMEOUT_SECONDS, socket_timeout=None, socket_keepalive=True
        )
        self._name = secrets.token_hex(8).encode()
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._failing: set[str] = set()

    def tell(self) -> None:
        """Something happened. Callable from any thread, waits for nothing."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)

    async def run(self) -> None:
        """Listen and tell until cancelled."""
        try:
            await asyncio.gather(self._again_and_again(self._listen), self._again_and_again(self._publish))
        finally:
            await self._valkey.aclose()

    async def _again_and_again(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                await work()
            except (ValkeyError, OSError, TimeoutError) as error:
                if not self._failing:
                    log.error(
                        "Valkey fails, other processes notice changes within a second",
                        error=type(error).__name__,
                    )
                self._failing.add(work.__name__)
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        async with self._valkey.pubsub() as channel:
            await channel.subscribe(CHANNEL)
            self._works(self._listen)
            async for message in channel.listen():
                if message["type"] == "message" and message["data"] != self._name:
                    self._heard()

    async def _publish(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._valkey.publish(CHANNEL, self._name)
            self._works(self._publish)

    def _works(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if work.__name__ in self._failing:
            self._failing.remove(work.__name__)
            if not self._failing:
                log.info("Valkey answers again, other processes notice changes at once")
