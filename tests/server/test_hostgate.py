import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from litestar.exceptions import WebSocketDisconnect
from litestar.testing import TestClient
from sqlalchemy.exc import OperationalError

from openclore.api.hostlink import (
    CREDENTIAL_REFUSED_CLOSE,
    LINK_PATH,
    REGISTER_PATH,
    Assignments,
    BackgroundJob,
    Beat,
    Container,
    FromMarket,
    Paid,
    Refused,
)
from openclore.server.app import build
from openclore.server.service import Service
from openclore.store.store import Store
from openclore.usecases import hosts, servers

from ..processes import until
from ..world import hello
from .conftest import Door


def registered(door: Door, name: str = "rack-9") -> tuple[int, str]:
    """A new server's id and its credential."""
    server = servers.create_server(door.world.market, "host@example.org", name, door.world.now)
    reply = door.http.post(REGISTER_PATH, content=json.dumps({"init_token": server.init_token}))
    assert reply.status_code == 200
    assert (reply.json()["server_id"], reply.json()["server_name"]) == (server.id, name)
    return server.id, reply.json()["credential"]


@contextmanager
def linked(door: Door, credential: str) -> Iterator[Any]:
    with door.http.websocket_connect(LINK_PATH, headers={"authorization": f"Bearer {credential}"}) as socket:
        yield socket


def say(socket: Any, message: Any) -> None:
    socket.send_text(msgspec.json.encode(message).decode())


def hear(socket: Any) -> FromMarket:
    heard: FromMarket = msgspec.json.decode(socket.receive_text(timeout=20), type=FromMarket)
    return heard


def listed(door: Door, server_id: int, name: str = "rack-9") -> None:
    door.world.set_server(name)
    door.service.catch_up()
    rows = door.call("marketplace", key=None)[1]["servers"]
    assert server_id in [row["id"] for row in rows]


def test_an_agent_registers_connects_and_is_listed(door: Door) -> None:
    server_id, credential = registered(door)
    with linked(door, credential) as socket:
        say(socket, hello())
        assert isinstance(hear(socket), Assignments)
        listed(door, server_id)


def test_an_order_reaches_the_agent_at_once_and_its_reports_reach_the_renter(door: Door) -> None:
    server_id, credential = registered(door)
    door.world.credit("10")
    with linked(door, credential) as socket:
        say(socket, hello())
        hear(socket)
        listed(door, server_id)
        body = {
            "renting_server": server_id,
            "type": "on-demand",
            "currency": "USD-Blockchain",
            "image": "busybox",
            "env": {"MODE": "train"},
        }
        order = door.call("create_order", body)[1]["order"]
        wanted = hear(socket)
        assert isinstance(wanted, Assignments)
        assert [(a.order_id, a.image, a.env) for a in wanted.orders] == [
            (order["id"], "busybox", {"MODE": "train"})
        ]
        say(
            socket,
            Beat(generation=wanted.generation, containers=[Container(order_id=order["id"], state="running")]),
        )
        paid = hear(socket)
        assert isinstance(paid, Paid)
        assert set(paid.paid_until) == {order["id"]}
        assert (wanted.now, paid.now) == (door.world.now, door.world.now)
        until(lambda: door.call("my_orders")[1]["orders"][0]["state"] == "running", what="the order to run")
        assert door.call("cancel_order", {"id": order["id"]})[1]["code"] == 0
        gone = hear(socket)
        assert isinstance(gone, Assignments)
        assert gone.orders == []


def test_a_background_job_reaches_the_agent_at_once_and_its_host_sees_it(door: Door) -> None:
    server_id, credential = registered(door)
    with linked(door, credential) as socket:
        say(socket, hello())
        assert hear(socket) == Assignments(generation=1, orders=[], now=door.world.now)
        job = {"image": "example/miner:2", "command": "mine", "env": {"WORKER": "9"}}
        path, once = f"servers/{server_id}/background_job", {"Idempotency-Key": "k1"}
        for _ in range(2):
            assert door.call(path, job, key="host", open=True, headers=once) == (200, {"code": 0})
        assert hear(socket) == Assignments(
            generation=2, orders=[], now=door.world.now, background=BackgroundJob(**job, revision=1)
        )
        config = door.call("server_config?server_name=rack-9", key="host")[1]["config"]
        assert config["background_job"] == job | {"times_updated": 1}
        assert door.call(path, {"image": None}, key="host", open=True) == (200, {"code": 0})
        assert hear(socket) == Assignments(generation=3, orders=[], now=door.world.now)
        assert "background_job" not in door.call("server_config?server_name=rack-9", key="host")[1]["config"]


