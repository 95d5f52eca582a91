"""A backup of a market under load, restored elsewhere: all that was acknowledged before it is there."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import pytest

from openclore.rules import money
from openclore.rules.orders import State
from openclore.store import orders
from openclore.store.store import database_url, open_store
from openclore.usecases import accounts

from ..conftest import Postgres
from ..processes import a_server, openclore, until
from ..world import USD, World
from .conftest import AT_ONCE

RENTERS = 4
STEADY = {
    **AT_ONCE,
    "OPENCLORE_POLICY__OFFLINE_AFTER_SECONDS": "3600",
    "OPENCLORE_POLICY__POST_EVERY_SECONDS": "1",
}
"""No agent beats here, and much is posted."""


class Load:
    """Renters who rent and cancel, and an operator who credits; what was acknowledged is in `done`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.done: list[tuple[str, int | str]] = []
        self.failures: list[str] = []
        self._over = threading.Event()
        self.keys = {}
        world.now = int(time.time())
        for number in range(RENTERS):
            email = f"renter-{number}@example.org"
            accounts.create_account(world.market, email, world.now)
            accounts.credit(world.market, email, USD, money.from_text("100"), world.now, f"first-{number}")
            _, key = accounts.create_key(world.market, email, "load", world.now)
            self.keys[key] = world.add_server(f"load-{number}")

    @contextmanager
    def running(self, address: str) -> Iterator[None]:
        threads = [threading.Thread(target=self._rent, args=(address, *item)) for item in self.keys.items()]
        threads.append(threading.Thread(target=self._credit))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _rent(self, address: str, key: str, server: int) -> None:
        wanted = {"renting_server": server, "type": "on-demand", "currency": USD, "image": "busybox"}
        with httpx2.Client(base_url=address, headers={"auth": key}, timeout=30) as http:
            while not self._over.is_set():
                reply = http.post("/open/v1/orders", json=wanted)
                if reply.status_code != 200:
                    self.failures.append(reply.text)
                    return
                order_id = reply.json()["order"]["order"]["id"]
                self.done.append(("rented", order_id))
                if http.post("/v1/cancel_order", json={"id": order_id}).json()["code"] == 0:
                    self.done.append(("cancelled", order_id))

    def _credit(self) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            now, amount = int(time.time()), money.from_text("0.5")
            accounts.credit(self.world.market, "renter@example.org", USD, amount, now, f"more-{number}")
            self.done.append(("credited", f"credit:more-{number}"))
            self._over.wait(0.01)

    def grows(self, by: int) -> None:
        wanted = len(self.done) + by
        until(lambda: len(self.done) >= wanted or self.failures, what="the load to go on")
        assert not self.failures


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield database_url(tmp_path / "market")
    else:
        postgres: Postgres = request.getfixturevalue("postgres")
        with postgres.database("migrated") as there:
            yield there


def test_what_was_acknowledged_before_a_backup_is_in_it(address: str, tmp_path: Path) -> None:
    here = STEADY | {"OPENCLORE_DATABASE_URL": address}
    elsewhere = STEADY | {"OPENCLORE_DATA_DIR": str(tmp_path / "elsewhere")}
    backup = str(tmp_path / "market.backup")
    with closing(open_store(address)) as store:
        load = Load(World(store, now=int(time.time())))
        with a_server(tmp_path / "market.log", "--port", "0", env=here) as (_, door), load.running(door):
            load.grows(60)
            acknowledged = list(load.done)
            openclore("admin", "backup", backup, env=here)
            openclore("admin", "restore", backup, "--overwrite", env=here, status=2)
            openclore("db", "copy", address, str(tmp_path / "copy"), status=2)
            load.grows(60)
    assert openclore("admin", "verify", env=here)["difference"] is None
    assert openclore("admin", "restore", backup, env=elsewhere)["difference"] is None

    with closing(open_store(database_url(tmp_path / "elsewhere"))) as restored, restored.reading() as tx:
        found = {order.id: order for order in orders.every(tx)}
        credited = set(tx.exec_driver_sql("SELECT idempotency_key FROM transfers").scalars())
    for what, which in acknowledged:
        if what == "credited":
            assert which in credited
        else:
            assert isinstance(which, int)
            assert what == "rented" or found[which].state is State.ENDED
            assert which in found
    with a_server(tmp_path / "elsewhere.log", "--port", "0", env=elsewhere) as (_, door):
        key = next(iter(load.keys))
        lines = httpx2.get(f"{door}/open/v1/statement", headers={"auth": key}).json()["lines"]
        assert [line["kind"] for line in lines[:3]] == ["credit", "rental", "fees"]
