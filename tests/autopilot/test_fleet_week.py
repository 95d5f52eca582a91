"""Ten machines through a week in which everything goes wrong, on demand and by bids."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest

from openclore.api.orders import Order
from openclore.autopilot.budget import DAY_SECONDS, HOUR_SECONDS
from openclore.autopilot.file import Budget, Check, File, Scale, Span, TcpCheck
from openclore.autopilot.observation import Failed, Probe
from openclore.autopilot.reading import Given
from openclore.autopilot.remember import Keeper
from openclore.autopilot.runner import Runner
from openclore.sandbox import Sandbox

from .fleet_market import fleet

WEEK_SECONDS = 7 * 86_400
EVERY_SECONDS = 1_200
WANTED = 10
BUDGET = Budget(per_hour=3.0, per_day=48.0, total=300.0)
USD = "USD-Blockchain"


class Looking:
    """Says of a machine what a look at it would say: that it runs, and its host is there."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def check(self, machines: Mapping[int, tuple[Order, tuple[Check, ...]]]) -> Mapping[int, Probe]:
        orders = self._sandbox.orders()
        return {order_id: Probe(serves(orders[order_id])) for order_id in machines}

    def numbers(self, scales: Mapping[str, Scale]) -> Mapping[str, int | Failed]:
        return {}


class Nobody:
    def deliver(self, *_: object) -> None:
        pass


def serves(order: Order) -> bool:
    return order.state == "running" and bool(order.online)


def go_wrong(sandbox: Sandbox, orders: Mapping[int, Order], dice: Random) -> None:
    active = [order for order in orders.values() if not order.expired and order.si]
    bids = [order for order in active if order.spot]
    add = sandbox.faults.add
    if active and dice.random() < 0.08:
        add("host_lost", server_id=dice.choice(active).si, seconds=dice.randrange(60, 14_400))
    if bids and dice.random() < 0.08:
        with contextlib.suppress(ValueError):  # it waits
            add("outbid", server_id=dice.choice(bids).si, factor=dice.uniform(1.02, 1.5))
    if dice.random() < 0.03:
        add("failing_image", count=dice.randrange(1, 3))
    if dice.random() < 0.015:
        add("never_deploys")
    if dice.random() < 0.15:
        kinds = ("error_after", "error_before", "timeout_after", "cut_off", "refused", "too_many_requests")
        add(dice.choice(kinds), endpoint="create_order")
    if dice.random() < 0.02:
        add("error_before", endpoint=dice.choice(["my_orders", "marketplace"]))
    if dice.random() < 0.08:
        add("lingering_cancel", seconds=60)


@pytest.mark.timeout(300)
def test_a_fleet_of_ten_is_held_for_a_week(tmp_path: Path):
    dice = Random(4)
    usual = {
        "machines": WANTED // 2,
        "price_per_hour_max": 0.25,
        "ports": {"22": "tcp"},
        "ready": (TcpCheck(port=22),),
        "ready_within": Span(900),
        "exclude_for": Span(7_200),
        "lease": Span(6 * 3_600),
    }
    file = File(
        every=Span(EVERY_SECONDS),
        stale_after=Span(3 * EVERY_SECONDS),
        fleets={
            "firm": fleet(**usual, image="busybox"),
            "cheap": fleet(**usual, image="alpine", order_type="spot"),
        },
        budget=BUDGET,
    )
    with (
        Sandbox(seed=11, servers=64, dialect="live") as sandbox,
        sandbox.client() as clore,
        Keeper(tmp_path / "memory.sqlite", ("sandbox", "renter")) as keeper,
    ):
        runner = Runner(
            clore,
            Given(file),
            keeper,
            prober=Looking(sandbox),
            postman=Nobody(),
            date=sandbox.clock.time,
            sleep=sandbox.sleep,
        )
        begun, money = sandbox.clock.now, Money(sandbox)
        served, orders = 0, sandbox.orders()
        while sandbox.clock.now < begun + WEEK_SECONDS:
            go_wrong(sandbox, orders, dice)
            runner.once()
            money.look()
            rest = EVERY_SECONDS - sandbox.clock.now % EVERY_SECONDS
            before = dice.randrange(rest)
            sandbox.sleep(before)
            orders = sandbox.orders()
            served += min(WANTED, sum(map(serves, orders.values())))
            sandbox.sleep(rest - before)
            money.look()
        share = served * EVERY_SECONDS / (WANTED * WEEK_SECONDS)
        assert share >= 0.97, f"{share:.2%} of the machine time, {len(orders)} orders, {money.spent:.2f} $"
        known = {order_id for one in keeper.memory.fleets.values() for order_id in one.machines}
        assert {order.id for order in sandbox.orders().values() if not order.expired} <= known
        remembered = sum(one.spent.total for one in keeper.memory.fleets.values())
        assert money.spent <= remembered + 0.5
        assert sandbox.ledger_difference() is None


class Money:
    """What left the wallet, by hour and by day, as often as it is looked at; never more than the budget."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._begun = self._left()
        self._at: dict[int, tuple[int, float]] = {}
        self.spent = 0.0

    def look(self) -> None:
        self.spent = self._begun - self._left()
        assert BUDGET.total is not None
        assert self.spent <= BUDGET.total
        for seconds, limit in ((HOUR_SECONDS, BUDGET.per_hour), (DAY_SECONDS, BUDGET.per_day)):
            window = self._sandbox.clock.now // seconds
            known, before = self._at.get(seconds, (window, 0.0))
            if known != window:
                before = self.spent
            self._at[seconds] = (window, before)
            assert limit is not None
            assert self.spent - before <= limit

    def _left(self) -> float:
        return self._sandbox.wallets()[USD]
