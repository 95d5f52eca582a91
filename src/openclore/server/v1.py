"""The API under /v1: one use case per endpoint."""

import asyncio
from typing import Any

from litestar import Response
from litestar.handlers import HTTPRouteHandler

from ..api import endpoints
from ..api.account import PohBalanceReply, RenterFeesReply
from ..api.base import Empty, Reply
from ..api.codes import Code
from ..api.dialects import DIALECT_HEADER, Dialect
from ..api.endpoints import Endpoint
from ..api.gigaspot import (
    CancelOrders,
    CreateGigaspotOrder,
    EditGigaspotOrder,
    GigaspotReply,
)
from ..api.orders import CancelOrder, CreateOrder, MyOrders, MyOrdersReply
from ..api.servers import MyServersReply, ServerConfigReply, ServerConfigRequest, SetServerSettings
from ..api.spot import SetSpotPrice, SpotMarketplace, SpotMarketplaceReply
from ..api.wallets import WalletsReply
from ..usecases import accounts, gigaspot, orders, servers, spot
from . import door
from .door import Action, AnyResponse, Call
from .gigaspot import address
from .replies import Answer
from .service import Service
from .settings import Live
from .snapshot import preferred_encoding

NO_DELAY = Live(row_delay_seconds=0)


async def wallets(call: Call, _: Empty) -> WalletsReply:
    positions, account_id = call.service.positions, call.caller
    position = positions.recall(account_id)
    if position is None:
        position = await call.service.read(positions.look_up, account_id)
    return accounts.wallets_at(position, call.now)


async def marketplace(call: Call, _: Empty) -> AnyResponse:
    snapshot = call.service.snapshot
    view, tail = snapshot.view(), snapshot.tail(call.account_id)
    encoding = preferred_encoding(call.http.headers.get("accept-encoding", ""))
    if not view.ready(encoding):
        await asyncio.to_thread(view.prepare, encoding)
    etag = view.etag(tail)
    headers = {"ETag": etag, "Vary": "Accept-Encoding, auth, Authorization", "Cache-Control": "no-cache"}
    headers[DIALECT_HEADER] = call.voice.dialect
    if etag in call.http.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers)
    if encoding:
        headers["Content-Encoding"] = encoding
    return Answer(Code.OK, 200, headers, *view.parts(encoding, tail))


async def my_orders(call: Call, request: MyOrders) -> MyOrdersReply:
    live = call.service.settings.live if call.voice.dialect is Dialect.LIVE else NO_DELAY
    return await call.read(
        orders.my_orders,
        call.caller,
        request,
        call.now,
        row_delay_seconds=live.row_delay_seconds,
        linger_seconds=live.linger_seconds,
    )


async def create_order(call: Call, request: CreateOrder) -> Reply:
    return await call.write(orders.create_order, call.caller, request, call.now, call.key_id)


async def cancel_order(call: Call, request: CancelOrder) -> Reply:
    return await call.write(orders.cancel_order, call.caller, request, call.now)


async def spot_marketplace(call: Call, request: SpotMarketplace) -> SpotMarketplaceReply:
    return await call.read(spot.spot_marketplace, call.caller, request)


async def set_spot_price(call: Call, request: SetSpotPrice) -> Reply:
    return await call.write(spot.set_spot_price, call.caller, request, call.now, call.key_id)


async def my_servers(call: Call, _: Empty) -> MyServersReply:
    return await call.read(servers.my_servers, call.caller)


async def server_config(call: Call, request: ServerConfigRequest) -> ServerConfigReply:
    return await call.read(servers.server_config, call.caller, request, call.now)


async def set_server_settings(call: Call, request: SetServerSettings) -> Reply:
    return await call.write(servers.set_server_settings, call.caller, request, call.now)


async def renter_fees(call: Call, _: Empty) -> RenterFeesReply:
    return await call.read(accounts.renter_fees, call.caller)


async def poh_balance(call: Call, _: Empty) -> PohBalanceReply:
    return await call.read(accounts.poh_balance, call.caller)


async def get_gigaspot(call: Call, _: Empty) -> GigaspotReply:
    service = call.service
    file = await service.read(service.gigaspot.current, call.now)
    url = address(service, call.http, file)
    return await call.read(gigaspot.get_gigaspot, call.caller, url)


async def create_gigaspot_orders(call: Call, request: list[CreateGigaspotOrder]) -> Reply:
    return await call.write(gigaspot.create_gigaspot_orders, call.caller, request, call.now, call.key_id)


async def edit_gigaspot_orders(call: Call, request: list[EditGigaspotOrder]) -> Reply:
    return await call.write(gigaspot.edit_gigaspot_orders, call.caller, request, call.now, call.key_id)


async def cancel_orders(call: Call, request: CancelOrders) -> Reply:
    return await call.write(gigaspot.cancel_orders, call.caller, request, call.now)


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
    endpoints.RENTER_FEES: renter_fees,
    endpoints.POH_BALANCE: poh_balance,
    endpoints.GET_GIGASPOT: get_gigaspot,
    endpoints.CREATE_GIGASPOT_ORDERS: create_gigaspot_orders,
    endpoints.EDIT_GIGASPOT_ORDERS: edit_gigaspot_orders,
    endpoints.CANCEL_ORDERS: cancel_orders,
}


def routes(service: Service) -> list[HTTPRouteHandler]:
    return door.routes(service, ACTIONS)
