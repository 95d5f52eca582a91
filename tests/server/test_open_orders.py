"""Orders under /open/v1: idempotency keys, history, spend limits, leases."""

from typing import Any

import pytest

from openclore.usecases import accounts
from openclore.usecases.webhooks import Message, Outcome

from .conftest import Door

ORDER = {
    "renting_server": 1,
    "type": "on-demand",
    "currency": "USD-Blockchain",
    "image": "busybox",
    "ports": {"80": "tcp"},
}


def place(door: Door, **changes: Any) -> tuple[int, Any]:
    return door.call("orders", ORDER | changes, open=True)


def once(door: Door, name: str, body: Any, idempotency_key: str, **more: Any) -> tuple[int, Any]:
    return door.call(name, body, headers={"Idempotency-Key": idempotency_key}, **more)


def active(door: Door) -> list[int]:
    return [row["id"] for row in door.call("my_orders")[1]["orders"]]


def test_the_same_key_and_content_gives_the_stored_answer(any_door: Door) -> None:
    any_door.world.credit("10")
    status, first = once(any_door, "create_order", ORDER, "k-1")
    assert (status, first["code"]) == (200, 0)
    any_door.world.now += 120
    assert once(any_door, "create_order", dict(reversed(ORDER.items())), "k-1") == (200, first)
    assert active(any_door) == [first["order"]["id"]]


def test_a_replay_says_so(door: Door) -> None:
    door.world.credit("10")
    once(door, "create_order", ORDER, "k-1")
    door.call("wallets")
    headers = {"Idempotency-Key": "k-1", "auth": door.keys["renter"]}
    door.service.limits.__init__(door.service.settings.pace)  # type: ignore[misc]
    reply = door.http.post("/v1/create_order", json=ORDER, headers=headers)
    assert reply.headers["idempotency-replayed"] == "true"


def test_the_same_key_with_other_content_is_refused_and_nothing_happens(any_door: Door) -> None:
    any_door.world.credit("10")
    once(any_door, "create_order", ORDER, "k-1")
    before = active(any_door)
    status, reply = once(any_door, "create_order", ORDER | {"image": "alpine"}, "k-1")
    assert (status, reply["code"]) == (400, 2)
    assert "Idempotency-Key" in reply["error"]
    assert once(any_door, "cancel_order", {"id": before[0]}, "k-1")[1]["code"] == 2
    assert active(any_door) == before


def test_a_refused_write_keeps_nothing_under_its_key(any_door: Door) -> None:
    assert once(any_door, "create_order", ORDER, "k-1")[1]["error"] == "not_enough_balance"
    any_door.world.credit("10")
    assert once(any_door, "create_order", ORDER, "k-1")[1]["code"] == 0


def test_a_webhooks_test_message_with_a_key_is_sent_once(
    any_door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Message] = []

    async def deliver(message: Message, timeout_seconds: float) -> Outcome:
        sent.append(message)
        return Outcome(204, None)

    monkeypatch.setattr(any_door.service.courier, "deliver", deliver)
    webhook = any_door.call("webhooks", {"url": "https://hooks.example/"}, open=True)[1]["webhook"]
    path = f"webhooks/{webhook['id']}/test"
    first = once(any_door, path, None, "k-1", method="POST", open=True)
    assert once(any_door, path, None, "k-1", method="POST", open=True) == first
    assert once(any_door, f"webhooks/{webhook['id']}/rotate", None, "k-1", method="POST", open=True)[0] == 400
    assert once(any_door, path, None, "k-2", method="POST", open=True)[0] == 200
    assert len(sent) == 2


def test_keys_of_two_accounts_do_not_meet(door: Door) -> None:
    door.world.credit("10")
    once(door, "create_order", ORDER, "k-1")
    settings = {"name": "rack-1", "availability": False, "mrl": 24, "on_demand": 0, "spot": 0}
    assert once(door, "set_server_settings", settings, "k-1", key="host")[1]["code"] == 0


@pytest.mark.parametrize("key", ["", "with space", "ä", "x" * 256])
def test_a_key_that_can_be_none_is_refused_by_its_name(door: Door, key: str) -> None:
    status, reply = door.call("create_order", ORDER, headers={"Idempotency-Key": key.encode()})
    assert (status, reply["code"], reply["error"].partition(":")[0]) == (400, 2, "Idempotency-Key")


def test_an_order_by_id_has_its_whole_history_and_the_reason_of_its_end(any_door: Door) -> None:
    any_door.world.credit("10")
    _, made = place(any_door)
    order_id = made["order"]["order"]["id"]
    any_door.world.report("running", order_id)
    any_door.world.wait(90)
    any_door.world.cancel(order_id)
    status, reply = any_door.call(f"orders/{order_id}", open=True)
    assert status == 200
    detail = reply["order"]
    assert [step["kind"] for step in detail["history"]] == ["order_created", "order_running", "order_ended"]
    assert detail["order"]["end_reason"] == "cancelled"
    assert detail["charged"] == pytest.approx(2 * 2 / 1_440 * 1.05, abs=1e-7)
    assert detail["key"] == "test"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("orders/999", 404, "you have no order 999"),
        ("orders/x", 400, "order_id: "),
        ("orders/0", 400, "order_id: "),
    ],
)
def test_an_order_that_is_not_there_is_code_4(door: Door, path: str, status: int, said: str) -> None:
    found, reply = door.call(path, open=True)
    assert (found, said in reply["error"]) == (status, True)
    assert door.call(path, key="host", open=True)[0] == status


