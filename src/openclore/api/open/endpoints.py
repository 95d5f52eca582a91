"""The table of /open/v1, read like `api/endpoints.py`."""

from typing import Any

from ..base import Empty, Reply
from ..codes import Refusal
from ..endpoints import CREATE_REFUSALS, Endpoint
from .events import EventsReply, ReadEvents, StreamEvents
from .limits import SetSpendLimit, SpendLimitReply, SpendLimitsReply
from .offers import OffersReply, SearchOffers
from .orders import OrderReply, PlaceOrder, RenewLease
from .servers import AddServer, AddServerReply, SetBackgroundJob, SetGigaspot
from .statements import ReadStatement, StatementReply
from .statistics import HistoryReply, ReadHistory, ReadStatistics, StatisticsReply
from .webhooks import AddWebhook, TestReply, WebhookReply, WebhooksReply

OPEN_PATH = "/open/v1"
OPEN_SPACING_SECONDS = 0.1
"""All endpoints together, per API key, as under /v1."""
IDEMPOTENCY_HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"
"""In the reply to a write that was done before: "true"."""

IDEMPOTENCY_KEY_PATTERN = r"^[\x21-\x7e]{1,255}\Z"
"""Visible ASCII. Honoured on every write of both APIs in the open dialect."""


SEARCH_OFFERS = Endpoint(
    "search_offers",
    ("GET",),
    SearchOffers,
    OffersReply,
    "The market, searched.",
    carries="query",
    key="optional",
    below=OPEN_PATH,
    at="/offers",
)
PLACE_ORDER = Endpoint(
    "place_order",
    ("POST",),
    PlaceOrder,
    OrderReply,
    "Rent a server, with safety catches.",
    carries="body",
    below=OPEN_PATH,
    at="/orders",
    refusals=CREATE_REFUSALS,
)
READ_ORDER = Endpoint(
    "read_order",
    ("GET",),
    Empty,
    OrderReply,
    "One order with its history.",
    below=OPEN_PATH,
    at="/orders/{order_id}",
)
RENEW_LEASE = Endpoint(
    "renew_lease",
    ("PUT",),
    RenewLease,
    OrderReply,
    "Let an order live on, or give it a lease.",
    carries="body",
    below=OPEN_PATH,
    at="/orders/{order_id}/lease",
    refusals=(Refusal.ORDER_NOT_ACTIVE,),
)
ADD_SERVER = Endpoint(
    "add_server",
    ("POST",),
    AddServer,
    AddServerReply,
    "Register a server.",
    carries="body",
    below=OPEN_PATH,
    at="/servers",
)
REMOVE_SERVER = Endpoint(
    "remove_server",
    ("DELETE",),
    Empty,
    Reply,
    "Remove a server that is hidden and not rented.",
    below=OPEN_PATH,
    at="/servers/{server_id}",
    refusals=(Refusal.SERVER_IN_USE,),
)
SET_GIGASPOT = Endpoint(
    "set_gigaspot",
    ("PUT",),
    SetGigaspot,
    Reply,
    "Put a server on GigaSPOT, or take it off.",
    carries="body",
    below=OPEN_PATH,
    at="/servers/{server_id}/gigaspot",
)
SET_BACKGROUND_JOB = Endpoint(
    "set_background_job",
    ("POST",),
    SetBackgroundJob,
    Reply,
    "Have a server run a container while nobody rents it.",
    carries="body",
    below=OPEN_PATH,
    at="/servers/{server_id}/background_job",
)
READ_EVENTS = Endpoint(
    "read_events",
    ("GET",),
    ReadEvents,
    EventsReply,
    "What happened, after a cursor.",
    carries="query",
    below=OPEN_PATH,
    at="/events",
)
STREAM_EVENTS = Endpoint(
    "stream_events",
    ("GET",),
    StreamEvents,
    Reply,
    "What happens, as server-sent events: `id` is the cursor, `event` the kind, `data` one event as JSON.",
    carries="query",
    below=OPEN_PATH,
    at="/events/stream",
)
ADD_WEBHOOK = Endpoint(
    "add_webhook",
    ("POST",),
    AddWebhook,
    WebhookReply,
    "Have events sent to an address.",
    carries="body",
    below=OPEN_PATH,
    at="/webhooks",
    refusals=(Refusal.WEBHOOK_LIMIT_REACHED,),
)
LIST_WEBHOOKS = Endpoint(
    "list_webhooks",
    ("GET",),
    Empty,
    WebhooksReply,
    "The account's webhooks.",
    below=OPEN_PATH,
    at="/webhooks",
)
READ_WEBHOOK = Endpoint(
    "read_webhook",
    ("GET",),
    Empty,
    WebhookReply,
    "One webhook with its last deliveries.",
    below=OPEN_PATH,
    at="/webhooks/{webhook_id}",
)
REMOVE_WEBHOOK = Endpoint(
    "remove_webhook",
    ("DELETE",),
    Empty,
    Reply,
    "Send nothing more.",
    below=OPEN_PATH,
    at="/webhooks/{webhook_id}",
)
ROTATE_WEBHOOK = Endpoint(
    "rotate_webhook",
    ("POST",),
    Empty,
    WebhookReply,
    "A new secret; for a day, messages are signed with the old one too.",
    below=OPEN_PATH,
    at="/webhooks/{webhook_id}/rotate",
)
TEST_WEBHOOK = Endpoint(
    "test_webhook",
    ("POST",),
    Empty,
    TestReply,
    "Send a test message now, and say what became of it.",
    below=OPEN_PATH,
    at="/webhooks/{webhook_id}/test",
)
LIST_SPEND_LIMITS = Endpoint(
    "list_spend_limits",
    ("GET",),
    Empty,
    SpendLimitsReply,
    "The account's spend limits.",
    below=OPEN_PATH,
    at="/spend_limits",
)
SET_SPEND_LIMIT = Endpoint(
    "set_spend_limit",
    ("PUT",),
    SetSpendLimit,
    SpendLimitReply,
    "Limit what the account or one of its keys may spend.",
    carries="body",
    below=OPEN_PATH,
    at="/spend_limits",
)
REMOVE_SPEND_LIMIT = Endpoint(
    "remove_spend_limit",
    ("DELETE",),
    Empty,
    Reply,
    "Lift a spend limit.",
    below=OPEN_PATH,
    at="/spend_limits/{limit_id}",
)
READ_STATEMENT = Endpoint(
    "read_statement",
    ("GET",),
    ReadStatement,
    StatementReply,
    "Every transfer of the account's wallets, and how it was computed.",
    carries="query",
    below=OPEN_PATH,
    at="/statement",
)
READ_STATISTICS = Endpoint(
    "read_statistics",
    ("GET",),
    ReadStatistics,
    StatisticsReply,
    "The market in figures, per GPU model.",
    carries="query",
    key="optional",
    below=OPEN_PATH,
    at="/statistics",
)
READ_HISTORY = Endpoint(
    "read_history",
    ("GET",),
    ReadHistory,
    HistoryReply,
    "One model's figures over time.",
    carries="query",
    key="optional",
    below=OPEN_PATH,
    at="/statistics/history",
)

OPEN_ENDPOINTS: tuple[Endpoint[Any, Any], ...] = (
    SEARCH_OFFERS,
    PLACE_ORDER,
    READ_ORDER,
    RENEW_LEASE,
    ADD_SERVER,
    REMOVE_SERVER,
    SET_GIGASPOT,
    SET_BACKGROUND_JOB,
    READ_EVENTS,
    STREAM_EVENTS,
    ADD_WEBHOOK,
    LIST_WEBHOOKS,
    READ_WEBHOOK,
    REMOVE_WEBHOOK,
    ROTATE_WEBHOOK,
    TEST_WEBHOOK,
    LIST_SPEND_LIMITS,
    SET_SPEND_LIMIT,
    REMOVE_SPEND_LIMIT,
    READ_STATEMENT,
    READ_STATISTICS,
    READ_HISTORY,
)
