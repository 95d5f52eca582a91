"""The spot market against a plain model, whatever the order of events."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from openclore.api.codes import Refusal
from openclore.api.currencies import Currency
from openclore.api.spot import SetSpotPrice, SpotMarketplace
from openclore.rules import money
from openclore.rules.orders import EndReason, State
from openclore.rules.refused import Refused
from openclore.store import ledger, orders
from openclore.store.store import Store
from openclore.usecases import accounts, hosts, rates, spot

from ..recompute import check_statements
from ..world import World

CURRENCIES = (Currency.USD, Currency.CLORE)
FLOORS = {Currency.USD: Fraction(1), Currency.CLORE: Fraction(100)}
STEPS = {Currency.USD: Fraction(5, 100), Currency.CLORE: Fraction(10)}
BIDS = {
    Currency.USD: st.sampled_from([0.5, 1, 1.2, 2, 5]),
    Currency.CLORE: st.sampled_from([50, 100, 240, 400, 1_000]),
}
SERVERS, RENTERS = 2, 4


@dataclass
class Wanted:
    """The model of an order: who holds what is a matter of looking at all of them."""

    id: int
    account: int
    server: int
    on_demand: bool
    currency: Currency
    price: Fraction
    lowered_at: int | None = None


class SpotMachine(RuleBasedStateMachine):
    """Four renters, one of them poor, and two servers; bids, orders, prices, rates and hosts come and go."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.world = world = World(store)
        for name in ("rack-1", "rack-2"):
            if name != "rack-1":
                world.add_server(name)
            world.set_server(name, clore_enabled=True, clore_on_demand=400, clore_spot=100, mrl=12)
        self.rates = {Currency.USD: Fraction(1)}
        self.set_rate("0.005")
        self.renters = []
        for number, amount in enumerate(["500", "500", "500", "0.3"]):
            account = accounts.create_account(world.market, f"renter-{number}@example.org", world.now)
            self.renters.append(account.id)
            for currency in CURRENCIES:
                key = f"{number}:{currency}"
                cents = money.from_text(amount) * (100 if currency is Currency.CLORE else 1)
                accounts.credit(world.market, account.email, currency, cents, world.now, key)
        self.wanted: dict[int, Wanted] = {}
        self.silent: set[int] = set()

    @rule(rate=st.sampled_from(["0.004", "0.005", "0.012"]))
    def set_rate(self, rate: str) -> None:
        self.rates[Currency.CLORE] = Fraction(rate)
        rates.set_rate(self.world.market, Currency.CLORE, money.from_text(rate), self.world.now)

    @rule(data=st.data(), who=st.integers(0, RENTERS - 1), server=st.integers(1, SERVERS))
    def bid(self, data: Any, who: int, server: int) -> None:
        currency = data.draw(st.sampled_from(CURRENCIES))
        price = data.draw(BIDS[currency])
        account = self.renters[who]
        self.take_ends_in()
        held = self.held(server)
        refusals = {
            Refusal.SERVER_ALREADY_RENTED: any(w.on_demand for w in held),
            Refusal.YOU_ALREADY_HAVE_SPOT_ORDER: any(w.account == account for w in held),
            Refusal.TOO_LOW_PRICE: Fraction(price) < FLOORS[currency],
        }
        self.order(account, server, refusals, type="spot", currency=currency, spotprice=price)

    @rule(who=st.integers(0, RENTERS - 1), server=st.integers(1, SERVERS))
    def rent(self, who: int, server: int) -> None:
        self.take_ends_in()
        held = self.held(server)
        refusals = {Refusal.SERVER_ALREADY_RENTED: any(w.on_demand for w in held)}
        self.order(self.renters[who], server, refusals)

    def held(self, server: int) -> list[Wanted]:
        """The orders on a server that asking for another does not end, their time having come."""
        here = [wanted for wanted in self.wanted.values() if wanted.server == server]
        return [wanted for wanted in here if self.row(wanted.id).ends_at > self.world.now]

    def order(self, account: int, server: int, refusals: dict[Refusal, bool], **more: Any) -> None:
        """Ask for an order; it is refused for the model's first reason, or for what money and time say."""
        due = [refusal for refusal, holds in refusals.items() if holds]
        # Asking may have ended an order that could not be paid any more, and that the model still counted.
        may_be_free = due[:1] == [Refusal.SERVER_ALREADY_RENTED]
        made, refusal = self.attempt(lambda: self.world.rent(server, account, **more))
        if made is None:
            reasons = due if may_be_free else due[:1]
            assert refusal in (*reasons, Refusal.SERVER_OFFLINE, Refusal.NOT_ENOUGH_BALANCE)
        else:
            assert not due or may_be_free
            row = self.row(made.id)
            self.wanted[made.id] = Wanted(
                row.id, account, server, not row.is_bid, row.currency, Fraction(row.price, money.SCALE)
            )

    @rule(data=st.data())
    def reprice(self, data: Any) -> None:
        self.take_ends_in()
        bids = [w for w in self.wanted.values() if not w.on_demand]
        if not bids:
            return
        chosen = data.draw(st.sampled_from(bids))
        change = data.draw(st.sampled_from(["-2", "-0.05", "-0.01", "0.3", "1"]))
        price = chosen.price + Fraction(change) * (200 if chosen.currency is Currency.CLORE else 1)
        now = self.world.now
        expected = None
        if price < FLOORS[chosen.currency]:
            expected = Refusal.AMOUNT_TOO_LOW
        elif price < chosen.price and chosen.lowered_at is not None and now < chosen.lowered_at + 600:
            expected = Refusal.CAN_LOWER_EVERY_600_SECONDS
        elif chosen.price - price > STEPS[chosen.currency]:
            expected = Refusal.EXCEEDED_MAX_STEP
        request = SetSpotPrice(order_id=chosen.id, desired_price=float(price))
        _, refusal = self.attempt(
            lambda: spot.set_spot_price(self.world.market, chosen.account, request, now)
        )
        if refusal is not None:
            assert refusal in (expected, Refusal.ORDER_DONT_EXIST)
            return
        assert expected is None
        chosen.lowered_at = now if price < chosen.price else chosen.lowered_at
        chosen.price = price

    def attempt(self, act: Callable[[], Any]) -> tuple[Any, Refusal | str | None]:
        try:
            return act(), None
        except Refused as refused:
            return None, refused.refusal

    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        if self.wanted:
            chosen = data.draw(st.sampled_from(list(self.wanted.values())))
            with suppress(Refused):
                self.world.cancel(chosen.id, chosen.account)

    @rule(seconds=st.sampled_from([1, 59, 60, 600, 3_600, 40_000]), turning=st.booleans())
    def wait(self, seconds: int, turning: bool) -> None:
        self.world.now += seconds
        there = [server for server in range(1, SERVERS + 1) if server not in self.silent]
        now = self.world.now
        hosts.keep_evidence(self.world.market, dict.fromkeys(there, (now, now)))
        if turning:
            self.world.turn()

    @rule(server=st.integers(1, SERVERS))
    def fall_silent(self, server: int) -> None:
        self.silent.add(server)

    @rule(server=st.integers(1, SERVERS))
    def come_back(self, server: int) -> None:
        self.silent.discard(server)
        self.world.beat(server)

    @rule(server=st.integers(1, SERVERS), state=st.sampled_from(["pulling", "running", "exited"]))
    def report(self, server: int, state: str) -> None:
        if server not in self.silent:
            for wanted in list(self.wanted.values()):
                self.world.report(state, wanted.id, server)

    @invariant()
    def the_order_that_should_runs_and_no_other(self) -> None:
        """Never a lower bid over a higher one; on demand always wins; one order at most."""
        self.take_ends_in()
        for server in range(1, SERVERS + 1):
            here = [w for w in self.wanted.values() if w.server == server]
            expected = min(here, key=self.rank, default=None)
            holding = [w.id for w in here if self.row(w.id).state is not State.WAITING]
            assert holding == ([expected.id] if expected else [])
            assigned = hosts.assignments(self.world.market, server, self.world.now).orders
            assert [order.order_id for order in assigned] == holding
            offers = spot.spot_marketplace(
                self.world.market, self.renters[0], SpotMarketplace(market=server)
            ).market.offers
            shown = {offer.offer_id: offer.active for offer in offers or ()}
            assert shown == {w.id: w.id in holding for w in here if not w.on_demand}

    def rank(self, wanted: Wanted) -> tuple[bool, Fraction, int]:
        return not wanted.on_demand, -wanted.price * self.rates[wanted.currency], wanted.id

    @invariant()
    def a_bid_that_waits_has_a_meter_that_stands_still(self) -> None:
        for wanted in self.wanted.values():
            row = self.row(wanted.id)
            if row.state is State.WAITING:
                assert row.active_since is None

    @invariant()
    def money_is_conserved(self) -> None:
        assert self.world.difference() is None
        with self.world.store.reading() as tx:
            held = list(ledger.every(tx))
        assert all(account.balance >= 0 for account in held if account.kind is not ledger.Kind.OUTSIDE)
        for currency in CURRENCIES:
            assert sum(account.balance for account in held if account.currency is currency) == 0

    def teardown(self) -> None:
        check_statements(self.world.market)

    def take_ends_in(self) -> None:
        """Ends that money, time and lost hosts bring are the market's to say; they have other tests."""
        for order_id in list(self.wanted):
            row = self.row(order_id)
            if row.state is State.ENDED:
                assert row.end_reason in (
                    EndReason.CANCELLED,
                    EndReason.EXPIRED,
                    EndReason.EXHAUSTED,
                    EndReason.HOST_LOST,
                )
                del self.wanted[order_id]

    def row(self, order_id: int) -> Any:
        with self.world.store.reading() as tx:
            return orders.by_id(tx, order_id)


def test_the_spot_market_does_what_the_plain_model_says(new_sqlite_store: Callable[[], Store]) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: SpotMachine(new_sqlite_store()),
        settings=settings(max_examples=40, stateful_step_count=30, deadline=None),
    )
