"""A way to a market through real sockets that loses, delays, doubles and misreports what it carries."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

FAILED = b'HTTP/1.1 500 Internal Server Error\r\nContent-Length: 10\r\nConnection: close\r\n\r\n{"code":1}'
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"
LATE_SECONDS_MAX = 1.0


class UnsteadyProxy:
    """An HTTP proxy in front of one address, one request per connection.

    Attributes:
        happened: how often each accident did.
    """

    def __init__(self, upstream: str, seed: int) -> None:
        address = urlsplit(upstream)
        self._host, self._port = address.hostname or "", address.port or 80
        self._dice = random.Random(seed)
        self._late: set[asyncio.Task[bytes]] = set()
        self.happened: Counter[str] = Counter()

    @asynccontextmanager
    async def running(self) -> Any:
        """Its address while it runs; what is late arrives before the block ends."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1_024)
        port = server.sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.close()
            await self.nothing_is_under_way()

    async def nothing_is_under_way(self) -> None:
        while self._late:
            await asyncio.wait(self._late)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _read_request(reader)
            answer = await self._accident(request)(request)
            writer.write(answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _accident(self, request: bytes) -> Callable[[bytes], Awaitable[bytes]]:
        """What happens to a request: one in three writes meets with something, one in twelve reads."""
        reads = request.startswith(b"GET")
        accidents = (
            [self.lose_request, self.lose_answer, self.bad_gateway, self.slow]
            if reads
            else [
                self.lose_request,
                self.lose_answer,
                self.cut_answer,
                self.bad_gateway,
                self.fail_after,
                self.slow,
                self.late,
                self.twice,
                self.twice_and_answer_the_second,
                self.twice_at_once,
            ]
        )
        if self._dice.random() < (11 / 12 if reads else 2 / 3):
            return self.forward
        accident = self._dice.choice(accidents)
        self.happened[accident.__name__] += 1
        return accident

    async def forward(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(request)
            await writer.drain()
            return await reader.read()
        finally:
            writer.close()

    async def lose_request(self, request: bytes) -> bytes:
        return b""

    async def lose_answer(self, request: bytes) -> bytes:
        await self.forward(request)
        return b""

    async def cut_answer(self, request: bytes) -> bytes:
        answer = await self.forward(request)
        return answer[: -len(answer) // 3]

    async def bad_gateway(self, request: bytes) -> bytes:
        return BAD_GATEWAY

    async def fail_after(self, request: bytes) -> bytes:
        await self.forward(request)
        return FAILED

    async def slow(self, request: bytes) -> bytes:
        await asyncio.sleep(self._dice.random() * LATE_SECONDS_MAX)
        return await self.forward(request)

    async def late(self, request: bytes) -> bytes:
        """The caller hears that the connection broke, and the request arrives after that."""
        task = asyncio.create_task(self.slow(request))
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return b""

    async def twice(self, request: bytes) -> bytes:
        answer = await self.forward(request)
        await self.forward(request)
        return answer

    async def twice_and_answer_the_second(self, request: bytes) -> bytes:
        await self.forward(request)
        return await self.forward(request)

    async def twice_at_once(self, request: bytes) -> bytes:
        answers = await asyncio.gather(self.forward(request), self.forward(request))
        return self._dice.choice(answers)


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    """A whole request, asking for the connection to be closed after it."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if line and not line.lower().startswith(b"connection:")]
    length = next((int(line[15:]) for line in lines if line.lower().startswith(b"content-length:")), 0)
    body = await reader.readexactly(length)
    return b"\r\n".join([*lines, b"Connection: close", b"", body])
