"""Many orders over a way that loses, delays, doubles and misreports: one each, and none forgotten.

The client's seconds pass four times as fast as the market's: what takes it 30 s takes 7.5 s here.
"""

import asyncio
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from openclore.api.currencies import Currency
from openclore.api.servers import SetServerSettings
from openclore.client import AsyncClore, Clore, OutcomeUnknownError, Spacing
from openclore.rules import money
from openclore.rules.policy import Policy
from openclore.store.store import database_url, open_store
from openclore.usecases import accounts, hosts, servers
from openclore.usecases.market import Market

from ..processes import a_server
from ..unsteady import UnsteadyProxy
from ..world import SETTINGS as LISTED
from ..world import hello

ORDERS = {"open": 1_000, "live": 300}
RENTERS = 100
TASKS_PER_RENTER = 5
SPEED = 4.0
QUICK = Spacing(0.1)
SETTINGS = {
    "OPENCLORE_PACE__SPACING_SECONDS": "0",
    "OPENCLORE_PACE__CREATE_ORDER_SECONDS": "0",
    "OPENCLORE_LIVE__ROW_DELAY_SECONDS": "1",
    "OPENCLORE_POLICY__OFFLINE_AFTER_SECONDS": "7200",
}


@dataclass
class Prepared:
    """A market on disk: renters' keys, and the servers that each of them wants."""

    folder: Path
    wanted: dict[str, list[int]]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("market")
    store = open_store(database_url(folder))
    market, now = Market(store, Policy(servers_max=ORDERS["open"])), int(time.time())
    wanted: dict[str, list[int]] = {}
    with store.writing():
        for number in range(RENTERS):
            renter, host = f"renter-{number}@example.org", f"host-{number}@example.org"
            accounts.create_account(market, renter, now)
            accounts.credit(market, renter, Currency.USD, money.from_text("1000"), now, renter)
            _, key = accounts.create_key(market, renter, "test", now)
            host_id = accounts.create_account(market, host, now).id
            wanted[key] = [
                listed_server(market, host, host_id, f"rack-{rack}", now)
                for rack in range(ORDERS["open"] // RENTERS)
            ]
    store.close()
    return Prepared(folder, wanted)


def listed_server(market: Market, host: str, host_id: int, name: str, now: int) -> int:
    server = servers.create_server(market, host, name, now)
    hosts.connect(market, server.id, hello(), now)
    servers.set_server_settings(market, host_id, SetServerSettings(name=name, **LISTED), now)
    return server.id


@pytest.fixture
def market(
    dialect: str, prepared: Prepared, quick_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The address of a server that speaks this dialect."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(quick_dir / "cache"))
    shutil.copytree(prepared.folder, quick_dir / "market")
    settings = SETTINGS | {"OPENCLORE_DIALECT": dialect}
    words = ("--data-dir", str(quick_dir / "market"), "--port", "0")
    with a_server(quick_dir / "log", *words, env=settings) as (_, address):
        yield address


async def ordered(clore: AsyncClore, server: int) -> int:
    """The id in the end: where it is not clear what became of an order, the same is asked for again."""
    while True:
        try:
            return (
                await clore.create_order(renting_server=server, currency="USD-Blockchain", image="a/b:1")
            ).id
        except OutcomeUnknownError:
            continue


async def all_ordered(market: str, wanted: dict[str, list[int]]) -> dict[int, int]:
    """Server to the id that its caller got."""
    got: dict[int, int] = {}

    async def work(clore: AsyncClore, servers: list[int]) -> None:
        while servers:
            server = servers.pop()
            got[server] = await ordered(clore, server)

    async def rent(key: str, servers: list[int]) -> None:
        async with AsyncClore(
            key,
            base_url=f"{address}/v1",
            spacing=QUICK,
            timeout=10,
            attempts=6,
            _sleep=lambda seconds: asyncio.sleep(seconds / SPEED),
            _clock=lambda: time.monotonic() * SPEED,
        ) as clore:
            await asyncio.gather(*(work(clore, servers) for _ in range(TASKS_PER_RENTER)))

    proxy = UnsteadyProxy(market, seed=7)
    async with proxy.running() as address:
        await asyncio.gather(*(rent(key, list(servers)) for key, servers in wanted.items()))
    assert len(proxy.happened) == 10, proxy.happened
    return got


@pytest.mark.parametrize("dialect", ORDERS)
def test_orders_over_an_unsteady_way_are_made_once_each(
    dialect: str, market: str, prepared: Prepared
) -> None:
    wanted = {key: servers[: ORDERS[dialect] // RENTERS] for key, servers in prepared.wanted.items()}
    got = asyncio.run(all_ordered(market, wanted))
    assert len(got) == ORDERS[dialect]
    made: dict[int, list[int]] = {}
    for key in wanted:
        with Clore(key, base_url=f"{market}/v1", spacing=QUICK) as clore:
            for order in clore.my_orders(return_completed=True):
                made.setdefault(order.si, []).append(order.id)
    assert made == {server: [order_id] for server, order_id in got.items()}
