"""Every fault, as a program without our client sees it."""

from pathlib import Path
from typing import Any, get_args

import httpx2
import pytest

from openclore.cli.sandbox import fault as command
from openclore.sandbox.faults import MarketKind, ReplyKind

from .conftest import Caller

pytestmark = pytest.mark.clore_sandbox(seed=2, servers=24)


def test_a_burst_of_429_hits_so_many_requests_and_nothing_happens(caller: Caller) -> None:
    server_id = caller.free()[0]["id"]
    caller.sandbox.faults.add("too_many_requests", count=2, endpoint="create_order")
    for _ in range(2):
        reply = caller.rent(server_id)
        assert (reply.status_code, reply.content) == (429, b'{"code":5}')
        assert caller.get("wallets").json()["code"] == 0
    assert caller.sandbox.orders() == {}
    assert caller.rent(server_id).json()["code"] == 0
    assert caller.sandbox.faults.waiting == []


@pytest.mark.parametrize(("kind", "orders"), [("error_before", 0), ("error_after", 1)])
def test_a_500_says_nothing_of_whether_the_order_was_made(caller: Caller, kind: Any, orders: int) -> None:
    server_id = caller.free()[0]["id"]
    caller.sandbox.faults.add(kind, endpoint="create_order")
    reply = caller.rent(server_id)
    assert (reply.status_code, reply.json()) == (500, {"code": 1})
    assert len(caller.sandbox.orders()) == orders
    assert len(caller.orders()) == orders


@pytest.mark.parametrize(("kind", "orders"), [("timeout_before", 0), ("timeout_after", 1)])
def test_no_answer_comes_before_or_after_the_order_was_made(caller: Caller, kind: Any, orders: int) -> None:
    hurried = Caller(caller.sandbox, timeout=2)
    server_id = caller.free()[0]["id"]
    caller.sandbox.faults.add(kind, endpoint="create_order")
    with pytest.raises(httpx2.ReadTimeout):
        hurried.rent(server_id)
    assert len(caller.sandbox.orders()) == orders
    assert len(caller.orders()) == orders
    hurried.http.close()


@pytest.mark.parametrize(
    ("kind", "status", "words"), [("forbidden", 403, "Error 1010"), ("bad_gateway", 502, "502 Bad Gateway")]
)
def test_a_page_of_html_comes_instead_of_an_answer(
    caller: Caller, kind: Any, status: int, words: str
) -> None:
    caller.sandbox.faults.add(kind)
    reply = caller.get("my_orders")
    assert reply.status_code == status
    assert reply.headers["content-type"].startswith("text/html")
    assert words in reply.text
    assert caller.get("my_orders").json()["code"] == 0


@pytest.mark.parametrize(
    ("members", "error"),
    [({}, "compute-not-available"), ({"reason": "dockerhub-too-many-pulls"}, "dockerhub-too-many-pulls")],
)
def test_a_request_is_refused_for_any_reason(caller: Caller, members: Any, error: str) -> None:
    caller.sandbox.faults.add("refused", endpoint="create_order", **members)
    reply = caller.rent(caller.free()[0]["id"])
    assert (reply.status_code, reply.json()) == (200, {"error": error, "code": 6})
    assert caller.sandbox.orders() == {}


def test_the_connection_breaks_in_the_middle_of_the_answer(caller: Caller) -> None:
    server_id = caller.free()[0]["id"]
    caller.sandbox.faults.add("cut_off", endpoint="create_order")
    with pytest.raises(httpx2.RemoteProtocolError, match="without sending complete message body"):
        caller.rent(server_id)
    assert [order.si for order in caller.sandbox.orders().values()] == [server_id]


@pytest.mark.parametrize(
    "dialect",
    [
        pytest.param(name, marks=pytest.mark.clore_sandbox(seed=2, servers=24, dialect=name))
        for name in ("open", "live")
    ],
)
def test_a_cancelled_order_lingers(caller: Caller, dialect: str) -> None:
    caller.rent()
    caller.sandbox.clock.turn(minutes=1)
    (order_id,) = caller.sandbox.orders()
    before = caller.orders()[order_id]
    caller.sandbox.faults.add("lingering_cancel", seconds=30)
    assert caller.post("cancel_order", id=order_id).json() == {"code": 0}
    assert caller.sandbox.orders()[order_id].state == "ended"
    after = caller.orders()[order_id]
    assert {**after, "spend": 0} == {**before, "spend": 0}
    caller.sandbox.clock.turn(30)
    assert caller.orders() == {}


def test_a_lost_host_leaves_the_market_and_comes_back(caller: Caller) -> None:
    caller.rent(ports={"22": "tcp"})
    caller.sandbox.clock.turn(minutes=1)
    ((order_id, order),) = caller.sandbox.orders().items()
    caller.sandbox.faults.add("host_lost", server_id=order.si, seconds=600)
    caller.sandbox.clock.turn(60)
    assert order.si not in [row["id"] for row in caller.get("marketplace").json()["servers"]]
    gone = caller.orders()[order_id]
    assert gone["online"] is False
    caller.sandbox.clock.turn(300)
    assert caller.orders()[order_id]["spend"] == gone["spend"]
    caller.sandbox.clock.turn(300)
    assert order.si in [row["id"] for row in caller.get("marketplace").json()["servers"]]
    back = caller.orders()[order_id]
    assert (back["online"], back["mon_container"]) == (True, 2)


