"""Reading a whole market for whoever recomputes it: in order, a page at a time, however much there is."""

from collections.abc import Iterator
from heapq import merge
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Select, select

from ..api.currencies import Currency
from ..rules import money
from ..rules.orders import Deployment, Order
from .events import Kind as EventKind
from .ledger import Kind, LedgerAccount
from .rows import as_struct
from .tables import accounts, events, ledger_accounts, orders, transfers

PAGE = 2_000


class Owned(NamedTuple):
    """A ledger account and who has it: an e-mail address, or what it is."""

    account: LedgerAccount
    owner: str


class Side(NamedTuple):
    """One side of a transfer: what it changed about a ledger account, and the balance and hash it left."""

    ledger_account_id: int
    id: int
    change: int
    balance: int
    at: int
    kind: str
    reference: str
    how: str
    hash: bytes
    order_id: int | None


class Payment(NamedTuple):
    """A transfer for an order, and between whose accounts it was."""

    order_id: int
    id: int
    amount: int
    at: int
    kind: str
    how: str
    from_kind: Kind
    from_account: int | None
    from_currency: Currency
    to_kind: Kind
    to_account: int | None
    to_currency: Currency


class Priced(NamedTuple):
    """A price of an order; None where the event does not say it."""

    order_id: int
    price: int | None


class Rented(NamedTuple):
    """An order, without what it deploys, and its renter's e-mail address."""

    order: Order
    renter: str


def ledger_accounts_by_id(tx: Connection) -> Iterator[Owned]:
    query = (
        select(ledger_accounts, accounts.c.email)
        .outerjoin(accounts, accounts.c.id == ledger_accounts.c.account_id)
        .order_by(ledger_accounts.c.id)
    )
    for row in _paged(tx, query):
        yield Owned(as_struct(row, LedgerAccount), row.email or f"the {row.kind} account")


def sides_by_ledger_account(tx: Connection) -> Iterator[Side]:
    """Both sides of every transfer, by ledger account and then in the order they were posted."""
    t = transfers.c

    def of(side: Any, sign: int, balance: Any, hashed: Any) -> Iterator[Side]:
        query = select(side, t.id, t.amount, balance, t.at, t.kind, t.reference, t.how, hashed, t.order_id)
        for row in _paged(tx, query.order_by(side, t.id)):
            yield Side(row[0], row[1], sign * row[2], *row[3:])

    return merge(
        of(t.debit_id, -1, t.debit_balance, t.debit_hash), of(t.credit_id, 1, t.credit_balance, t.credit_hash)
    )


def orders_by_id(tx: Connection) -> Iterator[Rented]:
    query = select(*(column for column in orders.c if column.name != "deployment"), accounts.c.email)
    query = query.join(accounts, accounts.c.id == orders.c.account_id).order_by(orders.c.id)
    nothing = Deployment()
    for row in _paged(tx, query):
        yield Rented(as_struct(row, Order, deployment=nothing), row.email)


def payments_by_order(tx: Connection) -> Iterator[Payment]:
    debit, credit = ledger_accounts.alias(), ledger_accounts.alias()
    t = transfers.c
    query = (
        select(t.order_id, t.id, t.amount, t.at, t.kind, t.how)
        .add_columns(
            *(side.c[name] for side in (debit, credit) for name in ("kind", "account_id", "currency"))
        )
        .join(debit, debit.c.id == t.debit_id)
        .join(credit, credit.c.id == t.credit_id)
        .where(t.order_id.is_not(None))
        .order_by(t.order_id, t.id)
    )
    return (Payment(*row) for row in _paged(tx, query))


def prices_by_order(tx: Connection) -> Iterator[Priced]:
    """What the event log says of each order's price, in the order it happened."""
    told = (EventKind.ORDER_CREATED, EventKind.ORDER_REPRICED)
    query = select(events.c.order_id, events.c.data).where(
        events.c.order_id.is_not(None), events.c.kind.in_(told)
    )
    for row in _paged(tx, query.order_by(events.c.order_id, events.c.id)):
        price = msgspec.json.decode(row.data).get("price")
        yield Priced(row.order_id, None if price is None else money.from_text(price))


def _paged(tx: Connection, query: Select[*tuple[Any, ...]]) -> Iterator[Any]:
    with tx.execute(query.execution_options(yield_per=PAGE)) as rows:
        yield from rows
