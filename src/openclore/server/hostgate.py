"""Where hosts' agents come in: registration, and the link described in `api/hostlink.py`."""

import asyncio
from typing import Any

import msgspec
import structlog
from litestar import Request, Response, WebSocket, post, websocket
from litestar.exceptions import WebSocketDisconnect
from sqlalchemy.exc import SQLAlchemyError

from ..api.codes import Code
from ..api.complaints import complaint
from ..api.hostlink import (
    CREDENTIAL_REFUSED_CLOSE,
    LINK_PATH,
    MESSAGE_BYTES_MAX,
    PROTOCOL,
    REGISTER_PATH,
    Assignments,
    Beat,
    FromAgent,
    Hello,
    Paid,
    Refused,
    Register,
)
from ..rules.refused import InvalidInput, NotFound
from ..rules.servers import continues
from ..store.failures import for_the_log
from ..usecases import hosts
from . import bodies
from .keys import presented
from .links import Link
from .replies import Voice
from .service import Service

HELLO_TIMEOUT_SECONDS = 10
SILENCE_TIMEOUT_SECONDS = 30
LOOK_AGAIN_SECONDS = 60
PAID_AHEAD_SECONDS = 600
_POLICY_VIOLATION = 1008
_INTERNAL_ERROR = 1011
_DATABASE_FAILS = "the market's database fails at present"
_REGISTER_BYTES_MAX = 4_096
_FROM_AGENT: msgspec.json.Decoder[FromAgent] = msgspec.json.Decoder(FromAgent)

log = structlog.get_logger()

Socket = WebSocket[Any, Any, Any]


class _BadMessage(Exception):
    """The agent sent what the link does not allow; the message is for its log."""


def routes(service: Service) -> list[Any]:
    @post(REGISTER_PATH, status_code=200)
    async def register(request: Request[Any, Any, Any]) -> Response[Any]:
        try:
            body = await bodies.read(request, _REGISTER_BYTES_MAX)
            asked = msgspec.json.decode(body, type=Register)
        except InvalidInput as error:
            return Voice().failure(Code.INVALID_INPUT, str(error))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Voice().failure(Code.INVALID_INPUT, str(complaint(error)))
        made = await service.write(hosts.register, service.market, asked.init_token)
        if made is None:
            return Voice().failure(Code.INVALID_TOKEN, "this init token is unknown or was used")
        return Response(msgspec.json.encode(made), media_type="application/json")

    @websocket(LINK_PATH)
    async def link(socket: Socket) -> None:
        await socket.accept()
        try:
            server = await service.read(hosts.server_of, service.market, presented(socket.headers) or "")
        except SQLAlchemyError as error:
            log.error("a host can't be linked", error=for_the_log(error))
            await socket.close(code=_INTERNAL_ERROR, reason=_DATABASE_FAILS)
            return
        if server is None:
            await socket.close(code=CREDENTIAL_REFUSED_CLOSE)
            return
        try:
            await _serve(service, socket, server.id)
        except* (_BadMessage, hosts.LinkReplaced) as errors:
            reason = str(errors.exceptions[0])
            await socket.send_data(msgspec.json.encode(Refused(reason=reason)).decode(), mode="text")
            await socket.close(code=_POLICY_VIOLATION)
        except* NotFound:
            await socket.close(code=CREDENTIAL_REFUSED_CLOSE)
        except* (WebSocketDisconnect, TimeoutError):
            pass
        except* SQLAlchemyError as errors:
            reasons = {
                for_the_log(error) for error in errors.exceptions if isinstance(error, SQLAlchemyError)
            }
            log.error("a host's link is closed", server=server.id, error="; ".join(sorted(reasons)))
            await socket.close(code=_INTERNAL_ERROR, reason=_DATABASE_FAILS)

    return [register, link]


