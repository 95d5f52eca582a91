"""Simulated machines: what runs on them can be connected to, as long as it runs."""

import socket
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from openclore.client import settings_of
from openclore.sandbox import Sandbox, ports
from openclore.sandbox.hosts import image_megabytes, pull_seconds
from openclore.sandbox.ports import LOWEST, NoPorts, Reserved
from openclore.usecases import hosts

from .conftest import START, Caller, NewWorld

pytestmark = pytest.mark.clore_sandbox(seed=4, servers=16)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def greeting(port: int) -> bytes:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=5)) as visitor:
        return visitor.recv(100)


def page(address: str) -> str:
    import httpx2

    return httpx2.get(f"http://{address}/").text


def test_the_ports_of_a_running_order_answer_and_close_with_it(caller: Caller) -> None:
    order_id = caller.rent(ports={"22": "tcp", "8080": "http"}).json()["order"]["id"]
    row = caller.orders()[order_id]
    ssh_port = int(row["tcp_ports"][0].removeprefix("22:"))
    assert not answers(ssh_port)
    caller.sandbox.clock.turn(minutes=1)
    row = caller.orders()[order_id]
    assert row["mon_container"] == 2
    assert row["pub_cluster"] == ["127.0.0.1"]
    assert greeting(ssh_port).startswith(b"SSH-2.0-")
    assert f"order {order_id}" in page(row["http_pub"])
    caller.post("cancel_order", id=order_id)
    assert not answers(ssh_port)


def test_ports_are_silent_while_their_machine_is_lost(caller: Caller) -> None:
    order_id = caller.rent(ports={"22": "tcp"}).json()["order"]["id"]
    caller.sandbox.clock.turn(minutes=1)
    row = caller.orders()[order_id]
    port = int(row["tcp_ports"][0].removeprefix("22:"))
    assert answers(port)
    caller.sandbox.faults.add("host_lost", server_id=row["si"])
    assert not answers(port)
    caller.sandbox.faults.add("host_back", server_id=row["si"])
    assert answers(port)


def test_an_order_whose_port_is_taken_on_this_machine_fails(caller: Caller) -> None:
    order_id = caller.rent(ports={"80": "tcp"}).json()["order"]["id"]
    port = int(caller.orders()[order_id]["tcp_ports"][0].removeprefix("80:"))
    with socket.create_server(("127.0.0.1", port)):
        caller.sandbox.clock.turn(minutes=1)
        order = caller.sandbox.orders()[order_id]
    assert (order.end_reason, order.end_detail) == ("failed", f"port {port} is in use on the machine")


def test_big_images_take_minutes_small_ones_seconds_and_known_ones_no_time(caller: Caller) -> None:
    assert pull_seconds("busybox", 500) < 5
    assert 60 < pull_seconds("pytorch/pytorch:latest", 500) < 600
    assert pull_seconds("pytorch/pytorch:latest", 100) > pull_seconds("pytorch/pytorch:latest", 1_000)
    assert image_megabytes("someone/something:1") == image_megabytes("someone/something:1")
    server_id = caller.free()[0]["id"]
    for minutes, state in ((1, "deploying"), (20, "running")):
        order_id = caller.rent(server_id, image="pytorch/pytorch:latest").json()["order"]["id"]
        caller.sandbox.clock.turn(minutes=1)
        assert caller.sandbox.orders()[order_id].state == state
        caller.sandbox.clock.turn(minutes=minutes * 20)
        assert caller.sandbox.orders()[order_id].state == "running"
        caller.post("cancel_order", id=order_id)


def test_a_bid_that_wins_again_is_deployed_again(caller: Caller) -> None:
    server = caller.free()[0]
    bid = round(server["price"]["spot"]["USD-Blockchain"] * 2, 2)
    order_id = caller.rent(server["id"], type="spot", spotprice=bid, ports={"22": "tcp"}).json()["order"][
        "id"
    ]
    caller.sandbox.clock.turn(minutes=1)
    port = int(caller.orders()[order_id]["tcp_ports"][0].removeprefix("22:"))
    assert answers(port)
    caller.sandbox.faults.add("outbid", server_id=server["id"])
    assert not answers(port)
    caller.post("set_spot_price", order_id=order_id, desired_price=bid * 2)
    caller.sandbox.clock.turn(minutes=1)
    assert caller.sandbox.orders()[order_id].state == "running"
    assert answers(port)


