"""Searching, figures, adding and removing servers, as a caller of /open/v1 sees them."""

import json
from typing import Any

import pytest
from litestar.exceptions import WebSocketDisconnect

from openclore.api.hostlink import CREDENTIAL_REFUSED_CLOSE, REGISTER_PATH
from openclore.api.specs import Specs
from openclore.server.loops import Loop
from openclore.usecases import hosts

from ..world import hello
from .conftest import Door
from .test_hostgate import hear, linked, say

HOUR = 3_600


def add_machine(door: Door, name: str, gpu: str, usd_per_day: float) -> int:
    server_id = door.world.add_server(name, usd_on_demand=usd_per_day)
    hosts.connect(door.world.market, server_id, hello(specs=Specs(gpu=gpu, gpuram=23)), door.world.now)
    door.service.catch_up()
    return server_id


def search(door: Door, **asked: Any) -> Any:
    status, reply = door.call("offers", open=True, key=None, params=asked)
    assert status == 200, reply
    return reply


def test_anybody_searches_the_market(door: Door) -> None:
    cheap = add_machine(door, "rack-2", "2x NVIDIA GeForce RTX 4090", 2.4)
    dear = add_machine(door, "rack-3", "1x NVIDIA GeForce RTX 4090", 4.8)
    reply = search(door, gpu="4090", vram_gb_min=24, rented="false")
    assert [(hit["offer"]["id"], hit["price_per_hour"]) for hit in reply["offers"]] == [
        (cheap, 0.1),
        (dear, 0.2),
    ]
    assert (reply["code"], reply["total"], reply["next"]) == (0, 2, None)
    assert {hit["price_currency"] for hit in reply["offers"]} == {"usd"}
    assert reply["offers"][0]["offer"] == next(
        row for row in door.call("marketplace", key=None)[1]["servers"] if row["id"] == cheap
    )


def test_pages_follow_one_another(door: Door) -> None:
    made = [door.world.server] + [add_machine(door, f"more-{n}", "1x A", 2 + n) for n in range(4)]
    seen, after = [], {}
    while True:
        page = search(door, limit=2, **after)
        assert page["total"] == 5
        seen += [hit["offer"]["id"] for hit in page["offers"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == made


def test_what_happens_on_the_market_shows_in_the_next_search(door: Door) -> None:
    assert search(door)["total"] == 1
    door.world.credit("10")
    order = door.world.rent()
    door.service.catch_up()
    assert search(door)["total"] == 0
    assert search(door, rented="true")["offers"][0]["offer"]["rented"] is True
    door.world.cancel(order.id)
    door.world.set_server("rack-1", availability=False)
    door.service.catch_up()
    assert search(door, rented="true")["total"] == 0


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("gpus=2", "gpus: is none of gpu, gpu_count, gpu_count_min, vram_gb_min"),
        ("max_price=1", "max_price: is none of "),
        ("gpu=4090&gpu=3090", "gpu: is there more than once"),
        ("gpu_count=two", "gpu_count: must be a whole number, got text"),
        ("reliability_min=99", "reliability_min: must be a number <= 1.0"),
        ("price_per_hour_max=nan", "price_per_hour_max: must be a number >= 0.0"),
        ("currency=btc", "currency: must be one of bitcoin"),
        ("country=Germany", "country: must be the two letters of a country"),
        ("rented=maybe", "rented: must be true or false"),
        ("sort=cheap", "sort: must be price, reliability"),
        ("limit=0", "limit: must be a whole number >= 1"),
        ("limit=501", "limit: must be a whole number <= 500"),
        ("gpu=%00", "gpu: must be text without NUL"),
        ("after=nonsense", "after: must be the `next` of the page before, unchanged"),
        ("after=%ff%fe", "after: must be the `next` of the page before, unchanged"),
        ("after=" + "A" * 257, "after: must be text of length <= 256"),
    ],
)
def test_a_wrong_filter_is_refused_by_name(door: Door, query: str, error: str) -> None:
    status, reply = door.call(f"offers?{query}", open=True, key=None)
    assert (status, reply["code"]) == (400, 2)
    assert reply["error"].startswith(error)


@pytest.mark.parametrize("path", ["statistics?model=x", "statistics/history?gpu=x&form=1"])
def test_a_misspelled_member_of_any_query_is_refused(door: Door, path: str) -> None:
    status, reply = door.call(path, open=True, key=None)
    assert (status, reply["code"]) == (400, 2)
    assert "is none of" in reply["error"]


def test_programs_for_the_public_service_may_send_members_it_knows(door: Door) -> None:
    assert door.call("my_orders?return_completed=true&whatever=1")[0] == 200


