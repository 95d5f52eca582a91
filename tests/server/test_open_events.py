import asyncio
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from openclore.api.open.events import StreamEvents
from openclore.rules.policy import Webhooks
from openclore.server import streams
from openclore.server.courier import Courier
from openclore.server.door import Call
from openclore.server.watchers import Watchers
from openclore.store import events as event_log
from openclore.store.events import Kind
from openclore.usecases import accounts

from ..receivers import Receiver, a_receiver
from .conftest import Door

URL = "https://hooks.example/secret-path"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with a_receiver() as receiver:
        yield receiver


def test_events_are_read_with_a_cursor(any_door: Door) -> None:
    any_door.world.credit("10")
    status, reply = any_door.call("events?limit=1", open=True)
    assert status == 200
    assert [event["kind"] for event in reply["events"]] == ["account_created"]
    assert reply["more"] is True
    status, rest = any_door.call(f"events?after={reply['after']}&kinds=wallet_credited", open=True)
    assert [event["data"] for event in rest["events"]] == [{"currency": "USD-Blockchain", "amount": "10"}]
    assert rest["more"] is False
    assert any_door.call("events", key=None, open=True)[1]["code"] == 3


@pytest.mark.parametrize(
    ("query", "member"),
    [
        ("kinds=order_exploded", "kinds"),
        ("kinds=rates_set", "kinds"),
        ("kinds=" + "x" * 2_000, "kinds"),
        ("after=-1", "after"),
        ("after=x", "after"),
        ("after=9223372036854775807", "after"),
        ("after=9223372036854775808", "after"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("order_id=0", "order_id"),
        ("server_id=x", "server_id"),
    ],
)
def test_what_can_not_be_asked_for_is_refused_by_name(door: Door, query: str, member: str) -> None:
    status, reply = door.call(f"events?{query}", open=True)
    assert (status, reply["code"]) == (400, 2)
    assert reply["error"].startswith(f"{member}: ")
    if member in ("kinds", "after"):
        status, reply = door.call(f"events/stream?{query}", open=True)
        assert (status, reply["code"]) == (400, 2)
        assert reply["error"].startswith(f"{member}: ")


@pytest.mark.parametrize("header", ["x", "-1", "1.5", "99999999999999999999", "4000000000", "٣"])
def test_a_stream_goes_on_only_from_an_events_id(door: Door, header: str) -> None:
    headers = {"Last-Event-ID": header.encode()}
    status, reply = door.call("events/stream", open=True, headers=headers)
    assert (status, reply["code"]) == (400, 2)
    assert reply["error"].startswith("Last-Event-ID: ")


def test_a_stream_says_where_it_begins(door: Door) -> None:
    service, key = door.service, door.service.keys.look_up(door.keys["renter"])
    with door.world.store.reading() as tx:
        newest = event_log.newest(tx)
    asked = cast("Any", SimpleNamespace(headers={}))
    call = Call(service, key, door.world.now, asked, {}, service.voice("/open/v1", key), None, "")
    for after, begins in ((None, newest), (1, 1)):
        stream = cast("Any", asyncio.run(streams.stream_events(call, StreamEvents(after=after))))
        assert stream.headers["Last-Event-ID"] == str(begins)


def test_a_stream_that_was_refused_counts_for_nothing(door: Door) -> None:
    for _ in range(20):
        assert door.call("events/stream?kinds=nothing", open=True)[1]["code"] == 2
    assert door.service.watchers.count(door.world.renter) == 0


def test_webhooks_are_made_read_rotated_and_removed(any_door: Door) -> None:
    status, reply = any_door.call("webhooks", {"url": URL, "kinds": ["order_ended"]}, open=True)
    assert status == 200
    made = reply["webhook"]
    assert made["secret"].startswith("whsec_")
    listed = any_door.call("webhooks", open=True)[1]["webhooks"]
    assert listed == [{name: value for name, value in made.items() if name != "secret"}]
    path = f"webhooks/{made['id']}"
    _, rotated = any_door.call(f"{path}/rotate", method="POST", open=True)
    assert rotated["webhook"]["secret"] != made["secret"]
    _, reply = any_door.call(path, open=True)
    assert reply["webhook"]["deliveries"] == []
    assert "secret" not in reply["webhook"]
    assert any_door.call(path, method="DELETE", open=True) == (200, {"code": 0})
    assert any_door.call(path, open=True)[0] == 404
    assert any_door.call("webhooks", open=True)[1]["webhooks"] == []


def test_a_webhook_asked_for_twice_with_one_key_is_made_once(door: Door) -> None:
    headers = {"Idempotency-Key": "first"}
    first = door.call("webhooks", {"url": URL}, open=True, headers=headers)
    assert door.call("webhooks", {"url": URL}, open=True, headers=headers) == first
    assert len(door.call("webhooks", open=True)[1]["webhooks"]) == 1


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ({"url": "http://127.0.0.1/"}, "url"),
        ({"url": "http://[::1]:80/"}, "url"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "https://user:password@hooks.example/"}, "url"),
        ({"url": "x" * 3_000}, "url"),
        ({"url": ""}, "url"),
        ({"url": 5}, "url"),
        ({"url": "https://hooks.example/\x00"}, "url"),
        ({}, "url"),
        ({"url": URL, "kinds": ["order_exploded"]}, "kinds"),
        ({"url": URL, "kinds": "order_ended"}, "kinds"),
        ({"url": URL, "kinds": ["order_ended"] * 65}, "kinds"),
    ],
)
def test_an_unusable_webhook_is_refused_by_name(door: Door, body: object, member: str) -> None:
    status, reply = door.call("webhooks", body, open=True)
    assert (status, reply["code"]) == (400, 2)
    assert reply["error"].startswith(f"{member}: ")
    assert "password" not in reply["error"].replace("user name or password", "")
    assert door.call("webhooks", open=True)[1]["webhooks"] == []


