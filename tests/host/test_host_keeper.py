"""The loop with a runtime that does what the test says."""

import asyncio
from contextlib import asynccontextmanager

import msgspec
import pytest
from host_fakes import SOON, an_order, http_get, ports, until

from openclore.api.hostlink import Container
from openclore.host import plan
from openclore.host.keeper import Keeper
from openclore.host.runtime import DeploymentFailed, Found, FoundBackground, RuntimeTrouble
from openclore.host.simulated import SSH_BANNER, SimulatedRuntime, SimulatedTuner
from openclore.host.state import LastWord


class ScriptedRuntime:
    """Holds containers in a dict; `deploy` waits for `gate` and then raises `failure`, if there is one.

    Starting the background job waits for `background_gate` and raises `background_failure`. `steps` is what
    was done, in order.
    """

    name = "scripted"

    def __init__(self) -> None:
        self.there: dict[int, Found] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.away = False
        self.deployed: list[int] = []
        self.removed: list[int] = []
        self.background = FoundBackground()
        self.background_gate = asyncio.Event()
        self.background_gate.set()
        self.background_failure: Exception | None = None
        self.steps: list[str] = []
        self.looks = 0

    async def look(self):
        if self.away:
            raise RuntimeTrouble("the engine is away")
        return dict(self.there)

    async def deploy(self, order, progress):
        progress("pulling")
        await self.gate.wait()
        progress("creating")
        if self.failure:
            raise self.failure
        self.deployed.append(order.order_id)
        self.steps.append("deploy")
        self.there[order.order_id] = Found(Container(order_id=order.order_id, state="running"))
        return "a remark"

    async def remove(self, order_id):
        if self.away:
            raise RuntimeTrouble("the engine is away")
        self.removed.append(order_id)
        self.there.pop(order_id, None)
        self.steps.append("remove")

    async def look_background(self):
        self.looks += 1
        return self.background

    async def run_background(self, job):
        self.steps.append(f"start {job.revision}")
        await self.background_gate.wait()
        if self.background_failure:
            raise self.background_failure
        self.background = FoundBackground("running", job.revision)

    async def stop_background(self):
        if self.away:
            raise RuntimeTrouble("the engine is away")
        self.steps.append("stop job")
        if self.background.state == "running":
            self.background = FoundBackground("stopped", self.background.revision)

    async def remove_background(self):
        self.steps.append("remove job")
        self.background = FoundBackground()

    async def close(self):
        pass


@asynccontextmanager
async def keeping(runtime, tuner=None, **settings):
    keeper = Keeper(runtime, tuner or SimulatedTuner([]), look_seconds=0.02, retry_seconds=0.02, **settings)
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await runtime.close()


def states(keeper):
    return {container.order_id: container.state for container in keeper.containers()}


def test_a_slow_pull_holds_up_neither_reports_nor_other_orders():
    async def scenario():
        runtime = ScriptedRuntime()
        runtime.gate.clear()
        slow, removed = an_order(), an_order()
        runtime.there[removed.order_id] = Found(Container(order_id=removed.order_id, state="running"))
        async with keeping(runtime) as keeper:
            keeper.assign([slow])
            await until(lambda: states(keeper) == {slow.order_id: "pulling"})
            assert runtime.removed == [removed.order_id]
            runtime.gate.set()
            await until(lambda: states(keeper) == {slow.order_id: "running"})
            assert keeper.containers()[0].detail == "a remark"

    asyncio.run(scenario())


def test_a_change_is_announced_at_once():
    async def scenario():
        runtime = ScriptedRuntime()
        order = an_order()
        async with keeping(runtime) as keeper:
            keeper.assign([order])
            await until(lambda: states(keeper) == {order.order_id: "running"})
            keeper.changed.clear()
            runtime.there[order.order_id] = Found(Container(order_id=order.order_id, state="exited"))
            async with asyncio.timeout(5):
                await keeper.changed.wait()
            assert states(keeper) == {order.order_id: "exited"}

    asyncio.run(scenario())


