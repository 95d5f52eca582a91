"""Recomputing all money: a wallet that nobody would look at in time is named."""

import pytest
from sqlalchemy import text

from openclore.api.open.limits import SetSpendLimit
from openclore.api.open.orders import PlaceOrder
from openclore.rules.policy import Policy
from openclore.store import ledger
from openclore.store.accounts import ApiKey
from openclore.store.ledger import LedgerAccount
from openclore.store.store import Store
from openclore.usecases import accounts, limits, orders
from openclore.usecases.market import Market
from openclore.usecases.verify import Difference, verify

from ..world import START, USD, World

MRL_SECONDS = 24 * 3_600


@pytest.fixture
def world(store: Store) -> World:
    """An order that runs for longer than its wallet can pay."""
    world = World(store)
    world.credit("1")
    world.rent()
    assert world.difference() is None
    return world


def change(world: World, statement: str) -> None:
    with world.store.writing() as tx:
        tx.execute(text(statement))


def found(world: World) -> Difference:
    difference = verify(world.market).difference
    assert difference is not None
    assert (difference.account, difference.currency) == ("renter@example.org", USD)
    return difference


def wallet(world: World) -> LedgerAccount:
    with world.store.reading() as tx:
        return ledger.wallets_of(tx, world.renter)[USD]


def test_a_wallet_that_is_never_looked_at_is_named(world: World) -> None:
    dry_at = wallet(world).exhausts_at
    change(world, "UPDATE ledger_accounts SET due_at = NULL, exhausts_at = NULL")
    difference = found(world)
    assert difference.what == "when it runs dry"
    assert (difference.expected, difference.found) == (f"{dry_at} at the latest", "none")


def test_a_wallet_that_is_never_looked_at_though_an_order_ends_is_named(world: World) -> None:
    world.credit("100")
    assert wallet(world).exhausts_at is None
    change(world, "UPDATE ledger_accounts SET due_at = NULL")
    difference = found(world)
    assert (difference.what, difference.order_id) == ("when it is looked at, for an order's end", 1)
    assert (difference.expected, difference.found) == (f"{START + MRL_SECONDS} at the latest", "none")


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE ledger_accounts SET exhausts_at = exhausts_at + 1", "when it runs dry"),
        ("UPDATE ledger_accounts SET due_at = exhausts_at + 1", "when it is looked at, as it runs dry"),
        ("UPDATE ledger_accounts SET due_at = 9000000000", "when it is looked at, for an order's end"),
    ],
)
def test_a_wallet_that_is_looked_at_too_late_is_named(world: World, statement: str, what: str) -> None:
    change(world, statement)
    assert found(world).what == what


def test_a_bid_that_waits_is_looked_at_too(world: World) -> None:
    world.cancel(1)
    rival = accounts.create_account(world.market, "rival@example.org", world.now).id
    world.credit("20", "rival@example.org")
    bid = world.rent(type="spot", spotprice=1.2)
    world.rent(account=rival)
    assert world.orders()[bid.id].paused
    change(world, "UPDATE ledger_accounts SET due_at = NULL WHERE account_id = 1")
    assert found(world).order_id == bid.id


def test_an_order_s_own_limit_is_when_it_is_looked_at(world: World) -> None:
    world.cancel(1)
    request = PlaceOrder(
        renting_server=world.server,
        type="on-demand",
        currency=USD,
        image="busybox",
        spend_max=0.2,
    )
    orders.place_order(world.market, world.renter, request, world.now)
    dry_at = wallet(world).exhausts_at
    assert world.difference() is None
    change(world, "UPDATE ledger_accounts SET exhausts_at = exhausts_at + 3600")
    assert found(world).expected == f"{dry_at} at the latest"


def test_a_limit_of_the_account_has_its_wallet_looked_at_earlier(world: World) -> None:
    unlimited = wallet(world).exhausts_at
    caller = ApiKey(id=99, account_id=world.renter, name="any", created_at=START, revoked_at=None)
    request = SetSpendLimit(currency=USD, amount=0.3, period="total")
    limits.set_spend_limit(world.market, caller, request, world.now)
    limited = wallet(world).exhausts_at
    assert unlimited is not None
    assert limited is not None
    assert limited < unlimited
    assert world.difference() is None


def test_a_market_that_is_behind_is_as_it_must_be(world: World) -> None:
    world.jump(10 * MRL_SECONDS)
    assert world.difference() is None
    world.turn()
    assert world.difference() is None


def test_a_host_who_rents_and_is_paid_is_as_it_must_be(store: Store) -> None:
    """What came in since has its wallet run dry later than it is noted."""
    world = World(store)
    accounts.create_account(world.market, "other@example.org", world.now)
    world.add_server("rack-2")
    change(world, "UPDATE servers SET account_id = 3 WHERE name = 'rack-2'")
    world.credit("10")
    world.credit("1", "host@example.org")
    world.rent(2, account=world.host)
    world.rent(1)
    world.jump(3_000)
    world.cancel(2)
    assert world.difference() is None


def test_how_often_a_market_posts_is_its_own_matter(world: World) -> None:
    market = Market(world.store, Policy(post_every_seconds=60))
    assert verify(market).difference is None