@pytest.mark.parametrize(
    ("body", "said"),
    [({}, "image"), ({"image": "a b"}, "image"), ({"image": "a", "env": {"A": "$x"}}, "env")],
)
def test_a_background_job_that_is_none_changes_nothing(door: Door, body: Any, said: str) -> None:
    path = f"servers/{door.world.server}/background_job"
    status, reply = door.call(path, body, key="host", open=True)
    assert (status, reply["code"], said in reply["error"]) == (400, 2, True)
    assert door.call(path, {"image": "a"}, key="renter", open=True)[0] == 404
    assert hosts.assignments(door.world.market, door.world.server, door.world.now).generation == 1


def test_an_agent_that_missed_a_change_is_told_again(door: Door) -> None:
    _, credential = registered(door)
    with linked(door, credential) as socket:
        say(socket, hello())
        current = hear(socket)
        say(socket, Beat(generation=0))
        assert hear(socket) == current


def test_a_failed_container_ends_the_order_with_the_agents_words(door: Door) -> None:
    server_id, credential = registered(door)
    door.world.credit("10")
    with linked(door, credential) as socket:
        say(socket, hello())
        hear(socket)
        listed(door, server_id)
        order = door.world.rent(server_id)
        failed = Container(order_id=order.id, state="failed", detail="no such image")
        say(socket, Beat(generation=0, containers=[failed]))
        until(lambda: door.world.orders()[order.id].state == "ended", what="the order to end")
        row = door.world.orders()[order.id]
        assert (row.end_reason, row.end_detail) == ("failed", "no such image")


def test_reports_about_other_peoples_orders_change_nothing(door: Door) -> None:
    _, credential = registered(door)
    door.world.credit("10")
    order = door.world.rent()
    with linked(door, credential) as socket:
        say(socket, hello())
        hear(socket)
        say(socket, Beat(generation=0, containers=[Container(order_id=order.id, state="failed")]))
        hear(socket)
        assert door.world.orders()[order.id].state == "placed"


def test_a_server_taken_offline_comes_back_with_the_next_heartbeat(door: Door) -> None:
    server_id, credential = registered(door)
    with linked(door, credential) as socket:
        say(socket, hello())
        hear(socket)
        listed(door, server_id)
        door.world.now += 60
        door.world.turn()
        door.service.catch_up()
        assert door.call("marketplace", key=None)[1]["servers"] == []
        say(socket, Beat(generation=0))
        hear(socket)
        until(lambda: door.call("marketplace", key=None)[1]["servers"], what="the server to be listed")


@pytest.mark.parametrize("token", ["", "x" * 48, "x" * 10_000])
def test_an_unknown_init_token_is_code_3_or_2(door: Door, token: str) -> None:
    reply = door.http.post(REGISTER_PATH, content=json.dumps({"init_token": token}))
    assert (reply.status_code, reply.json()["code"]) in ((401, 3), (400, 2))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"init_token": 1}', b'{"init_token": "x", "more": 1}']
)
def test_a_broken_registration_is_code_2(door: Door, body: bytes) -> None:
    reply = door.http.post(REGISTER_PATH, content=body)
    assert (reply.status_code, reply.json()["code"]) == (400, 2)


@pytest.mark.parametrize("credential", ["", "wrong", "x" * 5_000])
def test_an_unknown_credential_is_closed_with_the_code_that_says_so(door: Door, credential: str) -> None:
    with pytest.raises(WebSocketDisconnect) as closed, linked(door, credential) as socket:
        socket.receive_text(timeout=20)
    assert closed.value.code == CREDENTIAL_REFUSED_CLOSE


