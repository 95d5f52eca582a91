"""Whatever happens to orders, all money can be recomputed: by the market, and by those who get statements."""

from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest

from openclore.api.open.limits import SetSpendLimit
from openclore.api.open.orders import PlaceOrder
from openclore.api.spot import SetSpotPrice
from openclore.rules.orders import Kind, Order, State
from openclore.rules.refused import InvalidInput, Refused
from openclore.store import orders
from openclore.store.store import Store
from openclore.usecases import accounts, limits, spot
from openclore.usecases import orders as order_cases

from ..recompute import check_statements
from ..world import USD, World

RENTERS = ("renter@example.org", "second@example.org", "third@example.org")
STEPS = 60


class History:
    """Three renters, one of them poor, and three servers; what happens next is up to `random`."""

    def __init__(self, store: Store, random: Random) -> None:
        self.world, self.random = World(store), random
        self.servers = [self.world.server, self.world.add_server("rack-2"), self.world.add_server("rack-3")]
        self.accounts = [self.world.renter]
        for email in RENTERS[1:]:
            self.accounts.append(accounts.create_account(self.world.market, email, self.world.now).id)
        for email, amount in zip(RENTERS, ("50", "20", "0.2"), strict=True):
            self.world.credit(amount, email, key=email)
        self.credits = 0

    def step(self) -> None:
        deeds = (
            self.rent,
            self.bid,
            self.lease,
            self.cancel,
            self.reprice,
            self.credit,
            self.limit,
            self.wait,
        )
        with suppress(Refused, InvalidInput):
            self.random.choice((*deeds, self.reprice, self.wait, self.wait))()

    def rent(self) -> None:
        self.world.rent(self.random.choice(self.servers), self.random.choice(self.accounts))

    def bid(self) -> None:
        account = self.random.choice(self.accounts)
        server, price = self.random.choice(self.servers), self.random.choice((1, 1.07, 1.3, 2.2))
        self.world.rent(server, account, type="spot", spotprice=price)

    def lease(self) -> None:
        wanted = PlaceOrder(
            renting_server=self.random.choice(self.servers),
            type="on-demand",
            currency=USD,
            image="busybox",
            spend_max=self.random.choice((None, 0.05)),
            lease_seconds=self.random.choice((None, 3_000)),
        )
        account = self.random.choice(self.accounts)
        order_cases.place_order(self.world.market, account, wanted, self.world.now)

    def cancel(self) -> None:
        for order in self._some(lambda order: order.state is not State.ENDED):
            self.world.cancel(order.id, order.account_id)

    def reprice(self) -> None:
        for order in self._some(lambda order: order.kind is Kind.SPOT and order.state is not State.ENDED):
            price = order.price / 10**8 + self.random.choice((-0.04, -0.01, 0.013, 0.3))
            request = SetSpotPrice(order_id=order.id, desired_price=round(price, 3))
            spot.set_spot_price(self.world.market, order.account_id, request, self.world.now)

    def credit(self) -> None:
        self.credits += 1
        self.world.credit("0.01", self.random.choice(RENTERS), key=f"more-{self.credits}")

    def limit(self) -> None:
        email = self.random.choice(RENTERS)
        key, _ = accounts.create_key(self.world.market, email, f"{self.world.now}", self.world.now)
        limit = SetSpendLimit(currency=USD, amount=self.random.choice((0.5, 3)), period="day")
        limits.set_spend_limit(self.world.market, key, limit, self.world.now)

    def wait(self) -> None:
        """The hosts may be silent meanwhile, and the loop late."""
        seconds = self.random.choice((1, 59, 61, 700, 5_000, 90_000))
        self.world.jump(seconds, beating=self.random.random() < 0.8)
        if self.random.random() < 0.7:
            self.world.turn()
        self.world.beat()

    def _some(self, fits: Callable[[Order], bool]) -> list[Order]:
        with self.world.store.reading() as tx:
            found = [order for order in orders.every(tx) if fits(order)]
        return [self.random.choice(found)] if found else []


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_all_money_can_be_recomputed(store: Store, seed: int) -> None:
    history = History(store, Random(seed))
    for _ in range(STEPS):
        history.step()
        assert history.world.difference() is None
    assert check_statements(history.world.market) > 10
