"""What stands around the market's application: the time of each request, and the faults it meets."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any

from ..api.codes import Code
from ..api.endpoints import ENDPOINTS, MY_ORDERS
from ..api.open.endpoints import OPEN_ENDPOINTS, STREAM_EVENTS
from ..api.orders import MyOrders, MyOrdersReply
from ..rules.refused import InvalidInput
from ..server.door import BODY_BYTES_MAX
from ..server.keys import presented
from ..usecases import orders
from .faults import Fault
from .stage import Stage

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CONTROL_PATH = "/sandbox"
HANG_SECONDS_MAX = 300.0
BLOCKED_PAGE = b"""<!DOCTYPE html>
<html><head><title>Access denied</title></head>
<body><h1>Error 1010</h1>
<p>The owner of this website has banned your access based on your browser's signature.</p>
</body></html>
"""
GATEWAY_PAGE = b"""<html>
<head><title>502 Bad Gateway</title></head>
<body><center><h1>502 Bad Gateway</h1></center></body>
</html>
"""


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        return self.status == 200 and json.loads(self.body).get("code") == 0


TOO_MANY_REQUESTS = Answer(429, b'{"code":5}', [(b"content-type", b"application/json")])
SERVER_ERROR = Answer(500, b'{"code":1}', [(b"content-type", b"application/json")])
FORBIDDEN = Answer(
    403, BLOCKED_PAGE, [(b"content-type", b"text/html; charset=UTF-8"), (b"server", b"cloudflare")]
)
BAD_GATEWAY = Answer(502, GATEWAY_PAGE, [(b"content-type", b"text/html")])
INSTEAD = {
    "too_many_requests": TOO_MANY_REQUESTS,
    "error_before": SERVER_ERROR,
    "forbidden": FORBIDDEN,
    "bad_gateway": BAD_GATEWAY,
}
"""What is answered without asking the market."""


def refusal(error: str) -> Answer:
    body = json.dumps({"error": error, "code": Code.BUSINESS}).encode()
    return Answer(200, body, [(b"content-type", b"application/json")])


@dataclass
class Lingering:
    """An order that its renter cancelled and still sees: its row, as the caller's dialect shows it."""

    account_id: int
    row: dict[str, Any]
    until: int


