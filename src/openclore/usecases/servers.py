"""Hosting: registering servers, reading and setting what they offer."""

from typing import NamedTuple

import msgspec

from ..api.codes import Refusal
from ..api.currencies import Currency
from ..api.offers import Offer, OfferPrice, Rating, UsdPrice
from ..api.servers import (
    MyServer,
    MyServersReply,
    ServerConfig,
    ServerConfigReply,
    ServerConfigRequest,
    ServerName,
    SetServerSettings,
)
from ..api.spot import SpotMarket, SpotMarketplace, SpotMarketplaceReply, SpotServer
from ..rules import money
from ..rules import servers as server_rules
from ..rules.orders import Order
from ..rules.refused import InvalidInput, Refused
from ..rules.servers import Server, Visibility
from ..store import accounts, events, orders, rates, servers
from ..store.accounts import Account
from .accounts import account_named
from .market import Market
from .secrets import new_init_token

_USD_MEMBERS = {
    Currency.BITCOIN: "on_demand_btc",
    Currency.CLORE: "on_demand_clore",
    Currency.USD: "on_demand_usd",
}


def create_server(market: Market, email: str, name: str, now: int) -> Server:
    """Register a server, hidden and without prices; its `init_token` is for the agent.

    Raises:
        InvalidInput: no such account, a name that is unusable or taken, or too many servers.
    """
    try:
        name = msgspec.convert(name, ServerName)
    except msgspec.ValidationError:
        raise InvalidInput(
            f"a server's name is 1 to 64 letters, digits, spaces, _ or -, got {name!r}"
        ) from None
    with market.store.writing() as tx:
        account = account_named(tx, email)
        present = servers.of_host(tx, account.id)
        if any(server.name == name for server in present):
            raise InvalidInput(f"{account.email} has a server named {name!r} already")
        if len(present) >= _servers_max(market, account):
            raise InvalidInput(f"{account.email} has {len(present)} servers, the most it may have")
        server = servers.add(tx, account.id, name, new_init_token(), now)
        events.append(tx, events.Kind.SERVER_CREATED, now, account_id=account.id, server_id=server.id)
        return server


def my_servers(market: Market, account_id: int) -> MyServersReply:
    """The account's servers, oldest first."""
    with market.store.reading() as tx:
        found = servers.of_host(tx, account_id)
        limit = _servers_max(market, accounts.by_id(tx, account_id))
    return MyServersReply(code=0, servers=[_my_server(server) for server in found], limit=limit)


def _servers_max(market: Market, account: Account) -> int:
    return market.policy.servers_max if account.servers_max is None else account.servers_max


def server_config(
    market: Market, account_id: int, request: ServerConfigRequest, now: int
) -> ServerConfigReply:
    """One of the account's servers by name.

    Raises:
        Refused: server_dont_exist.
    """
    with market.store.reading() as tx:
        server = servers.by_name(tx, account_id, request.server_name)
        if server is None:
            raise Refused(Refusal.SERVER_DONT_EXIST_BY_NAME)
        order = orders.active_on_server(tx, server.id)
    return ServerConfigReply(code=0, config=_config(server, order, now), creation_completed=True)


def set_server_settings(market: Market, account_id: int, request: SetServerSettings, now: int) -> None:
    """Replace a server's settings. New prices are for new orders; running ones keep theirs.

    Raises:
        Refused: as the protocol names it; nothing changed.
    """
    if not request.name:
        raise Refused(Refusal.NOT_ALL_PARAMETERS_PRESENT, message="name must be given")
    with market.store.writing() as tx:
        server = servers.by_name(tx, account_id, request.name)
        if server is None:
            raise Refused(Refusal.SERVER_DONT_EXIST_BY_NAME)
        settings = server_rules.settings_from(request)
        if settings == server.settings:
            return
        servers.save_settings(tx, server.id, settings)
        events.append(
            tx, events.Kind.SERVER_SETTINGS_CHANGED, now, account_id=account_id, server_id=server.id
        )


