"""The background job: it has the machine exactly while no order does."""

import asyncio
import io
import tarfile
from dataclasses import replace

import msgspec
import pytest
import structlog
from host_fakes import FakeMarket, an_order, until
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from test_host_keeper import ScriptedRuntime, keeping
from test_host_link import linked

from openclore.api.hostlink import Assignments, BackgroundJob, Beat, Container
from openclore.host import recipe
from openclore.host.background import REST_SECONDS_MAX, STEADY_SECONDS, Background, rest_seconds
from openclore.host.keeper import Keeper
from openclore.host.plan import (
    CUT_OFF_GRACE_SECONDS,
    Abandon,
    AbandonBackground,
    Actual,
    Deploy,
    Moment,
    Remove,
    RemoveBackground,
    RunBackground,
    StopBackground,
    Wanted,
    plan,
)
from openclore.host.recipe import GIB, Machine, Owner
from openclore.host.runtime import DeploymentFailed, Found, FoundBackground, RuntimeTrouble
from openclore.host.simulated import SimulatedRuntime, SimulatedTuner
from openclore.host.state import LastWord, State

NOW, STEADY = 1_000_000.0, 5_000.0
JOB = BackgroundJob(image="example/miner:1", revision=1)
NEWER = BackgroundJob(image="example/miner:2", revision=2)
ORDER = an_order(order_id=1)
ORDER_UP = {1: Found(Container(order_id=1, state="running"))}
RUNNING, STOPPED = FoundBackground("running", 1), FoundBackground("stopped", 1)
UNKNOWN = FoundBackground("unknown", 1)


def free(job=JOB, **actual) -> tuple[Wanted, Actual]:
    return Wanted({}, None, job), Actual(**actual)


def rented(job=JOB, **actual) -> tuple[Wanted, Actual]:
    return Wanted({1: ORDER}, None, job), Actual(**actual)


def cut_off(job=JOB, since=0.0, orders=(), **actual) -> tuple[Wanted, Actual]:
    return Wanted({order.order_id: order for order in orders}, since, job), Actual(**actual)


LEAVING = {"found": ORDER_UP, "removing": {1}}
STARTING = {"background": UNKNOWN, "background_work": RunBackground(JOB)}


@pytest.mark.parametrize(
    ("what", "case", "expected"),
    [
        ("free, no job", free(None), []),
        ("free, nothing there", free(), [RunBackground(JOB)]),
        ("free, runs", free(background=RUNNING), []),
        ("free, stopped", free(background=STOPPED), [RunBackground(JOB)]),
        ("free, start was cut short", free(background=UNKNOWN), [RunBackground(JOB)]),
        ("free, rests", free(background=STOPPED, background_rests_until=STEADY + 1), []),
        ("free, rested", free(background=STOPPED, background_rests_until=STEADY), [RunBackground(JOB)]),
        ("free, being started", free(**STARTING), []),
        ("free, being started, another is wanted", free(NEWER, **STARTING), [AbandonBackground()]),
        ("free, being started, switched off", free(None, **STARTING), [AbandonBackground()]),
        ("free, another revision runs", free(NEWER, background=RUNNING), [RemoveBackground()]),
        ("free, switched off", free(None, background=RUNNING), [RemoveBackground()]),
        ("free, switched off, stopped", free(None, background=STOPPED), [RemoveBackground()]),
        ("free, an order is leaving", free(**LEAVING), []),
        ("free, an order is to leave", free(found=ORDER_UP), [Remove(1)]),
        ("free, a deployment is being given up", free(deploying={1}), [Abandon(1)]),
        ("rented, nothing there", rented(), [Deploy(ORDER)]),
        ("rented, runs", rented(background=RUNNING), [StopBackground()]),
        ("rented, may be starting", rented(background=UNKNOWN), [StopBackground()]),
        ("rented, stopped", rented(background=STOPPED), [Deploy(ORDER)]),
        ("rented, being started", rented(**STARTING), [AbandonBackground()]),
        ("rented, being stopped", rented(background=RUNNING, background_work=StopBackground()), []),
        ("rented, being removed", rented(background=RUNNING, background_work=RemoveBackground()), []),
        ("rented, another revision runs", rented(NEWER, background=RUNNING), [RemoveBackground()]),
        ("rented, switched off", rented(None, background=RUNNING), [RemoveBackground()]),
        ("rented, the order is up", rented(found=ORDER_UP, settled={1}, background=STOPPED), []),
        ("rented, the order failed", rented(failed={1: "no"}, background=STOPPED), []),
        ("cut off, runs", cut_off(background=RUNNING), []),
        ("cut off, ended", cut_off(background=STOPPED), [RunBackground(JOB)]),
        ("cut off a moment ago, ended", cut_off(since=STEADY - 1, background=STOPPED), []),
        ("cut off, never heard of a job", cut_off(None, background=RUNNING), []),
        ("cut off, another revision runs", cut_off(NEWER, background=RUNNING), []),
        ("cut off, rented, runs", cut_off(orders=[ORDER], background=RUNNING), [StopBackground()]),
    ],
)
def test_the_plan_gives_the_machine_to_orders_first(what, case, expected):
    assert plan(*case, Moment(NOW, STEADY)) == expected, what