def test_someone_elses_order_is_not_there(door: Door) -> None:
    door.world.credit("10")
    order = door.world.rent()
    assert door.call(f"orders/{order.id}", key="host", open=True)[0] == 404
    body = {"lease_seconds": 60}
    assert door.call(f"orders/{order.id}/lease", body, method="PUT", key="host", open=True)[0] == 404


def test_an_order_ends_before_it_costs_more_than_its_limit(any_door: Door) -> None:
    any_door.world.credit("10")
    _, made = place(any_door, spend_max=0.01)
    order_id = made["order"]["order"]["id"]
    any_door.world.wait(3_600)
    detail = any_door.call(f"orders/{order_id}", open=True)[1]["order"]
    assert detail["order"]["end_reason"] == "limit_reached"
    assert 0.008 < detail["charged"] <= 0.01
    assert any_door.world.difference() is None


def test_a_limit_that_does_not_cover_the_first_minute_refuses_the_order(door: Door) -> None:
    door.world.credit("10")
    status, reply = place(door, spend_max=0.001)
    assert (status, reply["code"], reply["error"]) == (409, 6, "spend_limit_reached")
    assert active(door) == []


def test_an_order_whose_lease_is_not_renewed_stops_by_itself(any_door: Door) -> None:
    any_door.world.credit("10")
    order_id = place(any_door, lease_seconds=300)[1]["order"]["order"]["id"]
    any_door.world.wait(200)
    lease = {"lease_seconds": 300}
    status, renewed = any_door.call(f"orders/{order_id}/lease", lease, method="PUT", open=True)
    assert (status, renewed["order"]["lease_until"]) == (200, any_door.world.now + 300)
    end = any_door.world.now + 300
    any_door.world.wait(299)
    assert active(any_door) == [order_id]
    any_door.world.wait(1_000)
    row = any_door.call(f"orders/{order_id}", open=True)[1]["order"]["order"]
    assert (row["end_reason"], row["order_end"]) == ("lease_expired", end)
    late = any_door.call(f"orders/{order_id}/lease", lease, method="PUT", open=True)
    assert (late[0], late[1]["error"]) == (409, "order_not_active")


def test_a_lease_can_be_given_up(door: Door) -> None:
    door.world.credit("10")
    order_id = place(door, lease_seconds=300)[1]["order"]["order"]["id"]
    door.call(f"orders/{order_id}/lease", {"lease_seconds": None}, method="PUT", open=True)
    door.world.wait(1_000)
    assert active(door) == [order_id]


@pytest.mark.parametrize("seconds", [0, 59, -1, 1.5, "300", 10**9])
def test_a_lease_has_bounds(door: Door, seconds: Any) -> None:
    status, reply = place(door, lease_seconds=seconds)
    assert (status, "lease_seconds" in reply["error"]) == (400, True)


def limit(door: Door, **body: Any) -> tuple[int, Any]:
    return door.call("spend_limits", {"currency": "USD-Blockchain"} | body, method="PUT", open=True)


def test_a_key_spends_no_more_than_its_limit(any_door: Door) -> None:
    world = any_door.world
    _, any_door.keys["other"] = accounts.create_key(world.market, "renter@example.org", "other", world.now)
    world.credit("10")
    assert limit(any_door, amount=0.015, key="other")[0] == 200
    assert any_door.call("create_order", ORDER, key="other")[1]["code"] == 0
    second = world.add_server("rack-2")
    mine = any_door.call("create_order", ORDER | {"renting_server": second})[1]["order"]["id"]
    world.wait(3_600)
    assert active(any_door) == [mine]
    [row] = any_door.call("spend_limits", open=True)[1]["limits"]
    assert 0.014 < row["spent"] <= 0.015
    refused = any_door.call("create_order", ORDER, key="other")
    assert refused[1]["error"] == "spend_limit_reached"
    assert world.difference() is None


def test_the_limit_of_an_account_holds_over_all_its_keys(any_door: Door) -> None:
    world = any_door.world
    world.credit("10")
    second = world.add_server("rack-2")
    limit(any_door, amount=0.015)
    for server in (1, second):
        any_door.call("create_order", ORDER | {"renting_server": server})
    world.wait(3_600)
    assert active(any_door) == []
    assert world.balance() >= 10 * 10**8 - int(0.015 * 10**8)


