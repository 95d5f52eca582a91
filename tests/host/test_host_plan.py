"""The planner as a table and as a property: it converges, and never removes what it must not."""

import pytest
from host_fakes import an_order
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from openclore.api.gigaspot import GpuClocks
from openclore.api.hostlink import Container, PortMap
from openclore.host.plan import (
    CUT_OFF_GRACE_SECONDS,
    Abandon,
    Actual,
    Deploy,
    Moment,
    Remove,
    Wanted,
    plan,
    report,
    whose_clocks,
)
from openclore.host.runtime import Found

NOW = 1_000_000.0
STEADY = 5_000.0
PAID = an_order(order_id=1, paid_until=int(NOW) + 60)
UNPAID = an_order(order_id=1, paid_until=int(NOW) - 60)

WITH_PORT = an_order(order_id=1, paid_until=int(NOW) + 60, ports=[PortMap(container=80, public=30_001)])
HOLDER = {2: Found(Container(order_id=2, state="running"), public_ports=frozenset({30_001}))}


def found(state: str = "running", unfinished: bool = False, order_id: int = 1) -> dict[int, Found]:
    return {order_id: Found(Container(order_id=order_id, state=state), unfinished)}


def heard(*orders) -> Wanted:
    return Wanted({order.order_id: order for order in orders}, cut_off_since=None)


def cut_off(*orders, since: float = 0.0) -> Wanted:
    return Wanted({order.order_id: order for order in orders}, cut_off_since=since)


@pytest.mark.parametrize(
    ("what", "wanted", "actual", "expected"),
    [
        ("nothing wanted, nothing there", heard(), Actual(), []),
        ("wanted, not there", heard(PAID), Actual(), [Deploy(PAID)]),
        ("wanted, there, complete", heard(PAID), Actual(found(), settled={1}), []),
        ("wanted, there, not looked at yet", heard(PAID), Actual(found()), [Deploy(PAID)]),
        ("wanted, interrupted", heard(PAID), Actual(found("exited", True), settled={1}), [Deploy(PAID)]),
        ("wanted, ended by itself", heard(PAID), Actual(found("exited"), settled={1}), []),
        ("wanted, being deployed", heard(PAID), Actual(deploying={1}), []),
        ("wanted, being removed", heard(PAID), Actual(found(), removing={1}), []),
        ("wanted, failed", heard(PAID), Actual(failed={1: "no"}), []),
        ("wanted, failed, something left", heard(PAID), Actual(found(), failed={1: "no"}), [Remove(1)]),
        ("no longer wanted", heard(), Actual(found(), settled={1}), [Remove(1)]),
        ("no longer wanted, half made", heard(), Actual(found("creating", True)), [Remove(1)]),
        ("no longer wanted, being deployed", heard(), Actual(found(), deploying={1}), [Abandon(1)]),
        ("no longer wanted, being removed", heard(), Actual(found(), removing={1}), []),
        ("late payment is the market's business", heard(UNPAID), Actual(found(), settled={1}), []),
        ("cut off, paid", cut_off(PAID), Actual(found(), settled={1}), []),
        ("cut off, paid, not there", cut_off(PAID), Actual(), [Deploy(PAID)]),
        ("cut off, no longer paid", cut_off(UNPAID), Actual(found(), settled={1}), [Remove(1)]),
        ("cut off, no longer paid, not there", cut_off(UNPAID), Actual(), []),
        ("cut off, no longer paid, being deployed", cut_off(UNPAID), Actual(deploying={1}), [Abandon(1)]),
        ("cut off a moment ago", cut_off(UNPAID, since=STEADY - 1), Actual(found(), settled={1}), []),
        ("cut off a moment ago, unpaid, not there", cut_off(UNPAID, since=STEADY - 1), Actual(), []),
        ("cut off a moment ago, unpaid, unseen", cut_off(UNPAID, since=STEADY - 1), Actual(found()), []),
        ("heard, unpaid, not there", heard(UNPAID), Actual(), [Deploy(UNPAID)]),
        ("its port is held by what leaves", heard(WITH_PORT), Actual(HOLDER), [Remove(2)]),
        ("its port is held by what is being removed", heard(WITH_PORT), Actual(HOLDER, removing={2}), []),
        ("another port is held", heard(PAID), Actual(HOLDER, removing={2}), [Deploy(PAID)]),
        ("cut off, its port is held by a stranger", cut_off(WITH_PORT), Actual(HOLDER), [Deploy(WITH_PORT)]),
        ("cut off, never heard of it", cut_off(), Actual(found()), []),
    ],
)
def test_the_plan_follows_from_what_is_wanted_and_what_is_there(what, wanted, actual, expected):
    assert plan(wanted, actual, Moment(NOW, STEADY)) == expected


