"""A world without doors, its time turned by tests; and somebody in front of the doors."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from openclore.api.currencies import Currency
from openclore.api.orders import CreateOrder, Order
from openclore.rules.orders import Order as OrderFacts
from openclore.rules.policy import Policy
from openclore.sandbox import Sandbox
from openclore.sandbox.founding import Founded, found
from openclore.sandbox.machines import RATES, made_up
from openclore.sandbox.sandbox import POLICY, START
from openclore.sandbox.world import World
from openclore.store import orders as orders_store
from openclore.store.store import Store
from openclore.usecases import orders
from openclore.usecases.market import Market

NewWorld = Callable[..., "Rehearsal"]


@pytest.fixture(autouse=True)
def private_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No client reads or leaves anything outside its test's folder."""
    for name in ("CLORE_API_KEY", "CLORE_BASE_URL", "OPENCLORE_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))


class Rehearsal:
    """A world and the renter in it."""

    def __init__(
        self, store: Store, *, seed: int = 1, servers: int = 16, policy: Policy = POLICY, usd: float = 10_000
    ) -> None:
        self.machines = made_up(seed, servers)
        self.market = Market(store, policy)
        money = {Currency.USD: usd}
        self.founded: Founded = found(self.market, self.machines, RATES, seed, START, 10_000, money)
        self.world = World(self.market, self.founded, self.machines, dict(RATES), seed, START)

    def free(self) -> list[int]:
        """Ids of the servers that can be rented for dollars, the cheapest first."""
        held = {row.server_id for row in self.rows("SELECT server_id FROM orders WHERE state <> 'ended'")}
        machines = [
            machine
            for machine in self.machines
            if machine.id not in held and not machine.gigaspot and Currency.USD in machine.settings.accepted
        ]
        return [m.id for m in sorted(machines, key=lambda m: m.settings.prices[Currency.USD].on_demand)]

    def rent(self, server_id: int, **changes: Any) -> Order:
        request = {
            "renting_server": server_id,
            "type": "on-demand",
            "currency": "USD-Blockchain",
            "image": "busybox",
        }
        reply = orders.create_order(
            self.market, self.founded.renter, CreateOrder(**(request | changes)), self.world.now
        )
        self.world.follow()
        assert isinstance(reply.order, Order)
        return reply.order

    def order(self, order_id: int) -> OrderFacts:
        """An order as the market keeps it."""
        with self.market.store.reading() as tx:
            found = orders_store.by_id(tx, order_id)
        assert found is not None
        return found

    def rows(self, query: str) -> list[Any]:
        with self.market.store.reading() as tx:
            return list(tx.execute(text(query)).all())

    def story(self) -> dict[str, list[Any]]:
        """All that happened, to the last unit; not how it is shown."""
        return {
            "events": self.rows("SELECT id, at, kind, account_id, server_id, order_id, data FROM events"),
            "transfers": self.rows("SELECT * FROM transfers ORDER BY id"),
            "wallets": self.rows("SELECT * FROM ledger_accounts ORDER BY id"),
            "orders": self.rows("SELECT * FROM orders ORDER BY id"),
            "prices": self.rows("SELECT id, settings, online FROM servers ORDER BY id"),
            "rates": self.rows("SELECT * FROM rates ORDER BY currency"),
        }


@pytest.fixture
def new_world(new_sqlite_store: Callable[[], Store]) -> Iterator[NewWorld]:
    made: list[Rehearsal] = []

    def make(**changes: Any) -> Rehearsal:
        made.append(Rehearsal(new_sqlite_store(), **changes))
        return made[-1]

    yield make
    for rehearsal in made:
        rehearsal.market.store.close()


class Caller:
    """Somebody with nothing but an HTTP library."""

    def __init__(self, sandbox: Sandbox, who: str = "renter", timeout: float = 30.0) -> None:
        self.sandbox = sandbox
        self.http = httpx2.Client(
            base_url=sandbox.address, headers={"auth": sandbox.keys[who]}, timeout=timeout
        )

    def get(self, name: str, **query: Any) -> httpx2.Response:
        return self.http.get(f"/v1/{name}", params=query)

    def post(self, name: str, **body: Any) -> httpx2.Response:
        return self.http.post(f"/v1/{name}", json=body)

    def orders(self) -> dict[int, Any]:
        """What `my_orders` lists, by id."""
        return {row["id"]: row for row in self.get("my_orders").json()["orders"]}

    def free(self) -> list[Any]:
        """The rows that can be rented for dollars, the cheapest first."""
        rows = self.get("marketplace").json()["servers"]
        free = [
            row
            for row in rows
            if not (row["rented"] or row.get("gigaspot")) and "USD-Blockchain" in row["allowed_coins"]
        ]
        return sorted(free, key=lambda row: float(row["price"]["on_demand"]["USD-Blockchain"]))

    def rent(self, server_id: int | None = None, **changes: Any) -> httpx2.Response:
        request = {
            "renting_server": server_id or self.free()[0]["id"],
            "type": "on-demand",
            "currency": "USD-Blockchain",
            "image": "busybox",
        }
        return self.post("create_order", **(request | changes))


@pytest.fixture
def caller(clore_sandbox: Sandbox) -> Iterator[Caller]:
    caller = Caller(clore_sandbox)
    yield caller
    caller.http.close()
