"""Turning the clock is living through every moment of it."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openclore.api.currencies import Currency
from openclore.rules.policy import Policy
from openclore.sandbox.sandbox import START
from openclore.server.loops import Loop
from openclore.server.service import Service
from openclore.usecases import accounts
from openclore.usecases.verify import verify

from .conftest import NewWorld, Rehearsal

HOUR, DAY = 3_600, 86_400


def with_company(rehearsal: Rehearsal) -> Rehearsal:
    """The renter with orders of both kinds, money for some hours, and a machine that goes and comes back."""
    bid, *others = rehearsal.free()[:3]
    rehearsal.rent(bid, type="spot", spotprice=150.0)
    for server_id in others:
        rehearsal.rent(server_id)
    rehearsal.world.hosts.lose(bid, START)
    rehearsal.world.agenda.put(START + HOUR, lambda now: rehearsal.world.hosts.find(bid, now))
    return rehearsal


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.integers(1, 5 * HOUR), max_size=12), seed=st.integers(0, 10**6))
def test_one_turn_is_many_small_ones(new_world: NewWorld, steps: list[int], seed: int) -> None:
    at_once, in_steps = (with_company(new_world(seed=seed, servers=12, usd=20)) for _ in range(2))
    until = START + DAY
    for step in steps:
        in_steps.world.turn_to(min(until, in_steps.world.now + step))
    for rehearsal in (at_once, in_steps):
        rehearsal.world.turn_to(until)
        rehearsal.world.hosts.credit(until)
        assert verify(rehearsal.market).difference is None
    assert in_steps.story() == at_once.story()
    uptimes = "SELECT * FROM uptimes ORDER BY server_id, day"
    assert in_steps.rows(uptimes) == at_once.rows(uptimes)


def test_second_by_second_is_the_same_as_at_once(new_world: NewWorld) -> None:
    at_once, in_seconds = (with_company(new_world(usd=20)) for _ in range(2))
    at_once.world.turn_to(START + 900)
    for second in range(901):
        in_seconds.world.turn_to(START + second)
    assert in_seconds.story() == at_once.story()


def test_the_markets_own_loop_comes_to_the_same(new_world: NewWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turned every five seconds, as on a real server, it settles what the turned clock jumps to."""
    policy = Policy(post_every_seconds=3_600)
    turned, looped = (with_company(new_world(policy=policy, usd=10)) for _ in range(2))
    until = START + 4 * HOUR
    turned.world.turn_to(until)
    loop = Loop(Service(looped.market, lambda: looped.world.now))
    monkeypatch.setattr(looped.world, "_wallet_due_at", lambda: None)
    for second in range(0, 4 * HOUR + 1, 5):
        looped.world.turn_to(START + second)
        loop.turn()
    ends = "SELECT id, server_id, state, end_reason, ended_at, price FROM orders ORDER BY id"
    assert looped.rows(ends) == turned.rows(ends)
    assert any(row.end_reason == "exhausted" for row in turned.rows(ends))
    for account_id in (turned.founded.renter, *turned.founded.rivals):
        spendable = [accounts.wallets(one.market, account_id, until) for one in (turned, looped)]
        assert spendable[0] == spendable[1]


def test_the_same_seed_tells_the_same_story(new_world: NewWorld) -> None:
    stories = []
    for seed in (5, 5, 6):
        rehearsal = with_company(new_world(seed=seed, usd=20))
        rehearsal.world.turn_to(START + DAY)
        stories.append(rehearsal.story())
    assert stories[0] == stories[1]
    assert stories[0]["prices"] != stories[2]["prices"]
    assert stories[0]["events"] != stories[2]["events"]


def test_an_order_is_charged_by_the_minute_and_ends_at_its_longest_length(new_world: NewWorld) -> None:
    rehearsal = new_world()
    server_id = rehearsal.free()[0]
    machine = next(machine for machine in rehearsal.machines if machine.id == server_id)
    hours = machine.settings.mrl_hours
    order = rehearsal.rent(server_id)
    rehearsal.world.turn_to(START + hours * HOUR + DAY)
    row = rehearsal.order(order.id)
    assert (row.end_reason, row.ended_at) == ("expired", START + hours * HOUR)
    assert row.active_seconds == hours * HOUR - 1  # this machine was there all the time
    spend = machine.settings.prices[Currency.USD].on_demand * hours // 24
    assert row.paid_host == spend - spend * 20 // 100
    assert row.paid_market == spend + spend * 5 // 100 + 10_000_000 - row.paid_host


def test_nobody_pays_for_the_absence_of_a_machine(new_world: NewWorld) -> None:
    rehearsal = new_world()
    order = rehearsal.rent(rehearsal.free()[0])
    world = rehearsal.world
    world.turn_to(START + 600)
    world.hosts.lose(order.si or 0, world.now)
    world.turn_to(START + 5_000)
    row = rehearsal.order(order.id)
    assert (row.active_since, row.active_seconds) == (None, 600)
    world.hosts.find(order.si or 0, world.now)
    world.turn_to(START + 6_000)
    row = rehearsal.order(order.id)
    assert (row.active_since, row.active_seconds) == (START + 5_000, 600)


def test_an_order_outlives_two_hours_of_absence_and_no_more(new_world: NewWorld) -> None:
    rehearsal = new_world()
    order = rehearsal.rent(rehearsal.free()[0])
    rehearsal.world.hosts.lose(order.si or 0, START)
    rehearsal.world.turn_to(START + DAY)
    row = rehearsal.order(order.id)
    assert (row.end_reason, row.ended_at) == ("host_lost", START + 7_201)
