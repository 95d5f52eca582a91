"""The one table of the API's endpoints.

Server routes, client methods, `docs/api.md` and the limits all read it; nothing about an endpoint
is written twice.
"""

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from .account import PohBalanceReply, RenterFeesReply
from .base import Empty, Reply
from .codes import Refusal
from .gigaspot import (
    CancelOrders,
    CancelOrdersReply,
    CreateGigaspotOrders,
    CreateGigaspotOrdersReply,
    EditGigaspotOrders,
    EditGigaspotOrdersReply,
    GigaspotReply,
)
from .offers import MarketplaceReply
from .orders import CancelOrder, CreateOrder, CreateOrderReply, MyOrders, MyOrdersReply
from .servers import MyServersReply, ServerConfigReply, ServerConfigRequest, SetServerSettings
from .spot import SetSpotPrice, SpotMarketplace, SpotMarketplaceReply
from .wallets import WalletsReply

Q = TypeVar("Q")
R = TypeVar("R", bound=Reply)

BASE_PATH = "/v1"
SPACING_SECONDS = 1.0
"""All endpoints together, per API key: one request in this time."""


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[Q, R]):
    """One endpoint.

    Attributes:
        methods: HTTP methods the market accepts; the first is the one to use.
        request: a struct, or a list of structs where the body is a JSON array.
        carries: where the request travels.
        key: whether an API key is required, or only used when there is one.
        spacing_seconds: least time between two calls per key, beyond the limit over all endpoints.
        below: the base path.
        at: the path below it, with ids in braces ("/orders/{order_id}"); empty: the name.
        refusals: what `error` may say with code 6, besides what `may_refuse` adds.
    """

    name: str
    methods: tuple[Literal["GET", "POST", "PUT", "DELETE"], ...]
    request: type[Q]
    reply: type[R]
    summary: str
    carries: Literal["nothing", "query", "body"] = "nothing"
    key: Literal["required", "optional"] = "required"
    spacing_seconds: float = 0.0
    below: str = BASE_PATH
    at: str = ""
    refusals: tuple[Refusal, ...] = ()

    @property
    def method(self) -> str:
        return self.methods[0]

    @property
    def writes(self) -> bool:
        """Whether a call may change something, and so may carry an idempotency key."""
        return self.method != "GET"

    @property
    def may_refuse(self) -> tuple[Refusal, ...]:
        """All that `error` may say: any write may find the market too busy."""
        busy = self.writes and Refusal.WAIT not in self.refusals
        return (*self.refusals, Refusal.WAIT) if busy else self.refusals

    @property
    def path(self) -> str:
        """Below the base address: "/wallets", "/orders/{order_id}"."""
        return self.at or f"/{self.name}"


CREATE_REFUSALS = (
    Refusal.SERVER_DONT_EXIST,
    Refusal.SERVER_OFFLINE,
    Refusal.SERVER_ALREADY_RENTED,
    Refusal.NOT_ENOUGH_BALANCE,
    Refusal.CANT_RENT_FROM_YOURSELF,
    Refusal.TOO_LOW_PRICE,
    Refusal.YOU_ALREADY_HAVE_SPOT_ORDER,
    Refusal.CURRENCY_NOT_ALLOWED,
    Refusal.MACHINE_IS_ON_GIGASPOT,
    Refusal.PRICE_NOT_MATCHING,
    Refusal.REACHED_ORDER_LIMIT,
    Refusal.REACHED_ORDER_LIMIT_PER_DAY,
    Refusal.WAIT,
    Refusal.COMPUTE_NOT_AVAILABLE,
    Refusal.SPEND_LIMIT_REACHED,
)