class Rounds(RuleBasedStateMachine):
    """Orders come and go, jobs are set, starts are cut short or fail: never do both run, and it converges."""

    def __init__(self) -> None:
        super().__init__()
        self.steady = STEADY
        self.orders: dict[int, object] = {}
        self.job: BackgroundJob | None = None
        self.revision = 0
        self.heard = Wanted()
        self.found: dict[int, Found] = {}
        self.deploying: set[int] = set()
        self.removing: set[int] = set()
        self.background = FoundBackground()
        self.runs = False
        self.work = None
        self.rests_until = 0.0

    @rule()
    def a_machine_is_rented(self):
        self.orders = {1: ORDER}

    @rule()
    def an_order_ends(self):
        self.orders = {}

    @rule(off=st.booleans())
    def the_host_sets_a_job(self, off):
        self.revision += 1
        self.job = None if off else BackgroundJob(image="a", revision=self.revision)

    @rule()
    def the_market_speaks(self):
        self.heard = Wanted(dict(self.orders), None, self.job)

    @rule()
    def the_link_breaks(self):
        self.heard = replace(self.heard, cut_off_since=self.steady)

    @rule(seconds=st.integers(1, 600))
    def time_passes(self, seconds):
        self.steady += seconds

    @rule()
    def the_job_ends(self):
        if self.work is None and self.background.state == "running":
            self.background = replace(self.background, state="stopped")
            self.runs = False
            self.rests_until = self.steady + 10

    @rule(well=st.booleans())
    def the_agent_works(self, well):
        self.step()
        self.finish(well)

    @rule()
    def the_agent_plans(self):
        self.step()

    def step(self) -> int:
        actual = Actual(
            self.found,
            {1} & self.found.keys(),
            {},
            self.deploying,
            self.removing,
            self.background,
            self.work,
            self.rests_until,
        )
        actions = plan(self.heard, actual, Moment(NOW, self.steady))
        for action in actions:
            match action:
                case Deploy(order):
                    assert not self.runs, "the job would run beside the order"
                    self.deploying.add(order.order_id)
                    self.found[order.order_id] = ORDER_UP[1]
                case Abandon(order_id):
                    self.deploying.discard(order_id)
                case Remove(order_id):
                    self.removing.add(order_id)
                case AbandonBackground():
                    assert isinstance(self.work, RunBackground)
                    self.work = None
                case RunBackground(job):
                    assert self.work is None
                    assert not self.found
                    assert not self.heard.orders
                    self.work, self.background = action, FoundBackground("unknown", job.revision)
                    self.runs = True  # at the latest moment, but nobody knows
                case _:
                    assert self.work is None
                    self.work = action
        return len(actions)

    def finish(self, well: bool = True) -> None:
        for order_id in self.removing:
            self.found.pop(order_id)
        self.deploying, self.removing = set(), set()
        match self.work:
            case RunBackground(job) if well:
                self.background = FoundBackground("running", job.revision)
            case RunBackground():
                self.rests_until = self.steady + 10
            case StopBackground() if well:
                self.background, self.runs = replace(self.background, state="stopped"), False
            case RemoveBackground() if well:
                self.background, self.runs = FoundBackground(), False
        self.work = None

    @invariant()
    def once_the_market_has_spoken_the_right_one_runs(self):
        other = Rounds()
        other.__dict__.update(
            {
                name: value.copy() if isinstance(value, dict | set) else value
                for name, value in vars(self).items()
                if name in vars(other) and not name.startswith("_")
            }
        )
        other.the_market_speaks()
        for _ in range(6):
            other.time_passes(600)
            other.step()
            other.finish()
        assert other.step() == 0, "nothing is left to do"
        assert other.found.keys() == other.orders.keys()
        assert other.runs == (other.job is not None and not other.orders)
        if other.runs:
            assert other.background == FoundBackground("running", other.job.revision)


TestRounds = Rounds.TestCase


# The loop -------------------------------------------------------------------------------------------


def test_the_job_stops_before_the_order_starts_and_goes_on_after_it():
    async def scenario():
        runtime = ScriptedRuntime()
        async with keeping(runtime) as keeper:
            keeper.assign([], background=JOB)
            await until(lambda: runtime.background == RUNNING)
            keeper.assign([an_order()], background=JOB)
            await until(lambda: runtime.deployed)
            keeper.assign([], background=JOB)
            await until(lambda: runtime.background == RUNNING)
            assert runtime.steps == ["start 1", "stop job", "deploy", "remove", "start 1"]

    asyncio.run(scenario())


