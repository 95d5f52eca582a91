"""The loop and the GPUs: an order's clocks hold while its container runs, and only then."""

import asyncio
import threading

import msgspec
import pytest
from host_fakes import an_order, until
from test_host_keeper import ScriptedRuntime, keeping, states

from openclore.api.gigaspot import GpuClocks
from openclore.api.hostlink import Container
from openclore.host.keeper import CLOCKS_SECONDS
from openclore.host.runtime import ClocksRefused, DeploymentFailed, Found
from openclore.host.simulated import SIMULATED_GPUS, SimulatedTuner
from openclore.host.state import LastWord

SLOW, FAST = [GpuClocks(pl=200)] * 2, [GpuClocks(pl=350, core_offset=100)] * 2
IMPOSSIBLE = [GpuClocks(pl=9_000)] * 2


class RecordingTuner(SimulatedTuner):
    """Two simulated GPUs; `asked` is every call. While `away`, nothing can be set."""

    def __init__(self) -> None:
        super().__init__(SIMULATED_GPUS.gpus)
        self.asked: list[list[GpuClocks]] = []
        self.away = False

    def hold(self, clocks):
        self.asked.append(clocks)
        if self.away:
            raise ClocksRefused("the GPUs' driver does not answer")
        super().hold(clocks)


def there(runtime, order, state="running", unfinished=False):
    runtime.there[order.order_id] = Found(Container(order_id=order.order_id, state=state), unfinished)


def with_clocks(order, clocks):
    return msgspec.structs.replace(order, clocks=clocks)


def test_the_container_starts_at_its_clocks_and_leaves_with_them():
    async def scenario():
        runtime, tuner = ScriptedRuntime(), RecordingTuner()
        runtime.gate.clear()
        order = an_order(clocks=FAST)
        async with keeping(runtime, tuner) as keeper:
            keeper.assign([order])
            await until(lambda: states(keeper) == {order.order_id: "pulling"})
            assert tuner.held == FAST
            runtime.gate.set()
            await until(lambda: states(keeper) == {order.order_id: "running"})
            assert tuner.held == FAST
            keeper.assign([])
            await until(lambda: states(keeper) == {} and tuner.held == [])
            assert tuner.asked.count([]) <= 2

    asyncio.run(scenario())


def test_new_clocks_of_a_running_order_do_not_touch_its_container():
    async def scenario():
        runtime, tuner = ScriptedRuntime(), RecordingTuner()
        order = an_order(clocks=SLOW)
        async with keeping(runtime, tuner) as keeper:
            keeper.assign([order])
            await until(lambda: states(keeper) == {order.order_id: "running"})
            for clocks in (FAST, [], SLOW):
                keeper.assign([with_clocks(order, clocks)])
                await until(lambda clocks=clocks: tuner.held == clocks)
            assert (runtime.deployed, runtime.removed) == ([order.order_id], [])

    asyncio.run(scenario())


def test_clocks_that_the_machine_refuses_fail_the_order_before_anything_is_pulled():
    async def scenario():
        runtime, tuner = ScriptedRuntime(), RecordingTuner()
        order = an_order(clocks=IMPOSSIBLE)
        async with keeping(runtime, tuner) as keeper:
            keeper.assign([order])
            await until(lambda: states(keeper) == {order.order_id: "failed"})
            assert keeper.containers()[0].detail == (
                "GPU 1 (NVIDIA GeForce RTX 3090): a power limit of 9000 W is outside 100 to 366 W"
            )
            assert (runtime.deployed, tuner.held) == ([], [])

    asyncio.run(scenario())


def test_new_clocks_that_are_refused_leave_the_container_running_at_the_old_ones():
    async def scenario():
        runtime, tuner = ScriptedRuntime(), RecordingTuner()
        order = an_order(clocks=SLOW)
        async with keeping(runtime, tuner) as keeper:
            keeper.assign([order])
            await until(lambda: states(keeper) == {order.order_id: "running"})
            keeper.assign([with_clocks(order, IMPOSSIBLE)])
            await until(lambda: "is outside 100 to 366 W" in keeper.containers()[0].detail)
            assert (states(keeper), tuner.held) == ({order.order_id: "running"}, SLOW)
            keeper.assign([with_clocks(order, FAST)])
            await until(lambda: "outside" not in keeper.containers()[0].detail)
            assert (tuner.held, runtime.removed) == (FAST, [])

    asyncio.run(scenario())


def test_an_image_that_fails_gives_the_gpus_back():
    async def scenario():
        runtime, tuner = ScriptedRuntime(), RecordingTuner()
        runtime.failure = DeploymentFailed("no such image")
        order = an_order(clocks=FAST)
        async with keeping(runtime, tuner) as keeper:
            keeper.assign([order])
            await until(lambda: states(keeper) == {order.order_id: "failed"})
            await until(lambda: tuner.asked[-1] == [])
            assert FAST in tuner.asked

    asyncio.run(scenario())