def test_no_report_forgets_an_order_between_its_deployment_and_the_next_look():
    async def scenario():
        runtime = ScriptedRuntime()
        order = an_order()
        async with keeping(runtime) as keeper:
            keeper.assign([order])
            await until(lambda: states(keeper))
            seen = []
            while states(keeper) != {order.order_id: "running"}:
                seen.append(states(keeper))
                await asyncio.sleep(0)
            assert {} not in seen
            assert runtime.deployed == [order.order_id]

    asyncio.run(scenario())


def test_a_failed_order_stays_failed_until_its_assignment_goes_away():
    async def scenario():
        runtime = ScriptedRuntime()
        runtime.failure = DeploymentFailed("image 'x' was not found")
        order = an_order()
        async with keeping(runtime) as keeper:
            keeper.assign([order])
            await until(lambda: states(keeper) == {order.order_id: "failed"})
            runtime.failure = None
            keeper.assign([order, other := an_order()])
            await until(lambda: runtime.deployed == [other.order_id])
            assert keeper.containers()[0].detail == "image 'x' was not found"
            keeper.assign([])
            await until(lambda: states(keeper) == {})
            keeper.assign([order])
            await until(lambda: states(keeper) == {order.order_id: "running"})

    asyncio.run(scenario())


def test_trouble_with_the_engine_fails_no_order():
    async def scenario():
        runtime = ScriptedRuntime()
        runtime.failure = RuntimeTrouble("the engine is away")
        order = an_order()
        async with keeping(runtime) as keeper:
            keeper.assign([order])
            await until(lambda: states(keeper) == {order.order_id: "creating"})
            runtime.away = True
            await asyncio.sleep(0.1)
            assert "failed" not in states(keeper).values()
            runtime.away, runtime.failure = False, None
            await until(lambda: states(keeper) == {order.order_id: "running"})

    asyncio.run(scenario())


def test_a_defect_in_one_order_does_not_stop_the_others(capsys):
    async def scenario():
        runtime = ScriptedRuntime()
        runtime.failure = ZeroDivisionError("a defect")
        order = an_order()
        async with keeping(runtime) as keeper:
            keeper.assign([order])
            await until(lambda: states(keeper) == {order.order_id: "creating"})
            runtime.failure = None
            await until(lambda: states(keeper) == {order.order_id: "running"})

    asyncio.run(scenario())
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_an_order_cancelled_while_it_deploys_is_given_up_and_removed():
    async def scenario():
        runtime = ScriptedRuntime()
        runtime.gate.clear()
        order = an_order()
        async with keeping(runtime) as keeper:
            keeper.assign([order])
            await until(lambda: states(keeper) == {order.order_id: "pulling"})
            keeper.assign([])
            await until(lambda: states(keeper) == {})
            assert runtime.deployed == []

    asyncio.run(scenario())


def test_a_keeper_that_is_woken_as_it_is_cancelled_ends():
    async def scenario():
        keeper = Keeper(ScriptedRuntime(), SimulatedTuner([]), look_seconds=3_600)
        task = asyncio.create_task(keeper.run())
        await asyncio.sleep(0.05)
        keeper.assign([])
        await asyncio.sleep(0)  # the wait is over, and whoever waits has not heard of it yet
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=5)
        assert done

    asyncio.run(scenario())


def test_a_removal_that_has_begun_ends_before_the_agent_does():
    async def scenario():
        runtime = ScriptedRuntime()
        order = an_order()
        begun = asyncio.Event()
        remove = runtime.remove

        async def slow_remove(order_id):
            begun.set()
            await asyncio.sleep(0.1)
            await remove(order_id)

        runtime.remove = slow_remove
        runtime.there[order.order_id] = Found(Container(order_id=order.order_id, state="running"))
        async with keeping(runtime) as keeper:
            keeper.assign([])
            await begun.wait()
        assert runtime.removed == [order.order_id]

    asyncio.run(scenario())


