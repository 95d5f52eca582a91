"""GigaSPOT against a plain model: whatever batches come, the best bid runs and the books are right."""

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from openclore.api.currencies import Currency
from openclore.rules.orders import Kind, Order, State
from openclore.rules.policy import Policy
from openclore.store import ledger, orders
from openclore.store.store import Store
from openclore.usecases import gigaspot, hosts, settlement

from .test_gigaspot import add_rig, bids, cancels, edits, gigaspot_world, offer, rival, wanted

SERVERS, RENTERS = 3, 3
FLOOR = 100
PRICES = st.sampled_from([50, 100, 150, 1_440, 1_441, 5_000])
WHO = st.integers(0, RENTERS - 1)
SOME = st.sets(st.integers(1, SERVERS), min_size=1).map(sorted)
CLOCKS = st.sampled_from([None, [{"pl": 200}, {"pl": 200}], [{"pl": 9_000}, {"pl": 200}]])


class GigaspotMachine(RuleBasedStateMachine):
    """Three bidders, one of them poor, and three machines that come and go."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.world = world = gigaspot_world(store, Policy(orders_max=3))
        for number in range(1, SERVERS):
            add_rig(world, f"rig-{number}", FLOOR)
        self.renters = [world.renter, rival(world), rival(world, "poor", "4")]
        self.offered = set(range(1, SERVERS + 1))
        self.silent: set[int] = set()

    @rule(who=WHO, rigs=SOME, price=PRICES, oc=CLOCKS)
    def bid(self, who: int, rigs: list[int], price: int, oc: Any) -> None:
        account, before = self.renters[who], self.bids()
        more = {"oc": oc} if oc else {}
        reply = bids(self.world, *(wanted(rig, price, **more) for rig in rigs), account=account)
        failed = {*reply.failed_to_rent_servers, *reply.failed_to_oc_servers}
        known = {b.id for b in before}
        made = {b.server_id for b in self.bids() if b.id not in known}
        assert made <= set(rigs) - failed
        assert set(reply.too_low_bids_servers) <= set(reply.failed_to_rent_servers)
        if price < FLOOR or (oc and oc[0]["pl"] == 9_000):
            assert failed == set(rigs)

    @rule(data=st.data(), who=WHO, price=PRICES, oc=CLOCKS)
    def edit(self, data: Any, who: int, price: int, oc: Any) -> None:
        chosen = data.draw(st.sets(st.sampled_from(ids), min_size=1)) if (ids := self.ids()) else {999}
        more = {"oc": oc} if oc else {}
        before = {bid.id: bid for bid in self.bids()}
        reply = edits(
            self.world,
            *({"order_id": order_id, "price": price, **more} for order_id in chosen),
            account=self.renters[who],
        )
        assert sorted([*reply.success_to_update_ids, *reply.failed_to_update_ids]) == sorted(chosen)
        for bid in self.bids():
            if bid.id in reply.success_to_update_ids:
                assert bid.price == price * 10**8
            elif bid.id in before:
                assert (bid.price, bid.deployment) == (before[bid.id].price, before[bid.id].deployment)

    @rule(data=st.data(), who=WHO)
    def cancel(self, data: Any, who: int) -> None:
        chosen = data.draw(st.sets(st.sampled_from(ids), min_size=1)) if (ids := self.ids()) else {999}
        failed = cancels(self.world, *chosen, account=self.renters[who])
        assert not (chosen - set(failed)) & set(self.ids())

    @rule(rig=st.integers(1, SERVERS))
    def move(self, rig: int) -> None:
        offer(self.world, rig, None if rig in self.offered else FLOOR)
        self.offered ^= {rig}
        assert not [bid for bid in self.bids() if bid.server_id == rig]

    @rule(seconds=st.sampled_from([1, 59, 60, 600, 40_000]), turning=st.booleans())
    def wait(self, seconds: int, turning: bool) -> None:
        world = self.world
        world.now += seconds
        there = set(range(1, SERVERS + 1)) - self.silent
        hosts.keep_evidence(world.market, dict.fromkeys(there, (world.now, world.now)))
        if turning:
            world.turn()

    @rule(rig=st.integers(1, SERVERS))
    def fall_silent(self, rig: int) -> None:
        self.silent.add(rig)

    @rule(rig=st.integers(1, SERVERS))
    def come_back(self, rig: int) -> None:
        self.silent.discard(rig)
        self.world.beat(rig)

    @invariant()
    def the_best_bid_runs_and_no_other(self) -> None:
        for rig in range(1, SERVERS + 1):
            here = [bid for bid in self.bids() if bid.server_id == rig]
            best = min(here, key=lambda bid: (-bid.price, bid.id), default=None)
            assert [bid.id for bid in here if bid.holds] == ([best.id] if best else [])
            shown = gigaspot.snapshot(self.world.market, self.world.now).get(str(rig))
            assert (shown is not None) == (rig in self.offered)
            if shown is not None:
                assert {b.id: b.active for b in shown.bids or ()} == {b.id: b.holds for b in here}

    @invariant()
    def money_is_conserved(self) -> None:
        assert self.world.difference() is None

    @invariant()
    def every_wallet_is_looked_at_when_it_must_be(self) -> None:
        """Settling one before its time ends nothing, and finds the same second at which it runs dry."""
        world = self.world
        if self.silent:
            return
        for account in self.renters:
            with world.store.writing() as tx:
                before = ledger.wallet(tx, account, Currency.CLORE)
                if before.due_at is None or before.due_at > world.now:
                    settlement.settle(tx, world.policy, account, Currency.CLORE, world.now)
                    assert ledger.by_id(tx, before.id).exhausts_at == before.exhausts_at

    def bids(self) -> list[Order]:
        with self.world.store.reading() as tx:
            found = orders.active_of_kind(tx, Kind.GIGASPOT)
        assert all(bid.state is not State.ENDED for bid in found)
        return found

    def ids(self) -> list[int]:
        return [bid.id for bid in self.bids()]


def test_gigaspot_does_what_the_plain_model_says(new_sqlite_store: Callable[[], Store]) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: GigaspotMachine(new_sqlite_store()),
        settings=settings(max_examples=40, stateful_step_count=25, deadline=None),
    )