def test_two_sandboxes_share_no_port() -> None:
    with Sandbox(servers=5) as one, Sandbox(servers=5) as other:
        ranges = []
        for sandbox in (one, other):
            with sandbox.market.store.reading() as tx:
                low, high = tx.exec_driver_sql("SELECT min(port_low), max(port_high) FROM servers").one()
                ranges.append(range(low, high + 1))
        assert not set(ranges[0]) & set(ranges[1])


def test_a_sandbox_alone_on_its_machine_always_has_the_same_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ports, "busy", lambda _: False)
    for _ in range(2):
        with closing(Reserved(10)) as reserved:
            assert reserved.first == LOWEST


def test_more_ports_than_there_are_can_not_be_reserved() -> None:
    with pytest.raises(NoPorts, match="no 30000 neighbouring ports"):
        Reserved(30_000)


def test_absences_that_overlap_end_each_on_its_own(caller: Caller) -> None:
    server_id = caller.free()[0]["id"]
    sandbox = caller.sandbox
    sandbox.faults.add("host_lost", server_id=server_id, seconds=600)
    sandbox.clock.turn(100)
    sandbox.faults.add("host_back", server_id=server_id)
    sandbox.faults.add("host_lost", server_id=server_id)
    sandbox.clock.turn(hours=1)
    assert server_id not in [row["id"] for row in caller.get("marketplace").json()["servers"]]
    sandbox.faults.add("host_back", server_id=server_id)
    assert server_id in [row["id"] for row in caller.get("marketplace").json()["servers"]]


def test_a_machine_that_was_away_learns_what_it_missed(caller: Caller) -> None:
    order_id = caller.rent(ports={"22": "tcp"}).json()["order"]["id"]
    caller.sandbox.clock.turn(minutes=1)
    row = caller.orders()[order_id]
    port = int(row["tcp_ports"][0].removeprefix("22:"))
    caller.sandbox.faults.add("host_lost", server_id=row["si"])
    assert caller.post("cancel_order", id=order_id).json()["code"] == 0
    caller.sandbox.faults.add("host_back", server_id=row["si"])
    assert not answers(port)


def test_the_host_takes_a_machine_off_the_market_and_life_goes_on(clore_sandbox: Sandbox) -> None:
    with clore_sandbox.client("host") as host:
        free = [s for s in host.my_servers() if host.server_config(s.name or "").rental_status == 0]
        config = host.server_config(free[0].name or "")
        settings = settings_of(config)
        settings.availability = False
        host.set_server_settings(settings)
        host.remove_server(free[0].id or 0)
        assert free[0].id not in [s.id for s in host.my_servers()]
    clore_sandbox.clock.turn(weeks=2)
    assert clore_sandbox.ledger_difference() is None
    with pytest.raises(ValueError, match="no simulated server"):
        clore_sandbox.faults.add("host_lost", server_id=free[0].id)


def test_who_is_outbid_again_and_again_can_raise_again_and_again(caller: Caller) -> None:
    server = caller.free()[0]
    bid = round(server["price"]["spot"]["USD-Blockchain"] * 2, 2)
    order_id = caller.rent(server["id"], type="spot", spotprice=bid).json()["order"]["id"]
    for _ in range(12):
        caller.sandbox.faults.add("outbid", server_id=server["id"], factor=1.02)
        assert caller.sandbox.orders()[order_id].state == "waiting"
        bid = round(bid * 1.1 + 0.01, 2)
        assert caller.post("set_spot_price", order_id=order_id, desired_price=bid).json()["code"] == 0
        assert caller.sandbox.orders()[order_id].state == "placed"


def test_who_comes_right_when_something_happens_finds_all_machines_there(new_world: NewWorld) -> None:
    rehearsal = new_world()
    rehearsal.world.agenda.put(START + 1_000, lambda now: None)
    before = rehearsal.rows("SELECT id FROM servers WHERE online")
    rehearsal.world.turn_to(START + 1_000)
    hosts.sweep(rehearsal.market, START + 1_000)
    assert rehearsal.rows("SELECT id FROM servers WHERE online") == before
