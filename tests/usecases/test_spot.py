"""Bids: who has the machine, what waiting costs, how bids change."""

from collections.abc import Callable
from typing import Any

import pytest

from openclore.api.codes import Refusal
from openclore.api.currencies import Currency
from openclore.api.spot import SetSpotPrice, SpotMarket, SpotMarketplace
from openclore.rules import money
from openclore.rules.policy import Policy
from openclore.rules.refused import InvalidInput, Refused
from openclore.store.store import Store
from openclore.usecases import accounts, hosts, rates, servers, spot

from ..world import USD, World

EVERY_CURRENCY = {
    "bitcoin_on_demand": 0.00004,
    "bitcoin_spot": 0.00001,
    "bitcoin_enabled": True,
    "clore_on_demand": 400,
    "clore_spot": 100,
    "clore_enabled": True,
}


@pytest.fixture
def world(store: Store) -> World:
    world = World(store)
    world.set_server("rack-1", **EVERY_CURRENCY)
    for currency, usd in ((Currency.BITCOIN, "65000"), (Currency.CLORE, "0.005")):
        rates.set_rate(world.market, currency, money.from_text(usd), world.now)
    world.credit("100")
    return world


def rival(world: World, name: str = "rival", amount: str = "100") -> int:
    account = accounts.create_account(world.market, f"{name}@example.org", world.now)
    for currency in Currency:
        accounts.credit(
            world.market, account.email, currency, money.from_text(amount), world.now, f"{name}:{currency}"
        )
    return account.id


def bid(world: World, price: float, account: int | None = None, currency: str = USD, **more: Any) -> int:
    return world.rent(account=account, type="spot", spotprice=price, currency=currency, **more).id


def reprice(world: World, order_id: int, price: float, account: int | None = None) -> None:
    request = SetSpotPrice(order_id=order_id, desired_price=price)
    spot.set_spot_price(world.market, account or world.renter, request, world.now)


def offers(world: World, account: int | None = None) -> SpotMarket:
    request = SpotMarketplace(market=world.server)
    return spot.spot_marketplace(world.market, account or world.renter, request).market


def running(world: World) -> int | None:
    """The bid that has the machine, as everybody sees it."""
    return next((offer.offer_id for offer in offers(world).offers or () if offer.active), None)


def assigned(world: World) -> list[int]:
    """What the host is told to run."""
    return [o.order_id for o in hosts.assignments(world.market, world.server, world.now).orders]


def test_the_highest_bid_runs_and_the_lower_one_waits(world: World) -> None:
    mine = bid(world, 1.2)
    assert (running(world), assigned(world)) == (mine, [mine])
    other = rival(world)
    theirs = bid(world, 1.3, other)
    assert (running(world), assigned(world)) == (theirs, [theirs])
    row = world.orders()[mine]
    assert (row.state, row.paused, row.mon_container, row.spot) == ("waiting", True, 0, True)
    shown = [(o.offer_id, o.bid, o.active, o.my) for o in offers(world).offers or ()]
    assert shown == [(theirs, 1.3, True, False), (mine, 1.2, False, True)]


def test_the_earlier_bid_keeps_a_tie(world: World) -> None:
    mine = bid(world, 1.2)
    bid(world, 1.2, rival(world))
    assert running(world) == mine


def test_bids_in_other_currencies_are_compared_in_dollars(world: World) -> None:
    bid(world, 1.2)
    in_clore = bid(world, 250, rival(world), Currency.CLORE)
    assert running(world) == in_clore
    in_bitcoin = bid(world, 0.00002, rival(world, "third"), Currency.BITCOIN)
    assert running(world) == in_bitcoin


def test_a_change_of_rates_may_move_the_machine(world: World) -> None:
    mine = bid(world, 1.2)
    theirs = bid(world, 230, rival(world), Currency.CLORE)
    assert running(world) == mine
    rates.set_rate(world.market, Currency.CLORE, money.from_text("0.006"), world.now)
    assert (running(world), assigned(world)) == (theirs, [theirs])