def test_before_the_market_speaks_nothing_is_removed():
    async def scenario():
        runtime = ScriptedRuntime()
        stranger, known = an_order(), an_order()
        for order in (stranger, known):
            runtime.there[order.order_id] = Found(Container(order_id=order.order_id, state="running"))
        async with keeping(runtime, known=LastWord(orders=[known])) as keeper:
            await until(lambda: runtime.deployed == [known.order_id])
            assert runtime.removed == []
            keeper.assign([known])
            await until(lambda: runtime.removed == [stranger.order_id])

    asyncio.run(scenario())


def test_a_cut_off_agent_removes_a_container_when_its_time_is_over(monkeypatch):
    monkeypatch.setattr(plan, "CUT_OFF_GRACE_SECONDS", 0)

    async def scenario():
        runtime, clock = ScriptedRuntime(), [1_000.0]
        paid, longer = an_order(paid_until=1_060), an_order(paid_until=1_060)
        async with keeping(runtime, clock=lambda: clock[0]) as keeper:
            keeper.assign([paid, longer])
            await until(lambda: len(runtime.deployed) == 2)
            keeper.extend({longer.order_id: 1_120, 999: 5})
            clock[0] = 1_059
            keeper.cut_off()
            await asyncio.sleep(0.1)
            assert runtime.removed == []
            clock[0] = 1_060
            await until(lambda: runtime.removed == [paid.order_id])
            clock[0] = 1_120
            await until(lambda: runtime.removed == [paid.order_id, longer.order_id])

    asyncio.run(scenario())


def test_what_the_market_wants_is_remembered_whenever_it_changes():
    async def scenario():
        remembered = []
        order = an_order(paid_until=SOON)
        async with keeping(ScriptedRuntime(), remember=remembered.append) as keeper:
            keeper.assign([order])
            keeper.assign([order])
            for seconds in (0, 5, 59, 60, 65, 119, 120, 115):
                keeper.extend({order.order_id: SOON + seconds})
            keeper.cut_off()
            keeper.assign(
                [changed := msgspec.structs.replace(order, image="other/image:2", paid_until=SOON + 120)]
            )
            keeper.assign([])
        paid = [[msgspec.structs.replace(order, paid_until=SOON + more)] for more in (0, 60, 120, 115)]
        assert [word.orders for word in remembered] == [*paid, [changed], []]
        assert keeper._wanted.orders == {}

    asyncio.run(scenario())


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("wrong_by", [-3 * 3_600, 3 * 3_600])
def test_paid_time_is_counted_by_the_markets_clock_however_wrong_the_machines_is(wrong_by, restarted):
    async def scenario():
        runtime, market_clock, steady = ScriptedRuntime(), [1_000_000], [50.0]
        order = an_order(paid_until=market_clock[0] + 7_200)
        remembered = []
        clocks = {
            "clock": lambda: market_clock[0] + wrong_by + 0.5,
            "steady_clock": lambda: steady[0],
        }

        async def cut_off(keeper):
            keeper.cut_off()
            steady[0] += plan.CUT_OFF_GRACE_SECONDS
            await asyncio.sleep(0.1)
            assert runtime.removed == []
            market_clock[0] = order.paid_until - 1
            await asyncio.sleep(0.1)
            assert runtime.removed == []
            market_clock[0] = order.paid_until + 1
            await until(lambda: runtime.removed == [order.order_id])

        async with keeping(runtime, remember=remembered.append, **clocks) as keeper:
            keeper.assign([order], now=market_clock[0])
            await until(lambda: runtime.deployed == [order.order_id])
            market_clock[0] += 60
            keeper.extend({order.order_id: order.paid_until}, now=market_clock[0])
            if not restarted:
                await cut_off(keeper)
        if restarted:
            async with keeping(runtime, known=remembered[-1], **clocks) as keeper:
                await cut_off(keeper)

    asyncio.run(scenario())


def test_a_start_without_a_market_deploys_only_what_is_paid():
    async def scenario():
        runtime = ScriptedRuntime()
        unpaid, paid = an_order(paid_until=400_000), an_order(paid_until=1_000_060)
        known = LastWord(orders=[unpaid, paid])
        async with keeping(runtime, known=known, clock=lambda: 1_000_000.0) as keeper:
            await until(lambda: runtime.deployed == [paid.order_id])
            await asyncio.sleep(0.1)
            assert runtime.deployed == [paid.order_id]
            keeper.assign([unpaid, paid])
            await until(lambda: runtime.deployed == [paid.order_id, unpaid.order_id])

    asyncio.run(scenario())


