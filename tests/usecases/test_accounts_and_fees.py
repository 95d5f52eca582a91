"""What an operator sets for one account, and what the account is told of fees."""

import pytest

from openclore.api.currencies import Currency
from openclore.api.dialects import Dialect
from openclore.rules import money
from openclore.rules.refused import InvalidInput, Refused
from openclore.store import accounts as account_rows
from openclore.store import events
from openclore.store.store import Store
from openclore.usecases import accounts
from openclore.usecases.secrets import hashed

from ..world import START, World

FULL_STAKE = money.from_text("2000000")


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def test_what_is_not_given_stays(world: World) -> None:
    accounts.set_account(world.market, "renter@example.org", START, orders_max=3)
    account = accounts.set_account(world.market, "Renter@example.org", START, poh_stake=FULL_STAKE)
    assert (account.orders_max, account.servers_max, account.poh_stake) == (3, None, FULL_STAKE)
    with world.store.reading() as tx:
        assert account_rows.by_id(tx, world.renter) == account
        told = events.of_account(tx, world.renter, 0, 100, [events.Kind.ACCOUNT_CHANGED])
    assert [event.data for event in told] == [{"orders_max": 3}, {"poh_stake": FULL_STAKE}]


def test_setting_what_stands_already_is_no_event(world: World) -> None:
    for _ in range(2):
        accounts.set_account(world.market, "renter@example.org", START, servers_max=1)
    with world.store.reading() as tx:
        assert len(events.of_account(tx, world.renter, 0, 100, [events.Kind.ACCOUNT_CHANGED])) == 1


@pytest.mark.parametrize("wrong", [{"poh_stake": -1}, {"orders_max": -1}, {"servers_max": 10**9}])
def test_a_number_out_of_bounds_changes_nothing(world: World, wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match="must be 0 to"):
        accounts.set_account(world.market, "renter@example.org", START, **wrong)
    with pytest.raises(InvalidInput, match="no account"):
        accounts.set_account(world.market, "nobody@example.org", START, orders_max=1)


def test_an_account_of_its_own_limit_stops_there(world: World) -> None:
    world.credit("10")
    accounts.set_account(world.market, "renter@example.org", START, orders_max=0)
    with pytest.raises(Refused, match="reached_order_limit"):
        world.rent()


def test_a_full_stake_halves_the_renters_fee(world: World) -> None:
    world.credit("10")
    accounts.set_account(world.market, "renter@example.org", START, poh_stake=FULL_STAKE)
    world.rent()
    spend = 2 * 10**8 // 1_440
    assert world.balance() == 10 * 10**8 - spend - spend * 250 // 10_000
    assert world.difference() is None


def test_a_stake_counts_for_new_orders_only(world: World) -> None:
    world.credit("10")
    world.rent()
    accounts.set_account(world.market, "renter@example.org", START, poh_stake=FULL_STAKE)
    spend = 2 * 10**8 // 1_440
    assert world.balance() == 10 * 10**8 - spend - spend * 5 // 100


def test_the_fees_are_told_before_the_stake_takes_some_off(world: World) -> None:
    accounts.set_account(world.market, "renter@example.org", START, poh_stake=FULL_STAKE)
    reply = accounts.renter_fees(world.market, world.renter)
    assert reply.renter_fees is not None
    assert reply.renter_fees.on_demand is not None
    assert reply.renter_fees.on_demand.base == dict.fromkeys(Currency, 5.0)
    assert reply.renter_fees.spot is not None
    assert reply.renter_fees.spot.base == dict.fromkeys(Currency, 1.25)
    assert reply.creation_fees is not None
    assert reply.creation_fees.on_demand == reply.creation_fees.spot == {"USD-Blockchain": 0.1}
    assert reply.poh_config is not None
    assert (reply.poh_config.max_reduction_percent, reply.poh_config.max_poh_amount) == (50, 2_000_000)
    assert reply.poh_balance == 2_000_000


def test_the_stake_is_ones_own(world: World) -> None:
    accounts.set_account(world.market, "renter@example.org", START, poh_stake=money.from_text("12.5"))
    mine = accounts.poh_balance(world.market, world.renter)
    assert mine.balance is not None
    assert (mine.items, mine.count, mine.balance.total, mine.balance.free_amount) == ([], 0, 12.5, 12.5)
    assert accounts.renter_fees(world.market, world.host).poh_balance == 0


def test_a_key_may_be_pinned_to_a_dialect(world: World) -> None:
    key, secret = accounts.create_key(world.market, "renter@example.org", "bot", START, Dialect.LIVE)
    assert key.dialect is Dialect.LIVE
    with world.store.reading() as tx:
        found = account_rows.key_by_hash(tx, hashed(secret))
    assert found is not None
    assert found.dialect is Dialect.LIVE
