"""AsyncClore: the API as methods. `_sync.py` is generated from this file by tools/unasync.py."""

import asyncio
import hashlib
import random
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2

from openclore.api.base import Empty, Reply, Request
from openclore.api.codes import Refusal
from openclore.api.endpoints import (
    CANCEL_ORDER,
    CREATE_ORDER,
    MARKETPLACE,
    MY_ORDERS,
    MY_SERVERS,
    SERVER_CONFIG,
    SET_SERVER_SETTINGS,
    SET_SPOT_PRICE,
    SPOT_MARKETPLACE,
    WALLETS,
    Endpoint,
)
from openclore.api.offers import Offer
from openclore.api.orders import CancelOrder, CreateOrder, MyOrders, Order, OrderType, PortKind
from openclore.api.servers import MyServer, ServerConfig, ServerConfigRequest, SetServerSettings
from openclore.api.spot import SetSpotPrice, SpotMarket, SpotMarketplace
from openclore.api.wallets import Wallet

from . import _wire
from ._pace import Pace, Spacing, shared_turn
from ._retry import delay_before_retry, repeatable
from ._transport import BODY_BYTES_MAX, USER_AGENT, too_large, too_slow, translated
from .errors import CloreError, NotFoundError, OutcomeUnknownError, SignInError
from .profiles import access

R = TypeVar("R", bound=Reply)
T = TypeVar("T")

SEEK_SECONDS = 30.0
SEEK_PAUSE_SECONDS = 1.5
CLOCK_ALLOWANCE_SECONDS = 2.0