def test_a_container_that_ended_by_itself_gives_the_gpus_back():
    async def scenario():
        runtime, tuner = ScriptedRuntime(), RecordingTuner()
        order = an_order(clocks=FAST)
        async with keeping(runtime, tuner) as keeper:
            keeper.assign([order])
            await until(lambda: states(keeper) == {order.order_id: "running"})
            there(runtime, order, "exited")
            await until(lambda: tuner.held == [])

    asyncio.run(scenario())


def test_the_next_order_runs_at_its_own_clocks():
    async def scenario():
        runtime, tuner = ScriptedRuntime(), RecordingTuner()
        first, second = an_order(clocks=SLOW), an_order(clocks=FAST)
        async with keeping(runtime, tuner) as keeper:
            keeper.assign([first])
            await until(lambda: states(keeper) == {first.order_id: "running"})
            keeper.assign([second])
            await until(lambda: states(keeper) == {second.order_id: "running"})
            assert tuner.held == FAST

    asyncio.run(scenario())


@pytest.mark.parametrize("runs", [True, False])
def test_a_restarted_agent_sets_the_gpus_as_they_should_be(runs):
    async def scenario():
        runtime, tuner = ScriptedRuntime(), RecordingTuner()
        order = an_order(clocks=FAST)
        if runs:
            there(runtime, order)
        async with keeping(runtime, tuner, known=LastWord(orders=[order] if runs else [])):
            await until(lambda: tuner.asked)
            await asyncio.sleep(0.1)
            assert tuner.asked == [FAST if runs else []]

    asyncio.run(scenario())


def test_a_cut_off_agent_gives_the_gpus_back_when_the_paid_time_is_over():
    async def scenario():
        runtime, tuner, clock = ScriptedRuntime(), RecordingTuner(), [1_000.0]
        order = an_order(clocks=FAST, paid_until=1_060)
        there(runtime, order)
        known = LastWord(orders=[order])
        settings = {"clock": lambda: clock[0], "steady_clock": lambda: clock[0]}
        async with keeping(runtime, tuner, known=known, **settings):
            await until(lambda: tuner.held == FAST)
            clock[0] = 1_060
            await until(lambda: tuner.held == [])
            assert runtime.removed == [order.order_id]

    asyncio.run(scenario())


def test_gpus_are_looked_at_again_from_time_to_time():
    async def scenario():
        runtime, tuner, clock = ScriptedRuntime(), RecordingTuner(), [0.0]
        order = an_order(clocks=FAST)
        there(runtime, order)
        async with keeping(runtime, tuner, known=LastWord(orders=[order]), steady_clock=lambda: clock[0]):
            await until(lambda: tuner.asked == [FAST])
            clock[0] += CLOCKS_SECONDS - 1
            await asyncio.sleep(0.1)
            assert tuner.asked == [FAST]
            clock[0] += 1
            await until(lambda: tuner.asked == [FAST, FAST])

    asyncio.run(scenario())


def test_a_container_that_was_interrupted_waits_for_its_clocks_and_keeps_its_work():
    async def scenario():
        runtime, tuner = ScriptedRuntime(), RecordingTuner()
        tuner.away = True
        order = an_order(clocks=FAST)
        there(runtime, order, "exited", unfinished=True)
        async with keeping(runtime, tuner) as keeper:
            keeper.assign([order])
            await until(lambda: len(tuner.asked) > 2)
            assert (states(keeper), runtime.deployed) == ({order.order_id: "exited"}, [])
            tuner.away = False
            await until(lambda: states(keeper) == {order.order_id: "running"})
            assert runtime.removed == []

    asyncio.run(scenario())


def test_a_slow_driver_holds_up_no_report():
    async def scenario():
        runtime, tuner = ScriptedRuntime(), RecordingTuner()
        go_on = threading.Event()
        hold = tuner.hold

        def slow_hold(clocks):
            go_on.wait(10)
            hold(clocks)

        tuner.hold = slow_hold
        order, other = an_order(clocks=FAST), an_order()
        async with keeping(runtime, tuner) as keeper:
            keeper.assign([order, other])
            await until(lambda: runtime.deployed == [other.order_id])
            assert states(keeper) == {other.order_id: "running"}
            go_on.set()
            await until(lambda: states(keeper).get(order.order_id) == "running")

    asyncio.run(scenario())


def test_a_container_that_gave_up_fails_its_order_and_is_removed():
    async def scenario():
        runtime = ScriptedRuntime()
        order = an_order()
        async with keeping(runtime) as keeper:
            keeper.assign([order])
            await until(lambda: states(keeper) == {order.order_id: "running"})
            gave_up = Container(order_id=order.order_id, state="failed", detail="no sshd")
            runtime.there[order.order_id] = Found(gave_up)
            await until(lambda: runtime.removed == [order.order_id])
            await until(lambda: keeper.containers() == [gave_up])
            await asyncio.sleep(0.1)
            assert runtime.deployed == [order.order_id]
            keeper.assign([])
            await until(lambda: keeper.containers() == [])

    asyncio.run(scenario())
