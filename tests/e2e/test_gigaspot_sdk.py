"""A program written with the official GigaSPOT SDK, unchanged, against our market in both of its dialects."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ..processes import until
from .conftest import Installation, an_installation

sdk = pytest.importorskip("clore_gigaspot.main")

UBUNTU = "a3f9c4d7e5b088d8a0bff880"
OC = [{"pl": 250, "core_lock": 1_500, "mem_offset": 1_000}, {"pl": 260}]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A machine on GigaSPOT from 100 CLORE a day on, a renter with 1,000, and the documented pace."""
    with an_installation(tmp_path_factory.mktemp("gigaspot"), paced=True) as world:
        world.settle_in("simulated")
        world.json("admin", "credit", "renter@example.org", "CLORE-Blockchain", "1000")
        world.json("admin", "rates", "set", "CLORE-Blockchain", "0.005")
        words = ("admin", "key", "create", "renter@example.org", "--name", "live", "--dialect", "live")
        world.keys["live"] = world.json(*words)["key"]
        world.json("server", "gigaspot", "rack-1", "--min-bid", "100", "--energy-price", "0.2", who="host")
        yield world


class Bot:
    """The SDK's connection, called step by step; `log` is all that it printed."""

    def __init__(self, connection: Any, capsys: pytest.CaptureFixture[str]) -> None:
        self._connection = connection
        self._capsys = capsys
        self.log = ""

    def snapshot(self) -> Any:
        found = self._run(self._connection.get_gigaspot())
        assert not found.failure
        return found

    def bid(self, server_id: int, price: float, oc: Any = None, **more: Any) -> Any:
        order = {"renting_server": server_id, "image": UBUNTU, "price": price, "oc": oc or OC, **more}
        return self._run(self._connection.create_orders([order]))

    def edit(self, order_id: int, price: float, **more: Any) -> Any:
        return self._run(self._connection.edit_orders([{"order_id": order_id, "price": price, **more}]))

    def cancel(self, *order_ids: int) -> Any:
        return self._run(self._connection.cancel_orders(list(order_ids)))

    def _run(self, step: Any) -> Any:
        done = asyncio.run(step)
        self.log += self._capsys.readouterr().out
        return done


@pytest.fixture(params=["renter", "live"])
def bot(
    request: pytest.FixtureRequest,
    market: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Bot:
    """Its host is a constant, so a bot's author sets that; it is told no pace, so it is slowed down by 429.

    Without `Retry-After`, as in live, it waits for a random time, which is made short here.
    """
    monkeypatch.setattr(sdk, "CLORE_API", f"http://127.0.0.1:{market.port}")
    monkeypatch.setattr(sdk.random, "uniform", lambda *_: 1.05)
    return Bot(sdk.gigaspot_connection(market.keys[request.param]), capsys)


@pytest.mark.timeout(120)
def test_a_miner_bids_edits_and_cancels(market: Installation, bot: Bot) -> None:
    seen = bot.snapshot()
    assert (seen.clore_price, abs(seen.timestamp - time.time()) < 600) == (0.005, True)
    ((server_id, server),) = seen.snapshot.items()
    assert (server["online"], server["min_bid"], server["energy_price"]) == (True, 100, 0.2)
    assert server["gpus"][0]["model"] == "NVIDIA GeForce RTX 3090"
    assert server["gpus"][0]["pl"] == [100, 366]

    made = bot.bid(int(server_id), 144.5, env={"POOL": "stratum+tcp://example.org:3333"})
    assert (made.failure, made.rented_ids) == (False, [int(server_id)])
    (bid,) = bot.snapshot().snapshot[server_id]["bids"]
    assert (bid["owner"], bid["price"], bid["active"], bid["pl"]) == (seen.my_id, 144.5, True, [250, 260])
    (order,) = market.json("orders", who="renter")
    assert (order["id"], order["image"], order["tcp_ports"]) == (bid["id"], "ubuntu:24.04", [])
    until(lambda: market.json("orders", who="renter")[0]["state"] == "running", what="the machine to start")

    changed = bot.edit(bid["id"], 150, oc=[{"pl": 300}, {"pl": 300}])
    assert (changed.success_to_update_ids, changed.failed_to_update_ids) == ([bid["id"]], [])
    (bid,) = bot.snapshot().snapshot[server_id]["bids"]
    assert (bid["price"], bid["pl"], bid["cached"]) == (150, [300, 300], True)
    (order,) = market.json("orders", who="renter")
    assert order["state"] == "running"

    gone = bot.cancel(bid["id"], 999)
    assert (gone.failed_to_cancel, gone.canceled) == ([999], [bid["id"]])
    assert bot.snapshot().snapshot[server_id]["bids"] == []
    assert "HTTP 429 received" in bot.log
    assert market.json("admin", "verify")["difference"] is None


@pytest.mark.timeout(120)
def test_a_miner_is_told_what_failed(market: Installation, bot: Bot) -> None:
    low = bot.bid(1, 99)
    assert (low.too_low_bids_servers, low.failed_to_rent, low.rented_ids) == ([1], [1], [])
    hot = bot.bid(1, 144, oc=[{"pl": 900}, {"pl": 250}])
    assert (hot.failed_to_oc, hot.rented_ids) == ([1], [])
    assert bot.bid(2, 144).rented_ids == []
    assert bot.edit(999, 144).failed_to_update_ids == [999]
    assert market.json("orders", who="renter") == []


@pytest.mark.timeout(120)
def test_the_file_is_fetched_again_only_when_it_changed(bot: Bot) -> None:
    first, again = bot.snapshot(), bot.snapshot()
    assert again.snapshot is first.snapshot


def test_a_wrong_key_is_told(
    market: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sdk, "CLORE_API", f"http://127.0.0.1:{market.port}")
    monkeypatch.setattr(sdk.time, "sleep", lambda _: None)
    assert sdk.gigaspot_connection("wrong").my_user_id is None
    assert "Invalid CLORE.AI API token" in capsys.readouterr().out
