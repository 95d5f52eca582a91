"""The hosts that are connected to this process."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..api.hostlink import Container


@dataclass
class Link:
    """One connection.

    `heard_since` to `heard_until` (Unix s) is evidence not written down yet; `generation` and `containers`
    are what the agent said last. `number` counts the server's connections, whichever process they came to.
    Once `taken_offline`, its next heartbeat must bring the server back.
    """

    server_id: int
    loop: asyncio.AbstractEventLoop
    heard_since: int
    heard_until: int
    number: int = 0
    generation: int = 0
    containers: list[Container] = field(default_factory=list)
    beat_unanswered: bool = False
    taken_offline: bool = False
    changed: bool = True
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def unwritten(self) -> tuple[int, int]:
        return self.heard_since, self.heard_until


class Links:
    """By server id; a newer connection of the same server replaces the older."""

    def __init__(self) -> None:
        self._by_server: dict[int, Link] = {}
        self.kept_at = 0.0
        """When the evidence was last written down, in seconds of `time.monotonic`."""

    def add(self, link: Link) -> None:
        self._by_server[link.server_id] = link

    def remove(self, link: Link) -> None:
        if self._by_server.get(link.server_id) is link:
            del self._by_server[link.server_id]

    def is_current(self, link: Link) -> bool:
        return self._by_server.get(link.server_id) is link

    def wake(self, server_ids: Iterable[int]) -> None:
        """Have these links look again at what should run. Callable from any thread."""
        for server_id in server_ids:
            link = self._by_server.get(server_id)
            if link is not None:
                link.changed = True
                link.loop.call_soon_threadsafe(link.wake.set)

    def take_offline(self, server_ids: Iterable[int]) -> None:
        for server_id in server_ids:
            link = self._by_server.get(server_id)
            if link is not None:
                link.taken_offline = True

    def counts(self, now: int, silent_after_seconds: int) -> dict[str, int]:
        """How many there are: "heard" of lately, and "silent"."""
        links = list(self._by_server.values())
        silent = sum(now - link.heard_until > silent_after_seconds for link in links)
        return {"heard": len(links) - silent, "silent": silent}

    def evidence(self) -> dict[int, tuple[int, int]]:
        """Server id to the (since, until) of its heartbeats that nobody wrote down yet."""
        links = list(self._by_server.values())
        return {link.server_id: link.unwritten for link in links if link.heard_until > link.heard_since}

    def written_down(self, evidence: dict[int, tuple[int, int]]) -> None:
        for server_id, (_, until) in evidence.items():
            link = self._by_server.get(server_id)
            if link is not None:
                link.heard_since = max(link.heard_since, until)
