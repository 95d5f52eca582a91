"""Recomputing all money: credits and terms that are not what the event log says of them are named."""

import pytest
from sqlalchemy import Executable, delete, text, update

from openclore.store.store import Store
from openclore.store.tables import events, ledger_accounts
from openclore.usecases.verify import Difference, verify

from ..world import START, USD, World
from .test_verify_damaged import damage


@pytest.fixture
def world(store: Store) -> World:
    """Three credits to two accounts, and an order."""
    world = World(store)
    world.credit("10")
    world.now += 60
    world.credit("5", "host@example.org")
    world.now += 60
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
