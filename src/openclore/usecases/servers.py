"""Hosting: registering servers, reading and setting what they offer."""

from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from ..api.codes import Refusal
from ..api.currencies import Currency
from ..api.offers import Offer, OfferPrice, PricePair, Rating, UsdPrice
from ..api.open.servers import AddServer, AddServerReply
from ..api.servers import (
    BackgroundJob,
    MyServer,
    MyServersReply,
    ServerConfig,
    ServerConfigReply,
    ServerConfigRequest,
    ServerName,
    SetServerSettings,
)
from ..rules import money
from ..rules import servers as server_rules
from ..rules.orders import Kind, Order
from ..rules.refused import InvalidInput, NotFound, Refused
from ..rules.servers import Pricing, Server, Visibility
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
    """Register a server of the account with this address, as `add_server` does.

    Raises:
        InvalidInput: no such account, a name that is unusable or taken, or too many servers.
    """
    try:
        name = msgspec.convert(name, ServerName)
    except msgspec.ValidationError:
        raise InvalidInput(
            f"name: a server's is 1 to 64 letters, digits, spaces, _ or -, got {name!r}"
        ) from None
    with market.store.writing() as tx:
        return _register(tx, market, account_named(tx, email), name, now)


def add_server(market: Market, account_id: int, request: AddServer, now: int) -> AddServerReply:
    """Register a server, hidden and without prices; its `init_token` is for the agent.

    Raises:
        InvalidInput: the name is taken, or the account has as many servers as it may.
    """
    with market.store.writing() as tx:
        server = _register(tx, market, accounts.by_id(tx, account_id), request.name, now)
    return AddServerReply(code=0, server_id=server.id, name=server.name, init_token=server.init_token or "")


def _register(tx: Connection, market: Market, account: Account, name: str, now: int) -> Server:
    present = servers.of_host(tx, account.id)
    if any(server.name == name for server in present):
        raise InvalidInput(f"name: {account.email} has a server named {name!r} already, choose another")
    if len(present) >= _servers_max(market, account):
        raise InvalidInput(
            f"{account.email} has {len(present)} servers, the most it may have: remove one first"
        )
    server = servers.add(tx, account.id, name, new_init_token(), now)
    events.append(tx, events.Kind.SERVER_CREATED, now, account_id=account.id, server_id=server.id)
    return server


def remove_server(market: Market, account_id: int, server_id: int, now: int) -> None:
    """Take a server off the market for good; what its orders were stays readable.

    Raises:
        NotFound: the account has no such server.
        Refused: server_in_use, with a `message`: it is public, or an order is active on it.
    """
    with market.store.writing() as tx:
        server = own(tx, account_id, server_id)
        if server.settings.visibility is not Visibility.HIDDEN:
            raise Refused(Refusal.SERVER_IN_USE, message=f"{server.name} is public: hide it first")
        if orders.active_on_server(tx, server_id):
            raise Refused(
                Refusal.SERVER_IN_USE, message=f"{server.name} is rented: wait until its orders have ended"
            )
        servers.remove(tx, server, now)
        events.append(tx, events.Kind.SERVER_REMOVED, now, account_id=account_id, server_id=server_id)


def own(tx: Connection, account_id: int, server_id: int) -> Server:
    """One of the account's servers.

    Raises:
        NotFound: it has no such server.
    """
    server = servers.by_id(tx, server_id)
    if server is None or server.account_id != account_id:
        raise NotFound(f"you have no server {server_id}")
    return server


def my_servers(market: Market, account_id: int) -> MyServersReply:
    """The account's servers, oldest first."""
    with market.store.reading() as tx:
        found = servers.of_host(tx, account_id)
        limit = _servers_max(market, accounts.by_id(tx, account_id))
        pegged = rates.pegged(tx)
    return MyServersReply(code=0, servers=[_my_server(server, pegged) for server in found], limit=limit)


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
        order, pegged = orders.holder(tx, server.id), rates.pegged(tx)
    return ServerConfigReply(code=0, config=_config(server, order, pegged, now), creation_completed=True)


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


class Listing(NamedTuple):
    """Whose server it is (None: removed), its row (None: not listed), and whether an order has it."""

    owner: int | None
    offer: Offer | None
    held: bool = False


def listings(market: Market, server_ids: list[int] | None, now: int) -> dict[int, Listing]:
    """Server id to how it is listed; all servers that are not removed if no ids are given."""
    with market.store.reading() as tx:
        return listings_in(tx, server_ids, now)


def listings_in(tx: Connection, server_ids: list[int] | None, now: int) -> dict[int, Listing]:
    """`listings`, as they are in a transaction."""
    found = servers.every(tx) if server_ids is None else servers.by_ids(tx, server_ids)
    holders = orders.holders(tx, server_ids)
    known, pegged = rates.both(tx)
    uptimes = servers.uptime_seconds(tx, server_ids, now)
    return {
        server.id: Listing(
            server.account_id if server.removed_at is None else None,
            _offer(server, holders.get(server.id), known, pegged, uptimes.get(server.id, 0))
            if server.listed
            else None,
            held=server.id in holders,
        )
        for server in found
    }