def test_figures_follow_the_market(door: Door) -> None:
    server_id = add_machine(door, "rack-2", "2x NVIDIA GeForce RTX 4090", 4.8)
    door.world.credit("10")
    door.world.rent(server_id, type="spot", spotprice=1.5)
    door.service.catch_up()
    status, reply = door.call("statistics", open=True, key=None, params={"gpu": "4090"})
    assert status == 200
    assert reply["models"] == [
        {
            "gpu": "NVIDIA GeForce RTX 4090",
            "servers": 1,
            "gpus": 2,
            "rented": 1,
            "rented_share": 1.0,
            "price_p10": 0.1,
            "price_p50": 0.1,
            "price_p90": 0.1,
        }
    ]


def test_each_full_hour_is_kept_by_whichever_process_is_there_first(door: Door) -> None:
    loops = [Loop(door.service), Loop(door.service)]
    start = door.world.now
    for step in (1, HOUR, 1, HOUR, 20 * 24 * HOUR):
        door.world.jump(step)
        for loop in loops:
            loop.turn()
    status, reply = door.call("statistics/history", open=True, key=None, params={"gpu": "no GPU"})
    assert status == 200
    hours = [start // HOUR + passed for passed in (1, 2, 20 * 24 + 2)]
    assert [(row["at"], row["servers"]) for row in reply["history"]] == [(hour * HOUR, 1) for hour in hours]


def test_a_history_needs_a_model(door: Door) -> None:
    assert door.call("statistics/history", open=True, key=None) == (
        400,
        {"code": 2, "error": "gpu: is required"},
    )


def test_a_host_adds_a_server_and_removes_it(door: Door) -> None:
    status, added = door.call("servers", {"name": "rack-2"}, open=True, key="host")
    assert status == 200
    assert set(added) == {"code", "server_id", "name", "init_token"}
    rows = door.call("my_servers", key="host")[1]["servers"]
    assert [(row["id"], row["name"], row["visibility"]) for row in rows[1:]] == [
        (added["server_id"], "rack-2", "hidden")
    ]
    path = f"servers/{added['server_id']}"
    assert door.call(path, method="DELETE", open=True, key="renter")[0] == 404
    assert door.call(path, method="DELETE", open=True, key="host") == (200, {"code": 0})
    assert len(door.call("my_servers", key="host")[1]["servers"]) == 1
    assert door.call("marketplace", key="host")[1]["my_servers"] == [door.world.server]
    status, reply = door.call(path, method="DELETE", open=True, key="host")
    assert (status, reply["code"]) == (404, 4)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "name: is required"),
        ({"name": 5}, "name: must be text, got a whole number"),
        ({"name": ""}, "name: must be text of length >= 1"),
        ({"name": "a/b"}, "name: must be 1 to 64 letters, digits, spaces, _ or -"),
        ({"name": "rack-1 (removed 1)"}, "name: must be 1 to 64 letters, digits, spaces, _ or -"),
        ({"name": "rack-1"}, "name: host@example.org has a server named 'rack-1' already"),
    ],
)
def test_a_server_needs_a_name_of_its_own(door: Door, body: Any, error: str) -> None:
    status, reply = door.call("servers", body, open=True, key="host")
    assert (status, reply["code"]) == (400, 2)
    assert reply["error"].startswith(error)
    assert len(door.call("my_servers", key="host")[1]["servers"]) == 1


def test_a_server_in_use_says_what_to_do(door: Door) -> None:
    path = f"servers/{door.world.server}"
    assert door.call(path, method="DELETE", open=True, key="host") == (
        409,
        {"code": 6, "error": "server_in_use", "message": "rack-1 is public: hide it first"},
    )


def test_removing_a_server_closes_its_agents_link(any_door: Door) -> None:
    door = any_door
    added = door.call("servers", {"name": "rack-2"}, open=True, key="host")[1]
    made = door.http.post(REGISTER_PATH, content=json.dumps({"init_token": added["init_token"]})).json()
    with linked(door, made["credential"]) as socket:
        say(socket, hello())
        hear(socket)
        door.world.set_server("rack-2")
        door.world.set_server("rack-2", availability=False)
        assert door.call(f"servers/{made['server_id']}", method="DELETE", open=True, key="host")[0] == 200
        assert closing_code(socket) == CREDENTIAL_REFUSED_CLOSE
    with linked(door, made["credential"]) as socket:
        assert closing_code(socket) == CREDENTIAL_REFUSED_CLOSE
    refused = door.http.post(REGISTER_PATH, content=json.dumps({"init_token": added["init_token"]}))
    assert refused.status_code == 401
    assert door.world.difference() is None


def closing_code(socket: Any) -> int:
    """How the market closes a link, whatever it says before."""
    while True:
        try:
            hear(socket)
        except WebSocketDisconnect as closed:
            return closed.code