def test_while_the_database_fails_an_agent_is_told_so_and_keeps_its_credential(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("", {}, Exception("the server closed the connection"))

    _, credential = registered(door)
    monkeypatch.setattr(hosts, "server_of", fail)
    with pytest.raises(WebSocketDisconnect) as closed, linked(door, credential) as socket:
        socket.receive_text(timeout=20)
    assert closed.value.code not in (CREDENTIAL_REFUSED_CLOSE, 1000)
    assert "database" in closed.value.detail


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 50_000,
        "{}",
        '{"type": "beat", "generation": 1}',
        '{"type": "nonsense"}',
        msgspec.json.encode(hello(protocol=99)).decode(),
        msgspec.json.encode(hello(port_low=5, port_high=4)).decode(),
        msgspec.json.encode(hello(port_low=0)).decode(),
        msgspec.json.encode(hello(public_address="two words")).decode(),
        msgspec.json.encode(hello(agent_version="x" * 2_000_000)).decode(),
    ],
    ids=lambda text: text[:40],
)
def test_a_broken_message_is_refused_with_a_reason(door: Door, text: str) -> None:
    _, credential = registered(door)
    with linked(door, credential) as socket:
        socket.send_text(text)
        refused = hear(socket)
        assert isinstance(refused, Refused)
        assert refused.reason
        with pytest.raises(WebSocketDisconnect):
            socket.receive_text(timeout=20)


def test_a_newer_connection_of_the_same_server_takes_over(door: Door) -> None:
    server_id, credential = registered(door)
    with linked(door, credential) as older, linked(door, credential) as newer:
        say(older, hello())
        hear(older)
        say(newer, hello())
        hear(newer)
        listed(door, server_id)
        order_seen = (
            door.world.credit("10")
            and door.call(
                "create_order",
                {
                    "renting_server": server_id,
                    "type": "on-demand",
                    "currency": "USD-Blockchain",
                    "image": "x",
                },
            )[1]["order"]["id"]
        )
        wanted = hear(newer)
        assert isinstance(wanted, Assignments)
        assert wanted.orders[0].order_id == order_seen


def test_a_quiet_host_is_looked_up_once_a_minute_and_when_something_happens(door: Door) -> None:
    _, credential = registered(door)
    looks: list[int] = []
    read = door.service.read

    async def counted(use_case: Any, *args: Any, **kwargs: Any) -> Any:
        looks.extend([1] if use_case is hosts.assignments else [])
        return await read(use_case, *args, **kwargs)

    door.service.read = counted  # type: ignore[method-assign]
    with linked(door, credential) as link:
        say(link, hello())
        first = hear(link)
        assert isinstance(first, Assignments)
        generation = first.generation
        before = len(looks)
        for _ in range(5):
            door.world.now += 5
            say(link, Beat(generation=generation))
            assert hear(link) == Paid(paid_until={}, now=door.world.now)
        assert len(looks) == before
        for _ in range(12):
            door.world.now += 5
            say(link, Beat(generation=generation))
            assert isinstance(hear(link), Paid)
        assert len(looks) == before + 1


@pytest.mark.parametrize(
    "older_says",
    [Beat(generation=1), Beat(generation=1, containers=[Container(order_id=1, state="failed", detail="")])],
)
def test_a_newer_connection_to_another_process_takes_over_too(
    door: Door, older_says: Beat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older one hears of it at its next heartbeat, or as soon as there is something to run."""
    monkeypatch.setattr(Store, "shared", True)
    _, credential = registered(door)
    other = Service(door.world.market, lambda: door.world.now)
    other.start()
    with linked(door, credential) as older, TestClient(build(other)) as elsewhere:
        say(older, hello())
        assert isinstance(hear(older), Assignments)
        who = {"authorization": f"Bearer {credential}"}
        with elsewhere.websocket_connect(LINK_PATH, headers=who) as newer:
            say(newer, hello())
            assert isinstance(hear(newer), Assignments)
            say(older, older_says)
            assert hear(older) == Refused(reason="a newer connection of this server took over")
            say(newer, Beat(generation=1))
            assert isinstance(hear(newer), Paid)
