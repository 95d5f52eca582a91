"""What can't be right is not acted on: the last good reading stays, and the reason is told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openclore.api.offers import Offer, OfferPrice, UsdPrice
from openclore.api.open.events import Event, EventsReply
from openclore.api.orders import Order
from openclore.api.servers import MyServer, ServerConfig
from openclore.api.specs import Specs
from openclore.api.spot import SpotMarket
from openclore.autopilot.memory import FleetMemory, Machine, Memory
from openclore.autopilot.observation import OFFERS, ORDERS, WALLETS, Observation
from openclore.autopilot.observe import RATE_JUMP, SINGLE_READS_MAX, Observer
from openclore.autopilot.reading import read
from openclore.client.errors import NetworkError, ServiceError, SignInError

FLEET = '[fleets.a]\nimage = "ubuntu"\nmachines = 1\nprice_per_hour_max = 1\n'
PRICING = (
    '[pricing.a]\nservers = ["rig-*"]\nstrategy = "percentile"\nfloor = 1\nceiling = 9\n'
    '[alerts.e]\nwhen = "event"\nkinds = ["order_created"]\n'
)
NOTIFY = 'notify = ["json://localhost"]\n'
MEMORY = Memory(name="m")


class FakeMarket:
    """Answers what it was given; a part that is an error is raised."""

    has_open = True

    def __init__(self) -> None:
        self.now = 1_000
        self.calls: list[str] = []
        self.parts: dict[str, Any] = {"offers": [an_offer(1)], "orders": [], "servers": [], "events": []}

    def date(self) -> float:
        return float(self.now)

    def _answer(self, part: str) -> Any:
        self.calls.append(part)
        found = self.parts.get(part)
        if isinstance(found, Exception):
            raise found
        return found

    def wallets(self) -> Any:
        return self._answer("wallets") or []

    def marketplace(self) -> Any:
        return self._answer("offers")

    def my_servers(self) -> Any:
        return self._answer("servers")

    def server_config(self, name: str) -> Any:
        return self._answer(f"config {name}") or ServerConfig(name=name)

    def my_orders(self, return_completed: bool = False) -> Any:
        rows = self._answer("orders")
        return rows if return_completed else [row for row in rows if not row.expired]

    def spot_marketplace(self, server_id: int) -> Any:
        return self._answer(f"spot {server_id}") or SpotMarket()

    def renter_fees(self) -> Any:
        raise ServiceError("no fees here")

    def events(self, after: int = 0, *, limit: int | None = None) -> EventsReply:
        found = [event for event in self._answer("events") if event.id > after]
        return EventsReply(
            code=0, events=found[:2], after=found[:2][-1].id if found else after, more=len(found) > 2
        )


class NoProber:
    def check(self, machines: Any) -> Any:
        return {}

    def numbers(self, scales: Any) -> Any:
        return {}


def an_offer(server_id: int, rate: float = 0.02, gpu: str = "1x RTX 4090") -> Offer:
    price = OfferPrice(on_demand={"CLORE-Blockchain": 100.0}, usd=UsdPrice(on_demand_clore=100.0 * rate))
    return Offer(id=server_id, price=price, specs=Specs(gpu=gpu), allowed_coins=["CLORE-Blockchain"])


@pytest.fixture
def market() -> FakeMarket:
    return FakeMarket()


@pytest.fixture
def observer(market: FakeMarket) -> Observer:
    return Observer(market, NoProber(), market.date)  # type: ignore[arg-type]


def look(observer: Observer, text: str = FLEET, memory: Memory = MEMORY) -> Observation:
    return observer.observe(read(NOTIFY + text, {}), memory)


def test_only_what_the_file_needs_is_read(market: FakeMarket, observer: Observer):
    look(observer, '[alerts.a]\nwhen = "wallet_below"\nwallet = "usd"\nbelow = 5\n')
    assert market.calls == ["wallets"]


def test_what_can_not_be_read_stays_with_its_age(market: FakeMarket, observer: Observer):
    look(observer)
    market.now += 60
    market.parts["offers"] = NetworkError("nobody answers")
    seen = look(observer)
    assert seen.offers is not None
    assert (seen.offers.at, len(seen.offers.value)) == (1_000, 1)
    assert (seen.failed[OFFERS].reason, seen.failed[OFFERS].final) == ("nobody answers", False)


def test_a_market_that_can_not_be_reached_is_asked_once_in_a_round(market: FakeMarket, observer: Observer):
    market.parts["wallets"] = NetworkError("wallets: nobody there", endpoint="wallets")
    seen = look(observer)
    assert market.calls == ["wallets"]
    assert {failed.reason for failed in seen.failed.values()} == {"nobody there"}
    assert {WALLETS, OFFERS, ORDERS} <= seen.failed.keys()
    market.parts["wallets"] = []
    assert ORDERS not in look(observer).failed


def test_a_key_that_is_not_accepted_is_final(market: FakeMarket, observer: Observer):
    market.parts["wallets"] = SignInError("unknown key")
    assert look(observer).failed[WALLETS].final


def test_a_list_with_our_server_as_another_machine_is_another_markets(market: FakeMarket, observer: Observer):
    market.parts["servers"] = [MyServer(id=7, name="rig-1", specs=Specs(gpu="2x RTX 3090"))]
    market.parts["offers"] = [an_offer(7, gpu="2x RTX 3090")]
    assert OFFERS not in look(observer, PRICING).failed
    market.now += 60
    market.parts["offers"] = [an_offer(7, gpu="8x H100"), an_offer(8)]
    seen = look(observer, PRICING)
    assert "another market's list" in seen.failed[OFFERS].reason
    assert seen.offers is not None
    assert seen.offers.at == 1_000


def test_an_order_that_moved_to_another_server_is_not_ours(market: FakeMarket, observer: Observer):
    machine = Machine(
        order_id=5,
        server_id=1,
        type="spot",
        currency="USD-Blockchain",
        image="ubuntu",
        made_at=1,
        usd_per_hour=1.0,
        usd_per_hour_max=1.0,
    )
    memory = Memory(name="m", fleets={"a": FleetMemory(machines={5: machine})})
    market.parts["orders"] = [Order(id=5, si=1)]
    assert look(observer, memory=memory).orders is not None
    market.now += 60
    market.parts["orders"] = [Order(id=5, si=2)]
    seen = look(observer, memory=memory)
    assert "another account or market" in seen.failed[ORDERS].reason
    assert seen.orders is not None
    assert (seen.orders.at, seen.orders.value[5].si) == (1_000, 1)


def test_those_that_are_over_are_asked_for_when_one_is_gone(market: FakeMarket, observer: Observer):
    memory = Memory(name="m", fleets={"a": FleetMemory()})
    market.parts["orders"] = [Order(id=5, si=1)]
    assert look(observer, memory=memory).ended is None
    market.parts["orders"] = [Order(id=5, si=1, expired=True)]
    seen = look(observer, memory=memory)
    assert seen.orders is not None
    assert seen.ended is not None
    assert (list(seen.orders.value), list(seen.ended.value)) == ([], [5])


def test_those_that_are_over_are_asked_for_by_a_new_fleet(market: FakeMarket, observer: Observer):
    market.parts["orders"] = [Order(id=5, si=1, expired=True)]
    seen = look(observer)
    assert seen.ended is not None
    assert list(seen.ended.value) == [5]


def test_the_orders_are_read_last_and_nobody_waits_for_each_of_many(market: FakeMarket, observer: Observer):
    market.parts["servers"] = [MyServer(id=n + 1, name=f"rig-{n}") for n in range(9)]
    market.parts |= {f"config rig-{n}": NetworkError("hangs") for n in range(9)}
    look(observer, FLEET + '[settings.s]\nservers = ["*"]\nmrl_hours = 24\n')
    assert len([call for call in market.calls if call.startswith("config")]) == 1
    assert market.calls[-1] == "orders"
    look(observer, FLEET + '[settings.s]\nservers = ["*"]\nmrl_hours = 24\n')
    assert len({call for call in market.calls if call.startswith("config")}) == 2


def test_an_account_that_had_servers_and_has_none_is_believed_at_the_third_time(
    market: FakeMarket, observer: Observer
):
    market.parts["servers"] = [MyServer(id=1, name="rig-1")]
    look(observer, PRICING)
    market.parts["servers"] = []
    counts = [len(look(observer, PRICING).servers.value) for _ in range(3)]  # type: ignore[union-attr]
    assert counts == [1, 1, 0]


def test_a_rate_that_jumps_counts_once_it_is_seen_twice(market: FakeMarket, observer: Observer):
    def rate(clore: float) -> float:
        market.parts["offers"] = [an_offer(1, clore)]
        return look(observer).rates["CLORE-Blockchain"]

    assert rate(0.02) == pytest.approx(0.02)
    assert rate(0.02 * RATE_JUMP * 0.99) == pytest.approx(0.02 * RATE_JUMP * 0.99)
    before = rate(0.02)
    assert rate(2.0) == before
    assert rate(0.021) == pytest.approx(0.021)
    assert rate(2.0) == pytest.approx(0.021)
    assert rate(2.1) == pytest.approx(2.1)


def test_the_event_log_is_read_from_its_end_at_first_and_without_gaps_afterwards(
    market: FakeMarket, observer: Observer
):
    market.parts["events"] = [Event(id=number, at=1, kind="order_created") for number in range(1, 6)]
    seen = look(observer, PRICING)
    assert (seen.events, seen.events_after) == ((), 5)
    market.parts["events"] += [Event(id=number, at=2, kind="order_created") for number in range(6, 10)]
    seen = look(observer, PRICING, Memory(name="m", events_after=5))
    assert ([event.id for event in seen.events], seen.events_after) == ([6, 7, 8, 9], 9)


@given(
    servers=st.integers(0, 80),
    bids=st.integers(0, 80),
    parts=st.sets(st.sampled_from([FLEET, PRICING, '[settings.s]\nservers = ["*"]\nmrl_hours = 24\n'])),
)
def test_a_round_asks_for_no_more_than_so_much_however_large_the_account(
    servers: int, bids: int, parts: set[str]
):
    market = FakeMarket()
    market.parts["servers"] = [MyServer(id=n + 1, name=f"rig-{n}") for n in range(servers)]
    market.parts["orders"] = [Order(id=n + 1, si=n + 500, spot=True) for n in range(bids)]
    observer = Observer(market, NoProber(), market.date)  # type: ignore[arg-type]
    seen = Observation()
    for _ in range(4):
        market.calls.clear()
        market.now += 60
        seen = look(observer, "".join(parts))
        assert len(market.calls) <= 10 + 2 * SINGLE_READS_MAX
    assert len(seen.configs) == (servers if any("servers" in part for part in parts) else 0)
