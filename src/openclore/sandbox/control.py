"""The sandbox over HTTP, under /sandbox: its clock, its faults, its wallets, its ledger."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from ..api.complaints import complaint
from ..api.currencies import Currency
from ..rules.refused import InvalidInput
from ..usecases.verify import verify
from .faults import Fault
from .layer import App, Receive, Scope, Send
from .stage import Stage

BODY_BYTES_MAX = 65_536


class Turn(msgspec.Struct, forbid_unknown_fields=True):
    """Moves the clock on."""

    advance_seconds: float


class Credit(msgspec.Struct, forbid_unknown_fields=True):
    """Money from outside for an account: "renter", "host" or an e-mail address."""

    account: str
    currency: Currency
    amount: float


class Time(msgspec.Struct):
    """`now` in Unix s; `speed` of its seconds pass in one of ours."""

    now: int
    speed: float


class About(msgspec.Struct):
    """What the sandbox is, for whoever just found it.

    `keys` and `accounts` (e-mail addresses) are those of "renter" and "host"; `my_servers` are the host's.
    """

    seed: int
    dialect: str
    servers: int
    keys: dict[str, str]
    accounts: dict[str, str]
    my_servers: list[int]


class Waiting(msgspec.Struct):
    faults: list[Fault]


class Ledger(msgspec.Struct):
    """The first `difference` that recomputing the ledger found; None: it adds up."""

    accounts: int
    orders: int
    difference: str | None


class Done(msgspec.Struct):
    done: bool = True


@dataclass(frozen=True)
class Route:
    takes: type[msgspec.Struct] | None
    act: Callable[[Any], Awaitable[msgspec.Struct]]


def control(stage: Stage, about: About) -> App:
    """The ASGI application for everything under /sandbox."""

    async def tell(_: None) -> About:
        return about

    async def time(_: None) -> Time:
        return Time(int(stage.now), stage.speed)

    async def turn(request: Turn) -> Time:
        return Time(await stage.turn(request.advance_seconds), stage.speed)

    async def waiting(_: None) -> Waiting:
        return Waiting(list(stage.faults.waiting))

    async def put(fault: Fault) -> Waiting:
        await stage.put(fault)
        return Waiting(list(stage.faults.waiting))

    async def clear(_: None) -> Waiting:
        stage.clear_faults()
        return Waiting([])

    async def credit(request: Credit) -> Done:
        email = about.accounts.get(request.account, request.account)
        await stage.credit(email, request.currency, request.amount)
        return Done()

    async def check(_: None) -> Ledger:
        verdict = await asyncio.to_thread(verify, stage.world.market)
        found = verdict.difference
        return Ledger(verdict.accounts, verdict.orders, None if found is None else str(found))

    routes = {
        ("GET", "/sandbox"): Route(None, tell),
        ("GET", "/sandbox/clock"): Route(None, time),
        ("POST", "/sandbox/clock"): Route(Turn, turn),
        ("GET", "/sandbox/faults"): Route(None, waiting),
        ("POST", "/sandbox/faults"): Route(Fault, put),
        ("DELETE", "/sandbox/faults"): Route(None, clear),
        ("POST", "/sandbox/credit"): Route(Credit, credit),
        ("GET", "/sandbox/ledger"): Route(None, check),
    }

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        route = routes.get((scope["method"], scope["path"].rstrip("/")))
        if route is None:
            known = ", ".join(f"{method} {path}" for method, path in routes)
            await _reply(send, 404, {"error": f"there is no such thing; there are {known}"})
            return
        try:
            request = await _request(route, receive)
            await _reply(send, 200, await route.act(request))
        except InvalidInput as error:
            await _reply(send, 400, {"error": str(error)})

    return answer


async def _request(route: Route, receive: Receive) -> Any:
    """The body as what the route takes.

    Raises:
        InvalidInput: it is not that.
    """
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = bool(message.get("more_body"))
        if len(body) > BODY_BYTES_MAX:
            raise InvalidInput(f"a body may have at most {BODY_BYTES_MAX} bytes")
    if route.takes is None:
        return None
    try:
        return msgspec.json.decode(body or b"{}", type=route.takes)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(str(complaint(error))) from None


async def _reply(send: Send, status: int, content: Any) -> None:
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": msgspec.json.encode(content)})