def test_a_bid_that_waits_costs_nothing_and_one_that_runs_again_goes_on_where_it_stopped(
    world: World,
) -> None:
    mine = bid(world, 1.44)
    world.wait(90)
    theirs = bid(world, 2, other := rival(world))
    assert money.from_wire(world.orders()[mine].spend or 0) == 2 * 100_000
    world.wait(3_600)
    assert money.from_wire(world.orders()[mine].spend or 0) == 2 * 100_000
    world.cancel(theirs, other)
    assert running(world) == mine
    world.wait(29)
    assert money.from_wire(world.orders()[mine].spend or 0) == 2 * 100_000
    world.wait(1)
    assert money.from_wire(world.orders()[mine].spend or 0) == 3 * 100_000
    assert world.difference() is None


def test_a_bid_that_never_ran_cost_nothing(world: World) -> None:
    bid(world, 2, rival(world))
    before = world.balance()
    mine = bid(world, 1.2)
    world.wait(3_600)
    world.cancel(mine)
    assert (world.balance(), world.orders()[mine].spend) == (before, 0)


def test_an_order_on_demand_takes_the_machine_from_a_bid(world: World) -> None:
    mine = bid(world, 5)
    order = world.rent(account=(other := rival(world))).id
    assert (running(world), assigned(world), world.orders()[mine].state) == (None, [order], "waiting")
    world.cancel(order, other)
    assert (running(world), assigned(world)) == (mine, [mine])


def test_a_rented_machine_takes_no_bids(world: World) -> None:
    world.rent(account=rival(world))
    with pytest.raises(Refused) as refused:
        bid(world, 5)
    assert refused.value.refusal is Refusal.SERVER_ALREADY_RENTED


def test_rented_in_the_marketplace_is_about_orders_on_demand(world: World) -> None:
    bid(world, 5)
    offer = servers.listings(world.market, None, world.now)[world.server].offer
    assert offer is not None
    assert offer.rented is False
    assert config_status(world) == 1
    world.rent(account=rival(world))
    offer = servers.listings(world.market, None, world.now)[world.server].offer
    assert offer is not None
    assert (offer.rented, config_status(world)) == (True, 2)


def config_status(world: World) -> int | None:
    from openclore.api.servers import ServerConfigRequest

    request = ServerConfigRequest(server_name="rack-1")
    return servers.server_config(world.market, world.host, request, world.now).config.rental_status


def test_a_bid_under_the_floor_learns_the_floor(world: World) -> None:
    with pytest.raises(Refused) as refused:
        bid(world, 0.99)
    assert (refused.value.refusal, refused.value.facts) == (Refusal.TOO_LOW_PRICE, {"min_price": 1.0})
    bid(world, 1)


def test_one_bid_per_account_and_server(world: World) -> None:
    bid(world, 1.2)
    with pytest.raises(Refused) as refused:
        bid(world, 1.3)
    assert refused.value.refusal is Refusal.YOU_ALREADY_HAVE_SPOT_ORDER


def test_a_bid_needs_its_price(world: World) -> None:
    with pytest.raises(InvalidInput, match=r"^spotprice: "):
        world.rent(type="spot")


def test_a_bid_needs_the_money_of_an_order(world: World) -> None:
    with pytest.raises(Refused) as refused:
        bid(world, 1.2, rival(world, amount="0.05"))
    assert refused.value.refusal is Refusal.NOT_ENOUGH_BALANCE


def test_raising_is_free_and_wins_the_machine(world: World) -> None:
    mine = bid(world, 1.2)
    theirs = bid(world, 1.3, rival(world))
    reprice(world, mine, 1.4)
    assert running(world) == mine
    reprice(world, mine, 1.5)
    assert {o.offer_id: o.bid for o in offers(world).offers or ()} == {mine: 1.5, theirs: 1.3}


def test_lowering_is_limited_in_step_and_time(world: World) -> None:
    mine = bid(world, 1.2)
    with pytest.raises(Refused) as refused:
        reprice(world, mine, 1.1)
    assert (refused.value.refusal, refused.value.facts) == (Refusal.EXCEEDED_MAX_STEP, {"max_step": 0.05})
    reprice(world, mine, 1.15)
    world.wait(169)
    with pytest.raises(Refused) as refused:
        reprice(world, mine, 1.14)
    assert (refused.value.refusal, refused.value.facts) == (
        Refusal.CAN_LOWER_EVERY_600_SECONDS,
        {"time_to_lowering": 431},
    )
    reprice(world, mine, 1.3)
    world.wait(431)
    reprice(world, mine, 1.28)


