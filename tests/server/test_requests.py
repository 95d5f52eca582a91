"""Every request has an id, and a line in the log where one is wanted."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import text
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from openclore.server.settings import Settings
from openclore.store.store import Store

from .conftest import Door, a_door

ORDER = {
    "renting_server": 1,
    "type": "on-demand",
    "currency": "USD-Blockchain",
    "image": "busybox",
    "ssh_password": "s3cret-word",
}
HEADER = "X-Request-Id"


@pytest.fixture
def logging_door(new_sqlite_store: Callable[[], Store]) -> Iterator[Door]:
    with a_door(new_sqlite_store(), Settings(log_requests=True)) as door:
        door.world.credit("10")
        yield door


def lines(door: Door, *calls: Callable[[], Any]) -> list[dict[str, Any]]:
    with capture_logs(processors=[merge_contextvars]) as logs:
        for call in calls:
            call()
    return [dict(line) for line in logs]


def test_a_request_is_answered_with_its_id(door: Door) -> None:
    for sent in ("a", "3f2b8c1e-9d54-4a0b-8a54-0d9a5c2f7b11", "lb:7.req_9"):
        assert door.http.get("/healthz", headers={HEADER: sent}).headers[HEADER] == sent
    made = [door.http.get("/healthz").headers[HEADER] for _ in range(2)]
    assert all(len(one) == 16 for one in made)
    assert made[0] != made[1]


@pytest.mark.parametrize("sent", ["", "two words", 'x"}', "x" * 41, "ä", "a\tb"])
def test_an_id_that_does_not_belong_in_a_log_is_replaced(door: Door, sent: str) -> None:
    received = door.http.get("/healthz", headers={HEADER: sent.encode()}).headers[HEADER]
    assert received != sent
    assert len(received) == 16


def test_an_api_key_is_no_request_id(door: Door) -> None:
    key = door.keys["renter"]
    assert door.http.get("/healthz", headers={HEADER: key}).headers[HEADER] != key


def test_every_kind_of_answer_has_an_id(door: Door) -> None:
    for path in ("/v1/wallets", "/v1/marketplace", "/v1/nothing", "/docs", "/metrics", "/gigaspot/x"):
        assert HEADER in door.http.get(path).headers, path


def test_nothing_is_logged_of_requests_that_work(door: Door) -> None:
    assert lines(door, lambda: door.call("wallets"), lambda: door.call("nothing")) == []


def test_a_line_says_who_asked_for_what_and_what_came_of_it(logging_door: Door) -> None:
    door = logging_door
    [line] = lines(door, lambda: door.call("create_order", ORDER, headers={HEADER: "mine-1"}))
    assert 0 < line.pop("seconds") < 20
    assert line == {
        "event": "request",
        "log_level": "info",
        "request_id": "mine-1",
        "endpoint": "create_order",
        "code": 0,
        "status": 200,
        "key": 1,
        "orders": [1],
    }


def test_lines_name_the_orders_that_requests_are_about(logging_door: Door) -> None:
    door = logging_door
    made = lines(
        door,
        lambda: door.call("orders", ORDER, open=True),
        lambda: door.call("orders/1", open=True),
        lambda: door.call("orders/1/lease", {"lease_seconds": 600}, method="PUT", open=True),
        lambda: door.call("set_spot_price", {"order_id": 7, "desired_price": 1}),
        lambda: door.call("cancel_orders", {"order_ids": [8, 9]}),
        lambda: door.call("edit_gigaspot_orders", [{"order_id": 5, "price": 1}]),
        lambda: door.call("cancel_order", {"id": "1"}),
        lambda: door.call("cancel_order", {"id": "one"}),
        lambda: door.call("wallets", key=None),
    )
    assert [(line["endpoint"], line["code"], line.get("orders"), line.get("key")) for line in made] == [
        ("place_order", 0, [1], 1),
        ("read_order", 0, [1], 1),
        ("renew_lease", 0, [1], 1),
        ("set_spot_price", 6, [7], 1),
        ("cancel_orders", 0, [8, 9], 1),
        ("edit_gigaspot_orders", 0, [5], 1),
        ("cancel_order", 0, [1], 1),
        ("cancel_order", 2, None, 1),
        ("wallets", 3, None, None),
    ]


def test_a_request_that_fails_is_logged_with_its_traceback_and_the_id_in_its_reply(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise ZeroDivisionError("for a test")

    monkeypatch.setattr(door.service.snapshot, "tail", fails)
    replies: list[Any] = []
    with capture_logs() as logs:
        replies.append(door.http.get("/v1/marketplace"))
    assert replies[0].json()["code"] == 1
    [line] = logs
    assert line["event"] == "request failed"
    assert line["log_level"] == "error"
    assert (line["endpoint"], line["code"], line["status"]) == ("marketplace", 1, 500)
    assert line["request_id"] == replies[0].headers[HEADER]
    assert line["exc_info"].__traceback__ is not None


def test_a_database_that_fails_is_logged_without_what_was_asked_of_it(door: Door) -> None:
    door.world.credit("10")
    with door.world.store.writing() as tx:
        tx.execute(text("ALTER TABLE orders RENAME COLUMN deployment TO elsewhere"))
    with capture_logs() as logs:
        assert door.call("create_order", ORDER)[1]["code"] == 1
    [line] = logs
    assert line["event"] == "database error"
    assert line["key"] == 1
    assert "no such column" in line["error"]
    assert "usecases/orders.py" in line["exception"]
    assert "s3cret-word" not in repr(line)


def test_whatever_is_logged_during_a_request_carries_its_id(
    logging_door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    import structlog

    door, before = logging_door, logging_door.service.snapshot.listed

    def says_something() -> Any:
        structlog.get_logger().info("deep inside")
        return before()

    monkeypatch.setattr(door.service.snapshot, "listed", says_something)
    inside, line = lines(door, lambda: door.call("offers", open=True, headers={HEADER: "mine-2"}))
    assert (inside["event"], inside["request_id"]) == ("deep inside", "mine-2")
    assert line["request_id"] == "mine-2"