def test_an_order_does_not_wait_for_a_job_that_is_still_being_pulled():
    async def scenario():
        runtime = ScriptedRuntime()
        runtime.background_gate.clear()
        async with keeping(runtime) as keeper:
            keeper.assign([], background=JOB)
            await until(lambda: runtime.steps == ["start 1"])
            keeper.assign([an_order()], background=JOB)
            await until(lambda: runtime.deployed)
            assert runtime.steps == ["start 1", "stop job", "deploy"]

    asyncio.run(scenario())


def test_a_job_that_changed_replaces_the_one_before_and_none_removes_it():
    async def scenario():
        runtime = ScriptedRuntime()
        async with keeping(runtime) as keeper:
            keeper.assign([], background=JOB)
            await until(lambda: runtime.background == RUNNING)
            keeper.assign([], background=NEWER)
            await until(lambda: runtime.background == FoundBackground("running", 2))
            keeper.assign([])
            await until(lambda: runtime.background == FoundBackground())
            assert runtime.steps == ["start 1", "remove job", "start 2", "remove job"]

    asyncio.run(scenario())


def test_the_next_agent_adopts_a_job_that_runs_and_removes_nothing_unheard():
    async def scenario():
        runtime = ScriptedRuntime()
        runtime.background = RUNNING
        async with keeping(runtime, known=LastWord(background=NEWER)) as keeper:
            await three_more_looks(runtime)
            keeper.assign([], background=JOB)
            await three_more_looks(runtime)
            assert runtime.steps == []

    asyncio.run(scenario())


async def three_more_looks(runtime: ScriptedRuntime) -> None:
    enough = runtime.looks + 3
    await until(lambda: runtime.looks >= enough)


def test_a_cut_off_agent_keeps_the_job_running():
    async def scenario():
        runtime, steady = ScriptedRuntime(), [0.0]
        async with keeping(runtime, steady_clock=lambda: steady[0]) as keeper:
            keeper.assign([], background=JOB)
            await until(lambda: runtime.background == RUNNING)
            keeper.cut_off()
            runtime.background = replace(STOPPED, detail="Exited (1) 1 second ago")
            await until(lambda: keeper._background.rests_until)
            steady[0] = CUT_OFF_GRACE_SECONDS
            await until(lambda: runtime.background == RUNNING)

    asyncio.run(scenario())


def test_an_agent_remembers_the_job_across_a_restart(tmp_path):
    words = []
    keeper = Keeper(ScriptedRuntime(), SimulatedTuner([]), remember=words.append)
    secret = BackgroundJob(image="a", revision=3, env={"TOKEN": "hunter2"})
    keeper.assign([], background=secret)
    keeper.assign([], background=secret)
    assert [word.background for word in words] == [secret]
    state = State(tmp_path)
    state.save_last_word(words[0])
    assert state.last_word().background == secret
    state.close()


def test_a_job_that_ends_rests_longer_each_time_until_it_has_run_for_long():
    async def scenario():
        runtime, steady, woken = ScriptedRuntime(), [0.0], asyncio.Event()
        background = Background(runtime, woken.set, 0.0, lambda: steady[0])

        async def run_for(seconds: float) -> float:
            """How long it rests after that."""
            woken.clear()
            background.act(RunBackground(JOB))
            await woken.wait()
            steady[0] += seconds
            runtime.background = replace(STOPPED, detail="Exited (3) 1 second ago")
            await background.look()
            return background.rests_until - steady[0]

        assert [await run_for(5) for _ in range(4)] == [1, 2, 4, 8]
        assert await run_for(STEADY_SECONDS) == 1

    asyncio.run(scenario())


def test_rests_grow_to_five_minutes():
    assert [rest_seconds(ends) for ends in (1, 2, 3, 9, 10, 10_000)] == [1, 2, 4, 256, 300, REST_SECONDS_MAX]


@pytest.mark.parametrize("failure", [DeploymentFailed("no such image"), RuntimeTrouble("away")])
def test_a_job_that_cannot_start_is_tried_again_later_and_its_secrets_stay_out_of_the_log(failure):
    async def scenario():
        runtime, steady = ScriptedRuntime(), [0.0]
        runtime.background_failure = failure
        job = BackgroundJob(image="a", revision=1, command="hunter2", env={"TOKEN": "hunter2"})
        async with keeping(runtime, steady_clock=lambda: steady[0]) as keeper:
            keeper.assign([], background=job)
            for tries in (1, 2, 3):
                await until(lambda tries=tries: keeper._background._ends == tries)
                assert keeper._background.rests_until == steady[0] + rest_seconds(tries)
                steady[0] = keeper._background.rests_until
                if tries == 2:
                    runtime.background_failure = None
                    await until(lambda: runtime.background == RUNNING)
                    break

    with structlog.testing.capture_logs() as logs:
        asyncio.run(scenario())
    assert [entry["event"] for entry in logs] == [
        f"the background job: {failure}",
        "background job up",
        "the background job is past its trouble",
    ]
    assert "hunter2" not in str(logs)


