"""A market on disk that is full from the start: written in bulk, past the use cases."""

import time
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from openclore.api.currencies import Currency
from openclore.api.offers import Offer
from openclore.rules import money
from openclore.rules.orders import Deployment, Order, State
from openclore.rules.policy import Policy
from openclore.rules.servers import Pricing, Server, Settings, Visibility
from openclore.store import rates, servers
from openclore.store.store import Store, open_store
from openclore.store.tables import accounts, ledger_accounts, orders
from openclore.store.tables import servers as server_rows
from openclore.usecases import accounts as account_cases
from openclore.usecases.market import Market

from .marketplace import offers

SILENCE_SECONDS = 86_400
SERVE_SETTINGS = {
    "OPENCLORE_POLICY__OFFLINE_AFTER_SECONDS": str(SILENCE_SECONDS),
    "OPENCLORE_POLICY__HOST_LOST_AFTER_SECONDS": str(SILENCE_SECONDS),
    "OPENCLORE_PACE__SPACING_SECONDS": "0",
    "OPENCLORE_PACE__CREATE_ORDER_SECONDS": "0",
}
"""No agents beat for these servers, so they stay listed without; and one key asks as fast as it can."""
UP_SECONDS = 40_000
ORDERS_PER_RENTER = 4
BALANCE = money.from_text("1000000")
CURRENCY = Currency.CLORE
RENTER = "renter@example.org"


@dataclass(frozen=True)
class Filled:
    """Who rents on the market: the secret of a key, and its account's id."""

    secret: str
    account_id: int


def fill(url: str, count: int, running: int = 0) -> Filled:
    """Make a market with so many listed servers, all online now, of which the first have a running order.

    One renter has a key, money and a few of these orders. The servers have the ids 1 to `count`.
    """
    now = int(time.time())
    store = open_store(url)
    try:
        with store.writing() as tx:
            rates.put(tx, Currency.BITCOIN, money.from_text("65000"), now)
            rates.put(tx, Currency.CLORE, money.from_text("0.06"), now)
            put_servers(tx, offers(count), now)
            put_orders(tx, running, now)
            go_on_counting(tx)
        return _renter(store, now)
    finally:
        store.close()


def put_servers(tx: Connection, listed: list[Offer], now: int) -> None:
    owners = sorted({offer.owner or 0 for offer in listed})
    emails = [{"id": i, "email": f"host-{i}@example.org", "created_at": now} for i in owners]
    tx.execute(accounts.insert(), emails)
    servers.put(tx, [server_of(offer, now) for offer in listed])
    servers.heard(tx, {offer.id: (now - UP_SECONDS, now) for offer in listed})


def server_of(offer: Offer, now: int) -> Server:
    return Server(
        id=offer.id,
        account_id=offer.owner or 0,
        name=f"rack-{offer.id}",
        created_at=now - 2 * UP_SECONDS,
        connected_at=now - 2 * UP_SECONDS,
        settings=_settings(offer),
        online=True,
        seen_until=now - 1,
        public_address="192.0.2.1",
        port_low=20_000,
        port_high=30_000,
        specs=offer.specs,
        gpu_array=[offer.specs.gpu_model] * offer.specs.gpu_count if offer.specs else [],
        cuda_version=offer.cuda_version or "",
    )


def put_orders(tx: Connection, count: int, now: int) -> None:
    """Running orders on the servers 1 to `count`, a few for each of many renters with funded wallets."""
    if not count:
        return
    first = int(tx.execute(accounts.select().order_by(accounts.c.id.desc()).limit(1)).one().id) + 1
    renters = range(first, first + -(-count // ORDERS_PER_RENTER))
    tx.execute(
        accounts.insert(),
        [{"id": i, "email": f"renter-{i}@example.org", "created_at": now} for i in renters],
    )
    tx.execute(ledger_accounts.insert(), [wallet_values(account_id) for account_id in renters])
    owner_of = {row.id: row.account_id for row in servers.every(tx)}
    rows = (
        order_of(i, first + (i - 1) // ORDERS_PER_RENTER, owner_of[i], i, now) for i in range(1, count + 1)
    )
    tx.execute(orders.insert(), [order_values(order) for order in rows])


def go_on_counting(tx: Connection) -> None:
    """Have PostgreSQL give the ids after those that were written."""
    if tx.dialect.name == "postgresql":
        for table in (accounts, server_rows, orders):
            newest = f"(SELECT max(id) FROM {table.name})"  # noqa: S608
            tx.execute(text(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), {newest})"))


def order_of(order_id: int, renter_id: int, host_id: int, server_id: int, now: int) -> Order:
    """An order whose first minute is paid, on the policy's usual terms."""
    fees = Policy().fees
    return Order(
        id=order_id,
        account_id=renter_id,
        host_id=host_id,
        server_id=server_id,
        currency=CURRENCY,
        image="ubuntu:24.04",
        price=money.from_text("25"),
        renter_fee=fees.renter_basis_points(bid=False, poh_stake=0),
        host_fee=fees.host_basis_points(CURRENCY, bid=False, poh_stake=0),
        creation_fee=0,
        creation_grace_seconds=fees.creation_grace_seconds,
        created_at=now,
        mrl_seconds=30 * 86_400,
        state=State.RUNNING,
        active_since=now,
        posted_at=now,
        began=True,
        deployed=True,
        public_address="192.0.2.1",
        deployment=Deployment(),
    )


def order_values(order: Order) -> dict[str, Any]:
    """As a row."""
    return msgspec.structs.asdict(order) | {"deployment": msgspec.json.encode(order.deployment).decode()}


def server_values(server: Server) -> dict[str, Any]:
    """As a row."""
    return msgspec.structs.asdict(server) | {
        "settings": msgspec.json.encode(server.settings).decode(),
        "specs": msgspec.json.encode(server.specs).decode(),
        "gpu_array": msgspec.json.encode(server.gpu_array).decode(),
    }


def wallet_values(account_id: int) -> dict[str, Any]:
    return {"kind": "wallet", "account_id": account_id, "currency": CURRENCY, "balance": BALANCE, "head": b""}


def _renter(store: Store, now: int) -> Filled:
    market = Market(store, Policy())
    account = account_cases.create_account(market, RENTER, now)
    account_cases.set_account(market, RENTER, now, orders_max=1_000_000)
    _, secret = account_cases.create_key(market, RENTER, "bench", now)
    for currency in Currency:
        account_cases.credit(market, RENTER, currency, BALANCE, now, f"bench-{currency}")
    with store.writing() as tx:
        mine = orders.select().order_by(orders.c.id.desc()).limit(ORDERS_PER_RENTER)
        for row in tx.execute(mine).all():
            tx.execute(orders.update().where(orders.c.id == row.id).values(account_id=account.id))
    return Filled(secret, account.id)


def _settings(offer: Offer) -> Settings:
    assert offer.price
    on_demand, spot = offer.price.on_demand or {}, offer.price.spot or {}
    return Settings(
        visibility=Visibility.PUBLIC,
        mrl_hours=offer.mrl or 24,
        prices={
            currency: Pricing(
                on_demand=money.from_wire(on_demand[currency] or 0),
                spot=money.from_wire(spot[currency] or 0),
                accepted=True,
            )
            for currency in (Currency.BITCOIN, Currency.CLORE)
        },
    )
