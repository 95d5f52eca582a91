"""A host's servers on a market are as the file says, and a file written from them changes nothing."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from openclore.api.orders import Order
from openclore.autopilot.file import Check, Scale
from openclore.autopilot.observation import Failed, Probe
from openclore.autopilot.plan import Plan
from openclore.autopilot.reading import Given, read
from openclore.autopilot.remember import Keeper
from openclore.autopilot.runner import Runner
from openclore.autopilot.settings import as_toml
from openclore.client import Clore
from openclore.sandbox import Sandbox

FILE = """
[settings.all]
servers = ["*"]
mrl_hours = 96
currencies = ["clore", "usd"]
background_job = { image = "miner:1", command = "mine $${POOL}", env = { POOL = "a:1" } }

[pricing.all]
servers = ["*"]
strategy = "fixed"
prices = ["on-demand", "spot"]
price = 4
floor = 2
ceiling = 8
step_per_hour = 1
"""


class Nobody:
    """Checks nothing, tells nobody."""

    def check(self, machines: Mapping[int, tuple[Order, tuple[Check, ...]]]) -> Mapping[int, Probe]:
        return {}

    def numbers(self, scales: Mapping[str, Scale]) -> Mapping[str, int | Failed]:
        return {}

    def deliver(self, *_: object) -> None:
        pass


def rounds(sandbox: Sandbox, clore: Clore, text: str, folder: Path, *waits: int) -> list[Plan]:
    """A round at once and one after each wait."""
    made = []
    with Keeper(folder / "memory", ("sandbox", "host")) as keeper:
        runner = Runner(
            clore,
            Given(read(text, {})),
            keeper,
            prober=Nobody(),
            postman=Nobody(),
            date=sandbox.clock.time,
            sleep=sandbox.sleep,
        )
        for wait in (0, *waits):
            sandbox.clock.turn(wait)
            made.append(runner.once())
    return made


@pytest.mark.clore_sandbox(seed=3, servers=24)
def test_servers_become_as_the_file_says_and_stay_so(clore_sandbox: Sandbox, tmp_path: Path) -> None:
    with clore_sandbox.client("host") as clore:
        clore.add_server("fresh one")
        names = [server.name or "" for server in clore.my_servers()]
        rounds(clore_sandbox, clore, FILE, tmp_path, 4_000, 4_000, 4_000)
        for config in map(clore.server_config, names):
            assert config.mrl == 96
            assert config.allowed_coins == ["CLORE-Blockchain", "USD-Blockchain"]
            assert (config.pricing or {})["USD-Blockchain"] == 4.0
            assert (config.spot_pricing or {})["USD-Blockchain"] == 4.0
            assert config.background_job is not None
            assert config.background_job.image == "miner:1"
            assert config.background_job.command == "mine ${POOL}"
            assert config.background_job.env == {"POOL": "a:1"}
        offers = {offer.id: offer for offer in clore.marketplace()}
        for server in clore.my_servers():
            if server.id in offers:
                assert offers[server.id].usd_per_day == pytest.approx(4.0, rel=0.05)
        settled = rounds(clore_sandbox, clore, FILE, tmp_path)
        assert [action for action in settled[0].actions if action.for_ == "settings.all"] == []


@pytest.mark.clore_sandbox(seed=5, servers=30, dialect="live")
def test_a_file_written_from_what_exists_changes_nothing(clore_sandbox: Sandbox, tmp_path: Path) -> None:
    with clore_sandbox.client("host") as clore:
        names = [server.name or "" for server in clore.my_servers()]
        text = as_toml(map(clore.server_config, names))
        (plan,) = rounds(clore_sandbox, clore, text, tmp_path)
        assert (plan.actions, plan.notes) == ((), ())
        changed = text.replace("public = true", "public = false")
        assert changed != text
        rounds(clore_sandbox, clore, changed, tmp_path)
        assert {clore.server_config(name).visibility for name in names} == {"hidden"}
        (again,) = rounds(clore_sandbox, clore, changed, tmp_path)
        assert again.actions == ()