WALLETS = Endpoint("wallets", ("GET",), Empty, WalletsReply, "Balances by currency.")
MARKETPLACE = Endpoint(
    "marketplace", ("GET",), Empty, MarketplaceReply, "Every listed server.", key="optional"
)
MY_ORDERS = Endpoint("my_orders", ("GET",), MyOrders, MyOrdersReply, "The caller's orders.", carries="query")
CREATE_ORDER = Endpoint(
    "create_order",
    ("POST",),
    CreateOrder,
    CreateOrderReply,
    "Rent a server.",
    carries="body",
    spacing_seconds=5.0,
    refusals=CREATE_REFUSALS,
)
CANCEL_ORDER = Endpoint(
    "cancel_order",
    ("POST",),
    CancelOrder,
    Reply,
    "End an order.",
    carries="body",
    refusals=(
        Refusal.YOU_DONT_OWN_THIS_ORDER,
        Refusal.ORDER_NOT_ACTIVE,
        Refusal.ISSUE_DESCRIPTION_TOO_LONG,
    ),
)
SPOT_MARKETPLACE = Endpoint(
    "spot_marketplace",
    ("GET",),
    SpotMarketplace,
    SpotMarketplaceReply,
    "The bids on a server.",
    carries="query",
)
SET_SPOT_PRICE = Endpoint(
    "set_spot_price",
    ("POST",),
    SetSpotPrice,
    Reply,
    "Change a bid.",
    carries="body",
    refusals=(
        Refusal.ORDER_DONT_EXIST,
        Refusal.AMOUNT_TOO_LOW,
        Refusal.CAN_LOWER_EVERY_600_SECONDS,
        Refusal.EXCEEDED_MAX_STEP,
        Refusal.SPEND_LIMIT_REACHED,
    ),
)
MY_SERVERS = Endpoint("my_servers", ("GET",), Empty, MyServersReply, "The caller's servers.")
SERVER_CONFIG = Endpoint(
    "server_config",
    ("GET", "POST"),
    ServerConfigRequest,
    ServerConfigReply,
    "One server's settings, by name. The name travels in a JSON body, on GET too; the query works as well.",
    carries="body",
    refusals=(Refusal.SERVER_DONT_EXIST_BY_NAME,),
)
SET_SERVER_SETTINGS = Endpoint(
    "set_server_settings",
    ("POST",),
    SetServerSettings,
    Reply,
    "Replace a server's settings.",
    carries="body",
    refusals=(
        Refusal.SERVER_DONT_EXIST_BY_NAME,
        Refusal.NOT_ALL_PARAMETERS_PRESENT,
        Refusal.INVALID_MRL,
        Refusal.INVALID_INPUT,
    ),
)
RENTER_FEES = Endpoint(
    "renter_fees", ("GET",), Empty, RenterFeesReply, "What renting costs beyond the price."
)
POH_BALANCE = Endpoint(
    "poh_balance", ("GET",), Empty, PohBalanceReply, "The caller's Proof of Holding stake."
)
GET_GIGASPOT = Endpoint("get_gigaspot", ("GET",), Empty, GigaspotReply, "Where the GigaSPOT snapshot is.")
CREATE_GIGASPOT_ORDERS = Endpoint(
    "create_gigaspot_orders",
    ("POST",),
    CreateGigaspotOrders,
    CreateGigaspotOrdersReply,
    "Bid on GigaSPOT machines.",
    carries="body",
)
EDIT_GIGASPOT_ORDERS = Endpoint(
    "edit_gigaspot_orders",
    ("POST",),
    EditGigaspotOrders,
    EditGigaspotOrdersReply,
    "Change GigaSPOT bids and clocks.",
    carries="body",
)
CANCEL_ORDERS = Endpoint(
    "cancel_orders", ("POST",), CancelOrders, CancelOrdersReply, "End many orders.", carries="body"
)

ENDPOINTS: tuple[Endpoint[Any, Any], ...] = (
    WALLETS,
    MARKETPLACE,
    MY_ORDERS,
    CREATE_ORDER,
    CANCEL_ORDER,
    SPOT_MARKETPLACE,
    SET_SPOT_PRICE,
    MY_SERVERS,
    SERVER_CONFIG,
    SET_SERVER_SETTINGS,
    RENTER_FEES,
    POH_BALANCE,
    GET_GIGASPOT,
    CREATE_GIGASPOT_ORDERS,
    EDIT_GIGASPOT_ORDERS,
    CANCEL_ORDERS,
)