class Layer:
    """An ASGI application. Streams and hosts' links pass through; everything else is answered in its turn."""

    def __init__(self, market: App, control: App, stage: Stage) -> None:
        self._market = market
        self._control = control
        self._stage = stage
        self._lingering: list[Lingering] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and (path == CONTROL_PATH or path.startswith(CONTROL_PATH + "/")):
            await self._control(scope, receive, send)
        elif scope["type"] != "http" or path == STREAM_EVENTS.below + STREAM_EVENTS.path:
            await self._market(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = endpoint_name(scope["method"], scope["path"])
        messages = await _messages(receive)
        async with self._stage.request():
            spoiling = await self._meet(endpoint)
            kind = spoiling.kind if spoiling else ""
            if kind == "timeout_before":
                answer = None
            elif kind in INSTEAD:
                answer = INSTEAD[kind]
            elif spoiling and kind == "refused":
                answer = refusal(spoiling.reason)
            else:
                answer = await self._ask(endpoint, scope, messages, receive, spoiling)
            date = formatdate(self._stage.world.now, usegmt=True).encode()
        if answer is None or kind == "timeout_after":
            await self._hang(receive)
            return
        if kind == "error_after":
            answer = SERVER_ERROR
        await _send(send, answer, date, cut_off=kind == "cut_off")

    async def _hang(self, receive: Receive) -> None:
        """Say nothing until the caller gives up."""
        waiting = {asyncio.create_task(_until_gone(receive)), asyncio.create_task(self._stage.closing.wait())}
        await asyncio.wait(waiting, timeout=HANG_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()

    async def _meet(self, endpoint: str) -> Fault | None:
        """Let happen what waits for this request on the market; the fault that spoils its answer."""
        met = self._stage.faults.meet(endpoint)
        for fault in met:
            if not fault.spoils_answers:
                try:
                    await self._stage.apply(fault)
                except InvalidInput:
                    continue  # what it was meant for is gone
        return next((fault for fault in met if fault.spoils_answers), None)

    async def _ask(
        self, endpoint: str, scope: Scope, messages: list[Message], receive: Receive, fault: Fault | None
    ) -> Answer:
        """The market's own answer, but for orders that linger."""
        lingering = None
        if fault is not None and fault.kind == "lingering_cancel":
            lingering = await asyncio.to_thread(self._about_to_cancel, scope, messages, fault.seconds or 0)
        answer = await _answer_of(self._market, scope, messages, receive)
        if lingering is not None and answer.succeeded:
            self._lingering.append(lingering)
        if endpoint == MY_ORDERS.name and self._lingering:
            answer = await asyncio.to_thread(self._with_lingering, scope, answer)
        return answer

    def _about_to_cancel(self, scope: Scope, messages: list[Message], seconds: int) -> Lingering | None:
        """The order that this request is going to cancel, as its renter sees it now."""
        service, now = self._stage.service, self._stage.world.now
        key = service.keys.look_up(presented(_headers(scope)) or "")
        try:
            order_id = int(json.loads(b"".join(message.get("body", b"") for message in messages))["id"])
        except (ValueError, TypeError, KeyError):
            return None
        if key is None:
            return None
        rows = orders.my_orders(service.market, key.account_id, MyOrders(), now).orders
        found = [row for row in rows if row.id == order_id]
        voice = service.voice(MY_ORDERS.below + MY_ORDERS.path, key)
        shown = json.loads(b"".join(voice.success(MyOrdersReply(code=Code.OK, orders=found)).content))[
            "orders"
        ]
        return Lingering(key.account_id, shown[0], now + seconds) if shown else None

    def _with_lingering(self, scope: Scope, answer: Answer) -> Answer:
        now = self._stage.world.now
        self._lingering = [one for one in self._lingering if one.until > now]
        key = self._stage.service.keys.look_up(presented(_headers(scope)) or "")
        if key is None or not answer.succeeded:
            return answer
        reply = json.loads(answer.body)
        rows = {row["id"]: row for row in reply["orders"]}
        rows |= {one.row["id"]: one.row for one in self._lingering if one.account_id == key.account_id}
        reply["orders"] = [rows[order_id] for order_id in sorted(rows)]
        return replace(answer, body=json.dumps(reply).encode())


def endpoint_name(method: str, path: str) -> str:
    """The endpoint's name; empty for what is none."""
    return next((name for methods, shape, name in _SHAPES if method in methods and shape.fullmatch(path)), "")


_SHAPES = [
    (endpoint.methods, re.compile(re.sub(r"\{\w+\}", "[^/]+", endpoint.below + endpoint.path)), endpoint.name)
    for endpoint in (*ENDPOINTS, *OPEN_ENDPOINTS)
]


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


async def _messages(receive: Receive) -> list[Message]:
    """The request's body, read before its turn comes: a slow caller holds up nobody."""
    messages, size = [], 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body") or size > BODY_BYTES_MAX:
            return messages


async def _answer_of(app: App, scope: Scope, messages: list[Message], more: Receive) -> Answer:
    """What the application answers, as a whole."""
    left = list(messages)
    status, headers, body = 500, [], bytearray()

    async def receive() -> Message:
        return left.pop(0) if left else await more()

    async def send(message: Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message.get("headers", []))
        else:
            body.extend(message.get("body", b""))

    await app(scope, receive, send)
    return Answer(status, bytes(body), headers)


async def _send(send: Send, answer: Answer, date: bytes, *, cut_off: bool) -> None:
    own = (b"content-length", b"date")
    headers = [(name, value) for name, value in answer.headers if name.lower() not in own]
    headers.append((b"date", date))
    if answer.body:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if cut_off:
        # The server ends the connection when less than promised has come.
        body = answer.body[: len(answer.body) // 2]
        await send({"type": "http.response.body", "body": body, "more_body": True})
        return
    await send({"type": "http.response.body", "body": answer.body})


async def _until_gone(receive: Receive) -> bool:
    while (await receive())["type"] != "http.disconnect":
        continue
    return True
