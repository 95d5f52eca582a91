"""Recomputing all money: what was tampered with is named."""

from typing import Any

import pytest
from sqlalchemy import Executable, delete, select, text

from openclore.api.spot import SetSpotPrice
from openclore.rules import money
from openclore.store.store import Store
from openclore.store.tables import transfers
from openclore.usecases import spot
from openclore.usecases.verify import Difference, verify

from ..world import START, USD, World

RENTER = {"account": "renter@example.org", "currency": USD}


@pytest.fixture
def world(store: Store) -> World:
    """An order that is over, a bid at its second price that runs; both were posted several times."""
    world = World(store)
    world.add_server("rack-2")
    world.credit("10")
    first = world.rent()
    bid = world.rent(2, type="spot", spotprice=1.5)
    assert (first.id, bid.id) == (1, 2)
    world.jump(4_000)
    world.turn()
    spot.set_spot_price(world.market, world.renter, SetSpotPrice(order_id=2, desired_price=1.7), world.now)
    world.jump(4_000)
    world.turn()
    world.cancel(1)
    assert world.difference() is None
    return world


def found_after(world: World, *statements: str | Executable) -> Difference:
    with world.store.writing() as tx:
        for statement in statements:
            tx.execute(text(statement) if isinstance(statement, str) else statement)
    difference = verify(world.market).difference
    assert difference is not None
    return difference


def test_what_was_checked_and_what_is_held_is_said(world: World) -> None:
    verdict = verify(world.market)
    assert (verdict.orders, verdict.accounts, verdict.difference) == (2, 4, None)
    held = verdict.held[USD]
    assert held.came_in == "10"
    assert money.from_text(held.wallets) + money.from_text(held.market) == money.from_text("10")
    with world.store.reading() as tx:
        assert verdict.transfers == tx.exec_driver_sql("SELECT count(*) FROM transfers").scalar_one()


def tampered(what: str, statement: str, **where: object) -> Any:
    return pytest.param(what, statement, where, id=statement)


@pytest.mark.parametrize(
    ("what", "statement", "where"),
    [
        tampered(
            "the balance, by its transfers",
            "UPDATE ledger_accounts SET balance = balance + 1 WHERE account_id = 1",
            **RENTER,
        ),
        tampered(
            "the transfer's amount",
            "UPDATE transfers SET amount = amount + 1 WHERE order_id = 1",
            **RENTER,
            order_id=1,
        ),
        tampered(
            "the balance that the transfer (credit, account:1) led to",
            "UPDATE transfers SET amount = amount - 1 WHERE kind = 'credit'",
        ),
        tampered(
            "the hash of the transfer (credit, account:1)",
            "UPDATE transfers SET at = at + 1 WHERE kind = 'credit'",
        ),
        tampered(
            "the balance that the transfer (rental, order:1) led to",
            "DELETE FROM transfers WHERE kind = 'credit'",
            **RENTER,
        ),
        tampered(
            "all its transfers (fees)",
            "DELETE FROM transfers WHERE order_id = 1 AND kind = 'fees'",
            **RENTER,
            order_id=1,
        ),
        tampered("all its transfers (rental)", "DELETE FROM transfers WHERE order_id = 2", order_id=2),
        tampered(
            "all its transfers (rental)", "UPDATE transfers SET order_id = 99 WHERE order_id = 2", order_id=2
        ),
        tampered(
            "its price per day", "UPDATE orders SET price = price * 2 WHERE id = 1", **RENTER, order_id=1
        ),
        tampered("its price per day", "UPDATE orders SET price = price * 2 WHERE id = 2", order_id=2),
        tampered(
            "its renter_fee, by the event log", "UPDATE orders SET renter_fee = 0 WHERE id = 1", order_id=1
        ),
        tampered("its host_fee, by the event log", "UPDATE orders SET host_fee = 0 WHERE id = 1", order_id=1),
        tampered(
            "its creation_fee, by the event log",
            "UPDATE orders SET creation_fee = 1 WHERE id = 1",
            order_id=1,
        ),
        tampered(
            "for how many seconds its meter ran",
            "UPDATE orders SET active_seconds = active_seconds + 6000 WHERE id = 1",
            order_id=1,
        ),
        tampered(
            "what the minutes before its last change of price cost",
            "UPDATE orders SET spend_before = spend_before + 5 WHERE id = 2",
            order_id=2,
        ),
        tampered(
            "what the order notes as paid (rental)",
            "UPDATE orders SET paid_host = paid_host + 1 WHERE id = 1",
            order_id=1,
        ),
        tampered("how it began", "DELETE FROM events WHERE order_id = 1", **RENTER, order_id=1),
        tampered(
            "how the transfer was computed",
            "UPDATE transfers SET how = 'because' WHERE order_id = 1",
            order_id=1,
        ),
        tampered(
            "minutes in the transfer (rental",
            "UPDATE transfers SET how = replace(how, 'minutes=0..1 ', 'minutes=0..9 ') WHERE kind = 'rental'",
            order_id=1,
        ),
        tampered(
            "the price in the transfer (rental",
            "UPDATE transfers SET how = replace(how, 'price=2 ', 'price=3 ') WHERE kind = 'rental'",
            order_id=1,
        ),
        tampered(
            "from whom the transfer (fees) goes to whom",
            "UPDATE transfers SET debit_id = credit_id, credit_id = debit_id WHERE kind = 'fees'",
            order_id=1,
        ),
        tampered(
            "the hash of the transfer",
            "UPDATE ledger_accounts SET currency = 'bitcoin' WHERE kind = 'outside'",
            account="outside",
            currency="bitcoin",
        ),
        tampered(
            "the hash of the last transfer",
            "UPDATE ledger_accounts SET head = credit_hash FROM transfers WHERE transfers.kind = 'credit'",
        ),
        tampered(
            "the hash of the transfer (rental, order:2)",
            "UPDATE transfers SET debit_hash = credit_hash WHERE order_id = 2 AND kind = 'rental'",
            **RENTER,
        ),
    ],
)
def test_the_first_difference_is_named(
    world: World, what: str, statement: str, where: dict[str, object]
) -> None:
    difference = found_after(world, statement)
    assert difference.what.startswith(what)
    assert {name: getattr(difference, name) for name in where} == where
    assert difference.expected != difference.found


