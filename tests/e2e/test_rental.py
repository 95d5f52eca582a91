"""One rental from start to end: server, agent and client as separate processes."""

import json
import signal
import subprocess
import time
import urllib.request
from contextlib import suppress
from typing import Any

import pytest

from openclore.cli.demo_image import HELLO

from ..processes import until
from .conftest import Installation, answers


def rent(world: Installation, image: str, *more: str, status: int = 0) -> dict[str, Any]:
    """Rent the only server; the order that `openclore rent` prints."""
    (server,) = until(lambda: world.json("marketplace", who="renter"), what="the server to be listed")
    words = ("rent", str(server["id"]), "--image", image, "--currency", "usd", "--port", "8000:http")
    rented: dict[str, Any] = world.json(*words, *more, who="renter", status=status)
    return rented


def page(order: dict[str, Any]) -> str:
    """What the order serves; empty while the engine takes connections and the container does not yet."""
    with suppress(OSError), urllib.request.urlopen(f"http://{order['http_pub']}/", timeout=20) as reply:
        return str(reply.read().decode())
    return ""


def container(order: dict[str, Any]) -> dict[str, Any]:
    """What the engine says of the order's container: id, start, settings. Others may use the engine too."""
    port = order["http_pub"].rpartition(":")[2]
    found = subprocess.run(
        ["docker", "ps", "-q", "--filter", f"publish={port}"], capture_output=True, check=True
    )
    done = subprocess.run(
        ["docker", "inspect", *found.stdout.decode().split()], capture_output=True, check=True
    )
    (inspected,) = json.loads(done.stdout)
    assert inspected["Config"]["Labels"]["openclore.order"] == str(order["id"])
    return dict(inspected)