class AsyncClore:
    """A Clore-compatible market, as one account sees it.

        async with AsyncClore(profile="local") as clore:
            for offer in await clore.marketplace():
                print(offer.id, offer.usd_per_day)

    Calls wait for their turn (one per second and key on this machine, five seconds between orders), and
    what is safe to repeat is tried again: code 5 always, network failures and HTTP 502, 503, 504 for all
    but `create_order` and `set_spot_price`. Prices are per day. Every call raises a subclass of
    `CloreError` that says what can be done, and nothing else.

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
        found = access(key, base_url, profile)
        if found.warning:
            warnings.warn(found.warning, stacklevel=2)
        self.base_url = found.base_url
        self._key = found.key
        self._withheld = found.withheld
        self._attempts = attempts
        self._on_retry = on_retry
        self._total_seconds = 4 * timeout
        self._sleep = _sleep
        self._clock = _clock
        self._pace = Pace(
            spacing or Spacing.of(found.base_url),
            shared_turn(found.key, found.base_url) if found.key else None,
            _clock,
        )
        self._seen: set[int] = set()
        self._http = httpx2.AsyncClient(
            headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
            timeout=httpx2.Timeout(timeout, connect=min(10.0, timeout)),
            transport=transport,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"

    @property
    def key_digest(self) -> str:
        """Tells keys apart in names of files, without telling the key; empty without one."""
        return hashlib.sha256(self._key.encode()).hexdigest()[:16] if self._key else ""

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

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
        return (await self._call(WALLETS, Empty())).wallets

    async def marketplace(self) -> list[Offer]:
        """Every listed server, rented ones included; a key is not needed."""
        return (await self._call(MARKETPLACE, Empty())).servers

    async def my_orders(self, return_completed: bool = False) -> list[Order]:
        """The account's orders; finished ones too if asked for. A new order may take 20 s to appear."""
        request = _wire.checked(MyOrders, {"return_completed": return_completed})
        orders = (await self._call(MY_ORDERS, request)).orders
        self._seen.update(order.id for order in orders)
        return orders

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
    ) -> Order:
        """Rent a server; the order as the market lists it.

        Sent once. Where the reply does not carry the order (the live service's never does), or where it is
        unclear whether the order was made (timeout, lost connection, code 1, HTTP 5xx), it is looked for in
        `my_orders` for up to 30 s: the row of this server with an id not seen before, made after this call
        began.

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

        Raises:
            InputError: found locally, with `field`, or by the market.
            UnavailableError: choose another server.
            BalanceError: top up the wallet.
            OutcomeUnknownError: the order may exist; look in `my_orders` before trying again.
        """
        order = _wire.checked(
            CreateOrder,
            {
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
            },
        )
        known = frozenset(self._seen)
        sent = _wire.Moment()
        carried: Order | int | None = None
        problem: CloreError | None = None
        try:
            carried = await self._tried(
                CREATE_ORDER,
                order,
                lambda answer: _wire.order_in(_wire.parsed(CREATE_ORDER, answer, secret=self._key)),
                sent,
            )
        except CloreError as error:
            if not error.ambiguous:
                raise
            problem = error
        if isinstance(carried, Order):
            found: Order | None = carried
        else:
            found = await self._seek(order, carried, known, sent)
        if found is None and isinstance(carried, int):
            found = Order(id=carried, si=renting_server, currency=currency, image=image)
        if found is None:
            raise _unknown_outcome(order, problem) from problem
        self._seen.add(found.id)
        return found

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
        request = _wire.checked(CancelOrder, {"id": id, "issue": issue})
        try:
            await self._call(CANCEL_ORDER, request)
        except NotFoundError as error:
            if not (error.repeated and error.error == Refusal.ORDER_NOT_ACTIVE):
                raise

    async def spot_marketplace(self, server_id: int) -> SpotMarket:
        """The bids on a server and its floor.

        Raises:
            NotFoundError: the server is not on the market.
        """
        request = _wire.checked(SpotMarketplace, {"market": server_id})
        reply = await self._call(SPOT_MARKETPLACE, request)
        if reply.exists is False:
            raise NotFoundError(
                f"spot_marketplace: server {server_id} is not on the market.", endpoint=SPOT_MARKETPLACE.name
            )
        return reply.market

    async def set_spot_price(self, order_id: int, desired_price: float) -> None:
        """Change a bid, per day in the order's currency. Sent once.

        Raises:
            PriceError: under the floor, or lowered too far at once (`max_step`).
            WaitError: lowered less than 600 s ago (`time_to_lowering`).
            NotFoundError: not an order of yours.
        """
        request = _wire.checked(SetSpotPrice, {"order_id": order_id, "desired_price": desired_price})
        await self._call(SET_SPOT_PRICE, request)

    # Hosts ------------------------------------------------------------------------------------------

    async def my_servers(self) -> list[MyServer]:
        """The account's servers."""
        return (await self._call(MY_SERVERS, Empty())).servers

    async def server_config(self, name: str) -> ServerConfig:
        """One server's settings and state, by name.

        Raises:
            NotFoundError: none of your servers has this name.
        """
        request = _wire.checked(ServerConfigRequest, {"server_name": name})
        return (await self._call(SERVER_CONFIG, request)).config

    async def set_server_settings(self, settings: SetServerSettings) -> None:
        """Replace a server's settings as a whole; `settings_of(config)` gives the present ones to change.

        Raises:
            InputError: a price or the rental length is out of bounds, or something is missing.
            NotFoundError: none of your servers has this name.
        """
        await self._call(SET_SERVER_SETTINGS, _wire.rechecked(settings))

    # How a call goes --------------------------------------------------------------------------------

    async def _call(self, endpoint: Endpoint[Any, R], request: Request) -> R:
        """Make a call and read its reply."""
        return await self._tried(
            endpoint, request, lambda answer: _wire.decoded(endpoint, answer, secret=self._key)
        )

    async def _tried(
        self,
        endpoint: Endpoint[Any, Any],
        request: Request,
        read: Callable[[_wire.Answer], T],
        sent: _wire.Moment | None = None,
    ) -> T:
        """What is read from the answer to a call, tried as often as is safe; `sent` learns when."""
        attempt = 1
        unclear = False
        while True:
            try:
                return read(await self._attempt(endpoint, request, sent))
            except CloreError as error:
                error.repeated = unclear
                unclear = unclear or error.ambiguous
                await self._pause_before_retry(endpoint, error, attempt)
            attempt += 1

    async def _pause_before_retry(
        self, endpoint: Endpoint[Any, Any], error: CloreError, attempt: int
    ) -> None:
        """Wait until the call may be tried again, or raise the error."""
        delay = delay_before_retry(
            error,
            repeatable=repeatable(endpoint),
            attempt=attempt,
            attempts=self._attempts,
            dice=random.random(),  # noqa: S311 -- spreads retries
        )
        if delay is None:
            raise error
        if self._on_retry is not None:
            self._on_retry(error, delay)
        await self._sleep(delay)

    async def _attempt(
        self, endpoint: Endpoint[Any, Any], request: Request, sent: _wire.Moment | None = None
    ) -> _wire.Answer:
        if endpoint.key == "required" and not self._key:
            where = "give one as argument, in CLORE_API_KEY, or in a profile (openclore profile set NAME)"
            raise SignInError(
                f"{endpoint.name} needs an API key: {self._withheld or where}.", endpoint=endpoint.name
            )
        message = _wire.outgoing(endpoint, request)
        async with self._turn(endpoint):
            if sent is not None:
                sent.clock, sent.date = self._clock(), time.time()
            return await self._exchange(endpoint, message)

    @asynccontextmanager
    async def _turn(self, endpoint: Endpoint[Any, Any]) -> AsyncIterator[None]:
        """Wait until the key may call, and keep others of it waiting during the call."""
        ticket = self._pace.join(endpoint.name)
        try:
            while (seconds := self._pace.ask(ticket)) > 0:
                await self._sleep(seconds)
            yield
        finally:
            self._pace.leave(ticket)

    async def _exchange(self, endpoint: Endpoint[Any, Any], message: _wire.Outgoing) -> _wire.Answer:
        headers = {"Content-Type": "application/json"} if message.content is not None else {}
        if self._key:
            headers["auth"] = self._key
        deadline = self._clock() + self._total_seconds
        chunks: list[bytes] = []
        size = 0
        try:
            async with self._http.stream(
                message.method,
                self.base_url + message.path,
                params=message.params or None,
                content=message.content,
                headers=headers,
            ) as response:
                async for chunk in response.aiter_bytes():
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > BODY_BYTES_MAX:
                        raise too_large(endpoint.name, response.status_code)
                    if self._clock() > deadline:
                        raise too_slow(endpoint.name, self._total_seconds)
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL) as error:
            raise translated(error, endpoint.name, self.base_url) from error
        headers = {name.lower(): value for name, value in response.headers.items()}
        return _wire.Answer(response.status_code, headers, b"".join(chunks))

    # Orders without an id ---------------------------------------------------------------------------

    async def _seek(
        self,
        order: CreateOrder,
        order_id: int | None,
        known: frozenset[int],
        sent: _wire.Moment,
    ) -> Order | None:
        """Look in `my_orders` until the order is there; a last look includes finished ones."""
        deadline = self._clock() + SEEK_SECONDS
        last = False
        while True:
            request = MyOrders(return_completed=last)
            try:
                answer = await self._attempt(MY_ORDERS, request)
                rows = _wire.decoded(MY_ORDERS, answer, secret=self._key).orders
            except SignInError:
                return None
            except CloreError:
                rows = []
            else:
                # The market's clock tells when the call began there; ours may be wrong.
                date = _wire.date_of(answer)
                began = sent.date if date is None else date - (self._clock() - sent.clock)
                found = (
                    next((row for row in rows if row.id == order_id), None)
                    if order_id is not None
                    else _wire.newest_match(rows, order, known, began - CLOCK_ALLOWANCE_SECONDS)
                )
                if found is not None:
                    return found
            if last:
                return None
            last = self._clock() + SEEK_PAUSE_SECONDS >= deadline
            await self._sleep(SEEK_PAUSE_SECONDS)


def _unknown_outcome(order: CreateOrder, problem: CloreError | None) -> OutcomeUnknownError:
    happened = (
        f"it is unclear whether the order was made ({problem})" if problem else "the order was accepted"
    )
    return OutcomeUnknownError(
        f"create_order: {happened}, but my_orders shows none for server {order.renting_server} after"
        f" {SEEK_SECONDS:.0f} s. It would cost money: look in my_orders again before ordering again.",
        endpoint=CREATE_ORDER.name,
        status=problem.status if problem else None,
        code=problem.code if problem else 0,
        error=problem.error if problem else None,
        ambiguous=True,
    )
