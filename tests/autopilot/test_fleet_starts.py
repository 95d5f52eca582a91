"""A fleet begins on a running market, and begins again with another memory."""

from pathlib import Path

import pytest

from openclore.autopilot.file import File, HttpCheck, TcpCheck
from openclore.autopilot.probes import Prober
from openclore.autopilot.reading import Given
from openclore.autopilot.remember import Keeper
from openclore.autopilot.runner import Runner
from openclore.sandbox import Sandbox

from .fleet_market import fleet

CHECKED = fleet(
    machines=2,
    ports={"22": "tcp", "8080": "http"},
    ready=(TcpCheck(port=22), HttpCheck(port=8080)),
)


class Nobody:
    def deliver(self, *_: object) -> None:
        pass


def lived_through(sandbox: Sandbox, memory: Path, file: File, rounds: int) -> Keeper:
    with sandbox.client() as clore, Keeper(memory, ("sandbox", "renter")) as keeper:
        runner = Runner(
            clore,
            Given(file),
            keeper,
            prober=Prober(),
            postman=Nobody(),
            date=sandbox.clock.time,
            sleep=sandbox.sleep,
        )
        for _ in range(rounds):
            runner.once()
            sandbox.sleep(60)
    return keeper


@pytest.mark.parametrize("dialect", ["open", "live"])
def test_machines_whose_ports_answer_are_ready_and_found_again(tmp_path: Path, dialect):
    file = File(fleets={"a": CHECKED})
    with Sandbox(seed=11, servers=24, dialect=dialect) as sandbox:
        keeper = lived_through(sandbox, tmp_path / "first.sqlite", file, 4)
        machines = keeper.memory.fleets["a"].machines
        assert [one.ready_at is not None for one in machines.values()] == [True, True]
        again = lived_through(sandbox, tmp_path / "second.sqlite", file, 2)
        assert again.memory.fleets["a"].machines.keys() == machines.keys()
        assert len(sandbox.orders()) == 2