@pytest.mark.parametrize("price", [0.99, 0, -1])
def test_no_bid_goes_under_the_floor(world: World, price: float) -> None:
    mine = bid(world, 1)
    with pytest.raises(Refused) as refused:
        reprice(world, mine, price)
    assert refused.value.refusal is Refusal.AMOUNT_TOO_LOW


@pytest.mark.parametrize("price", [1e300, float("inf")])
def test_a_price_that_is_no_amount_is_refused(world: World, price: float) -> None:
    mine = bid(world, 1)
    with pytest.raises(InvalidInput, match=r"^desired_price: "):
        reprice(world, mine, price)


def test_only_ones_own_bids_that_are_not_over_can_change(world: World) -> None:
    mine, on_demand = bid(world, 1), world.rent(world.add_server("rack-2")).id
    gone = bid(world, 1, renting_server=world.add_server("rack-3"))
    world.cancel(gone)
    other = rival(world)
    for order_id, account in ((mine, other), (on_demand, world.renter), (999, other), (gone, world.renter)):
        with pytest.raises(Refused) as refused:
            reprice(world, order_id, 2, account)
        assert refused.value.refusal is Refusal.ORDER_DONT_EXIST


def test_minutes_that_have_begun_keep_the_price_they_began_at(world: World) -> None:
    mine = bid(world, 1.44)
    world.wait(90)
    reprice(world, mine, 14.4)
    assert money.from_wire(world.orders()[mine].spend or 0) == 2 * 100_000
    world.wait(30)
    assert money.from_wire(world.orders()[mine].spend or 0) == 2 * 100_000 + 1_000_000
    world.cancel(mine)
    assert world.difference() is None


def test_a_floor_that_moves_is_for_new_bids(world: World) -> None:
    mine = bid(world, 1.2)
    world.set_server("rack-1", **EVERY_CURRENCY, usd_spot=1.5)
    assert running(world) == mine
    with pytest.raises(Refused) as refused:
        bid(world, 1.3, rival(world))
    assert refused.value.facts == {"min_price": 1.5}


def test_a_bid_in_a_currency_the_host_takes_no_more_can_not_go_down(world: World) -> None:
    mine = bid(world, 1.2)
    world.set_server("rack-1", **EVERY_CURRENCY, usd_on_demand=0, usd_spot=0, usd_enabled=False)
    with pytest.raises(Refused) as refused:
        reprice(world, mine, 1.19)
    assert refused.value.refusal is Refusal.AMOUNT_TOO_LOW
    reprice(world, mine, 1.21)
    assert world.orders()[mine].price == 1.21


def test_a_price_changed_after_the_clock_went_back_gives_no_posted_minute_back(world: World) -> None:
    mine = bid(world, 10)
    world.wait(60)
    reprice(world, mine, 10.1)
    world.now -= 10
    reprice(world, mine, 10.07)
    assert world.difference() is None
    assert money.from_wire(world.orders()[mine].spend or 0) == 2 * 10 * money.SCALE // 1_440


def test_a_bid_whose_wallet_is_empty_when_it_wins_ends_instead(world: World) -> None:
    poor = rival(world, "poor", "0.2")
    other = rival(world)
    theirs = bid(world, 5, other)
    waiting = bid(world, 2, poor)
    second = world.add_server("rack-2")
    world.rent(second, poor)
    world.wait(2 * 3_600)
    third = bid(world, 1.1)
    world.cancel(theirs, other)
    assert world.orders(poor)[waiting].end_reason == "exhausted"
    assert running(world) == third
    assert world.difference() is None


def test_when_a_running_bid_is_exhausted_the_next_one_wins(world: World) -> None:
    poor = rival(world, "poor", "0.2")
    theirs = bid(world, 100, poor)
    mine = bid(world, 2)
    world.wait(600)
    assert world.orders(poor)[theirs].end_reason == "exhausted"
    assert (running(world), assigned(world)) == (mine, [mine])


