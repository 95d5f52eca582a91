"""AsyncClore: the API as methods."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import httpx2

from openclore.api.account import PohBalanceReply, RenterFeesReply
from openclore.api.codes import Refusal
from openclore.api.endpoints import (
    CANCEL_ORDER,
    CANCEL_ORDERS,
    CREATE_GIGASPOT_ORDERS,
    CREATE_ORDER,
    EDIT_GIGASPOT_ORDERS,
    GET_GIGASPOT,
    MARKETPLACE,
    MY_SERVERS,
    POH_BALANCE,
    RENTER_FEES,
    SERVER_CONFIG,
    SET_SERVER_SETTINGS,
    SET_SPOT_PRICE,
    SPOT_MARKETPLACE,
    WALLETS,
)
from openclore.api.gigaspot import (
    CancelOrders,
    CreateGigaspotOrder,
    CreateGigaspotOrders,
    CreateGigaspotOrdersReply,
    EditGigaspotOrder,
    EditGigaspotOrders,
    EditGigaspotOrdersReply,
    SnapshotServer,
)
from openclore.api.offers import Offer
from openclore.api.open.endpoints import PLACE_ORDER
from openclore.api.open.orders import PlaceOrder
from openclore.api.orders import CancelOrder, CreateOrder, MyOrders, Order, OrderType, PortKind
from openclore.api.servers import MyServer, ServerConfig, ServerConfigRequest, SetServerSettings
from openclore.api.spot import SetSpotPrice, SpotMarket, SpotMarketplace
from openclore.api.wallets import Wallet

from .. import _requests
from ..errors import CloreError, NotFoundError
from ..gigaspot import Gigaspot, gigaspot_of, servers_in, snapshot_url
from ..pace import Spacing
from .caller import AsyncCaller
from .open import AsyncOpenMethods
from .orders import AsyncOrderMaker


class AsyncClore(AsyncOpenMethods):
    """A Clore-compatible market, as one account sees it.

        async with AsyncClore(profile="local") as clore:
            for offer in await clore.marketplace():
                print(offer.id, offer.usd_per_day)

    Calls wait for their turn (one per second and key on this machine, five seconds between orders), and
    what is safe to repeat is tried again: code 5 and `wait` always, network failures and HTTP 502, 503, 504
    for all that reads or replaces something. Every write carries an `Idempotency-Key`, the same on each
    attempt; an OpenClore market in its open dialect does it once by that key, and there all writes are tried
    again whenever it is unclear whether they were done. `create_order` makes one order everywhere.

    Prices are per day. Members of replies that have no name here are in `extra` of each row and each part.
    Every call raises a subclass of `CloreError` that says what can be done, and nothing else.

    Args:
        key: API key. Without one only `marketplace` works.
        base_url: where the endpoints are, "https://api.clore.ai/v1" by default.
        profile: name of an address with its key in the configuration file, see `openclore.client.profiles`.
        timeout: seconds without a byte after which a call is given up; a body that drips in is given up after
            four times that.
        attempts: how often a call is tried.
        spacing: seconds between calls; by default what the address needs.
        on_retry: hears the error and the seconds to wait before a call is tried again.
        transport: what carries the requests; for tests, `httpx2.MockTransport` or `httpx2.ASGITransport`.

    Raises:
        SetupError: no such profile, or an address or a key that can't be one.
    """

    def __init__(
        self,
        key: str | None = None,
        *,
        base_url: str | None = None,
        profile: str | None = None,
        timeout: float = 30.0,
        attempts: int = 4,
        spacing: Spacing | None = None,
        on_retry: Callable[[CloreError, float], None] | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        _sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        _clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._caller = AsyncCaller(
            key, base_url, profile, timeout, attempts, spacing, on_retry, transport, _sleep, _clock
        )
        self._orders = AsyncOrderMaker(self._caller)
        self._snapshot: tuple[str, dict[int, SnapshotServer]] = ("", {})

    @property
    def base_url(self) -> str:
        """Where the endpoints are."""
        return self._caller.base_url

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"

    @property
    def key_digest(self) -> str:
        """Tells keys apart in names of files, without telling the key; empty without one."""
        return self._caller.key_digest

    @property
    def has_open(self) -> bool | None:
        """Whether the market is one of OpenClore's, with /open/v1; None before its first answer."""
        return self._caller.has_open

    @property
    def market_date(self) -> float | None:
        """When the market gave its last answer by its own clock (Unix s), which in a sandbox can be turned.

        None before the first answer, and where it does not say.
        """
        return self._caller.date

    async def aclose(self) -> None:
        """Close the connections."""
        await self._caller.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    # Renters ----------------------------------------------------------------------------------------

    async def wallets(self) -> list[Wallet]:
        """Balances by currency."""
        return (await self._caller.call(WALLETS)).wallets

    async def marketplace(self) -> list[Offer]:
        """Every listed server, rented ones included; a key is not needed."""
        return (await self._caller.call(MARKETPLACE)).servers

    async def my_orders(self, return_completed: bool = False) -> list[Order]:
        """The account's orders; finished ones too if asked for. A new order may take 20 s to appear."""
        return await self._orders.look(_requests.checked(MyOrders, {"return_completed": return_completed}))

    async def create_order(
        self,
        *,
        renting_server: int,
        currency: str,
        image: str,
        type: OrderType = "on-demand",  # noqa: A002 -- the name on the wire
        spotprice: float | None = None,
        ports: Mapping[str, PortKind] | Mapping[int, PortKind] | None = None,
        env: Mapping[str, str] | None = None,
        jupyter_token: str | None = None,
        ssh_password: str | None = None,
        ssh_key: str | None = None,
        command: str | None = None,
        required_price: float | None = None,
        autossh_entrypoint: bool | str | None = None,
        remember_password: bool | str | None = None,
        dockerhub_auth: str | None = None,
        spend_max: float | None = None,
        lease_seconds: int | None = None,
        idempotency_key: str | None = None,
    ) -> Order:
        """Rent a server; the order as the market lists it. One call makes one order.

        An OpenClore market in its open dialect is asked again with the same key until it is clear what
        became of it. Elsewhere it is asked once; where the reply does not carry the order (the live service's
        never does), or where it is unclear whether the order was made (timeout, lost connection, code 1,
        HTTP 5xx), it is looked for in `my_orders` for up to 30 s: the row of this server, type and image with
        an id not seen before, made after this call began. A refusal because the place is taken is looked
        into for 5 s, as a copy of the request may have taken it. Before its first order on a market it knows
        nothing of, the client reads `my_orders`.

        Args:
            renting_server: server id.
            currency: wallet to pay from, one of the offer's `allowed_coins`.
            image: container image, Docker Hub short name.
            type: "on-demand", or "spot" with `spotprice`, the bid per day.
            ports: container ports to publish, {22: "tcp", 8080: "http"}; at most five, one of them "http".
            env: container variables: letters, digits, white space (in values) and `- _ : = . @ + /`.
            command: start-up script, run once after the image's entry point.
            required_price: refuse unless the price per day is exactly this.
            autossh_entrypoint: bring SSH into an image without it.
            dockerhub_auth: "user:token" for a private image.
            spend_max: the most the order may cost in all, fees included; it ends before it would cost more.
            lease_seconds: it ends by itself after so long, unless `renew_lease` is called in time. This and
                `spend_max` need a market that has /open/v1.
            idempotency_key: your own name of this order, to ask again for the same one after a crash; only
                heeded in the open dialect. Unless given, each call has one of its own.

        Raises:
            SetupError: `spend_max` or `lease_seconds` on a market that does not know them.
            InputError: found locally, with `field`, or by the market.
            UnavailableError: choose another server.
            BalanceError: top up the wallet.
            OutcomeUnknownError: the order may exist; look in `my_orders`, or ask this client for the same
                again: it returns the order if it has come to light.
        """
        given = {
            "renting_server": renting_server,
            "type": type,
            "currency": currency,
            "image": image,
            "spotprice": spotprice,
            "ports": ports,
            "env": env,
            "jupyter_token": jupyter_token,
            "ssh_password": ssh_password,
            "ssh_key": ssh_key,
            "command": command,
            "required_price": required_price,
            "autossh_entrypoint": autossh_entrypoint,
            "remember_password": remember_password,
            "dockerhub_auth": dockerhub_auth,
        }
        key = _requests.idempotency_key(idempotency_key)
        if spend_max is None and lease_seconds is None:
            return await self._orders.make(CREATE_ORDER, _requests.checked(CreateOrder, given), key)
        guarded = {**given, "spend_max": spend_max, "lease_seconds": lease_seconds}
        return await self._orders.make(PLACE_ORDER, _requests.checked(PlaceOrder, guarded), key)

    async def cancel_order(
        self,
        id: int | str,  # noqa: A002 -- the name on the wire
        issue: str | None = None,
    ) -> None:
        """End an order; started minutes are not paid back.

        Args:
            issue: a problem report to the platform, at most 2,048 characters.

        Raises:
            NotFoundError: not an order of yours, or already over. Not raised where an earlier attempt of this
                call, whose answer was lost, ended it.
        """
        request = _requests.checked(CancelOrder, {"id": id, "issue": issue})
        try:
            await self._caller.call(CANCEL_ORDER, request)
        except NotFoundError as error:
            if not (error.repeated and error.error == Refusal.ORDER_NOT_ACTIVE):
                raise

    async def spot_marketplace(self, server_id: int) -> SpotMarket:
        """The bids on a server and its floor.

        Raises:
            NotFoundError: the server is not on the market.
        """
        request = _requests.checked(SpotMarketplace, {"market": server_id})
        reply = await self._caller.call(SPOT_MARKETPLACE, request)
        if reply.exists is False:
            raise NotFoundError(
                f"spot_marketplace: server {server_id} is not on the market.", endpoint=SPOT_MARKETPLACE.name
            )
        return reply.market

    async def set_spot_price(self, order_id: int, desired_price: float) -> None:
        """Change a bid, per day in the order's currency.

        Sent once, unless the market is an OpenClore market in its open dialect.

        Raises:
            PriceError: under the floor, or lowered too far at once (`max_step`).
            WaitError: lowered less than 600 s ago (`time_to_lowering`).
            NotFoundError: not an order of yours.
        """
        request = _requests.checked(SetSpotPrice, {"order_id": order_id, "desired_price": desired_price})
        await self._caller.call(SET_SPOT_PRICE, request)

    async def renter_fees(self) -> RenterFeesReply:
        """What renting costs beyond the price, and what a Proof of Holding stake takes off."""
        return await self._caller.call(RENTER_FEES)

    async def poh_balance(self) -> PohBalanceReply:
        """The Proof of Holding stake, and the addresses it is proven by."""
        return await self._caller.call(POH_BALANCE)

    # GigaSPOT ---------------------------------------------------------------------------------------

    async def gigaspot(self) -> Gigaspot:
        """The auction; its snapshot is fetched when its address changed, else it is the one of before."""
        reply = await self._caller.call(GET_GIGASPOT)
        url = snapshot_url(reply, self.base_url)
        if url != self._snapshot[0]:
            self._snapshot = (url, servers_in(await self._caller.fetch(GET_GIGASPOT, url)))
        return gigaspot_of(reply, *self._snapshot)

    async def create_gigaspot_orders(
        self, orders: Iterable[CreateGigaspotOrder | Mapping[str, Any]]
    ) -> CreateGigaspotOrdersReply:
        """Bid on machines; the reply lists the servers where that failed. Ids are in the next snapshot.

        Sent once, unless the market is an OpenClore market in its open dialect.
        """
        request = _requests.checked_all(CreateGigaspotOrders, orders)
        return await self._caller.call(CREATE_GIGASPOT_ORDERS, request)

    async def edit_gigaspot_orders(
        self, orders: Iterable[EditGigaspotOrder | Mapping[str, Any]]
    ) -> EditGigaspotOrdersReply:
        """Change bids and clocks; the reply lists the orders by what became of them."""
        request = _requests.checked_all(EditGigaspotOrders, orders)
        return await self._caller.call(EDIT_GIGASPOT_ORDERS, request)

    async def cancel_orders(self, order_ids: Iterable[int]) -> list[int]:
        """End many orders; the ids of those that could not be ended."""
        request = _requests.checked(CancelOrders, {"order_ids": list(order_ids)})
        return (await self._caller.call(CANCEL_ORDERS, request)).failed_to_cancel

    # Hosts ------------------------------------------------------------------------------------------

    async def my_servers(self) -> list[MyServer]:
        """The account's servers."""
        return (await self._caller.call(MY_SERVERS)).servers

    async def server_config(self, name: str) -> ServerConfig:
        """One server's settings and state, by name.

        Raises:
            NotFoundError: none of your servers has this name.
        """
        request = _requests.checked(ServerConfigRequest, {"server_name": name})
        return (await self._caller.call(SERVER_CONFIG, request)).config

    async def set_server_settings(self, settings: SetServerSettings) -> None:
        """Replace a server's settings as a whole; `settings_of(config)` gives the present ones to change.

        Raises:
            InputError: a price or the rental length is out of bounds, or something is missing.
            NotFoundError: none of your servers has this name.
        """
        await self._caller.call(SET_SERVER_SETTINGS, _requests.rechecked(settings))
