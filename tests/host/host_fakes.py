"""A market for agents to talk to, small orders, and waiting for conditions."""

import asyncio
import inspect
import itertools
import json
import os
from collections.abc import Callable
from contextlib import suppress

import msgspec
from tests.ports import free_port
from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed

from openclore.api.hostlink import (
    Assignment,
    Assignments,
    BackgroundJob,
    Beat,
    Container,
    FromAgent,
    Hello,
    Paid,
    PortMap,
    Refused,
)

SOON = 4_102_444_800
"""Paid for a very long time: the year 2100, in Unix s."""

order_ids = itertools.count(int.from_bytes(os.urandom(4)) * 1_000 + 1)
"""Names on an engine are shared with whoever else tests there, so ids begin somewhere else each time."""


def an_order(image: str = "example/image:1", **changes) -> Assignment:
    order = Assignment(order_id=next(order_ids), image=image, ports=[], env={}, command="", paid_until=SOON)
    return msgspec.structs.replace(order, **changes)


def ports(*container_ports: int) -> list[PortMap]:
    return [PortMap(container=port, public=free_port()) for port in container_ports]


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until `condition()`, which may be a coroutine, is true; fail after `seconds`."""
    async with asyncio.timeout(seconds):
        while True:
            met = condition()
            if await met if inspect.isawaitable(met) else met:
                return
            await asyncio.sleep(0.02)


async def http_get(port: int) -> str:
    """The body at http://127.0.0.1:port/, or "" where nothing answers."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
    except OSError:
        return ""
    return answer.decode().partition("\r\n\r\n")[2]


class FakeMarket:
    """Speaks the market's side of the link on one loopback port, registration included.

    It can be stopped and started again on the same port, fall silent, and refuse credentials.
    """

    def __init__(self) -> None:
        self.init_token = "i" * 48
        self.credential = "the-credential-is-secret"
        self.credential_accepted = True
        self.register_status = 200
        self.refusal = ""
        self.close_code = 0
        self.silent = False
        self.registrations = 0
        self.hellos: list[Hello] = []
        self.beats: list[Beat] = []
        self.orders: list[Assignment] = []
        self.background: BackgroundJob | None = None
        self.generation = 1
        self.port = free_port()
        self._connections: set[ServerConnection] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> "FakeMarket":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._inner = await serve(self._talk, "127.0.0.1", 0, process_request=self._admit)
        self._inner_port = self._inner.sockets[0].getsockname()[1]
        self._pipes: set[asyncio.Task] = set()
        self._front = await asyncio.start_server(self._route, "127.0.0.1", self.port)

    async def stop(self) -> None:
        self._front.close()
        self._inner.close()
        await self._inner.wait_closed()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def want(self, *orders: Assignment) -> None:
        self.orders = list(orders)
        self.generation += 1
        for connection in self._connections:
            await self._send(connection, self._assignments())

    def forget(self) -> None:
        """As if no agent had ever spoken."""
        self.hellos.clear()
        self.beats.clear()

    def said(self, order_id: int) -> Container | None:
        """What the last beat or greeting said of this order."""
        words = self.beats or self.hellos
        containers = words[-1].containers if words else []
        return next((container for container in containers if container.order_id == order_id), None)

    def state(self, order_id: int) -> str | None:
        container = self.said(order_id)
        return container.state if container else None

    def _assignments(self) -> Assignments:
        return Assignments(generation=self.generation, orders=self.orders, background=self.background)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        expected = f"Bearer {self.credential}"
        if self.credential_accepted and request.headers.get("Authorization") == expected:
            return None
        return Response(401, "Unauthorized", Headers({"Content-Length": "0"}))

    async def _talk(self, connection: ServerConnection) -> None:
        self._connections.add(connection)
        try:
            while True:
                frame = await connection.recv()
                self._hear(msgspec.json.decode(frame, type=FromAgent))
                if self.refusal:
                    await self._send(connection, Refused(reason=self.refusal))
                    return
                if self.close_code:
                    await connection.close(self.close_code)
                    return
                if not self.silent:
                    await self._answer(connection)
        except ConnectionClosed:
            pass
        finally:
            self._connections.discard(connection)

    def _hear(self, message: FromAgent) -> None:
        if isinstance(message, Hello):
            self.hellos.append(message)
            self.beats.clear()
        else:
            self.beats.append(message)

    async def _answer(self, connection: ServerConnection) -> None:
        if self.beats and self.beats[-1].generation == self.generation:
            paid = {order.order_id: order.paid_until for order in self.orders}
            await self._send(connection, Paid(paid_until=paid))
        else:
            await self._send(connection, self._assignments())

    async def _send(self, connection: ServerConnection, message: object) -> None:
        with suppress(ConnectionClosed):
            await connection.send(msgspec.json.encode(message).decode())

    async def _route(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """POSTs end here, everything else goes on to the WebSocket server, which knows only GET."""
        task = asyncio.current_task()
        assert task
        self._pipes.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"POST "):
                await self._register(head, reader, writer)
            else:
                await self._pipe(head, reader, writer)
        writer.close()
        self._pipes.discard(task)

    async def _register(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        token = json.loads(await reader.readexactly(length))["init_token"]
        self.registrations += 1
        status = self.register_status if token == self.init_token else 401
        answer = {"server_id": 7, "server_name": "attic", "credential": self.credential}
        body = json.dumps(answer if status == 200 else {"code": 3}).encode()
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
        )
        await writer.drain()

    async def _pipe(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._inner_port)
        inner_writer.write(head)
        back = asyncio.create_task(_copy(inner_reader, writer))
        try:
            await _copy(reader, inner_writer)
        finally:
            inner_writer.close()
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