def test_a_host_that_never_comes_back_ends_its_orders(caller: Caller) -> None:
    caller.rent()
    ((order_id, order),) = caller.sandbox.orders().items()
    caller.sandbox.faults.add("host_lost", server_id=order.si)
    caller.sandbox.clock.turn(hours=3)
    assert caller.sandbox.orders()[order_id].end_reason == "host_lost"
    caller.sandbox.faults.add("host_back", server_id=order.si)
    assert order.si in [row["id"] for row in caller.get("marketplace").json()["servers"]]


def test_an_image_can_be_slow_or_fail_or_never_deploy(caller: Caller) -> None:
    slow, failing, stuck, plain = (row["id"] for row in caller.free()[:4])
    caller.sandbox.faults.add("slow_image", image="slow", seconds=1_800)
    caller.sandbox.faults.add("failing_image", image="failing", reason="manifest unknown")
    caller.sandbox.faults.add("never_deploys", server_id=stuck)
    ids = {}
    for server_id, image in ((slow, "slow"), (failing, "failing"), (stuck, "busybox"), (plain, "busybox")):
        ids[server_id] = caller.rent(server_id, image=image).json()["order"]["id"]
    caller.sandbox.clock.turn(minutes=20)
    orders = caller.sandbox.orders()
    assert orders[ids[slow]].state == "deploying"
    assert orders[ids[stuck]].state == "deploying"
    assert orders[ids[plain]].state == "running"
    assert orders[ids[failing]].end_reason == "failed"
    assert orders[ids[failing]].end_detail == "manifest unknown"
    caller.sandbox.clock.turn(hours=5)
    orders = caller.sandbox.orders()
    assert orders[ids[slow]].state == "running"
    assert orders[ids[stuck]].state == "deploying"


def test_a_rival_bids_above_the_running_bid(caller: Caller) -> None:
    row = caller.free()[0]
    floor = caller.get("spot_marketplace", market=row["id"]).json()["market"]["server"]["min_pricing"]
    bid = round(floor["USD-Blockchain"] * 3, 2)
    order_id = caller.rent(row["id"], type="spot", spotprice=bid).json()["order"]["id"]
    assert caller.sandbox.orders()[order_id].state == "placed"
    caller.sandbox.faults.add("outbid", server_id=row["id"], factor=1.1)
    offers = caller.get("spot_marketplace", market=row["id"]).json()["market"]["offers"]
    assert (offers[0]["my"], offers[0]["active"]) == (False, True)
    assert offers[0]["bid"] == pytest.approx(bid * 1.1)
    assert caller.sandbox.orders()[order_id].state == "waiting"
    assert (
        caller.post("set_spot_price", order_id=order_id, desired_price=offers[0]["bid"] + 0.01).json()["code"]
        == 0
    )
    assert caller.sandbox.orders()[order_id].state == "placed"
    assert caller.sandbox.ledger_difference() is None


def test_a_floor_moves_between_read_and_bid(caller: Caller) -> None:
    server_id = caller.free()[0]["id"]
    caller.sandbox.faults.add("floor_moved", server_id=server_id, factor=1.5, endpoint="create_order")
    market = caller.get("spot_marketplace", market=server_id).json()["market"]
    floor = market["server"]["min_pricing"]["USD-Blockchain"]
    reply = caller.rent(server_id, type="spot", spotprice=floor).json()
    assert (reply["code"], reply["error"]) == (6, "too_low_price")
    assert reply["min_price"] == pytest.approx(floor * 1.5, abs=0.011)
    assert caller.rent(server_id, type="spot", spotprice=reply["min_price"]).json()["code"] == 0


def test_faults_wait_for_their_turn_and_one_request_meets_one(caller: Caller) -> None:
    caller.sandbox.faults.add("error_before", endpoint="wallets", skip=1, count=2)
    caller.sandbox.faults.add("bad_gateway", endpoint="wallets", count=1)
    statuses = [caller.get("wallets").status_code for _ in range(5)]
    assert statuses == [502, 500, 500, 200, 200]
    caller.sandbox.faults.add("forbidden", count=50)
    caller.sandbox.faults.clear()
    assert caller.get("wallets").status_code == 200


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"kind": "earthquake"}, "earthquake"),
        ({"kind": "outbid"}, "server_id: outbid needs one"),
        ({"kind": "host_lost", "server_id": 1}, "no simulated server 1"),
        ({"kind": "outbid", "server_id": 70_001}, "no bid runs on server 70001"),
        ({"kind": "forbidden", "count": 0}, "count"),
        ({"kind": "forbidden", "colour": 1}, "colour"),
    ],
)
def test_a_fault_that_can_not_be_says_why(caller: Caller, members: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        caller.sandbox.faults.add(**members)
    reply = caller.http.post("/sandbox/faults", json=members)
    assert reply.status_code == 400
    assert caller.sandbox.faults.waiting == []


@pytest.mark.parametrize("kind", [*get_args(ReplyKind), *get_args(MarketKind)])
def test_every_fault_is_explained(kind: str) -> None:
    assert f"`{kind}`" in (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()
    assert kind in (command.__doc__ or "")