TUNED = an_order(order_id=1, paid_until=int(NOW) + 60, clocks=[GpuClocks(pl=200)])
UNPAID_TUNED = an_order(order_id=1, paid_until=int(NOW) - 60, clocks=[GpuClocks(pl=200)])
TUNED_LATER = an_order(order_id=2, paid_until=int(NOW) + 60, clocks=[GpuClocks(pl=300)])


@pytest.mark.parametrize(
    ("what", "wanted", "actual", "expected"),
    [
        ("it runs", heard(TUNED), Actual(found()), TUNED),
        ("it asks for none", heard(PAID), Actual(found()), None),
        ("it is not there yet", heard(TUNED), Actual(), None),
        ("it ended by itself", heard(TUNED), Actual(found("exited")), None),
        ("it failed", heard(TUNED), Actual(found(), failed={1: "no"}), None),
        ("it is wanted no more", heard(), Actual(found()), None),
        ("cut off, paid", cut_off(TUNED), Actual(found()), TUNED),
        ("cut off, no longer paid", cut_off(UNPAID_TUNED), Actual(found()), None),
        ("another runs besides", heard(TUNED, TUNED_LATER), Actual(found() | found(order_id=2)), TUNED_LATER),
    ],
)
def test_gpus_run_at_the_clocks_of_the_newest_order_that_runs(what, wanted, actual, expected):
    assert whose_clocks(wanted, actual, Moment(NOW, STEADY)) == expected


def test_a_report_tells_the_outcome_before_the_progress():
    actual = Actual(
        found={**found(order_id=1), **found("creating", True, 2), **found("exited", True, 3)},
        failed={4: "no such image"},
    )
    progress = {1: "pulling", 2: "pulling", 4: "creating", 5: "pulling"}
    assert report(actual, progress, {1: "a remark", 2: "unused"}) == [
        Container(order_id=1, state="running", detail="a remark"),
        Container(order_id=2, state="pulling"),
        Container(order_id=3, state="exited"),
        Container(order_id=4, state="failed", detail="no such image"),
        Container(order_id=5, state="pulling"),
    ]


ids = st.integers(1, 5)


