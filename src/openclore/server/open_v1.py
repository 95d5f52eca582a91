"""The API under /open/v1: one use case per endpoint."""

import time
from typing import Any

from litestar.handlers import HTTPRouteHandler

from ..api.base import Empty, Reply
from ..api.endpoints import Endpoint
from ..api.open import endpoints
from ..api.open.events import EventsReply, ReadEvents
from ..api.open.limits import SetSpendLimit
from ..api.open.offers import OffersReply, SearchOffers
from ..api.open.orders import OrderReply, PlaceOrder, RenewLease
from ..api.open.servers import AddServer, SetBackgroundJob, SetGigaspot
from ..api.open.statements import ReadStatement, StatementReply
from ..api.open.statistics import HistoryReply, ReadHistory, ReadStatistics, StatisticsReply
from ..api.open.webhooks import AddWebhook, WebhookReply, WebhooksReply
from ..rules.search import search
from ..usecases import background, events, gigaspot, limits, orders, servers, statements, statistics, webhooks
from . import door
from .door import Action, Call
from .service import Service
from .streams import stream_events

TEST_SECONDS = 5.0
"""How long a receiver has to answer a test message, whose sender waits."""


async def search_offers(call: Call, request: SearchOffers) -> OffersReply:
    return await call.service.read(lambda: search(call.service.snapshot.listed(), request))


async def place_order(call: Call, request: PlaceOrder) -> Reply:
    return await call.write(orders.place_order, call.caller, request, call.now, call.key_id)


async def read_order(call: Call, _: Empty) -> OrderReply:
    return await call.read(orders.read_order, call.caller, call.ids["order_id"], call.now)


async def renew_lease(call: Call, request: RenewLease) -> Reply:
    return await call.write(orders.renew_lease, call.caller, call.ids["order_id"], request, call.now)


async def add_server(call: Call, request: AddServer) -> Reply:
    return await call.write(servers.add_server, call.caller, request, call.now)


async def remove_server(call: Call, _: Empty) -> Reply:
    return await call.write(servers.remove_server, call.caller, call.ids["server_id"], call.now)


async def set_gigaspot(call: Call, request: SetGigaspot) -> Reply:
    return await call.write(gigaspot.set_gigaspot, call.caller, call.ids["server_id"], request, call.now)


async def set_background_job(call: Call, request: SetBackgroundJob) -> Reply:
    return await call.write(
        background.set_background_job, call.caller, call.ids["server_id"], request, call.now
    )


async def list_spend_limits(call: Call, _: Empty) -> Reply:
    return await call.write(limits.list_spend_limits, call.caller, call.now)


async def set_spend_limit(call: Call, request: SetSpendLimit) -> Reply:
    return await call.write(limits.set_spend_limit, call.signed_in, request, call.now)


async def remove_spend_limit(call: Call, _: Empty) -> Reply:
    return await call.write(limits.remove_spend_limit, call.signed_in, call.ids["limit_id"], call.now)


async def read_events(call: Call, request: ReadEvents) -> EventsReply:
    return await call.read(events.read_events, call.caller, request)


async def add_webhook(call: Call, request: AddWebhook) -> Reply:
    return await call.write(webhooks.add_webhook, call.caller, request, call.now)


async def list_webhooks(call: Call, _: Empty) -> WebhooksReply:
    return await call.read(webhooks.list_webhooks, call.caller, call.now)


async def read_webhook(call: Call, _: Empty) -> WebhookReply:
    return await call.read(webhooks.read_webhook, call.caller, call.ids["webhook_id"], call.now)


async def remove_webhook(call: Call, _: Empty) -> Reply:
    return await call.write(webhooks.remove_webhook, call.caller, call.ids["webhook_id"], call.now)


async def rotate_webhook(call: Call, _: Empty) -> Reply:
    return await call.write(webhooks.rotate_webhook, call.caller, call.ids["webhook_id"], call.now)


async def send_test(call: Call, _: Empty) -> Reply:
    """Nothing is locked while the receiver takes its time."""
    await call.check_once()
    message = await call.read(
        webhooks.test_message,
        call.caller,
        call.ids["webhook_id"],
        call.now,
        int(time.time()),
    )
    outcome = await call.service.courier.deliver(message, TEST_SECONDS)
    return await call.write(webhooks.keep_test, message, outcome)


async def read_statement(call: Call, request: ReadStatement) -> StatementReply:
    return await call.read(statements.read_statement, call.caller, request)


async def read_statistics(call: Call, request: ReadStatistics) -> StatisticsReply:
    return await call.service.read(
        lambda: statistics.read_statistics(call.service.snapshot.listed(), request)
    )


async def read_history(call: Call, request: ReadHistory) -> HistoryReply:
    return await call.read(statistics.read_history, request)


ACTIONS: dict[Endpoint[Any, Any], Action] = {
    endpoints.SEARCH_OFFERS: search_offers,
    endpoints.PLACE_ORDER: place_order,
    endpoints.READ_ORDER: read_order,
    endpoints.RENEW_LEASE: renew_lease,
    endpoints.ADD_SERVER: add_server,
    endpoints.REMOVE_SERVER: remove_server,
    endpoints.SET_GIGASPOT: set_gigaspot,
    endpoints.SET_BACKGROUND_JOB: set_background_job,
    endpoints.LIST_SPEND_LIMITS: list_spend_limits,
    endpoints.SET_SPEND_LIMIT: set_spend_limit,
    endpoints.REMOVE_SPEND_LIMIT: remove_spend_limit,
    endpoints.READ_EVENTS: read_events,
    endpoints.STREAM_EVENTS: stream_events,
    endpoints.ADD_WEBHOOK: add_webhook,
    endpoints.LIST_WEBHOOKS: list_webhooks,
    endpoints.READ_WEBHOOK: read_webhook,
    endpoints.REMOVE_WEBHOOK: remove_webhook,
    endpoints.ROTATE_WEBHOOK: rotate_webhook,
    endpoints.TEST_WEBHOOK: send_test,
    endpoints.READ_STATEMENT: read_statement,
    endpoints.READ_STATISTICS: read_statistics,
    endpoints.READ_HISTORY: read_history,
}


def routes(service: Service) -> list[HTTPRouteHandler]:
    return door.routes(service, ACTIONS)