@pytest.mark.parametrize("webhook_id", ["0", "-1", "x", "1.5", "9223372036854775808"])
def test_an_id_that_is_none_is_refused_by_name(door: Door, webhook_id: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rotate"), ("POST", "/test")):
        status, reply = door.call(f"webhooks/{webhook_id}{path}", method=method, open=True)
        assert (status, reply["code"]) == (400, 2)
        assert reply["error"].startswith("webhook_id: ")


def test_an_account_with_too_many_webhooks_is_told_so(door: Door) -> None:
    for _ in range(20):
        assert door.call("webhooks", {"url": URL}, open=True)[0] == 200
    status, reply = door.call("webhooks", {"url": URL}, open=True)
    assert (status, reply["code"], reply["error"]) == (409, 6, "webhook_limit_reached")


def test_a_test_call_says_what_became_of_it(any_door: Door, receiver: Receiver) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    url = receiver.url("ok", host="hooks.example")
    webhook = any_door.call("webhooks", {"url": url}, open=True)[1]["webhook"]
    path = f"webhooks/{webhook['id']}"
    any_door.service.courier = Courier(Webhooks(allow_private_addresses=True), resolve)
    _, reply = any_door.call(f"{path}/test", method="POST", open=True)
    assert (reply["delivery"]["state"], reply["delivery"]["status"]) == ("delivered", 204)
    assert json.loads(receiver.messages[0].body)["type"] == "test"
    any_door.service.courier = Courier(Webhooks(), resolve)
    _, reply = any_door.call(f"{path}/test", method="POST", open=True)
    assert reply["delivery"]["state"] == "failed"
    assert "private address" in reply["delivery"]["problem"]
    kept = any_door.call(path, open=True)[1]["webhook"]["deliveries"]
    assert sorted(delivery["state"] for delivery in kept) == ["delivered", "failed"]
    assert len(receiver.messages) == 1


def test_nothing_is_locked_while_a_test_call_waits(door: Door, receiver: Receiver) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        door.world.credit("1", key="while it waits")
        return ["127.0.0.1"]

    url = receiver.url("ok", host="hooks.example")
    webhook = door.call("webhooks", {"url": url}, open=True)[1]["webhook"]
    door.service.courier = Courier(Webhooks(allow_private_addresses=True), resolve)
    _, reply = door.call(f"webhooks/{webhook['id']}/test", method="POST", open=True)
    assert reply["delivery"]["state"] == "delivered"


def test_a_stream_reads_on_only_when_its_reader_does(door: Door) -> None:
    """So a slow reader costs the page it is at."""
    world, service = door.world, door.service
    for number in range(250):
        world.credit("1", key=str(number))
    key = service.keys.look_up(door.keys["renter"])
    assert key is not None

    async def scenario() -> list[int]:
        watcher = service.watchers.add(key.account_id)
        feed = streams._feed(service, key, watcher, 0, [Kind.WALLET_CREDITED])
        assert await anext(feed) == b":\n\n"
        sizes = [(await anext(feed)).count(b"\nevent: wallet_credited\n") for _ in range(2)]
        world.credit("1", key="meanwhile")
        sizes.append((await anext(feed)).count(b"\nevent: wallet_credited\n"))
        watcher.close()
        assert [chunk async for chunk in feed] == []
        return sizes

    assert asyncio.run(scenario()) == [100, 100, 51]


def test_a_quiet_stream_says_that_it_is_there(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.01)
    key = door.service.keys.look_up(door.keys["renter"])
    assert key is not None

    async def scenario() -> None:
        watcher = door.service.watchers.add(key.account_id)
        with door.world.store.reading() as tx:
            newest = event_log.newest(tx)
        feed = streams._feed(door.service, key, watcher, newest, ())
        assert [await anext(feed) for _ in range(4)] == [b":\n\n"] * 4
        accounts.revoke_key(door.world.market, "renter@example.org", "test", door.world.now)
        assert all([chunk == b":\n\n" async for chunk in feed])

    asyncio.run(scenario())


def test_only_those_are_woken_who_are_told(door: Door) -> None:
    world = door.world
    world.credit("10")
    order = world.rent()
    with world.store.reading() as tx:
        ended = [event for event in event_log.after(tx, 0) if event.order_id == order.id]

    async def scenario() -> None:
        watchers = Watchers()
        renter, host, other, everybody = (watchers.add(who) for who in (world.renter, world.host, 999, None))
        watchers.tell(ended)
        assert [await watcher.news(0.05) for watcher in (renter, host, everybody)] == [True] * 3
        assert not await other.news(0.01)
        assert not await renter.news(0.01)
        watchers.close()
        late = watchers.add(world.renter)
        assert all([await watcher.news(1) and watcher.closed for watcher in (renter, other, late)])
        assert watchers.count(world.renter) == 2
        del renter, late
        assert watchers.count(world.renter) == 0

    asyncio.run(scenario())