def _offer(
    server: Server,
    holder: Kind | None,
    known: dict[Currency, int],
    pegged: dict[Currency, int],
    uptime_seconds: int,
) -> Offer:
    prices = server_rules.in_force(server.settings, pegged)
    dollars = {
        _USD_MEMBERS[currency]: money.to_wire(pricing.on_demand * known[currency] // money.SCALE)
        for currency, pricing in prices.items()
        if currency in known and pricing.on_demand
    }
    floors = [
        pricing.spot * known[currency] // money.SCALE
        for currency, pricing in prices.items()
        if pricing.accepted and currency in known and pricing.spot
    ]
    return Offer(
        id=server.id,
        owner=server.account_id,
        mrl=server.settings.mrl_hours,
        price=OfferPrice(
            on_demand=_wire_prices(prices, "on_demand"),
            spot=_wire_prices(prices, "spot"),
            usd=UsdPrice(**dollars, spot=money.to_wire(min(floors, default=0))),
            original_usd=_usd_pricing(server),
        ),
        rented=holder is Kind.ON_DEMAND,
        specs=server.specs,
        reliability=server_rules.reliability(server.connected_at, uptime_seconds, server.seen_until),
        allowed_coins=_accepted(prices),
        rating=Rating(avg=0, cnt=0),
        gpu_array=_short_names(server),
        cuda_version=server.cuda_version,
        autoprice="usd" if server.settings.pegged else None,
        gigaspot=True if server.gigaspot else None,
    )


def _my_server(server: Server, pegged: dict[Currency, int]) -> MyServer:
    prices = server_rules.in_force(server.settings, pegged)
    return MyServer(
        id=server.id,
        name=server.name,
        connected=server.connected_at is not None,
        online=server.online,
        visibility=server.settings.visibility,
        pricing=_wire_prices(prices, "on_demand"),
        min_spot_pricing=_wire_prices(prices, "spot"),
        init_token=server.init_token,
        specs=server.specs,
        allowed_currencies=_accepted(prices),
        usd_pricing=_usd_pricing(server),
        # Text only: the official SDK reads no other value here.
        autoprice={str(currency): "usd" for currency in server.settings.pegged} or None,
        gpu_array=_short_names(server),
        gpu_count=server.specs.gpu_count if server.specs else 0,
    )


def _config(server: Server, order: Order | None, pegged: dict[Currency, int], now: int) -> ServerConfig:
    prices = server_rules.in_force(server.settings, pegged)
    return ServerConfig(
        name=server.name,
        id=server.id,
        connected=server.connected_at is not None,
        online=server.online,
        initialized=server.connected_at is not None,
        visibility=server.settings.visibility,
        pricing=_wire_prices(prices, "on_demand"),
        spot_pricing=_wire_prices(prices, "spot"),
        usd_pricing=_usd_pricing(server),
        mrl=server.settings.mrl_hours,
        rental_status=_rental_status(order),
        remaining_time=max(0, order.ends_at - now) if order else None,
        allowed_coins=_accepted(prices),
        autoprice=_autoprice(server),
        background_job=_background_job(server),
        gpu_array=_short_names(server),
        specs=server.specs,
    )


def _background_job(server: Server) -> BackgroundJob | None:
    job = server.background_job
    if job is None:
        return None
    return BackgroundJob(
        image=job.image, command=job.command, env=job.env, times_updated=server.background_updates
    )


def _rental_status(order: Order | None) -> int:
    """0 not rented, 1 to a bid, 2 on demand."""
    if order is None:
        return 0
    return 1 if order.is_bid else 2


def _wire_prices(prices: dict[Currency, Pricing], which: str) -> dict[str, float | None]:
    """Currency to the price per day; bitcoin is always there, as hosts' programs expect it."""
    found: dict[str, float | None] = {Currency.BITCOIN: 0}
    for currency, pricing in prices.items():
        found[currency] = money.to_wire(getattr(pricing, which))
    return found


def _accepted(prices: dict[Currency, Pricing]) -> list[str]:
    return [str(currency) for currency, pricing in prices.items() if pricing.accepted]


def _usd_pricing(server: Server) -> dict[str, PricePair] | None:
    """Currency to the dollars it is pegged to."""
    return {
        str(currency): PricePair(on_demand=money.to_wire(pegged.on_demand), spot=money.to_wire(pegged.spot))
        for currency, pegged in server.settings.pegged.items()
    } or None


def _autoprice(server: Server) -> dict[str, str | bool]:
    """Currency to its pricing mode."""
    return {
        str(currency): "usd" if currency in server.settings.pegged else False
        for currency in server.settings.prices
    }


def _short_names(server: Server) -> list[str]:
    """The GPUs with the leading space that programs for the public service strip."""
    return [f" {name.strip()}" for name in server.gpu_array]