async def _serve(service: Service, socket: Socket, server_id: int) -> None:
    hello = await _receive(socket, HELLO_TIMEOUT_SECONDS)
    if not isinstance(hello, Hello):
        raise _BadMessage("the first message must be hello")
    if hello.protocol != PROTOCOL:
        raise _BadMessage(f"this market speaks protocol {PROTOCOL}, the agent {hello.protocol}")
    if hello.port_low > hello.port_high:
        raise _BadMessage(f"port_low {hello.port_low} is above port_high {hello.port_high}")
    now = service.clock()
    link = Link(server_id, asyncio.get_running_loop(), heard_since=now, heard_until=now)
    link.containers = hello.containers
    service.links.add(link)
    try:
        link.number = await service.write(hosts.connect, service.market, server_id, hello, now)
        link.wake.set()
        log.info("host connected", server=server_id)
        async with asyncio.TaskGroup() as both:
            both.create_task(_listen(service, socket, link))
            both.create_task(_answer(service, socket, link))
    finally:
        service.links.remove(link)
        await service.write(hosts.keep_evidence, service.market, {server_id: link.unwritten})
        log.info("host disconnected", server=server_id)


async def _listen(service: Service, socket: Socket, link: Link) -> None:
    while True:
        beat = await _receive(socket, SILENCE_TIMEOUT_SECONDS)
        if not service.links.is_current(link):
            raise hosts.LinkReplaced
        if not isinstance(beat, Beat):
            raise _BadMessage("after hello, only beat")
        now = service.clock()
        if not continues(link.heard_until, now, service.market.policy.offline_after_seconds):
            link.heard_since, link.taken_offline = now, True
        link.heard_until = now
        if link.taken_offline or beat.containers != link.containers:
            link.taken_offline = False
            link.containers = beat.containers
            await service.write(
                hosts.report, service.market, link.server_id, beat.containers, now, link.number
            )
        link.generation = beat.generation
        link.beat_unanswered = True
        link.wake.set()


async def _answer(service: Service, socket: Socket, link: Link) -> None:
    """Send the assignments whenever they differ from what the agent holds, else how long they are paid."""
    sent, current = 0, Assignments(generation=0, orders=[])
    while True:
        await link.wake.wait()
        link.wake.clear()
        answers_beat, link.beat_unanswered = link.beat_unanswered, False
        now = service.clock()
        if service.market.store.shared or link.changed or not _is_good(current, now):
            link.changed = False
            current = await service.read(hosts.assignments, service.market, link.server_id, now, link.number)
        held = link.generation if answers_beat else sent
        if held != current.generation:
            await _send(socket, msgspec.structs.replace(current, now=now))
            sent = current.generation
        elif answers_beat:
            paid_until = {order.order_id: order.paid_until for order in current.orders}
            await _send(socket, Paid(paid_until=paid_until, now=now))


def _is_good(read: Assignments, now: int) -> bool:
    """Whether what was read a while ago, of which no event told a change, may be said again.

    What a renter does with his wallet moves `paid_until` without telling this link, so one that is near is
    looked up each time. Most beats come from machines where nothing happened: they cost no look. Where other
    processes serve the market each does, as the server may have connected to one of them meanwhile.
    """
    is_fresh = 0 <= now - read.now < LOOK_AGAIN_SECONDS
    return is_fresh and all(order.paid_until - now > PAID_AHEAD_SECONDS for order in read.orders)


async def _receive(socket: Socket, timeout_seconds: float) -> FromAgent:
    async with asyncio.timeout(timeout_seconds):
        text = await socket.receive_text()
    if len(text) > MESSAGE_BYTES_MAX:
        raise _BadMessage(f"a message may have at most {MESSAGE_BYTES_MAX} bytes")
    try:
        return _FROM_AGENT.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _BadMessage(str(complaint(error))) from None


async def _send(socket: Socket, message: Assignments | Paid) -> None:
    await socket.send_data(msgspec.json.encode(message).decode(), mode="text")
