"""Recomputing all money: rows that can't be read are named, whatever is wrong with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ColumnElement,
    Executable,
    Table,
    Text,
    func,
    literal_column,
    select,
    text,
    update,
)

from openclore.api.spot import SetSpotPrice
from openclore.store.store import Store
from openclore.store.tables import accounts, events, ledger_accounts, orders, servers, transfers
from openclore.usecases import accounts as account_usecases
from openclore.usecases import spot
from openclore.usecases.verify import Difference, verify

from ..world import World

WORD: ColumnElement[str] = literal_column("'dollar'")
BYTES: ColumnElement[bytes] = literal_column("x'ff00'")
BROKEN: ColumnElement[str] = literal_column("CAST(x'ff' AS TEXT)")
ON_SQLITE = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
"""PostgreSQL takes no value of another kind than its column has."""


@pytest.fixture
def world(store: Store) -> World:
    """A bid at its second price, whose machine was silent for a while."""
    world = World(store)
    world.credit("10")
    world.rent(type="spot", spotprice=1.5)
    world.jump(100)
    spot.set_spot_price(world.market, world.renter, SetSpotPrice(order_id=1, desired_price=1.7), world.now)
    world.jump(600, beating=False)
    world.turn()
    world.beat()
    world.jump(600)
    world.cancel(1)
    assert world.difference() is None
    return world


def damage(world: World, *statements: str | Executable) -> None:
    """Change what the database's own rules would not let anybody change."""
    with world.store.engine.connect() as connection:
        on_sqlite = connection.dialect.name == "sqlite"
        if on_sqlite:
            # Within a transaction they would change nothing.
            raw: Any = connection.connection.driver_connection
            raw.execute("PRAGMA foreign_keys = OFF")
            raw.execute("PRAGMA ignore_check_constraints = ON")
        with connection.begin():
            if not on_sqlite:
                connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
                for table, rule in (
                    ("orders", "ended_has_a_time"),
                    ("ledger_accounts", "wallets_have_owners"),
                ):
                    connection.exec_driver_sql(
                        f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS ck_{table}_{rule}"
                    )
            for statement in statements:
                connection.execute(text(statement) if isinstance(statement, str) else statement)
    world.store.engine.dispose()


def found(world: World) -> Difference:
    difference = verify(world.market).difference
    assert difference is not None
    return difference


@contextmanager
def changed(world: World, column: Column[Any], row: int, value: object) -> Iterator[Difference]:
    """What is found while one value is another one."""
    here = column.table.c.id == row
    with world.store.reading() as tx:
        before = tx.execute(select(column).where(here)).scalar_one()
    damage(world, update(column.table).where(here).values({column.name: value}))
    yield found(world)
    damage(world, update(column.table).where(here).values({column.name: before}))
    assert world.difference() is None


def first(world: World, kind: str) -> int:
    """The id of the first event of a kind."""
    with world.store.reading() as tx:
        return int(tx.execute(select(func.min(events.c.id)).where(events.c.kind == kind)).scalar_one())


@ON_SQLITE
@pytest.mark.parametrize("table", [transfers, ledger_accounts, orders], ids=str)
def test_a_value_of_another_kind_than_its_column_is_named(world: World, table: Table) -> None:
    # SQLite keeps ids whole numbers; a transfer that names no account is missed where it was;
    # what an order deploys and under which key a credit was posted is no matter.
    others = ("id", "debit_id", "credit_id", "deployment", "idempotency_key")
    for column in (c for c in table.c if c.name not in others):
        value = BYTES if isinstance(column.type, Text) else WORD
        with changed(world, column, 1, value) as difference:
            assert (column.name, difference.what) == (column.name, f"the row 1 of {table.name}")
            assert difference.expected == "one that can be read"


@ON_SQLITE
def test_a_value_of_another_kind_in_what_is_read_along_is_named(world: World) -> None:
    ended = first(world, "order_ended")
    silent = first(world, "server_offline")
    for column, row, value in (
        (events.c.at, ended, WORD),
        (events.c.order_id, ended, WORD),
        (events.c.data, ended, BYTES),
        (events.c.at, silent, WORD),
        (accounts.c.email, 1, BYTES),
        (servers.c.seen_until, 1, WORD),
        (ledger_accounts.c.kind, 3, BYTES),
    ):
        with changed(world, column, row, value) as difference:
            assert difference.what == f"the row {row} of {column.table.name}"


@ON_SQLITE
def test_letters_that_are_none_are_named(world: World) -> None:
    for column, what in (
        (transfers.c.how, "a row of transfers after the row 0"),
        (orders.c.image, "a row of orders after the row 0"),
    ):
        with changed(world, column, 1, BROKEN) as difference:
            assert (difference.what, difference.expected) == (what, "one that can be read")


