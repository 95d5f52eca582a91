"""Orders with billing, whatever the order of events."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from openclore.rules import billing, money
from openclore.rules.orders import EndReason, State
from openclore.rules.policy import Policy
from openclore.rules.refused import Refused
from openclore.store import ledger, orders
from openclore.store.store import Store

from ..recompute import check_statements
from ..world import World

PLANNED = (EndReason.EXPIRED, EndReason.EXHAUSTED)
PRICES = [0.2, 2, 37.5, 200]


class MarketMachine(RuleBasedStateMachine):
    """One renter, three servers of different prices; money, time, silence and failures come as they like."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.world = World(store, Policy(post_every_seconds=1_800))
        self.world.set_server("rack-1", usd_on_demand=PRICES[0], mrl=6)
        for number, price in enumerate(PRICES[1:], start=2):
            self.world.add_server(f"rack-{number}", usd_on_demand=price, mrl=6 * number)
        self.credited = 0
        self.silent: set[int] = set()
        # The model of presence: seconds each server was there, how often it fell silent, and both at
        # the moment that an order was made.
        self.there = dict.fromkeys(range(1, 5), 0)
        self.gaps = dict.fromkeys(range(1, 5), 0)
        self.at_start: dict[int, tuple[int, int]] = {}

    @rule(cents=st.integers(1, 3_000))
    def credit(self, cents: int) -> None:
        self.world.credit(f"{cents / 100:.2f}", key=f"{self.credited}")
        self.credited += cents * 10**6

    @rule(server=st.integers(1, 4))
    def rent(self, server: int) -> None:
        before = self.rows()
        try:
            made = self.world.rent(server)
            self.at_start[made.id] = (self.there[server], self.gaps[server])
        except Refused:
            assert [o.id for o in self.rows()] == [o.id for o in before]

    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        known = [order.id for order in self.rows()]
        if known:
            with suppress(Refused):
                self.world.cancel(data.draw(st.sampled_from(known)))

    @rule(seconds=st.sampled_from([1, 59, 60, 61, 600, 3_600, 40_000]), turning=st.booleans())
    def wait(self, seconds: int, turning: bool) -> None:
        self.world.now += seconds
        for server in range(1, 5):
            if server not in self.silent:
                self.there[server] += seconds
                self.keep(server)
        if turning:
            self.world.turn()

    def keep(self, server: int) -> None:
        from openclore.usecases import hosts

        hosts.keep_evidence(self.world.market, {server: (self.world.now, self.world.now)})

    @rule(server=st.integers(1, 4))
    def fall_silent(self, server: int) -> None:
        self.silent.add(server)
        self.gaps[server] += 1

    @rule(server=st.integers(1, 4))
    def come_back(self, server: int) -> None:
        self.silent.discard(server)
        self.world.beat(server)

    @precondition(lambda self: any(order.state is not State.ENDED for order in self.rows()))
    @rule(data=st.data(), state=st.sampled_from(["pulling", "running", "exited", "failed"]))
    def report(self, data: Any, state: str) -> None:
        order = data.draw(st.sampled_from([o for o in self.rows() if o.state is not State.ENDED]))
        if order.server_id not in self.silent:
            self.world.report(state, order.id, order.server_id)

    def teardown(self) -> None:
        check_statements(self.world.market)

    @invariant()
    def the_ledger_adds_up(self) -> None:
        assert self.world.difference() is None

    @invariant()
    def money_is_conserved_and_no_balance_negative(self) -> None:
        with self.world.store.reading() as tx:
            balances = list(ledger.every(tx))
        inside = [account.balance for account in balances if account.kind is not ledger.Kind.OUTSIDE]
        assert all(balance >= 0 for balance in inside)
        assert sum(inside) == self.credited

    @invariant()
    def spend_is_the_formula(self) -> None:
        shown = self.world.orders()
        for order in self.rows():
            seconds = billing.active_seconds(order, self.world.now)
            expected = order.price * (seconds // 60 + 1) // 1_440
            assert money.from_wire(shown[order.id].spend or 0) == expected
            assert seconds <= order.mrl_seconds - 1
            if order.ended_at is not None:
                last = order.ended_at - (order.end_reason in PLANNED)
                assert seconds <= max(last, order.posted_at) - order.created_at

    @invariant()
    def nobody_pays_for_silence(self) -> None:
        """But for the seconds until a host counts as silent, once per gap."""
        for order in self.rows():
            if order.state is State.ENDED:
                there, gaps = self.at_start[order.id]
                silences = self.gaps[order.server_id] - gaps + 1
                grace_seconds = self.world.policy.offline_after_seconds * silences
                assert order.active_seconds <= self.there[order.server_id] - there + grace_seconds

    @invariant()
    def a_machine_has_one_order_at_most(self) -> None:
        holders = [order.server_id for order in self.rows() if order.state is not State.ENDED]
        assert len(holders) == len(set(holders))

    @invariant()
    def every_end_has_its_reason(self) -> None:
        for order in self.rows():
            assert (order.state is State.ENDED) == (order.end_reason is not None)

    def rows(self) -> list[Any]:
        with self.world.store.reading() as tx:
            return list(orders.every(tx))


def test_orders_and_money_keep_their_promises_whatever_happens(new_sqlite_store: Callable[[], Store]) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: MarketMachine(new_sqlite_store()),
        settings=settings(max_examples=40, stateful_step_count=30, deadline=None),
    )


class TwinMachine(RuleBasedStateMachine):
    """Two markets live through the same; the loop of one turns often, the other's only now and then."""

    def __init__(self, make: Callable[[], Store]) -> None:
        super().__init__()
        self.worlds = [World(make()), World(make())]
        for world in self.worlds:
            world.set_server("rack-1", usd_on_demand=2, mrl=6)
            world.add_server("rack-2", usd_on_demand=37.5, mrl=30)
            world.add_server("rack-3", usd_on_demand=200, mrl=30)
        self.count = 0

    @rule(cents=st.integers(1, 2_000))
    def credit(self, cents: int) -> None:
        self.count += 1
        for world in self.worlds:
            world.credit(f"{cents / 100:.2f}", key=f"{self.count}")

    @rule(server=st.integers(1, 3))
    def rent(self, server: int) -> None:
        for world in self.worlds:
            with suppress(Refused):
                world.rent(server)

    @rule(order=st.integers(1, 8))
    def cancel(self, order: int) -> None:
        for world in self.worlds:
            with suppress(Refused):
                world.cancel(order)

    @rule(steps=st.lists(st.sampled_from([1, 59, 60, 333, 3_600, 9_999]), min_size=1, max_size=6))
    def wait(self, steps: list[int]) -> None:
        eager, lazy = self.worlds
        for seconds in steps:
            eager.jump(seconds)
            eager.turn()
        lazy.jump(sum(steps))

    @rule()
    def turn(self) -> None:
        self.worlds[1].turn()

    def teardown(self) -> None:
        eager, lazy = self.worlds
        for world in self.worlds:
            world.turn()
            check_statements(world.market)
        assert eager.now == lazy.now
        assert eager.orders() == lazy.orders()
        assert eager.balance() == lazy.balance()


def test_a_late_loop_charges_what_a_punctual_one_does(new_sqlite_store: Callable[[], Store]) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: TwinMachine(new_sqlite_store),
        settings=settings(max_examples=30, stateful_step_count=20, deadline=None),
    )