class World(RuleBasedStateMachine):
    """A machine, a market and a link between them; every rule is something that happens to them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.steady = STEADY
        self.market: dict[int, int] = {}
        self.wanted = Wanted(cut_off_since=STEADY)
        self.found: dict[int, Found] = {}
        self.failed: dict[int, str] = {}
        self.settled: set[int] = set()
        self.deploying: set[int] = set()
        self.removing: set[int] = set()
        self.will_fail: set[int] = set()

    @property
    def actual(self) -> Actual:
        return Actual(self.found, self.settled, self.failed, self.deploying, self.removing)

    @rule(order_id=ids, seconds=st.integers(-30, 600))
    def the_market_wants_an_order(self, order_id, seconds):
        self.market[order_id] = int(self.now) + seconds

    @rule(order_id=ids)
    def an_order_ends(self, order_id):
        self.market.pop(order_id, None)

    @rule()
    def the_market_speaks(self):
        orders = [an_order(order_id=order_id, paid_until=paid) for order_id, paid in self.market.items()]
        self.wanted = heard(*orders)
        self.failed = {key: value for key, value in self.failed.items() if key in self.market}

    @rule()
    def the_link_breaks(self):
        if self.wanted.cut_off_since is None:
            self.wanted = cut_off(*self.wanted.orders.values(), since=self.steady)

    @rule(seconds=st.integers(1, 300))
    def time_passes(self, seconds):
        self.now += seconds
        self.steady += seconds

    @rule(seconds=st.integers(-600, 600))
    def a_clock_is_set(self, seconds):
        self.now += seconds

    @rule(order_id=ids, broken=st.booleans())
    def an_image_breaks_or_is_repaired(self, order_id, broken):
        (self.will_fail.add if broken else self.will_fail.discard)(order_id)

    @rule(order_id=ids, state=st.sampled_from(["exited", "interrupted", "vanished"]))
    def a_container_stops(self, order_id, state):
        if order_id in self.found and order_id not in self.deploying | self.removing:
            if state == "vanished":
                del self.found[order_id]
                self.settled.discard(order_id)
            else:
                self.found.update(found("exited", state == "interrupted", order_id))

    @rule()
    def the_agent_restarts(self):
        self.settled, self.failed, self.deploying, self.removing = set(), {}, set(), set()
        self.wanted = cut_off(*self.wanted.orders.values(), since=self.steady)

    @rule(finish=st.booleans())
    def the_agent_works(self, finish):
        self.step()
        if finish:
            self.finish()

    def step(self) -> int:
        actions = plan(self.wanted, self.actual, Moment(self.now, self.steady))
        touched = [
            action.order.order_id if isinstance(action, Deploy) else action.order_id for action in actions
        ]
        assert len(touched) == len(set(touched)), "one action for each order"
        for action in actions:
            match action:
                case Deploy(order):
                    assert order.order_id not in self.deploying | self.removing
                    assert self.wanted.cut_off_since is None or self.now < order.paid_until
                    self.deploying.add(order.order_id)
                    if order.order_id not in self.found:
                        self.found.update(found("creating", True, order.order_id))
                case Abandon(order_id):
                    self.assert_may_go(order_id)
                    self.deploying.discard(order_id)
                case Remove(order_id):
                    assert order_id in self.found
                    assert order_id not in self.deploying | self.removing
                    if order_id not in self.failed:
                        self.assert_may_go(order_id)
                    self.removing.add(order_id)
        return len(actions)

    def assert_may_go(self, order_id: int) -> None:
        order = self.wanted.orders.get(order_id)
        if self.wanted.cut_off_since is None:
            assert order is None, "the market wants it"
        else:
            assert order is not None, "the market has not spoken of it"
            assert self.now >= order.paid_until, "it is paid for"
            grace_ends = self.wanted.cut_off_since + CUT_OFF_GRACE_SECONDS
            assert self.steady >= grace_ends, "the market may yet speak"

    def finish(self) -> None:
        for order_id in self.deploying:
            if order_id in self.will_fail and order_id not in self.settled:
                self.failed[order_id] = "broken"
                if order_id % 2:  # the others could not be cleaned up
                    self.found.pop(order_id, None)
            else:
                if self.found[order_id].unfinished:
                    self.found.update(found("running", False, order_id))
                self.settled.add(order_id)
        for order_id in self.removing:
            self.found.pop(order_id)
            self.settled.discard(order_id)
        self.deploying, self.removing = set(), set()

    @invariant()
    def once_the_market_has_spoken_work_converges_to_what_it_wants(self):
        other = World()
        other.__dict__.update(
            {
                name: value.copy() if isinstance(value, dict | set) else value
                for name, value in vars(self).items()
                if name
                in (
                    "now",
                    "steady",
                    "market",
                    "found",
                    "failed",
                    "settled",
                    "deploying",
                    "removing",
                    "will_fail",
                )
            }
        )
        other.the_market_speaks()
        for _ in range(5):
            other.step()
            other.finish()
        assert other.step() == 0, "nothing is left to do"
        assert other.found.keys() | other.failed.keys() == other.market.keys()
        assert not other.found.keys() & other.failed.keys()
        assert not any(found.unfinished for found in other.found.values())
        assert other.settled == other.found.keys(), "each was looked at once"


TestWorld = World.TestCase


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_cut_off_agent_keeps_a_container_exactly_as_long_as_it_is_paid(paid_for, cut_off_for):
    order = an_order(order_id=1, paid_until=int(NOW) + paid_for)
    wanted = cut_off(order, since=STEADY - CUT_OFF_GRACE_SECONDS)
    assert wanted.unwanted(1, Moment(NOW + cut_off_for, STEADY)) == (cut_off_for >= paid_for)