def test_a_waiting_bid_expires_with_its_rental_length(world: World) -> None:
    bid(world, 5, rival(world))
    mine = bid(world, 1.2)
    world.jump(24 * 3_600)
    world.turn()
    row = world.orders()[mine]
    assert (row.end_reason, row.spend) == ("expired", 0)


def test_a_bid_may_win_a_machine_that_is_away_and_pays_from_its_return(world: World) -> None:
    theirs = bid(world, 2, other := rival(world))
    mine = bid(world, 1.44)
    world.wait(60, beating=False)
    world.cancel(theirs, other)
    world.wait(600, beating=False)
    assert (running(world), world.orders()[mine].spend) == (mine, 0)
    world.beat()
    assert money.from_wire(world.orders()[mine].spend or 0) == 100_000


def test_a_bid_that_won_an_absent_machine_ends_at_its_return_if_its_wallet_is_empty_by_then(
    world: World,
) -> None:
    second, poor = world.add_server("rack-2"), rival(world, "poor", "0.3")
    theirs = bid(world, 60, other := rival(world))
    mine, next_one = bid(world, 43.2, poor), bid(world, 1.1)
    world.now += 60
    world.beat(second)
    world.turn()
    world.cancel(theirs, other)
    assert (running(world), world.orders()[next_one].online) == (mine, False)
    bid(world, 100, poor, renting_server=second)
    while world.orders(poor)[mine + 2].state != "ended":
        world.now += 10
        world.beat(second)
        world.turn()
    world.beat(world.server)
    assert world.orders(poor)[mine].end_reason == "exhausted"
    assert (running(world), world.orders()[next_one].online) == (next_one, True)
    assert world.difference() is None


def test_however_many_machines_one_ending_sets_free_in_turn_all_are_settled(
    new_sqlite_store: Callable[[], Store],
) -> None:
    world = World(new_sqlite_store(), Policy(servers_max=600, host_lost_after_seconds=10**6))
    many = 360
    machines = [world.add_server(f"rack-{number}", mrl=6) for number in range(2, many + 2)]
    bidders = [rival(world, f"bidder-{number}") for number in range(many)]
    for number, account in enumerate(bidders):
        bid(world, 2, account, renting_server=machines[number])
        bid(world, 1, account, renting_server=machines[number - 1])
    world.jump(6 * 3_600)
    assert bid(world, 3, bidders[0], renting_server=machines[-1])
    assert all(order.state == "ended" for order in world.orders(bidders[1]).values())


def test_the_bids_on_a_machine_that_is_lost_end_with_it(world: World) -> None:
    theirs = bid(world, 2, other := rival(world))
    mine = bid(world, 1.44)
    world.wait(2 * 3_600 + 60, beating=False)
    assert world.orders(other)[theirs].end_reason == "host_lost"
    assert world.orders()[mine].end_reason == "host_lost"


def test_a_late_report_of_a_bid_that_lost_changes_nothing(world: World) -> None:
    mine = bid(world, 1.2)
    world.report("running", mine)
    bid(world, 1.3, rival(world))
    world.report("running", mine)
    world.report("failed", mine)
    assert world.orders()[mine].state == "waiting"


def test_a_bid_that_wins_again_is_deployed_again(world: World) -> None:
    mine = bid(world, 1.2)
    world.report("running", mine)
    theirs = bid(world, 1.3, other := rival(world))
    world.cancel(theirs, other)
    assert (world.orders()[mine].state, world.orders()[mine].mon_container) == ("placed", 0)
    world.report("running", mine)
    assert (world.orders()[mine].state, world.orders()[mine].mon_container) == ("running", 2)


def test_bids_pay_the_fees_of_bids(world: World) -> None:
    before = world.balance()
    made = bid(world, 14.4)
    order = world.orders()[made]
    assert before - world.balance() == money.from_wire(order.spend or 0) * 10_125 // 10_000


def test_a_hidden_server_has_no_spot_market(world: World) -> None:
    world.set_server("rack-1", availability=False)
    reply = spot.spot_marketplace(world.market, world.renter, SpotMarketplace(market=world.server))
    assert (reply.exists, reply.market.offers) == (False, [])
