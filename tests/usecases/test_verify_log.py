"""Recomputing all money: credits and terms that are not what the event log says of them are named."""

import pytest
from sqlalchemy import ColumnElement, Executable, delete, select, text, update

from openclore.api.open.orders import PlaceOrder, RenewLease
from openclore.api.spot import SetSpotPrice
from openclore.store.store import Store
from openclore.store.tables import events, ledger_accounts
from openclore.usecases import accounts, orders, spot
from openclore.usecases.verify import Difference, verify

from ..world import START, USD, World
from .test_verify_damaged import damage


@pytest.fixture
def world(store: Store) -> World:
    """Three credits to two accounts, and an order."""
    world = World(store)
    world.credit("10")
    world.jump(60)
    world.credit("5", "host@example.org")
    world.jump(60)
    world.credit("7")
    world.rent()
    assert world.difference() is None
    return world


def change(world: World, statement: str | Executable) -> None:
    with world.store.writing() as tx:
        tx.execute(text(statement) if isinstance(statement, str) else statement)


def found(world: World) -> Difference:
    difference = verify(world.market).difference
    assert difference is not None
    return difference


# Credits --------------------------------------------------------------------------------------------

CREDITS = "what came in from outside, by the event log"
FIRST = "10 USD-Blockchain to account 1 at 1800000000"
SECOND = "5 USD-Blockchain to account 2 at 1800000060"
THIRD = "7 USD-Blockchain to account 1 at 1800000120"


def credited(world: World) -> list[int]:
    """The ids of the events that tell of the credits."""
    with world.store.reading() as tx:
        rows = tx.execute(text("SELECT id FROM events WHERE kind = 'wallet_credited' ORDER BY id"))
        return [row.id for row in rows]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE events SET at = at + 1 WHERE id = {}", "10 USD-Blockchain to account 1 at 1800000001"),
        (
            "UPDATE events SET account_id = 2 WHERE id = {}",
            "10 USD-Blockchain to account 2 at 1800000000",
        ),
        (
            "UPDATE events SET data = replace(data, '\"10\"', '\"9.5\"') WHERE id = {}",
            "9.5 USD-Blockchain to account 1 at 1800000000",
        ),
        (
            "UPDATE events SET data = replace(data, 'USD-Blockchain', 'bitcoin') WHERE id = {}",
            "10 bitcoin to account 1 at 1800000000",
        ),
    ],
)
def test_an_event_that_tells_of_another_credit_is_named(world: World, statement: str, expected: str) -> None:
    event = credited(world)[0]
    change(world, statement.format(event))
    difference = found(world)
    assert (difference.what, difference.account, difference.currency) == (CREDITS, "renter@example.org", USD)
    assert difference.expected == f"{expected} (event {event})"
    assert difference.found == f"{FIRST} (transfer {difference.transfer_id})"


def test_a_credit_of_which_the_log_tells_nothing_is_named(world: World) -> None:
    first, second, third = credited(world)
    change(world, delete(events).where(events.c.id == third))
    difference = found(world)
    assert difference.found == f"{THIRD} (transfer {difference.transfer_id})"
    assert difference.expected == "no event"
    change(world, delete(events).where(events.c.id == first))
    difference = found(world)
    assert difference.found == f"{FIRST} (transfer {difference.transfer_id})"
    assert difference.expected == f"{SECOND} (event {second})"


def test_a_credit_of_which_the_log_tells_twice_is_named(world: World) -> None:
    change(
        world,
        "INSERT INTO events (at, kind, account_id, data)"
        " SELECT at, kind, account_id, data FROM events WHERE kind = 'wallet_credited' ORDER BY id LIMIT 1",
    )
    difference = found(world)
    assert difference.expected == f"{FIRST} (event {credited(world)[-1]})"
    assert (difference.found, difference.account) == ("no transfer", "renter@example.org")


def test_a_market_that_was_emptied_but_for_its_log_is_named(world: World) -> None:
    damage(
        world,
        "DELETE FROM transfers",
        "DELETE FROM events WHERE order_id IS NOT NULL",
        "DELETE FROM orders",
        update(ledger_accounts).values(balance=0, head=b""),
    )
    difference = found(world)
    assert (difference.what, difference.account, difference.found) == (
        CREDITS,
        "renter@example.org",
        "no transfer",
    )
    assert difference.expected == f"{FIRST} (event {credited(world)[0]})"


