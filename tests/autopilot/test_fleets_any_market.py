"""Whatever a market does: no budget is exceeded, no order lost, none made twice."""

from random import Random

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openclore.autopilot.budget import DAY_SECONDS, HOUR_SECONDS
from openclore.autopilot.file import Budget, Coin, File
from openclore.autopilot.memory import Memory

from .fleet_market import START, Market, Pilot, by_hand, file_of, fleet, offer

MINUTES = 150
CLORE = "CLORE-Blockchain"
MOVE = 0.01
"""How much of its worth the currency that moves gains or loses in a minute, at most."""


def market_of(dice: Random) -> Market:
    offers = {n: offer(n, price=dice.choice([2.4, 4.8, 6.0, 7.2, 9.6])) for n in range(1, 9)}
    return Market(
        offers,
        now=1_800_000_000 + dice.randrange(86_400),
        fee_at_once=dice.random() < 0.5,
        tells_state=dice.random() < 0.5,
        has_open=dice.random() < 0.5,
    )


def file_with(dice: Random, machines: int, per_hour: float | None, per_day: float | None) -> File:
    kind = dice.choice(["on-demand", "spot", "cheapest"])
    total = dice.choice([None, 2.0])
    wanted = fleet(
        machines=machines, order_type=kind, budget=Budget(per_hour=per_hour, per_day=per_day, total=total)
    )
    return file_of(a=wanted)


def mishap(market: Market, dice: Random) -> None:
    server = dice.choice(list(market.offers))
    what = dice.random()
    if what < 0.02:
        market.offline ^= {server}
    elif what < 0.05:
        market.outbid(server, dice.uniform(1.0, 9.0))
    elif what < 0.07:
        market.rivals.pop(server, None)
    elif what < 0.09:
        market.fails_next = True
    elif what < 0.10 and market.active():
        market.end(dice.choice(market.active()).id, "failed")
    elif what < 0.12:
        market.offers[server] = offer(server, price=dice.choice([2.4, 4.8, 6.0, 7.2, 9.6]))
    elif what < 0.14:
        taken = msgspec.structs.replace(market.offers[server], rented=not market.offers[server].rented)
        market.offers[server] = taken


def assert_within(market: Market, budget: Budget, times: float = 1.0) -> None:
    for seconds, limit in ((HOUR_SECONDS, budget.per_hour), (DAY_SECONDS, budget.per_day), (0, budget.total)):
        if limit is not None:
            assert max(market.spent_per(seconds).values(), default=0.0) <= limit * times + 1e-6


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    machines=st.integers(0, 4),
    per_hour=st.none() | st.sampled_from([0.2, 0.35, 0.8, 1.3]),
    per_day=st.none() | st.sampled_from([0.5, 1.0, 3.0]),
    crash_at=st.none() | st.integers(1, 60),
    faults=st.sampled_from([0.0, 0.1, 0.3]),
)
def test_budgets_hold_and_no_order_is_lost_or_made_twice(seed, machines, per_hour, per_day, crash_at, faults):
    dice = Random(seed)
    market, file = market_of(dice), file_with(dice, machines, per_hour, per_day)
    budget = file.fleets["a"].budget
    pilot = Pilot(market, file, dice, faults, crash_at)
    for _ in range(MINUTES):
        mishap(market, dice)
        pilot.round()
        assert_within(market, budget)
        leaving = {one.order_id for one in pilot.fleet.machines.values() if one.cancelling_since}
        staying = [one for one in market.active() if one.id not in leaving and not one.waiting]
        assert len(staying) <= machines + len(pilot.fleet.intents)
    pilot.faults = 0.0
    for _ in range(10):
        pilot.round()
    assert_within(market, budget)
    assert {one.id for one in market.active()} <= pilot.remembered()
    assert not pilot.fleet.intents
    assert len([one for one in market.active() if not one.waiting]) <= machines
    assert all(count == 1 for count in pilot.keys.values())