def test_a_changed_job_does_not_rest_for_the_failures_of_the_one_before():
    async def scenario():
        runtime = ScriptedRuntime()
        runtime.background_failure = DeploymentFailed("no such image")
        async with keeping(runtime, steady_clock=lambda: 100.0) as keeper:
            keeper.assign([], background=JOB)
            await until(lambda: keeper._background.rests_until > 100)
            runtime.background_failure = None
            keeper.assign([], background=NEWER)
            await until(lambda: runtime.background == FoundBackground("running", 2))

    asyncio.run(scenario())


def test_an_order_starts_only_once_a_stop_that_failed_has_succeeded():
    async def scenario():
        runtime = ScriptedRuntime()
        runtime.background = RUNNING
        runtime.stop_background, stop = _refuse, runtime.stop_background
        async with keeping(runtime) as keeper:
            keeper.assign([an_order()], background=JOB)
            await until(lambda: keeper._background._trouble._message)
            assert runtime.deployed == []
            runtime.stop_background = stop
            await until(lambda: runtime.deployed)

    asyncio.run(scenario())


async def _refuse():
    raise RuntimeTrouble("the engine is away")


def test_a_simulated_machine_has_a_job_too():
    async def scenario():
        runtime = SimulatedRuntime("127.0.0.1", pull_seconds=0)
        async with keeping(runtime) as keeper:
            keeper.assign([], background=JOB)
            await until(lambda: runtime._background == RUNNING)
            keeper.assign([order := an_order()], background=JOB)
            await until(lambda: order.order_id in keeper._settled)
            assert runtime._background == STOPPED
            keeper.assign([])
            await until(lambda: runtime._background == FoundBackground())

    asyncio.run(scenario())


# The link -------------------------------------------------------------------------------------------


def test_the_market_tells_the_agent_and_hears_nothing_of_the_job():
    async def scenario():
        async with FakeMarket() as market, linked(market) as (keeper, _):
            market.background = JOB
            await market.want()
            await until(lambda: keeper._background.found == RUNNING)
            await until(lambda: market.beats[-1:] == [Beat(generation=market.generation)])
            market.background = None
            await market.want()
            await until(lambda: keeper._background.found == FoundBackground())

    asyncio.run(scenario())


def test_a_market_that_knows_no_background_jobs_wants_none():
    old = b'{"type": "assignments", "generation": 1, "orders": []}'
    assert msgspec.json.decode(old, type=Assignments).background is None


# The recipe -----------------------------------------------------------------------------------------

OWNER = Owner("https://market.example", 7)


def config(job: BackgroundJob) -> dict:
    return recipe.background_config(job, OWNER, Machine(64 * GIB, 16, has_gpus=True), "n")


def test_the_container_is_confined_as_an_orders_and_has_no_ports():
    made = config(BackgroundJob(image="a", revision=4, env={"A": "1"}))
    order = recipe.container_config(
        an_order("a", env={"A": "1"}), OWNER, Machine(64 * GIB, 16, True), "n", "127.0.0.1", False
    )
    assert made["HostConfig"] == {k: v for k, v in order["HostConfig"].items() if k != "PortBindings"}
    assert made["HostConfig"]["DeviceRequests"] == [{"Count": -1, "Capabilities": [["gpu"]]}]
    assert "ExposedPorts" not in made
    assert made["Env"] == ["A=1"]
    assert "Entrypoint" not in made


def test_its_label_is_not_an_orders():
    assert config(JOB)["Labels"] == {
        "openclore.background": "1",
        "openclore.server": "7",
        "openclore.market": "https://market.example",
    }
    assert recipe.background_name(OWNER).startswith("openclore-background-7-")


@pytest.mark.parametrize(
    ("command", "script"),
    [("mine\r\nmore", "#!/bin/sh\nmine\nmore"), ("#!/usr/bin/python3\nmine()", "#!/usr/bin/python3\nmine()")],
)
def test_its_command_runs_instead_of_what_the_image_starts(command, script):
    job = BackgroundJob(image="a", revision=1, command=command)
    assert (config(job)["Entrypoint"], config(job)["Cmd"]) == (["/.openclore/command"], [])
    with tarfile.open(fileobj=io.BytesIO(recipe.background_files(job))) as tar:
        file = tar.extractfile(".openclore/command")
        assert file
        assert (file.read().decode(), tar.getmember(".openclore/command").mode) == (script, 0o755)
    assert recipe.background_files(JOB) == b""