def test_a_clock_that_was_set_is_remembered_and_one_that_wavers_is_not():
    async def scenario():
        remembered, clock = [], [1_000.0]
        async with keeping(ScriptedRuntime(), remember=remembered.append, clock=lambda: clock[0]) as keeper:
            for ahead_seconds in (0, 3, -2, 3_600, 3_602, 0):
                keeper.extend({}, now=1_000 + ahead_seconds)
            keeper.extend({}, now=0)
        assert [word.clock_ahead_seconds for word in remembered] == [3_600, 0]

    asyncio.run(scenario())


def test_a_clock_set_forward_leaves_the_market_its_time_to_speak():
    async def scenario():
        runtime, clock, steady = ScriptedRuntime(), [1_000.0], [0.0]
        order = an_order(paid_until=1)
        async with keeping(runtime, clock=lambda: clock[0], steady_clock=lambda: steady[0]) as keeper:
            keeper.assign([order])
            await until(lambda: runtime.deployed)
            keeper.cut_off()
            clock[0] += 3_600
            await asyncio.sleep(0.1)
            assert runtime.removed == []
            steady[0] += plan.CUT_OFF_GRACE_SECONDS
            await until(lambda: runtime.removed == [order.order_id])

    asyncio.run(scenario())


def test_a_container_that_somebody_removed_by_hand_is_made_again():
    async def scenario():
        runtime = ScriptedRuntime()
        order = an_order()
        async with keeping(runtime) as keeper:
            keeper.assign([order])
            await until(lambda: states(keeper) == {order.order_id: "running"})
            runtime.there.clear()
            await until(lambda: runtime.deployed == [order.order_id] * 2)

    asyncio.run(scenario())


def test_a_simulated_order_answers_http_and_frees_its_ports():
    async def scenario():
        runtime = SimulatedRuntime("127.0.0.1", pull_seconds=0)
        order = an_order(ports=ports(80, 8888))
        async with keeping(runtime) as keeper:
            keeper.assign([order])
            await until(lambda: states(keeper) == {order.order_id: "running"})
            for port in order.ports:
                assert f"simulated container of order {order.order_id}" in await http_get(port.public)
            keeper.assign([])
            await until(lambda: states(keeper) == {})
            assert await http_get(order.ports[0].public) == ""

    asyncio.run(scenario())


def test_a_simulated_order_greets_like_ssh_on_port_22_and_closes_politely():
    async def scenario():
        runtime = SimulatedRuntime("127.0.0.1", pull_seconds=0)
        order = an_order(ports=ports(22))
        await runtime.deploy(order, lambda state: None)
        reader, writer = await asyncio.open_connection("127.0.0.1", order.ports[0].public)
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        async with asyncio.timeout(5):
            assert await reader.read() == SSH_BANNER
        writer.close()
        await runtime.close()

    asyncio.run(scenario())


def test_a_simulated_order_fails_where_a_port_is_in_use_or_the_image_is_missing():
    async def scenario():
        runtime = SimulatedRuntime("127.0.0.1", pull_seconds=0, missing_images=frozenset({"gone:1"}))
        first = an_order(ports=ports(22))
        second = an_order(ports=[*ports(80), *first.ports])
        third = an_order("gone:1")
        async with keeping(runtime) as keeper:
            keeper.assign([first])
            await until(lambda: states(keeper) == {first.order_id: "running"})
            keeper.assign([first, second, third])
            await until(lambda: len(states(keeper)) == 3 and "running" in states(keeper).values())
            await until(lambda: list(states(keeper).values()).count("failed") == 2)
            details = [container.detail for container in keeper.containers()]
            assert details[1:] == [
                f"port {first.ports[0].public} is in use on the machine",
                "image 'gone:1' was not found locally nor in its registry",
            ]
            assert await http_get(second.ports[0].public) == ""

    asyncio.run(scenario())