def formula(order: dict[str, Any], now: float) -> set[float]:
    """What `spend` may be: two dollars a day by started minutes, less a minute for looks and absences."""
    minutes = {max(0, int(now - order["ct"]) - late) // 60 + 1 for late in range(60)}
    return {(2 * 10**8) * minute // 1_440 / 10**8 for minute in minutes}


@pytest.mark.timeout(240)
def test_a_real_container_is_rented_reached_charged_and_gone(installation: Installation, image: str) -> None:
    world = installation
    world.settle_in("docker")
    order = rent(world, image)
    until(lambda: page(order) == HELLO, what="the page")
    started = container(order)

    # The agent dies and comes back: the container has not noticed.
    world.processes["host"].stop(signal.SIGKILL)
    assert page(order) == HELLO
    world.start_host("docker")
    again = container(order)
    assert (again["Id"], again["State"]["StartedAt"]) == (started["Id"], started["State"]["StartedAt"])

    # So does the market: nothing is lost, and the agent finds it again.
    before = world.order(order["id"])
    world.processes["market"].stop(signal.SIGKILL)
    assert page(order) == HELLO
    world.start_market()
    after = world.order(order["id"])
    assert (after["id"], after["ct"], after["tcp_ports"], after["http_pub"]) == tuple(
        before[name] for name in ("id", "ct", "tcp_ports", "http_pub")
    )
    until(world.host_is_online, what="the host to be online again")
    assert container(order)["Id"] == started["Id"]
    assert world.json("admin", "verify")["difference"] is None

    # The charge, to the minute: the bill follows the formula, the wallet follows the bill.
    row = world.order(order["id"])
    assert row["spend"] in formula(row, time.time())
    world.json("cancel", str(order["id"]), who="renter")
    row = world.order(order["id"])
    assert (row["state"], row["end_reason"]) == ("ended", "cancelled")
    spend = round(row["spend"] * 10**8)
    assert round(world.wallet() * 10**8) == 10 * 10**8 - spend - spend * 5 // 100

    # Gone: port, container, and the machine is free at once.
    until(lambda: not answers(order), what="the container to be gone")
    until(
        lambda: subprocess.run(["docker", "inspect", started["Id"]], capture_output=True).returncode,
        what="the container to be removed",
    )
    assert world.json("marketplace", who="renter")[0]["rented"] is False
    verdict = world.json("admin", "verify")
    assert (verdict["orders"], verdict["difference"]) == (1, None)


def test_a_container_has_few_rights(installation: Installation, image: str) -> None:
    world = installation
    world.settle_in("docker")
    order = rent(world, image, "--env", "MODE=train")
    found = container(order)
    settings = found["HostConfig"]
    assert settings["Privileged"] is False
    assert not settings["Binds"]
    assert not [mount for mount in found["Mounts"] if mount["Type"] == "bind"]
    assert settings["Memory"] > 0
    assert settings["PidsLimit"] > 0
    assert settings["NanoCpus"] > 0
    assert settings["LogConfig"]["Config"]["max-size"]
    assert "no-new-privileges" in " ".join(settings["SecurityOpt"])
    assert settings["NetworkMode"] not in ("host", "bridge", "default")
    assert "MODE=train" in found["Config"]["Env"]


def background(world: Installation) -> str:
    """The engine's word for the state of the background job's container; empty where there is none."""
    ours = (f"label=openclore.market=http://127.0.0.1:{world.port}", "label=openclore.background")
    filters = [word for label in ours for word in ("--filter", label)]
    listed = subprocess.run(
        ["docker", "ps", "-a", "--format", "{{.State}}", *filters], capture_output=True, check=True
    )
    return listed.stdout.decode().strip()


def test_a_machine_works_for_its_host_while_nobody_rents_it(installation: Installation, image: str) -> None:
    world = installation
    world.settle_in("docker")
    job = ("--image", image, "--command", "sleep 1000", "--env", "WORKER=rack 1")
    world.json("server", "background", "rack-1", *job, who="host")
    until(lambda: background(world) == "running", what="the background job to run")
    order = rent(world, image)
    until(lambda: page(order) == HELLO, what="the page")
    assert background(world) == "exited"
    world.json("cancel", str(order["id"]), who="renter")
    until(lambda: background(world) == "running", what="the background job to go on")
    shown = world.json("server-config", "rack-1", who="host")["background_job"]
    assert shown["env"] == {"WORKER": "rack 1"}
    assert shown["times_updated"] == 1
    world.json("server", "background", "rack-1", "--off", who="host")
    until(lambda: background(world) == "", what="the background job to be gone")
    assert world.json("admin", "verify")["difference"] is None
    assert "rack 1" not in world.processes["host"].text()


def test_an_image_that_does_not_exist_ends_the_order_with_a_readable_reason(
    installation: Installation, image: str
) -> None:
    world = installation
    world.settle_in("docker")
    rent(world, "localhost:1/nowhere", status=12)
    (order,) = world.json("orders", "--all", who="renter")
    assert (order["state"], order["end_reason"], order["mon_container"]) == ("ended", "failed", 1)
    assert "localhost:1/nowhere" in order["end_detail"]
    assert order["spend"] in formula(order, order["order_end"])
    assert world.json("marketplace", who="renter")[0]["rented"] is False


def test_without_an_engine_the_simulated_runtime_stands_in_and_says_so(installation: Installation) -> None:
    world = installation
    world.settle_in("simulated")
    order = rent(world, "any/image:1")
    assert "simulated" in page(order)
    for listing in (
        world.json("marketplace", "--all", who="renter"),
        world.json("orders", who="renter"),
        world.json("servers", who="host"),
    ):
        assert listing[0]["specs"]["runtime"] == "simulated"
    world.json("cancel", str(order["id"]), who="renter")
    until(lambda: not answers(order), what="the port to close")


def test_a_dead_host_is_noticed_and_not_paid(installation: Installation) -> None:
    world = installation
    world.settle_in("simulated")
    order = rent(world, "any/image:1")
    world.processes["host"].stop(signal.SIGKILL)
    until(lambda: not world.order(order["id"])["online"], what="the host to be offline")
    until(lambda: world.json("marketplace", "--all", who="renter") == [], what="it to be off the market")
    world.start_host("simulated")
    assert world.order(order["id"])["online"] is True