def test_a_missing_charge_says_what_it_should_have_been(world: World) -> None:
    rentals = select(transfers.c.id, transfers.c.amount).where(
        transfers.c.order_id == 1, transfers.c.kind == "rental"
    )
    with world.store.reading() as tx:
        last = tx.execute(rentals.order_by(transfers.c.id.desc())).first()
    assert last is not None
    difference = found_after(world, delete(transfers).where(transfers.c.id == last.id))
    assert difference.what.startswith("all its transfers (rental)")
    missing = money.from_text(difference.expected) - money.from_text(difference.found)
    assert (difference.order_id, missing) == (1, last.amount)


def test_a_charge_too_many_is_named(world: World) -> None:
    twice = (
        "INSERT INTO transfers"
        " (debit_id, credit_id, amount, kind, reference, idempotency_key, at, order_id, how)"
        " SELECT debit_id, credit_id, amount, kind, reference, 'again', at, {order}, how FROM transfers"
        " WHERE kind = 'rental' AND order_id = 1 ORDER BY id DESC LIMIT 1"
    )
    difference = found_after(world, twice.format(order=7))
    assert difference.what == "the transfer (rental) is for an order that is not there"
    assert difference.order_id == 7
    difference = found_after(world, "UPDATE transfers SET order_id = 1 WHERE order_id = 7")
    assert difference.what.startswith("paid_before in the transfer")
    assert difference.order_id == 1


def test_a_charge_of_nothing_is_named(world: World) -> None:
    difference = found_after(
        world,
        "UPDATE transfers SET order_id = NULL WHERE order_id = 2",
        "DELETE FROM events WHERE order_id = 2",
        "DELETE FROM orders WHERE id = 2",
    )
    assert difference.what == "what the transfer (rental) is for"


def test_books_cooked_to_the_last_figure_end_in_another_hash(world: World) -> None:
    """Whoever changes amounts, balances and notes alike can't bring the chain to what it was."""
    difference = found_after(
        world,
        "UPDATE transfers SET amount = amount + 100 WHERE kind = 'credit'",
        "UPDATE transfers SET debit_balance = debit_balance + 100 WHERE order_id IS NOT NULL",
        "UPDATE transfers SET debit_balance = -credit_balance - 100, credit_balance = credit_balance + 100"
        " WHERE kind = 'credit'",
        "UPDATE ledger_accounts SET balance = balance + 100 WHERE account_id = 1",
        "UPDATE ledger_accounts SET balance = balance - 100 WHERE kind = 'outside'",
    )
    assert difference.what.startswith("the hash of the transfer (credit, account:1)")


def test_a_bid_that_waits_owes_nothing(store: Store) -> None:
    world = World(store)
    world.credit("10")
    world.rent(type="spot", spotprice=1.2)
    world.now = START + 100
    assert verify(world.market).difference is None


def test_a_price_that_is_set_at_an_earlier_second_than_it_is_written_is_no_difference(world: World) -> None:
    """As by somebody who waited for his turn while another, who came later, went first."""
    bid = world.rent(type="spot", spotprice=1.7)
    world.jump(64)
    world.credit("1")
    world.now -= 2
    spot.set_spot_price(
        world.market, world.renter, SetSpotPrice(order_id=bid.id, desired_price=1.9), world.now
    )
    world.jump(100)
    world.credit("1")
    assert world.difference() is None
