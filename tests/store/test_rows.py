"""Many rows at once, on either database."""

from collections.abc import Callable

from sqlalchemy import Connection, select

from openclore.store.rows import among, inserting, updating
from openclore.store.store import Store
from openclore.store.tables import ledger_accounts, orders

COLUMNS = ("kind", "currency", "balance", "head", "due_at")
ADD = inserting(ledger_accounts, COLUMNS)
CHANGE = updating(ledger_accounts, ("balance", "head", "due_at"))
HUGE = 9 * 10**18


def row(kind: str, **values: object) -> dict[str, object]:
    return {"kind": kind, "currency": "bitcoin", "balance": 0, "head": b"", "due_at": None} | values


def kept(tx: Connection) -> list[tuple[object, ...]]:
    columns = [ledger_accounts.c[name] for name in ("kind", "balance", "head", "due_at")]
    return [tuple(found) for found in tx.execute(select(*columns).order_by(ledger_accounts.c.id))]


def test_rows_are_added_in_their_order_with_their_bytes_and_numbers(store: Store) -> None:
    with store.writing() as tx:
        ADD(tx, [row("outside", balance=-HUGE, head=bytes(range(256))), row("market", due_at=HUGE)])
        assert kept(tx) == [("outside", -HUGE, bytes(range(256)), None), ("market", 0, b"", HUGE)]


def test_each_row_that_is_named_is_changed_and_no_other(store: Store) -> None:
    with store.writing() as tx:
        ADD(tx, [row("outside"), row("market"), row("market", currency="CLORE-Blockchain", due_at=5)])
        first, _, last = tx.execute(select(ledger_accounts.c.id).order_by(ledger_accounts.c.id)).scalars()
        CHANGE(
            tx,
            [
                {"of": last, "balance": HUGE, "head": b"\x00|'\\", "due_at": None},
                {"of": first, "balance": -1, "head": b"\xff", "due_at": 7},
            ],
        )
        assert kept(tx) == [
            ("outside", -1, b"\xff", 7),
            ("market", 0, b"", None),
            ("market", HUGE, b"\x00|'\\", None),
        ]


def test_one_row_is_written_as_one_of_many_is(store: Store) -> None:
    with store.writing() as tx:
        ADD(tx, [row("market", balance=HUGE, head=bytes(range(256)), due_at=5)])
        ADD(tx, [row("outside")])
        (first, _) = tx.execute(select(ledger_accounts.c.id).order_by(ledger_accounts.c.id)).scalars()
        assert kept(tx) == [("market", HUGE, bytes(range(256)), 5), ("outside", 0, b"", None)]
        CHANGE(tx, [{"of": first, "balance": 7, "head": b"\xff|'", "due_at": None}])
        assert kept(tx) == [("market", 7, b"\xff|'", None), ("outside", 0, b"", None)]


def test_no_rows_are_no_statement(store: Store) -> None:
    with store.writing() as tx:
        ADD(tx, [])
        CHANGE(tx, [])
        assert kept(tx) == []


def test_a_list_of_ids_may_be_empty_or_long(store: Store) -> None:
    some = select(ledger_accounts.c.kind).where(among(ledger_accounts.c.id, "ids"))
    with store.writing() as tx:
        ADD(tx, [row("outside"), row("market")])
        assert tx.execute(some, {"ids": []}).all() == []
        assert len(tx.execute(some, {"ids": list(range(10_000))}).all()) == 2


def test_rows_that_are_asked_for_by_their_ids_are_not_searched_for(
    new_sqlite_store: Callable[[], Store],
) -> None:
    query = select(orders.c.id).where(among(orders.c.account_id, "ids"))
    with new_sqlite_store().reading() as tx:
        asked = str(query.compile(tx.engine)).replace("?", "'[1]'")
        plan = [row.detail for row in tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}")]
    assert plan[0].startswith("SEARCH orders USING"), plan
