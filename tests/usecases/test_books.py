"""How much a transaction asks of its database: as much for many orders as for one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from openclore.api.currencies import Currency
from openclore.store.store import Store, StoreBusy
from openclore.usecases import accounts, settlement

from ..world import World


@contextmanager
def statements(store: Store) -> Iterator[list[str]]:
    """Those that are run meanwhile."""
    seen: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        seen.append(statement)

    event.listen(store.engine, "before_cursor_execute", note)
    yield seen
    event.remove(store.engine, "before_cursor_execute", note)


def renting(store: Store, orders: int) -> World:
    """A renter with so many running orders, and all that they cost until now posted."""
    world = World(store)
    world.credit("100")
    for number in range(orders):
        world.rent(world.add_server(f"more-{number}"))
    return world


def test_settling_a_wallet_takes_as_many_statements_for_many_orders_as_for_one(
    new_sqlite_store: Callable[[], Store],
) -> None:
    asked = []
    for orders in (1, 10):
        world = renting(new_sqlite_store(), orders)
        world.jump(3_600)
        with world.store.writing() as tx, statements(world.store) as seen:
            settlement.settle(tx, world.policy, world.renter, Currency.USD, world.now)
        assert sum("INSERT INTO transfers" in statement for statement in seen) == 1
        asked.append(len(seen))
    assert asked[0] == asked[1]


def test_renting_and_cancelling_ask_no_more_where_the_renter_has_other_orders(
    new_sqlite_store: Callable[[], Store],
) -> None:
    asked = []
    for orders in (1, 10):
        world = renting(new_sqlite_store(), orders)
        with statements(world.store) as seen:
            world.cancel(world.rent().id)
        asked.append(len(seen))
    assert asked[0] == asked[1]


def two_due_wallets(store: Store) -> World:
    world = renting(store, 1)
    other = accounts.create_account(world.market, "other@example.org", world.now).id
    world.credit("1", "other@example.org", "other")
    world.rent(account=other)
    world.jump(3_600)
    return world


def test_wallets_that_are_due_are_settled_together(new_sqlite_store: Callable[[], Store]) -> None:
    world = two_due_wallets(new_sqlite_store())
    with statements(world.store) as seen:
        settlement.settle_due(world.market, world.now)
    assert sum(statement.startswith("BEGIN IMMEDIATE") for statement in seen) == 1
    assert sum("INSERT INTO transfers" in statement for statement in seen) == 1
    assert world.difference() is None


def test_where_nobody_could_be_settled_each_is_not_tried_alone(
    new_sqlite_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = two_due_wallets(new_sqlite_store())
    tried = []

    def busy(*_: Any) -> None:
        tried.append(1)
        raise StoreBusy

    with monkeypatch.context() as patch:
        patch.setattr(settlement, "bring_up", busy)
        with pytest.raises(StoreBusy):
            settlement.settle_due(world.market, world.now)
    assert tried == [1]
    settlement.settle_due(world.market, world.now)
    assert world.difference() is None
