"""Rounds on a real market: whatever moment one ends at, the next goes on as if it had not ended."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openclore.autopilot.actions import Note
from openclore.autopilot.memory import FleetMemory
from openclore.autopilot.notify import Postman
from openclore.autopilot.observation import Failed
from openclore.autopilot.observe import Stopped
from openclore.autopilot.plan import Plan
from openclore.autopilot.probes import Prober
from openclore.autopilot.reading import Given, Source, read
from openclore.autopilot.remember import Keeper
from openclore.autopilot.runner import Runner
from openclore.client import Clore
from openclore.sandbox import Sandbox

FLEET = """
every = "60s"

[fleets.pair]
image = "{image}"
machines = 2
price_per_hour_max = 5.0
"""
SETTINGS = """
[settings.all]
servers = ["*"]
mrl_hours = 77
"""
WRITES = ("create_order", "cancel_order", "set_server_settings", "set_spot_price", "renew_lease")


class Crash(BaseException):
    """The process ended here."""


class Countdown:
    """Ends the process right before or after the n-th step of those that leave traces."""

    def __init__(self, step: int) -> None:
        self.left = step

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*args: Any, **named: Any) -> Any:
            self._tick()
            result = step(*args, **named)
            self._tick()
            return result

        return stepping

    def _tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Crash


class Fragile:
    """A client or a keeper whose steps are counted."""

    def __init__(self, inner: Any, countdown: Countdown, steps: tuple[str, ...]) -> None:
        self._inner = inner
        for name in steps:
            setattr(self, name, countdown.around(getattr(inner, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=11, servers=30) as sandbox:
        yield sandbox


def a_runner(sandbox: Sandbox, clore: Any, file: str, keeper: Any, told: list[str] | None = None) -> Runner:
    return Runner(
        clore,
        Given(read(file, {})),
        keeper,
        prober=Prober(),
        postman=Postman(date=sandbox.clock.time),
        tell=(told if told is not None else []).append,
        date=sandbox.clock.time,
        sleep=sandbox.sleep,
    )


def rounds(sandbox: Sandbox, clore: Clore, file: str, path: Path, *, crash_at: int) -> bool:
    """Five rounds a minute apart, the process being ended once and started again; whether it came to that."""
    market, crashed = (clore.base_url, clore.key_digest), False
    countdown = Countdown(crash_at)
    for _ in range(5):
        with Keeper(path, market) as keeper:
            fragile = Fragile(clore, countdown, WRITES), Fragile(keeper, countdown, ("keep",))
            try:
                a_runner(sandbox, fragile[0], file, fragile[1]).once()
            except Crash:
                crashed = True
        sandbox.clock.turn(minutes=1)
    return crashed


@pytest.mark.parametrize("dialect", ["open", "live"])
def test_a_crash_at_any_step_of_a_fleet_leads_to_the_same_machines(tmp_path: Path, dialect: Any) -> None:
    with Sandbox(seed=11, servers=30, dialect=dialect) as sandbox, sandbox.client() as clore:
        crash_at, crashed = 0, True
        while crashed:
            crash_at += 1
            image, path = f"ubuntu:crash-{crash_at}", tmp_path / f"{crash_at}.sqlite"
            file = FLEET.format(image=image)
            crashed = rounds(sandbox, clore, file, path, crash_at=crash_at)
            made = [order for order in sandbox.orders().values() if order.image == image]
            running = {order.id for order in made if not order.expired}
            with Keeper(path, (clore.base_url, clore.key_digest)) as keeper:
                fleet = keeper.memory.fleets["pair"]
            assert len(made) == 2, crash_at
            assert set(fleet.machines) == running
            assert not fleet.intents
            for order_id in running:
                clore.cancel_order(order_id)
        assert crash_at > 8


def test_settings_are_set_once_and_nothing_more_is_done(sandbox: Sandbox, tmp_path: Path) -> None:
    with (
        sandbox.client("host") as clore,
        Keeper(tmp_path / "m.sqlite", (clore.base_url, clore.key_digest)) as keeper,
    ):
        runner = a_runner(sandbox, clore, SETTINGS, keeper)
        assert len(runner.once().actions) == len(sandbox.my_servers)
        assert {clore.server_config(server.name or "").mrl for server in clore.my_servers()} == {77}
        assert runner.once().actions == ()


def test_a_round_told_to_stop_begins_nothing_more(sandbox: Sandbox, tmp_path: Path) -> None:
    class Stopping:
        def __getattr__(self, name: str) -> Any:
            return getattr(clore, name)

        def my_orders(self, return_completed: bool = False) -> Any:
            runner.stop()
            return clore.my_orders(return_completed)

    with (
        sandbox.client() as clore,
        Keeper(tmp_path / "m.sqlite", (clore.base_url, clore.key_digest)) as keeper,
    ):
        file = FLEET.format(image="ubuntu:stopped").replace("pair", "stopped")
        keeper.keep(msgspec.structs.replace(keeper.memory, fleets={"stopped": FleetMemory()}))
        runner = a_runner(sandbox, Stopping(), file, keeper)
        assert len(runner.once().actions) == 2
        assert [order for order in sandbox.orders().values() if order.image == "ubuntu:stopped"] == []
        assert not keeper.memory.fleets["stopped"].intents
        with pytest.raises(Stopped):
            runner.once()
        assert len(a_runner(sandbox, clore, file, keeper).once().actions) == 2


def test_an_interruption_breaks_off_a_look_but_no_action(sandbox: Sandbox, tmp_path: Path) -> None:
    class Interrupted:
        """Ctrl-C comes during calls of this name."""

        during = "my_orders"

        def __getattr__(self, name: str) -> Any:
            if name == self.during:
                runner.interrupt()
            return getattr(clore, name)

    with (
        sandbox.client() as clore,
        Keeper(tmp_path / "m.sqlite", (clore.base_url, clore.key_digest)) as keeper,
    ):
        file, before = FLEET.format(image="ubuntu:interrupted"), keeper.memory
        runner = a_runner(sandbox, Interrupted(), file, keeper)
        runner.run()
        assert keeper.memory == before
        Interrupted.during = "create_order"
        runner = a_runner(sandbox, Interrupted(), file, keeper)
        runner.run()
        made = [order for order in sandbox.orders().values() if order.image == "ubuntu:interrupted"]
        assert len(made) == len(keeper.memory.fleets["pair"].machines) == 1


def test_a_round_whose_actions_take_long_does_not_act_on_what_it_saw_long_ago(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(clore, name)

        def create_order(self, **members: Any) -> Any:
            sandbox.clock.turn(minutes=6)
            return clore.create_order(**members)

    with (
        sandbox.client() as clore,
        Keeper(tmp_path / "m.sqlite", (clore.base_url, clore.key_digest)) as keeper,
    ):
        runner = a_runner(sandbox, Slow(), FLEET.format(image="ubuntu:slow"), keeper)
        assert len(runner.once().actions) == 2
        assert len([order for order in sandbox.orders().values() if order.image == "ubuntu:slow"]) == 1
        assert not keeper.memory.fleets["pair"].intents


def test_an_edit_is_followed_and_a_broken_one_is_told_and_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"

    def edited(text: str) -> bool:
        path.write_text(text)
        assert not source.reload(), "it may not be written to its end"
        an_hour_ago = time.time() - 3_600 + len(text)
        os.utime(path, (an_hour_ago, an_hour_ago))
        return source.reload()

    path.write_text('every = "7s"')
    source = Source(path)
    assert source.file.every == 7
    assert edited('every = "7x"')
    assert (source.file.every, "7x" in str(source.problem)) == (7, True)
    assert not source.reload()
    assert edited('every = "90s"')
    assert (source.file.every, source.problem) == (90, None)
    assert edited("\n")
    assert (source.file.every, "is empty" in str(source.problem)) == (90, True)
    path.unlink()
    assert source.reload()
    assert source.file.every == 90


def test_what_cannot_be_read_is_told_once_and_nothing_is_done_for_it(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    told: list[str] = []
    with (
        sandbox.client(attempts=1) as clore,
        Keeper(tmp_path / "m.sqlite", (clore.base_url, clore.key_digest)) as keeper,
    ):
        runner = a_runner(sandbox, clore, FLEET.format(image="ubuntu:blind"), keeper, told)
        sandbox.faults.add("bad_gateway", endpoint="my_orders", count=3)
        for _ in range(3):
            assert runner.once().actions == ()
        assert len([line for line in told if line.startswith("can't read orders")]) == 1
        assert len(runner.once().actions) == 2


def test_a_note_in_which_only_figures_change_is_told_once(sandbox: Sandbox, tmp_path: Path) -> None:
    told: list[str] = []
    with (
        sandbox.client() as clore,
        Keeper(tmp_path / "m.sqlite", (clore.base_url, clore.key_digest)) as keeper,
    ):
        runner = a_runner(sandbox, clore, FLEET.format(image="ubuntu:told"), keeper, told)

        def say(*texts: str, trouble: str = "") -> None:
            notes = tuple(Note(for_="fleets.pair", text=text) for text in texts)
            failed = {"wallets": Failed(trouble)} if trouble else {}
            runner._say_news(Plan((), keeper.memory, notes, failed))

        say("0.25 of 1 $ an hour is left", "order 5 is nowhere to be seen")
        say("0.2 of 1 $ an hour is left", "order 6 is nowhere to be seen")
        say("0.1 of 1 $ an hour is left", trouble="no answer in 12 s")
        say("0.05 of 1 $ an hour is left", trouble="no answer in 13 s")
        say()
        say("0.9 of 1 $ an hour is left")
    assert told == [
        "fleets.pair: 0.25 of 1 $ an hour is left",
        "fleets.pair: order 5 is nowhere to be seen",
        "fleets.pair: order 6 is nowhere to be seen",
        "can't read wallets: no answer in 12 s",
        "fleets.pair: 0.9 of 1 $ an hour is left",
    ]


def test_settings_that_are_refused_are_tried_again_after_a_while(sandbox: Sandbox, tmp_path: Path) -> None:
    told: list[str] = []
    with (
        sandbox.client("host") as clore,
        Keeper(tmp_path / "m.sqlite", (clore.base_url, clore.key_digest)) as keeper,
    ):
        runner = a_runner(sandbox, clore, SETTINGS.replace("77", "66"), keeper, told)
        sandbox.faults.add("refused", endpoint="set_server_settings", reason="not-today")
        assert len(runner.once().actions) == len(sandbox.my_servers)
        assert any("not done" in line and "not-today" in line for line in told)
        assert runner.once().actions == ()
        sandbox.clock.turn(minutes=11)
        assert len(runner.once().actions) == 1
        assert runner.once().actions == ()


def test_a_round_that_can_not_be_remembered_does_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    told: list[str] = []
    file = FLEET.format(image="ubuntu:forgetful")
    with (
        sandbox.client() as clore,
        Keeper(tmp_path / "m.sqlite", (clore.base_url, clore.key_digest)) as keeper,
    ):
        keeper._db.execute("PRAGMA query_only = ON")
        runner = a_runner(sandbox, clore, file, keeper, told)
        turns = iter([None, None])
        runner._sleep = lambda seconds: next(turns, runner.stop())
        runner.run()
        assert [order for order in sandbox.orders().values() if order.image == "ubuntu:forgetful"] == []
        assert "nothing is done that could not be remembered" in told[0]
        keeper._db.execute("PRAGMA query_only = OFF")
        assert len(a_runner(sandbox, clore, file, keeper).once().actions) == 2
