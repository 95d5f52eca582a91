"""GigaSPOT and the account endpoints through HTTP; the snapshot as a file."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from openclore.api.currencies import Currency
from openclore.api.dialects import Dialect
from openclore.rules import money
from openclore.server import gigaspot as files
from openclore.server.service import Service
from openclore.server.settings import Pace, Settings
from openclore.store.store import Store
from openclore.usecases import accounts, hosts, rates

from ..usecases.test_gigaspot import SPECS, UBUNTU
from ..world import hello
from .conftest import Door, a_door

AT_ONCE = Pace(spacing_seconds=0, create_order_seconds=0, open_spacing_seconds=0)
BID: dict[str, Any] = {
    "renting_server": 1,
    "image": UBUNTU,
    "price": 144.0,
    "currency": "CLORE-Blockchain",
    "oc": [{"pl": 250}, {"pl": 260}],
}


@pytest.fixture
def door(new_sqlite_store: Callable[[], Store]) -> Iterator[Door]:
    with a_door(new_sqlite_store(), Settings(pace=AT_ONCE)) as door:
        furnish(door)
        yield door


def furnish(door: Door) -> None:
    """The server has two GPUs, and the renter 100 CLORE."""
    world = door.world
    hosts.connect(world.market, world.server, hello(specs=SPECS), world.now)
    clore = money.from_text("100")
    accounts.credit(world.market, "renter@example.org", Currency.CLORE, clore, world.now, "clore")


def offer(door: Door, min_bid: float | None = 100) -> None:
    body = {"min_bid": min_bid, "energy_price": 0.2}
    reply = door.call("servers/1/gigaspot", body, method="PUT", key="host", open=True)
    assert reply == (200, {"code": 0})


def url(door: Door) -> str:
    status, reply = door.call("get_gigaspot")
    assert (status, reply["code"], reply["my_user_id"]) == (200, 0, door.world.renter)
    return str(reply["v1_snapshot_url"])


def snapshot(door: Door) -> Any:
    return door.http.get(url(door)).json()


# The cycle ------------------------------------------------------------------------------------------


def test_bids_are_made_edited_and_cancelled(door: Door) -> None:
    offer(door)
    assert door.call("create_gigaspot_orders", [BID]) == (
        200,
        {
            "code": 0,
            "status": "ok",
            "failed_to_oc_servers": [],
            "failed_to_rent_servers": [],
            "too_low_bids_servers": [],
            "reasons": {},
        },
    )
    (bid,) = snapshot(door)["1"]["bids"]
    assert (bid["owner"], bid["active"], bid["price"]) == (door.world.renter, True, 144)
    order_id = bid["id"]
    change = {"order_id": order_id, "price": 150, "oc": [{"pl": 300}, {"pl": 300}]}
    _, reply = door.call("edit_gigaspot_orders", [change, {"order_id": 99, "price": 150}])
    assert (reply["success_to_update_ids"], reply["failed_to_update_ids"]) == ([order_id], [99])
    assert snapshot(door)["1"]["bids"][0]["pl"] == [300, 300]
    assert door.call("cancel_orders", {"order_ids": [order_id, 99]}) == (
        200,
        {"code": 0, "failed_to_cancel": [99], "reasons": {"99": "you_dont_own_this_order"}},
    )
    assert snapshot(door)["1"]["bids"] == []
    assert door.world.difference() is None


def test_the_live_dialect_says_what_was_recorded(door: Door) -> None:
    offer(door)
    key = accounts.create_key(door.world.market, "renter@example.org", "live", door.world.now, Dialect.LIVE)
    door.keys["live"] = key[1]
    _, reply = door.call("create_gigaspot_orders", [BID, BID | {"renting_server": 2}], key="live")
    assert reply == {
        "code": 0,
        "status": "ok",
        "failed_to_oc_servers": [],
        "failed_to_rent_servers": [2],
        "too_low_bids_servers": [],
    }
    assert "reasons" not in door.call("edit_gigaspot_orders", [{"order_id": 9, "price": 1}], key="live")[1]
    assert door.call("cancel_orders", {"order_ids": [9]}, key="live")[1] == {
        "code": 0,
        "failed_to_cancel": [9],
    }


def test_the_same_batch_with_the_same_key_is_carried_out_once(door: Door) -> None:
    offer(door)
    headers = {"Idempotency-Key": "batch-1"}
    first = door.call("create_gigaspot_orders", [BID], headers=headers)
    assert door.call("create_gigaspot_orders", [BID], headers=headers) == first
    assert len(snapshot(door)["1"]["bids"]) == 1
    status, reply = door.call("create_gigaspot_orders", [BID | {"price": 150}], headers=headers)
    assert (status, reply["code"]) == (400, 2)
    assert reply["error"].startswith("Idempotency-Key")


@pytest.mark.parametrize(
    ("name", "body", "sentence"),
    [
        ("create_gigaspot_orders", [BID, BID | {"price": "dear"}], "[1].price: must be a number"),
        ("create_gigaspot_orders", [BID | {"price": 5_000.1}], "[0].price: must be a number <= 5000"),
        ("create_gigaspot_orders", [BID | {"oc": [{"core_lock": 1}]}], "[0].oc[0].pl: is required"),
        ("create_gigaspot_orders", [BID, BID], "[1].renting_server: 1 is named in [0] already"),
        ("create_gigaspot_orders", [], "must be a list of length >= 1"),
        ("create_gigaspot_orders", BID, "must be a list"),
        ("create_gigaspot_orders", [BID] * 1_001, "must be a list of length <= 1000"),
        ("edit_gigaspot_orders", [{"order_id": 1}], "[0].price: is required"),
        ("edit_gigaspot_orders", [{"order_id": 1, "price": 1, "oc": []}], "[0].oc: must be a list of"),
        ("cancel_orders", {"order_ids": []}, "order_ids: must be a list of length >= 1"),
        ("cancel_orders", {"order_ids": [0]}, "order_ids: must be a whole number >= 1"),
    ],
)
def test_a_malformed_batch_does_nothing(door: Door, name: str, body: Any, sentence: str) -> None:
    offer(door)
    status, reply = door.call(name, body)
    assert (status, reply["code"]) == (400, 2)
    assert reply["error"].startswith(sentence)
    assert door.call("my_orders?return_completed=true")[1]["orders"] == []


def test_a_host_is_refused_readably(door: Door) -> None:
    path = "servers/1/gigaspot"
    for key, where, body, expected in (
        ("renter", path, {"min_bid": 1}, (404, "you have no server 1")),
        ("host", "servers/99/gigaspot", {"min_bid": 1}, (404, "you have no server 99")),
        ("host", path, {}, (400, "min_bid: is required")),
        ("host", path, {"min_bid": 0}, (400, "min_bid: must be a number >= 0.0001")),
        ("host", path, {"min_bid": 1, "energy_price": -1}, (400, "energy_price: must be a number >= 0.0")),
    ):
        status, reply = door.call(where, body, method="PUT", key=key, open=True)
        assert (status, reply["error"]) == expected
    assert snapshot(door) == {}


# The file -------------------------------------------------------------------------------------------


def test_the_address_changes_when_the_content_does_and_only_then(door: Door) -> None:
    offer(door)
    first = url(door)
    assert re.search(rf"_{door.world.now}\.json$", first)
    door.world.now += 50
    door.world.credit("1")
    assert url(door) == first
    assert door.call("create_gigaspot_orders", [BID])[0] == 200
    second = url(door)
    assert second != first
    assert re.search(rf"_{door.world.now}\.json$", second)
    door.call("create_gigaspot_orders", [BID])
    assert url(door) == second


def test_two_changes_in_a_second_have_two_addresses(door: Door) -> None:
    offer(door)
    first = url(door)
    offer(door, 101)
    assert url(door) != first
    offer(door, 100)
    assert url(door) == first


def test_a_former_file_stays_as_it_was(door: Door) -> None:
    empty = url(door)
    offer(door)
    present = url(door)
    assert door.http.get(empty).json() == {}
    reply = door.http.get(present)
    assert list(reply.json()) == ["1"]
    assert reply.headers["cache-control"] == "public, max-age=86400, immutable"


def test_old_files_are_let_go(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "KEPT", 2)
    oldest = url(door)
    for price in (100, 101):
        offer(door, price)
        url(door)
    reply = door.http.get(oldest)
    assert (reply.json()["1"]["min_bid"], reply.headers["cache-control"]) == (101, "no-cache")


def test_nobody_needs_a_key_for_the_file(door: Door) -> None:
    offer(door)
    assert door.http.get(url(door), headers={"auth": "wrong"}).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "identity"])
def test_the_file_is_packed_as_the_caller_likes(door: Door, encoding: str) -> None:
    offer(door)
    reply = door.http.get(url(door), headers={"accept-encoding": encoding})
    assert reply.headers.get("content-encoding", "identity") == encoding
    assert list(reply.json()) == ["1"]


@pytest.mark.parametrize(
    "name", ["", "x", "v1_.json", "v1_0123456789abcdef_1.jsonx", "..%2f..%2fetc", "v1_1.json"]
)
def test_what_is_no_file_is_not_found(door: Door, name: str) -> None:
    reply = door.http.get(f"/gigaspot/{name}")
    assert (reply.status_code, reply.json()["code"]) == (404, 4)


def test_several_processes_answer_for_each_others_files(door: Door) -> None:
    """The second process has never heard of the name, and of the change only by the event log."""
    other = Service(door.world.market, lambda: door.world.now, Settings(pace=AT_ONCE))
    other.start()
    offer(door)
    name = url(door).rpartition("/")[2]
    file = other.gigaspot.named(name, door.world.now)
    assert file.name == name
    stranger = other.gigaspot.named("v1_0123456789abcdef_1.json", door.world.now)
    assert stranger == file


def test_the_market_is_looked_at_no_more_often_than_a_key_may_ask(
    new_sqlite_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = time.monotonic()
    monkeypatch.setattr(files.time, "monotonic", lambda: clock)
    with a_door(new_sqlite_store()) as door:
        furnish(door)
        first = url(door)
        offer(door)
        assert url(door) == first
        clock += 1
        assert url(door) != first


@pytest.mark.parametrize("public_url", ["https://market.example.org", "https://market.example.org/"])
def test_the_address_is_the_public_one_where_it_is_set(
    new_sqlite_store: Callable[[], Store], public_url: str
) -> None:
    with a_door(new_sqlite_store(), Settings(pace=AT_ONCE, public_url=public_url)) as door:
        assert url(door).startswith("https://market.example.org/gigaspot/v1_")


def test_else_it_is_the_one_the_caller_named(door: Door) -> None:
    _, reply = door.call("get_gigaspot", headers={"host": "mine.example.org:8443"})
    assert reply["v1_snapshot_url"].startswith("http://mine.example.org:8443/gigaspot/v1_")


# The account ----------------------------------------------------------------------------------------


def test_a_bidder_learns_the_price_of_clore(door: Door) -> None:
    assert door.call("get_gigaspot")[1]["clore_price"] is None
    rates.set_rate(door.world.market, Currency.CLORE, money.from_text("0.005"), door.world.now)
    reply = door.call("get_gigaspot")[1]
    assert (reply["clore_price"], reply["creation_fees"]) == (0.005, {"CLORE-Blockchain": 0})


def test_fees_and_stake_are_told(door: Door) -> None:
    stake = money.from_text("1500000")
    accounts.set_account(door.world.market, "renter@example.org", door.world.now, poh_stake=stake)
    assert door.call("renter_fees") == (
        200,
        {
            "code": 0,
            "renter_fees": {
                "on_demand": {"base": {"bitcoin": 5, "CLORE-Blockchain": 5, "USD-Blockchain": 5}},
                "spot": {"base": {"bitcoin": 1.25, "CLORE-Blockchain": 1.25, "USD-Blockchain": 1.25}},
            },
            "creation_fees": {"on_demand": {"USD-Blockchain": 0.1}, "spot": {"USD-Blockchain": 0.1}},
            "poh_config": {"max_reduction_percent": 50, "max_poh_amount": 2_000_000},
            "poh_balance": 1_500_000,
        },
    )
    _, reply = door.call("poh_balance")
    assert (reply["items"], reply["count"], reply["balance"]["total"]) == ([], 0, 1_500_000)