@example(seed=353, machines=3, per_hour=0.35, per_day=None, crash_at=None, slow=100)  # a late fee
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    machines=st.integers(1, 4),
    per_hour=st.none() | st.sampled_from([0.35, 0.8, 1.3]),
    per_day=st.none() | st.sampled_from([0.5, 1.0, 3.0]),
    crash_at=st.none() | st.integers(1, 60),
    slow=st.sampled_from([10, 30, 100]),
)
def test_budgets_hold_where_every_action_takes_long(seed, machines, per_hour, per_day, crash_at, slow):
    dice = Random(seed)
    market, file = market_of(dice), file_with(dice, machines, per_hour, per_day)
    pilot = Pilot(market, file, dice, crash_at=crash_at, slow=slow)
    for _ in range(MINUTES):
        mishap(market, dice)
        pilot.round()
        assert_within(market, file.fleets["a"].budget)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    machines=st.integers(1, 4),
    per_hour=st.none() | st.sampled_from([0.35, 0.8, 1.3]),
    per_day=st.none() | st.sampled_from([0.5, 1.0, 3.0]),
    nonsense=st.sampled_from([0.0, 0.05]),
)
def test_budgets_hold_in_a_currency_that_moves_but_for_what_it_moves(
    seed, machines, per_hour, per_day, nonsense
):
    dice = Random(seed)
    market = Market(
        {n: offer(n, dice.choice([80, 160, 200, 320]), currency=CLORE) for n in range(1, 9)},
        now=START + dice.randrange(86_400),
        currency=CLORE,
        rate=0.03,
    )
    budget = Budget(per_hour=per_hour, per_day=per_day, total=2.0)
    pilot = Pilot(market, file_of(a=fleet(machines=machines, currency=Coin(CLORE), budget=budget)), dice)
    for _ in range(MINUTES):
        market.rate *= dice.uniform(1 - MOVE, 1 + MOVE)
        odd = dice.random() < nonsense
        market.doubted = market.rate * dice.choice([0.01, 1.6, 100]) if odd else None
        pilot.round()
        assert_within(market, budget, 1 + 3 * MOVE)
    assert pilot.fleet.spent.total == pytest.approx(sum(market.spent_per(0).values()), rel=3 * MOVE, abs=0.02)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    machines=st.integers(0, 4),
    per_hour=st.none() | st.sampled_from([0.35, 0.8, 1.3]),
    orphans=st.sampled_from(["adopt", "cancel", "leave"]),
    faults=st.sampled_from([0.0, 0.2]),
)
def test_what_others_order_meanwhile_is_never_touched(seed, machines, per_hour, orphans, faults):
    dice = Random(seed)
    market = Market({n: offer(n) for n in range(1, 10)})
    budget = Budget(per_hour=per_hour)
    wanted = fleet(machines=machines, orphans=orphans, exclude_servers=(8, 9), budget=budget)
    pilot = Pilot(market, file_of(a=wanted), dice, faults)
    theirs = []
    for minute in range(60):
        pilot.round()
        if minute in (10, 20):
            made = market.do(by_hand(8 + minute // 20, 4.8))
            assert made is not None
            theirs.append(made.id)
    assert [market.orders[order_id].ended_at for order_id in theirs] == [None, None]
    assert not pilot.remembered() & set(theirs)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    machines=st.integers(1, 4),
    per_hour=st.none() | st.sampled_from([0.35, 0.8, 1.3]),
    per_day=st.none() | st.sampled_from([0.5, 1.0, 3.0]),
    lost_at=st.integers(1, MINUTES - 1),
)
def test_hours_and_days_hold_without_the_memory_where_machines_run_on_demand(
    seed, machines, per_hour, per_day, lost_at
):
    dice = Random(seed)
    market = market_of(dice)
    budget = Budget(per_hour=per_hour, per_day=per_day)
    pilot = Pilot(market, file_of(a=fleet(machines=machines, budget=budget)), dice)
    for minute in range(MINUTES):
        if minute == lost_at:
            pilot.memory, pilot.seen = Memory(name="another"), None
        if dice.random() < 0.05:
            market.fails_next = True
        pilot.round()
        assert_within(market, budget)


@settings(max_examples=40, deadline=None)
@given(crash_at=st.integers(1, 40), kind=st.sampled_from(["on-demand", "spot", "cheapest"]))
def test_a_crash_between_any_two_steps_leads_to_the_same_end(crash_at, kind):
    ends = []
    for at in (None, crash_at):
        market = Market({n: offer(n, price=n) for n in range(1, 7)})
        file = file_of(a=fleet(machines=3, order_type=kind))
        pilot = Pilot(market, file, crash_at=at)
        for minute in range(20):
            if minute == 8:
                market.offline.add(2)
            pilot.round()
        ends.append((len(market.running()), {one.id for one in market.active()} == pilot.remembered()))
    assert ends == [(3, True), (3, True)]