def test_a_word_that_means_nothing_is_named(world: World) -> None:
    for column, row in (
        (orders.c.currency, 1),
        (orders.c.kind, 1),
        (orders.c.state, 1),
        (orders.c.end_reason, 1),
        (ledger_accounts.c.kind, 1),
        (ledger_accounts.c.currency, 1),
    ):
        with changed(world, column, row, WORD) as difference:
            assert difference.what == f"the row {row} of {column.table.name}"
            assert "'dollar'" in difference.found


@pytest.mark.parametrize("kind", ["order_created", "order_repriced", "order_ended", "server_offline"])
def test_an_event_that_says_nothing_readable_is_named(world: World, kind: str) -> None:
    for data in (
        "{",
        "[]",
        "",
        "two\nlines",
        '{"price": 5}',
        '{"price": "abc"}',
        '{"price": "1e999999999"}',
        '{"price": "0.000000001"}',
        '{"reason": "because"}',
        '{"seen_until": "yesterday"}',
        '{"charged_until": 1.5}',
    ):
        with changed(world, events.c.data, first(world, kind), data) as difference:
            assert difference.what == f"the row {first(world, kind)} of events"


def test_a_figure_too_long_for_any_number_is_named(world: World) -> None:
    how = f"price=1.5 minutes=0..{'9' * 5_000} spend_before=0 host_fee=2.5% paid_before=0"
    with changed(world, transfers.c.how, 2, how) as difference:
        assert difference.what == "how the transfer was computed"


def test_nothing_is_logged_where_reading_stops(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Such as complaints about cursors that were left open."""
    with changed(world, orders.c.currency, 1, WORD):
        assert not caplog.records


# What is gone ---------------------------------------------------------------------------------------


def test_a_wallet_whose_account_is_gone_is_named(world: World) -> None:
    account_usecases.create_account(world.market, "rich@example.org", world.now)
    world.credit("1", "rich@example.org")
    damage(world, "DELETE FROM accounts WHERE email = 'rich@example.org'")
    difference = found(world)
    assert difference.what.startswith("whose wallet it is")
    assert (difference.account, difference.expected) == ("3", "account 3")


def test_an_order_whose_renter_is_gone_is_named(world: World) -> None:
    damage(world, "DELETE FROM accounts WHERE email = 'renter@example.org'")
    difference = found(world)
    assert (difference.what, difference.order_id, difference.expected) == ("who rents", 1, "account 1")


def test_an_order_whose_server_or_host_is_gone_is_named(world: World) -> None:
    damage(world, "UPDATE servers SET id = 9 WHERE id = 1")
    difference = found(world)
    assert (difference.what, difference.order_id, difference.expected, difference.found) == (
        "on which server it is",
        1,
        "server 1",
        "no such server",
    )
    damage(world, "DELETE FROM accounts WHERE email = 'host@example.org'")
    difference = found(world)
    assert (difference.what, difference.order_id, difference.expected) == ("who hosts", 1, "account 2")


def test_a_key_or_whatever_else_that_belongs_to_nobody_is_named(world: World) -> None:
    account_usecases.create_key(world.market, "renter@example.org", "mine", world.now)
    assert world.difference() is None
    for statement, what, expected in (
        (
            "UPDATE api_keys SET account_id = 77",
            "what the row 1 of api_keys points to by account_id",
            "the row 77 of accounts",
        ),
        (
            "UPDATE servers SET account_id = 78",
            "what the row 1 of servers points to by account_id",
            "the row 78 of accounts",
        ),
    ):
        damage(world, statement)
        difference = found(world)
        assert (difference.what, difference.expected, difference.found) == (what, expected, "no such row")
        damage(world, "UPDATE api_keys SET account_id = 1", "UPDATE servers SET account_id = 2")


def test_a_transfer_whose_wallet_is_gone_is_named(world: World) -> None:
    damage(world, "DELETE FROM ledger_accounts WHERE account_id = 2")
    assert found(world).what == "from whom the transfer (rental) goes to whom"


def test_a_credit_whose_wallet_is_gone_is_named(world: World) -> None:
    world.credit("5", "host@example.org")
    damage(
        world,
        "DELETE FROM transfers WHERE order_id IS NOT NULL",
        "DELETE FROM events WHERE order_id IS NOT NULL",
        "DELETE FROM orders",
        "DELETE FROM ledger_accounts WHERE account_id = 2",
        "UPDATE ledger_accounts SET balance = 1000000000 WHERE account_id = 1",
        "UPDATE ledger_accounts SET head = (SELECT credit_hash FROM transfers ORDER BY id LIMIT 1)"
        " WHERE account_id = 1",
    )
    assert found(world).what == "whom the transfer (credit, account:2) is from or for"


def test_a_history_whose_order_is_gone_is_named(world: World) -> None:
    damage(world, "DELETE FROM transfers WHERE order_id IS NOT NULL", "DELETE FROM orders")
    difference = found(world)
    assert (difference.what, difference.order_id) == ("the order that the log is about", 1)
