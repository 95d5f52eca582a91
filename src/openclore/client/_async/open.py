"""The methods of /open/v1, which only OpenClore's markets have."""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from openclore.api.endpoints import Endpoint
from openclore.api.open import endpoints as e
from openclore.api.open.events import Event, EventsReply, ReadEvents, StreamEvents
from openclore.api.open.limits import Period, SetSpendLimit, SpendLimit
from openclore.api.open.offers import FoundOffer, OffersReply, SearchOffers
from openclore.api.open.orders import OrderDetail, RenewLease
from openclore.api.open.servers import AddServer, AddServerReply, SetBackgroundJob, SetGigaspot
from openclore.api.open.statements import STATEMENT_PAGE_MAX, ReadStatement, StatementLine, StatementReply
from openclore.api.open.statistics import ModelFigures, ReadHistory, ReadStatistics
from openclore.api.open.webhooks import AddWebhook, Delivery, Webhook

from .. import _requests
from ..errors import NotFoundError
from .caller import AsyncCaller
from .events import stream_events


class AsyncOpenMethods:
    """Each raises `SetupError` on a market that has no /open/v1, such as the public service."""

    _caller: AsyncCaller

    # Offers -----------------------------------------------------------------------------------------

    async def search_offers(
        self,
        *,
        gpu: str | None = None,
        gpu_count: int | None = None,
        gpu_count_min: int | None = None,
        vram_gb_min: float | None = None,
        ram_gb_min: float | None = None,
        price_per_hour_max: float | None = None,
        reliability_min: float | None = None,
        country: str | None = None,
        currency: str | None = None,
        order_type: str | None = None,
        rented: bool | None = None,
        sort: str | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> OffersReply:
        """A page of the market, searched there; a key is not needed. Every filter narrows.

        Args:
            gpu: part of the model's name, "4090".
            gpu_count: exactly so many GPUs; `gpu_count_min`: at least so many.
            vram_gb_min: GB per GPU.
            price_per_hour_max: dollars, or `currency` where given, for the whole machine; with
                `order_type="spot"` of the lowest bid.
            reliability_min: 0 to 1.
            country: ISO code, "DE".
            currency: accepted by the host.
            order_type: "on-demand" (unless given) or "spot".
            rented: also what is rented on demand.
            sort: "price" (unless given), "reliability", "vram", "gpu_count", with "-" in front for the
                largest first, or "id".
            limit: rows of a page, at most 500.
            after: the `next` of the page before.
        """
        given = {name: value for name, value in locals().items() if name != "self"}
        return await self._caller.call(e.SEARCH_OFFERS, _requests.checked(SearchOffers, given))

    async def iter_offers(self, **filters: Any) -> AsyncIterator[FoundOffer]:
        """Every match on all pages; the filters are those of `search_offers`.

        The market may change between pages: an offer may then be missed or come twice.
        """
        filters.setdefault("limit", 500)
        while True:
            page = await self.search_offers(**filters)
            for found in page.offers:
                yield found
            if page.next is None:
                return
            filters["after"] = page.next

    async def statistics(self, gpu: str | None = None) -> list[ModelFigures]:
        """The market in figures, per GPU model; `gpu` is part of the model's name. A key is not needed."""
        request = _requests.checked(ReadStatistics, {"gpu": gpu})
        return (await self._caller.call(e.READ_STATISTICS, request)).models

    async def history(
        self, gpu: str, since: int | None = None, until: int | None = None, limit: int | None = None
    ) -> list[ModelFigures]:
        """One model's figures hour by hour, oldest first; a key is not needed.

        Args:
            gpu: the model's exact name.
            since: Unix seconds.
            until: Unix seconds, not included.
            limit: at most so many, 200 unless given, up to 2,000.
        """
        given = {"gpu": gpu, "since": since, "until": until, "limit": limit}
        return (await self._caller.call(e.READ_HISTORY, _requests.checked(ReadHistory, given))).history

    # Orders -----------------------------------------------------------------------------------------

    async def order(self, order_id: int) -> OrderDetail:
        """One order with what it was charged, its history, and why it ended.

        Raises:
            NotFoundError: not an order of yours.
        """
        return (await self._caller.call(e.READ_ORDER, ids=_ids(order_id=order_id))).order

    async def renew_lease(self, order_id: int, lease_seconds: int | None) -> OrderDetail:
        """The order now ends by itself in so many seconds, unless this is called again; None: not any more.

        Raises:
            NotFoundError: not an order of yours, or already over.
        """
        request = _requests.checked(RenewLease, {"lease_seconds": lease_seconds})
        return (await self._caller.call(e.RENEW_LEASE, request, _ids(order_id=order_id))).order

    # Servers ----------------------------------------------------------------------------------------

    async def add_server(self, name: str) -> AddServerReply:
        """Register a server: hidden until its settings are set. The reply has the agent's `init_token`."""
        return await self._caller.call(e.ADD_SERVER, _requests.checked(AddServer, {"name": name}))

    async def remove_server(self, server_id: int) -> None:
        """Remove a server that is hidden and not rented.

        Raises:
            WaitError: it is listed or rented.
            NotFoundError: not a server of yours.
        """
        await self._remove(e.REMOVE_SERVER, server_id=server_id)

    async def set_gigaspot(
        self, server_id: int, min_bid: float | None, energy_price: float | None = None
    ) -> None:
        """Put a server on GigaSPOT; or take it off, with a `min_bid` of None.

        Args:
            min_bid: CLORE per day.
            energy_price: what a kWh costs the host, in dollars, for bidders to see.
        """
        given = {"min_bid": min_bid, "energy_price": energy_price}
        request = _requests.checked(SetGigaspot, given)
        await self._caller.call(e.SET_GIGASPOT, request, _ids(server_id=server_id))

    async def set_background_job(
        self,
        server_id: int,
        image: str | None,
        command: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Have a server run a container while nobody rents it; an `image` of None removes it.

        Args:
            command: a script that runs instead of what the image starts.
        """
        given = {"image": image, "command": command, "env": env}
        request = _requests.checked(SetBackgroundJob, given)
        await self._caller.call(e.SET_BACKGROUND_JOB, request, _ids(server_id=server_id))

    # Events -----------------------------------------------------------------------------------------

    async def events(
        self,
        after: int = 0,
        *,
        limit: int | None = None,
        kinds: Iterable[str] = (),
        order_id: int | None = None,
        server_id: int | None = None,
    ) -> EventsReply:
        """What happened to the account, its orders and servers after a cursor, oldest first.

        The reply's `after` is the cursor for the next call, `more` says whether there is more already.
        """
        given = {
            "after": after,
            "limit": limit,
            "kinds": _joined(kinds),
            "order_id": order_id,
            "server_id": server_id,
        }
        return await self._caller.call(e.READ_EVENTS, _requests.checked(ReadEvents, given))

    def stream_events(self, after: int | None = None, kinds: Iterable[str] = ()) -> AsyncIterator[Event]:
        """Events as they happen, each once, for as long as you like: a broken connection is opened again.

        Args:
            after: a cursor to begin after; else from now on.
            kinds: only these.
        """
        request = _requests.checked(StreamEvents, {"after": after, "kinds": _joined(kinds)})
        return stream_events(self._caller, request)

    # Webhooks ---------------------------------------------------------------------------------------

    async def add_webhook(self, url: str, kinds: Iterable[str] = ()) -> Webhook:
        """Have events of these kinds (all, if none are named) sent to an address from now on.

        Its `secret` is shown this once; receivers check messages by it, see `verify_webhook`.
        """
        request = _requests.checked(AddWebhook, {"url": url, "kinds": list(kinds)})
        return (await self._caller.call(e.ADD_WEBHOOK, request)).webhook

    async def webhooks(self) -> list[Webhook]:
        """The account's webhooks."""
        return (await self._caller.call(e.LIST_WEBHOOKS)).webhooks

    async def webhook(self, webhook_id: int) -> Webhook:
        """One webhook with its last deliveries."""
        return (await self._caller.call(e.READ_WEBHOOK, ids=_ids(webhook_id=webhook_id))).webhook

    async def remove_webhook(self, webhook_id: int) -> None:
        """Send nothing more."""
        await self._remove(e.REMOVE_WEBHOOK, webhook_id=webhook_id)

    async def rotate_webhook(self, webhook_id: int) -> Webhook:
        """A new `secret`; for a day, messages are signed with the old one too."""
        return (await self._caller.call(e.ROTATE_WEBHOOK, ids=_ids(webhook_id=webhook_id))).webhook

    async def test_webhook(self, webhook_id: int) -> Delivery:
        """Send a test message now, and say what became of it."""
        return (await self._caller.call(e.TEST_WEBHOOK, ids=_ids(webhook_id=webhook_id))).delivery

    # Spend limits -----------------------------------------------------------------------------------

    async def spend_limits(self) -> list[SpendLimit]:
        """What the account and its keys may spend, and have spent."""
        return (await self._caller.call(e.LIST_SPEND_LIMITS)).limits

    async def set_spend_limit(
        self, currency: str, amount: float, *, period: Period = "total", key: str | None = None
    ) -> SpendLimit:
        """Limit what the account, or one of its keys, may spend from now on, fees included.

        Args:
            period: "total", or "day" for each UTC day.
            key: name of the API key; else the limit is the whole account's.
        """
        given = {"currency": currency, "amount": amount, "period": period, "key": key}
        return (await self._caller.call(e.SET_SPEND_LIMIT, _requests.checked(SetSpendLimit, given))).limit

    async def remove_spend_limit(self, limit_id: int) -> None:
        """Lift a limit."""
        await self._remove(e.REMOVE_SPEND_LIMIT, limit_id=limit_id)

    # Statements -------------------------------------------------------------------------------------

    async def statement(
        self,
        *,
        currency: str | None = None,
        since: int | None = None,
        until: int | None = None,
        after: int | None = None,
        limit: int | None = None,
    ) -> StatementReply:
        """A page of the account's statement, oldest first: every transfer, and how it was computed.

        Args:
            since: Unix seconds.
            until: Unix seconds, not included.
            limit: lines of a page, 200 unless given, at most 1,000.
            after: the `after` of the page before.
        """
        given = {"currency": currency, "since": since, "until": until, "after": after, "limit": limit}
        return await self._caller.call(e.READ_STATEMENT, _requests.checked(ReadStatement, given))

    async def iter_statement(self, **filters: Any) -> AsyncIterator[StatementLine]:
        """Every line on all pages; the filters are those of `statement`."""
        filters.setdefault("limit", STATEMENT_PAGE_MAX)
        while True:
            page = await self.statement(**filters)
            for line in page.lines:
                yield line
            if not page.more:
                return
            filters["after"] = page.after

    async def _remove(self, endpoint: Endpoint[Any, Any], **ids: int) -> None:
        """Gone already counts as done where an earlier attempt, whose answer was lost, may have done it."""
        try:
            await self._caller.call(endpoint, ids=_ids(**ids))
        except NotFoundError as error:
            if not error.repeated:
                raise


def _ids(**ids: int) -> dict[str, int]:
    """
    Raises:
        InputError: one is no id.
    """
    return {name: _requests.checked_id(name, value) for name, value in ids.items()}


def _joined(kinds: Iterable[str]) -> str | None:
    return ",".join([kinds] if isinstance(kinds, str) else kinds) or None