def spot_marketplace(market: Market, request: SpotMarketplace) -> SpotMarketplaceReply:
    """The bids on a server: none, until the market takes spot orders."""
    with market.store.reading() as tx:
        server = servers.by_id(tx, request.market)
        known = rates.every(tx)
    if server is None or server.settings.visibility is not Visibility.PUBLIC:
        return SpotMarketplaceReply(code=0, market=SpotMarket(offers=[]), exists=False)
    return SpotMarketplaceReply(
        code=0,
        market=SpotMarket(
            offers=[],
            server=SpotServer(
                min_pricing=_prices(server, "spot"),
                mrl=server.settings.mrl_hours,
                online=server.online,
                visibility=server.settings.visibility,
            ),
            currency_rates_in_usd={currency: money.to_wire(rate) for currency, rate in known.items()},
        ),
        exists=True,
    )


class Listing(NamedTuple):
    """Whose server it is, and its row on the market (None: not listed)."""

    owner: int
    offer: Offer | None


def listings(market: Market, server_ids: list[int] | None, now: int) -> dict[int, Listing]:
    """Server id to how it is listed; all servers if no ids are given."""
    with market.store.reading() as tx:
        found = servers.every(tx) if server_ids is None else servers.by_ids(tx, server_ids)
        rented = orders.rented_servers(tx, server_ids)
        known = rates.every(tx)
        uptimes = servers.uptime_seconds(tx, server_ids, now)
    return {
        server.id: Listing(
            server.account_id,
            _offer(server, server.id in rented, known, uptimes.get(server.id, 0)) if server.listed else None,
        )
        for server in found
    }


def _offer(server: Server, rented: bool, known: dict[Currency, int], uptime_seconds: int) -> Offer:
    dollars = {
        _USD_MEMBERS[currency]: money.to_wire(pricing.on_demand * known[currency] // money.SCALE)
        for currency, pricing in server.settings.prices.items()
        if currency in known and pricing.on_demand
    }
    return Offer(
        id=server.id,
        owner=server.account_id,
        mrl=server.settings.mrl_hours,
        price=OfferPrice(
            on_demand=_prices(server, "on_demand"),
            spot=_prices(server, "spot"),
            usd=UsdPrice(**dollars, spot=0),
        ),
        rented=rented,
        specs=server.specs,
        reliability=server_rules.reliability(server.connected_at, uptime_seconds, server.seen_until),
        allowed_coins=[str(currency) for currency in server.settings.accepted],
        rating=Rating(avg=0, cnt=0),
        gpu_array=list(server.gpu_array),
        cuda_version=server.cuda_version,
    )


def _my_server(server: Server) -> MyServer:
    return MyServer(
        id=server.id,
        name=server.name,
        connected=server.connected_at is not None,
        online=server.online,
        visibility=server.settings.visibility,
        pricing=_prices(server, "on_demand"),
        min_spot_pricing=_prices(server, "spot"),
        init_token=server.init_token,
        specs=server.specs,
        allowed_currencies=[str(currency) for currency in server.settings.accepted],
        gpu_array=list(server.gpu_array),
        gpu_count=server.specs.gpu_count if server.specs else 0,
    )


def _config(server: Server, order: Order | None, now: int) -> ServerConfig:
    return ServerConfig(
        name=server.name,
        id=server.id,
        connected=server.connected_at is not None,
        online=server.online,
        initialized=server.connected_at is not None,
        visibility=server.settings.visibility,
        pricing=_prices(server, "on_demand"),
        spot_pricing=_prices(server, "spot"),
        mrl=server.settings.mrl_hours,
        rental_status=2 if order else 0,
        remaining_time=max(0, order.ends_at - now) if order else None,
        allowed_coins=[str(currency) for currency in server.settings.accepted],
        gpu_array=list(server.gpu_array),
        specs=server.specs,
    )


def _prices(server: Server, which: str) -> dict[str, float | None]:
    """Currency to the price per day; bitcoin is always there, as hosts' programs expect it."""
    prices: dict[str, float | None] = {Currency.BITCOIN: 0}
    for currency, pricing in server.settings.prices.items():
        prices[currency] = money.to_wire(getattr(pricing, which))
    return prices
