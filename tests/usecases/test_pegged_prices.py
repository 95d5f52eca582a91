"""Prices pegged to dollars: they follow the exchange rates every ten minutes."""

from typing import Any

import pytest

from openclore.api.currencies import Currency
from openclore.api.offers import Offer, PricePair
from openclore.api.servers import ServerConfigRequest
from openclore.rules import money
from openclore.rules.refused import Refused
from openclore.store.store import Store
from openclore.usecases import accounts, rates, servers

from ..world import World

PEGGED: dict[str, Any] = {
    "clore_enabled": True,
    "autoprice": {"CLORE-Blockchain": "usd", "bitcoin": False},
    "usd_pricing": {"CLORE-Blockchain": PricePair(on_demand=2, spot=1.2)},
}


@pytest.fixture
def world(store: Store) -> World:
    world = World(store)
    set_rate(world, "0.005")
    world.set_server("rack-1", **PEGGED)
    accounts.credit(world.market, "renter@example.org", Currency.CLORE, 10**13, world.now, "clore")
    return world


def set_rate(world: World, usd: str) -> None:
    rates.set_rate(world.market, Currency.CLORE, money.from_text(usd), world.now)


def offer(world: World) -> Offer:
    found = servers.listings(world.market, None, world.now)[world.server].offer
    assert found is not None
    return found


def prices(world: World) -> tuple[Any, Any]:
    price = offer(world).price
    assert price is not None
    return (price.on_demand or {})["CLORE-Blockchain"], (price.spot or {})["CLORE-Blockchain"]


def test_a_pegged_price_is_the_dollars_at_the_rate(world: World) -> None:
    assert prices(world) == (400, 240)
    row = offer(world)
    assert row.price is not None
    assert row.price.original_usd == {"CLORE-Blockchain": PricePair(on_demand=2, spot=1.2)}
    assert (row.autoprice, row.allowed_coins) == ("usd", ["CLORE-Blockchain", "USD-Blockchain"])


def test_it_follows_the_rate_at_the_ten_minute_mark(world: World) -> None:
    set_rate(world, "0.004")
    assert prices(world) == (400, 240)
    rates.repeg(world.market, world.now)
    assert prices(world) == (500, 300)


def test_an_order_keeps_the_price_it_was_made_at(world: World) -> None:
    order = world.rent(currency="CLORE-Blockchain", required_price=400)
    set_rate(world, "0.004")
    rates.repeg(world.market, world.now)
    row = world.orders()[order.id]
    assert (row.price, row.original_price_usd) == (400, 2)


def test_a_floor_read_earlier_may_be_too_low_now(world: World) -> None:
    _, floor = prices(world)
    set_rate(world, "0.004")
    rates.repeg(world.market, world.now)
    with pytest.raises(Refused) as refused:
        world.rent(type="spot", currency="CLORE-Blockchain", spotprice=floor)
    assert refused.value.facts == {"min_price": 300.0}


def test_the_host_reads_back_what_he_set(world: World) -> None:
    request = ServerConfigRequest(server_name="rack-1")
    config = servers.server_config(world.market, world.host, request, world.now).config
    assert config.usd_pricing == {"CLORE-Blockchain": PricePair(on_demand=2, spot=1.2)}
    assert config.autoprice == {"bitcoin": False, "CLORE-Blockchain": "usd", "USD-Blockchain": False}
    assert (config.pricing or {})["CLORE-Blockchain"] == 400
    [row] = servers.my_servers(world.market, world.host).servers
    assert (row.usd_pricing, row.autoprice) == (config.usd_pricing, {"CLORE-Blockchain": "usd"})


def test_manual_prices_end_the_pegging(world: World) -> None:
    world.set_server("rack-1", clore_enabled=True, clore_on_demand=300, clore_spot=100)
    set_rate(world, "0.004")
    rates.repeg(world.market, world.now)
    assert prices(world) == (300, 100)
    assert offer(world).autoprice is None


def test_a_currency_without_a_rate_or_a_price_is_not_accepted(store: Store) -> None:
    world = World(store)
    world.set_server("rack-1", **PEGGED)
    assert offer(world).allowed_coins == ["USD-Blockchain"]
    with pytest.raises(Refused):
        world.rent(currency="CLORE-Blockchain")


def test_a_pegged_currency_without_a_rate_or_a_floor_takes_no_bid_of_nothing(store: Store) -> None:
    world = World(store)
    world.set_server("rack-1", **PEGGED, clore_on_demand=400)
    accounts.credit(world.market, "renter@example.org", Currency.CLORE, 10**13, world.now, "clore")
    with pytest.raises(Refused) as refused:
        world.rent(type="spot", spotprice=0, currency="CLORE-Blockchain")
    assert refused.value.refusal == "currency-not-allowed"


def test_a_pegged_price_stays_inside_the_bounds_of_its_currency(world: World) -> None:
    set_rate(world, "0.0000001")
    rates.repeg(world.market, world.now)
    assert prices(world) == (5_000, 5_000)
