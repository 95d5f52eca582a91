"""The autopilot as a process: it holds a fleet and prices, tells, is killed, and goes on."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ..processes import Process, address_of, openclore, until
from ..receivers import Receiver, a_receiver

FLEET = """
every = "1s"
notify = ["json://127.0.0.1:${PORT}/ok"]

[messages]
digest = "0s"

[alerts.balance]
when = "wallet_below"
wallet = "usd"
below = 1_000_000

[fleets.train]
machines = 3
image = "ubuntu:24.04"
price_per_hour_max = 1.0
"""
PRICES = """
every = "1s"

[pricing.all]
servers = ["*"]
strategy = "fixed"
price = 6
floor = 1
ceiling = 20
step_per_hour = 100.0
"""


class Room:
    """A sandbox, a receiver of messages, and autopilots as processes."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self.folder = folder
        self.receiver = receiver
        self._processes = [Process(folder / "sandbox.log", "sandbox", "--seed", "5", "--no-pace")]
        self.address = address_of(self._processes[0])
        about = httpx2.get(f"{self.address}/sandbox").json()
        self.keys: dict[str, str] = about["keys"]

    def env(self, who: str) -> dict[str, str]:
        return {
            "CLORE_API_KEY": self.keys[who],
            "CLORE_BASE_URL": f"{self.address}/v1",
            "XDG_STATE_HOME": str(self.folder / "state"),
            "PORT": str(self.receiver.port),
        }

    def file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def run(self, file: Path, who: str = "renter") -> Process:
        log = self.folder / f"autopilot-{len(self._processes)}.log"
        self._processes.append(Process(log, "autopilot", "run", str(file), env=self.env(who)))
        return self._processes[-1]

    def json(self, *words: str, who: str = "renter", status: int = 0) -> Any:
        return openclore(*words, env=self.env(who), status=status)

    def running(self) -> list[dict[str, Any]]:
        """The orders that are not over, asked for beside the pace of the key, which the autopilot needs."""
        headers = {"auth": self.keys["renter"]}
        rows: list[dict[str, Any]] = httpx2.get(f"{self.address}/v1/my_orders", headers=headers).json()[
            "orders"
        ]
        return [row for row in rows if not row.get("expired")]

    def rounds(self, file: Path) -> int:
        """When the last round was written down, Unix s."""
        return int(self.state(file)["known"]["at"])

    def state(self, file: Path) -> Any:
        """What `status` tells."""
        return self.json("autopilot", "status", str(file))

    def titles(self) -> list[str]:
        return [json.loads(message.body)["title"] for message in self.receiver.messages]

    def close(self) -> None:
        for process in self._processes:
            process.stop(signal.SIGKILL)


def waiting(state: Any) -> list[Any]:
    """The messages that the memory holds as not yet told."""
    return list(state["memory"]["alerts"]["outbox"])


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with a_receiver() as receiver:
        room = Room(tmp_path, receiver)
        yield room
        room.close()


def test_a_fleet_is_held_through_kills_and_edits_and_nothing_is_done_twice(room: Room) -> None:
    file = room.file("fleet.toml", FLEET)
    planned = room.json("autopilot", "plan", str(file))
    assert [action["action"] for action in planned["actions"]] == ["PlaceOrder"] * 3
    assert room.running() == []

    first = room.run(file)
    until(lambda: len(room.running()) == 3, seconds=90, what="three machines")
    until(lambda: "Told json" in first.text() and not waiting(room.state(file)), what="the message")
    first.stop(signal.SIGKILL)
    second = room.run(file)
    before = room.rounds(file)
    until(lambda: room.rounds(file) > before, what="a round after the crash")
    assert len(room.running()) == 3

    room.file("fleet.toml", FLEET.replace("machines = 3", "machines = three"))
    until(lambda: "can't be followed" in second.text(), what="word of the broken edit")
    assert len(room.running()) == 3
    room.file("fleet.toml", FLEET.replace("machines = 3", "machines = 1"))
    until(lambda: len(room.running()) == 1, what="the fleet to shrink")
    until(lambda: len(room.state(file)["memory"]["fleets"]["train"]["machines"]) == 1, what="a look at it")
    assert second.stop(signal.SIGTERM) == 0

    state = room.state(file)
    assert {line["action"]["action"] for line in state["log"]} >= {"PlaceOrder", "CancelOrder"}
    assert sum("low" in title for title in room.titles()) == 1
    assert room.keys["renter"] not in second.text()


def test_a_hosts_prices_go_to_what_the_file_says_and_the_rest_stays(room: Room) -> None:
    before = {row["name"]: row for row in room.json("servers", who="host")}
    file = room.file("prices.toml", PRICES)
    process = room.run(file, "host")

    until(lambda: process.text().count("Set ") == len(before), seconds=90, what="all servers to be set")
    assert process.stop(signal.SIGTERM) == 0
    after = {row["name"]: row for row in room.json("servers", who="host")}
    assert {name: row["visibility"] for name, row in after.items()} == {
        name: row["visibility"] for name, row in before.items()
    }
    assert {row["pricing"]["USD-Blockchain"] for row in after.values()} == {6.0}
    assert room.json("autopilot", "plan", str(file), who="host")["actions"] == []
    imported = room.file("imported.toml", room.json("autopilot", "import", who="host")["toml"])
    assert room.json("autopilot", "plan", str(imported), who="host")["actions"] == []


def test_a_file_that_can_not_be_followed_is_refused_with_lines(room: Room) -> None:
    file = room.file("bad.toml", FLEET.replace("machines = 3", "machnes = 3"))
    found = room.json("autopilot", "check", str(file), status=2)
    assert [(one["line"], one["field"]) for one in found["problems"]] == [(14, "fleets.train.machnes")]