def test_a_credit_whose_event_says_nothing_readable_is_named(world: World) -> None:
    event = credited(world)[0]
    for data in ("{}", "[]", '{"currency":"dollar","amount":"1"}', '{"currency":"bitcoin","amount":"much"}'):
        change(world, update(events).where(events.c.id == event).values(data=data))
        assert found(world).what == f"the row {event} of events"


def test_a_credit_that_was_asked_for_twice_is_told_of_once(world: World) -> None:
    for _ in range(2):
        world.credit("3", key="the same")
    assert world.now == START + 120
    assert world.difference() is None


# Orders ---------------------------------------------------------------------------------------------


@pytest.fixture
def leased(world: World) -> int:
    """A bid that never ran, so that nothing was ever paid for it, with a limit and its second lease."""
    request = PlaceOrder(
        renting_server=world.add_server("rack-2"),
        type="spot",
        spotprice=1.2,
        currency=USD,
        image="busybox",
        spend_max=0.2,
        lease_seconds=600,
    )
    accounts.create_account(world.market, "rival@example.org", world.now)
    world.credit("8", "rival@example.org")
    world.rent(request.renting_server, 3, type="spot", spotprice=1.5)
    placed = orders.place_order(world.market, world.renter, request, world.now).order.order
    assert placed.id == 3
    world.now += 60
    orders.renew_lease(world.market, world.renter, placed.id, RenewLease(lease_seconds=900), world.now)
    assert world.difference() is None
    return placed.id


@pytest.mark.parametrize(
    ("changes", "what", "expected", "as_found"),
    [
        ("renter_fee = 0", "its renter_fee", "1.25%", "0%"),
        ("host_fee = 0", "its host_fee", "16.25%", "0%"),
        ("creation_fee = 7", "its creation_fee", "0.1", "0.00000007"),
        ("creation_grace_seconds = 0", "its creation_grace_seconds", "600", "0"),
        ("mrl_seconds = 864000", "its mrl_seconds", "86400", "864000"),
        ("spend_max = NULL", "its spend_max", "0.2", "none"),
        ("lease_until = NULL", "until when it is leased", "1800001080", "none"),
        ("lease_until = lease_until + 1", "until when it is leased", "1800001080", "1800001081"),
        ("lease_until = 1800000720", "until when it is leased", "1800001080", "1800000720"),
        ("price = 1", "its price per day", "1.2", "0.00000001"),
    ],
)
def test_an_order_that_is_not_as_it_was_made_is_named(
    world: World, leased: int, changes: str, what: str, expected: str, as_found: str
) -> None:
    change(world, f"UPDATE orders SET {changes} WHERE id = {leased}")  # noqa: S608
    difference = found(world)
    assert (difference.order_id, difference.account, difference.currency) == (
        leased,
        "renter@example.org",
        USD,
    )
    assert (difference.what, difference.expected, difference.found) == (
        f"{what}, by the event log",
        expected,
        as_found,
    )


def test_the_last_lease_that_the_log_does_not_tell_of_is_named(world: World, leased: int) -> None:
    change(world, "DELETE FROM events WHERE kind = 'order_leased'")
    difference = found(world)
    assert (difference.order_id, difference.what) == (leased, "until when it is leased, by the event log")
    assert (difference.expected, difference.found) == ("1800000720", "1800001080")


def test_a_lease_that_was_given_up_is_as_it_must_be(world: World, leased: int) -> None:
    orders.renew_lease(world.market, world.renter, leased, RenewLease(lease_seconds=None), world.now)
    assert world.difference() is None


def test_an_order_of_before_is_believed_in_what_its_log_does_not_say(world: World, leased: int) -> None:
    data = '{"type":"spot","price":"1.2","currency":"USD-Blockchain"}'
    made = (events.c.order_id == leased) & (events.c.kind == "order_created")
    change(world, update(events).where(made).values(data=data))
    assert world.difference() is None
    change(world, "UPDATE orders SET mrl_seconds = 43200, spend_max = NULL, host_fee = 1 WHERE id = 3")
    assert world.difference() is None