def test_a_daily_limit_starts_anew_at_midnight_utc(any_door: Door) -> None:
    world = any_door.world
    world.now = world.now // 86_400 * 86_400 + 80_000
    world.beat()
    world.credit("10")
    limit(any_door, amount=0.015, period="day")
    any_door.call("create_order", ORDER)
    world.wait(3_600)
    assert active(any_door) == []
    assert any_door.call("create_order", ORDER)[1]["error"] == "spend_limit_reached"
    world.wait(3_600)
    assert any_door.call("create_order", ORDER)[1]["code"] == 0
    world.wait(600)
    [row] = any_door.call("spend_limits", open=True)[1]["limits"]
    assert 0.01 < row["spent"] <= 0.015
    assert row["since"] % 86_400 == 0


def test_a_daily_limit_is_shown_as_it_counts_today_though_nothing_runs(door: Door) -> None:
    door.world.credit("10")
    limit(door, amount=1, period="day")
    door.world.cancel(door.world.rent().id)
    today = door.call("spend_limits", open=True)[1]["limits"][0]
    door.world.now += 2 * 86_400
    later = door.call("spend_limits", open=True)[1]["limits"][0]
    assert today["spent"] > 0
    assert (later["spent"], later["since"]) == (0, door.world.now // 86_400 * 86_400)


def test_an_order_lives_over_midnight_under_a_daily_limit_that_covers_each_day(any_door: Door) -> None:
    world = any_door.world
    world.now = world.now // 86_400 * 86_400 + 86_000
    world.beat()
    world.credit("10")
    limit(any_door, amount=1.1, period="day")
    any_door.call("create_order", ORDER)
    world.jump(400 + 40_000)
    world.turn()
    assert len(active(any_door)) == 1
    [row] = any_door.call("spend_limits", open=True)[1]["limits"]
    assert row["spent"] == pytest.approx(667 * 2 / 1_440 * 1.05 + 0.1, abs=0.002)
    world.wait(20_000)
    assert active(any_door) == []


def test_a_limited_key_can_not_lift_its_limit(any_door: Door) -> None:
    limit(any_door, amount=1, key="test")
    [row] = any_door.call("spend_limits", open=True)[1]["limits"]
    assert limit(any_door, amount=100, key="test")[0] == 400
    assert any_door.call(f"spend_limits/{row['id']}", method="DELETE", open=True)[0] == 400
    world = any_door.world
    _, any_door.keys["other"] = accounts.create_key(world.market, "renter@example.org", "other", world.now)
    removed = any_door.call(f"spend_limits/{row['id']}", method="DELETE", key="other", open=True)
    assert removed == (200, {"code": 0})
    assert any_door.call("spend_limits", open=True)[1]["limits"] == []
    told = any_door.call("events?kinds=spend_limit_set,spend_limit_removed", open=True)[1]["events"]
    assert [(event["kind"], event["data"]["amount"]) for event in told] == [
        ("spend_limit_set", "1"),
        ("spend_limit_removed", "1"),
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": 1e-12}, "amount"),
        ({"amount": 1, "currency": "dogecoin"}, "currency"),
        ({"amount": 1, "period": "week"}, "period"),
        ({"amount": 1, "key": "nobody"}, "key"),
        ({}, "amount"),
    ],
)
def test_a_limit_that_can_be_none_is_refused_by_its_member(
    door: Door, body: dict[str, Any], field: str
) -> None:
    status, reply = limit(door, **body)
    assert (status, reply["code"], reply["error"].partition(":")[0]) == (400, 2, field)
    assert door.call("spend_limits", open=True)[1]["limits"] == []


def test_a_spot_bid_may_have_catches_too(any_door: Door) -> None:
    any_door.world.credit("10")
    bid = place(any_door, type="spot", spotprice=1.5, spend_max=0.01, lease_seconds=86_400)
    order_id = bid[1]["order"]["order"]["id"]
    any_door.world.wait(3_600)
    row = any_door.call(f"orders/{order_id}", open=True)[1]["order"]["order"]
    assert row["end_reason"] == "limit_reached"


def test_a_limited_key_raises_its_own_bids_only(any_door: Door) -> None:
    world = any_door.world
    _, any_door.keys["other"] = accounts.create_key(world.market, "renter@example.org", "other", world.now)
    world.credit("10")
    limit(any_door, amount=0.5, key="other")
    bid = ORDER | {"type": "spot", "spotprice": 1.5}
    mine = any_door.call("create_order", bid)[1]["order"]["id"]
    raised = {"order_id": mine, "desired_price": 20}
    status, reply = any_door.call("set_spot_price", raised, key="other")
    assert (status, reply["error"]) == (200, "spend_limit_reached")
    assert any_door.call("set_spot_price", raised)[1] == {"code": 0}
    assert any_door.call("set_spot_price", {"order_id": mine, "desired_price": 19.96}, key="other")[1] == {
        "code": 0
    }


def test_text_for_a_container_holds_no_nul(door: Door) -> None:
    door.world.credit("10")
    for member in ("ssh_password", "ssh_key", "jupyter_token", "command", "dockerhub_auth"):
        status, reply = door.call("create_order", ORDER | {member: "a\x00:b"})
        assert (status, reply["error"].partition(":")[0]) == (400, member)
