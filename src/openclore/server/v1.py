"""The API under /v1: read the request, one use case, encode its reply."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler
from sqlalchemy.exc import SQLAlchemyError

from ..api import endpoints
from ..api.base import Empty, Reply
from ..api.codes import Code, Refusal
from ..api.complaints import complaint
from ..api.endpoints import ENDPOINTS, Endpoint
from ..api.orders import CancelOrder, CreateOrder, CreateOrderReply, MyOrders, MyOrdersReply
from ..api.servers import MyServersReply, ServerConfigReply, ServerConfigRequest, SetServerSettings
from ..api.spot import SetSpotPrice, SpotMarketplace, SpotMarketplaceReply
from ..api.wallets import WalletsReply
from ..rules.refused import InvalidInput, Refused
from ..store.accounts import ApiKey
from ..usecases import accounts, orders, servers
from . import bodies, replies
from .keys import presented
from .service import Service
from .snapshot import preferred_encoding

BODY_BYTES_MAX = 1_048_576
ALL_METHODS = list(HttpMethod)
"""Taken so that the wrong ones are answered like everything unknown, and by nobody else."""

log = structlog.get_logger()

AnyRequest = Request[Any, Any, Any]
AnyResponse = Response[bytes]


@dataclass(frozen=True)
class Call:
    """An admitted request: who asks (None: nobody) and when (Unix s)."""

    service: Service
    account_id: int | None
    now: int
    http: AnyRequest

    @property
    def caller(self) -> int:
        """The account, where the endpoint requires a key."""
        assert self.account_id is not None
        return self.account_id


async def wallets(call: Call, _: Empty) -> WalletsReply:
    return await call.service.read(accounts.wallets, call.service.market, call.caller, call.now)


async def marketplace(call: Call, _: Empty) -> AnyResponse:
    snapshot = call.service.snapshot
    view, tail = snapshot.view(), snapshot.tail(call.account_id)
    encoding = preferred_encoding(call.http.headers.get("accept-encoding", ""))
    if not view.ready(encoding):
        await asyncio.to_thread(view.prepare, encoding)
    body, etag = view.body(encoding, tail), view.etag(tail)
    headers = {"ETag": etag, "Vary": "Accept-Encoding, auth, Authorization", "Cache-Control": "no-cache"}
    if etag in call.http.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers)
    if encoding:
        headers["Content-Encoding"] = encoding
    return Response(body, status_code=200, media_type="application/json", headers=headers)


async def my_orders(call: Call, request: MyOrders) -> MyOrdersReply:
    return await call.service.read(orders.my_orders, call.service.market, call.caller, request, call.now)


async def create_order(call: Call, request: CreateOrder) -> CreateOrderReply:
    return await call.service.write(orders.create_order, call.service.market, call.caller, request, call.now)


async def cancel_order(call: Call, request: CancelOrder) -> Reply:
    await call.service.write(orders.cancel_order, call.service.market, call.caller, request, call.now)
    return Reply(code=0)


async def spot_marketplace(call: Call, request: SpotMarketplace) -> SpotMarketplaceReply:
    return await call.service.read(servers.spot_marketplace, call.service.market, request)


async def set_spot_price(call: Call, request: SetSpotPrice) -> Reply:
    """Until the market takes spot orders, nobody has one."""
    raise Refused(Refusal.ORDER_DONT_EXIST)


async def my_servers(call: Call, _: Empty) -> MyServersReply:
    return await call.service.read(servers.my_servers, call.service.market, call.caller)


async def server_config(call: Call, request: ServerConfigRequest) -> ServerConfigReply:
    return await call.service.read(servers.server_config, call.service.market, call.caller, request, call.now)


async def set_server_settings(call: Call, request: SetServerSettings) -> Reply:
    await call.service.write(servers.set_server_settings, call.service.market, call.caller, request, call.now)
    return Reply(code=0)


Action = Callable[[Call, Any], Awaitable[Reply | AnyResponse]]

ACTIONS: dict[Endpoint[Any, Any], Action] = {
    endpoints.WALLETS: wallets,
    endpoints.MARKETPLACE: marketplace,
    endpoints.MY_ORDERS: my_orders,
    endpoints.CREATE_ORDER: create_order,
    endpoints.CANCEL_ORDER: cancel_order,
    endpoints.SPOT_MARKETPLACE: spot_marketplace,
    endpoints.SET_SPOT_PRICE: set_spot_price,
    endpoints.MY_SERVERS: my_servers,
    endpoints.SERVER_CONFIG: server_config,
    endpoints.SET_SERVER_SETTINGS: set_server_settings,
}


def routes(service: Service) -> list[HTTPRouteHandler]:
    """One route per endpoint of the table."""
    return [_route(service, endpoint, ACTIONS[endpoint]) for endpoint in ENDPOINTS]


def _route(service: Service, endpoint: Endpoint[Any, Any], action: Action) -> HTTPRouteHandler:
    async def answer(request: AnyRequest) -> AnyResponse:
        try:
            return await _answer(service, endpoint, action, request)
        except Refused as refused:
            return replies.refusal(refused)
        except InvalidInput as error:
            return replies.failure(Code.INVALID_INPUT, str(error))
        except SQLAlchemyError as error:
            log.error("database error", endpoint=endpoint.name, error=type(error).__name__)
            return replies.failure(Code.DATABASE_ERROR, "the database failed, look before trying again")

    path = endpoints.BASE_PATH + endpoint.path
    return HTTPRouteHandler(path, http_method=ALL_METHODS, name=endpoint.name)(answer)


async def _answer(
    service: Service, endpoint: Endpoint[Any, Any], action: Action, request: AnyRequest
) -> AnyResponse:
    if request.method not in endpoint.methods:
        return replies.failure(
            Code.INVALID_ENDPOINT, f"{endpoint.name} takes {' or '.join(endpoint.methods)}"
        )
    body = await bodies.read(request, BODY_BYTES_MAX)
    secret = presented(request.headers)
    key = None
    if secret is not None or endpoint.key == "required":
        key = await _identify(service, secret)
        if key is None:
            return replies.failure(
                Code.INVALID_TOKEN, "send a valid API key in the header 'auth' or 'Authorization: Bearer'"
            )
        wait_seconds = service.limits.admit(key.id, endpoint, time.monotonic())
        if wait_seconds:
            return replies.too_fast(wait_seconds)
    query = _decode(endpoint, request, body)
    reply = await action(Call(service, key.account_id if key else None, service.clock(), request), query)
    return reply if isinstance(reply, Response) else replies.success(reply)


async def _identify(service: Service, secret: str | None) -> ApiKey | None:
    if not secret:
        return None
    return service.keys.recall(secret) or await service.read(service.keys.look_up, secret)


def _decode(endpoint: Endpoint[Any, Any], request: AnyRequest, body: bytes) -> Any:
    """The request, from where the endpoint carries it; on GET a body may be replaced by the query.

    Raises:
        InvalidInput: it is not what the endpoint takes.
    """
    if endpoint.carries == "nothing":
        return Empty()
    try:
        if endpoint.carries == "query" or (request.method == "GET" and not body):
            return msgspec.convert(dict(request.query_params), endpoint.request, strict=False)
        content_type = request.headers.get("content-type", "application/json").partition(";")[0]
        if content_type.strip().lower() != "application/json":
            raise InvalidInput("send a JSON body with Content-Type: application/json")
        return msgspec.json.decode(body or b"null", type=endpoint.request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(str(complaint(error))) from None