@pytest.mark.parametrize("fee", ["host_fee", "renter_fee", "creation_fee"])
def test_a_fee_of_before_that_its_transfers_contradict_is_named(world: World, fee: str) -> None:
    world.wait(3_700)
    change(world, update(events).where(events.c.kind == "order_created").values(data="{}"))
    assert world.difference() is None
    change(world, f"UPDATE orders SET {fee} = 1")  # noqa: S608
    assert found(world).what.startswith(f"{fee} in the transfer")


def test_a_transfer_with_another_key_than_it_was_posted_under_is_named(world: World) -> None:
    """Whoever posts the same once more would not be held up by it."""
    change(world, "UPDATE transfers SET idempotency_key = 'another' WHERE order_id = 1 AND kind = 'rental'")
    difference = found(world)
    assert (difference.what, difference.order_id) == ("the idempotency key of the transfer (rental)", 1)
    assert (difference.expected, difference.found) == ("order:1:rental:111111", "another")


@pytest.fixture
def repriced(world: World) -> int:
    """A bid that was raised, lowered, raised and lowered, ran on its machine, and waits."""
    bid = world.rent(world.add_server("rack-2"), type="spot", spotprice=1.5).id
    world.report("pulling", bid, 2)
    world.report("running", bid, 2)
    for price in (1.9, 1.88, 1.9, 1.87):
        world.jump(700)
        request = SetSpotPrice(order_id=bid, desired_price=price)
        spot.set_spot_price(world.market, world.renter, request, world.now)
    accounts.create_account(world.market, "rival@example.org", world.now)
    world.credit("8", "rival@example.org")
    assert world.difference() is None
    return bid


def nth(world: World, kind: str, number: int) -> ColumnElement[bool]:
    """The event of a kind that came so many of it later than the first."""
    with world.store.reading() as tx:
        ids = tx.execute(select(events.c.id).where(events.c.kind == kind).order_by(events.c.id)).scalars()
        return events.c.id == list(ids)[number]


@pytest.mark.parametrize(
    ("kind", "number", "what"),
    [
        ("order_repriced", 0, "what the minutes before its last change of price cost"),
        ("order_repriced", 1, "the price that order_repriced (event "),
        ("order_repriced", 2, "what the minutes before its last change of price cost"),
        ("order_repriced", 3, "its price per day"),
        ("order_deploying", 0, ""),
        ("order_running", 0, "its state"),
    ],
)
def test_an_event_that_is_missed_is_named(
    world: World, repriced: int, kind: str, number: int, what: str
) -> None:
    change(world, delete(events).where(nth(world, kind, number)))
    if what:
        assert (found(world).order_id, found(world).what[: len(what)]) == (repriced, what)
    else:
        assert world.difference() is None


def test_a_bid_that_says_another_time_of_its_last_lowering_is_named(world: World, repriced: int) -> None:
    """So it could be lowered again too early."""
    change(world, "UPDATE orders SET lowered_at = NULL")
    difference = found(world)
    assert (difference.order_id, difference.expected, difference.found) == (repriced, str(world.now), "none")
    assert difference.what == "when its bid was last lowered, by the event log"


def test_a_container_that_ran_without_the_log_telling_of_it_is_named(world: World, repriced: int) -> None:
    world.cancel(repriced)
    assert world.difference() is None
    change(world, delete(events).where(events.c.kind == "order_running"))
    difference = found(world)
    assert (difference.order_id, difference.what) == (
        repriced,
        "whether its container ever ran there, by the event log",
    )


def test_an_event_that_is_told_of_twice_is_named(world: World, repriced: int) -> None:
    change(
        world,
        "INSERT INTO events (at, kind, account_id, server_id, order_id, host_id, data)"
        " SELECT at, kind, account_id, server_id, order_id, host_id, data FROM events"
        " WHERE kind = 'order_running'",
    )
    difference = found(world)
    assert (difference.order_id, difference.found) == (repriced, "running")
    assert difference.what.startswith("its state before order_running (event ")
