"""Reading a whole market for whoever recomputes it: in order, a page at a time, however much there is.

A row that can't be read raises `Unreadable`. Columns come as the database has them, so that one with a wrong
value spoils no other row.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from heapq import merge
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import ColumnElement, Connection, Row, Select, Text, cast, func, select, type_coerce
from sqlalchemy.exc import OperationalError
from sqlalchemy.types import NullType

from ..api.currencies import Currency
from ..rules import money
from ..rules.orders import Deployment, EndReason, Order, State
from ..rules.orders import Kind as OrderKind
from .events import Kind as EventKind
from .ledger import Kind, LedgerAccount
from .rows import as_struct
from .tables import accounts, events, ledger_accounts, metadata, orders, servers, transfers

PAGE = 500
T = TypeVar("T")


class Unreadable(Exception):
    """A row has a value that its column can't have."""

    def __init__(self, where: str, reason: object) -> None:
        super().__init__(where)
        self.reason = reason


class Owned(NamedTuple):
    """A ledger account and the e-mail address of who has it; None if it is nobody's, or nobody is there."""

    account: LedgerAccount
    email: str | None


class Side(NamedTuple):
    """One side of a transfer: what it did to a ledger account, and the balance and hash it left."""

    ledger_account_id: int
    id: int
    amount: int
    balance: int
    at: int
    kind: str
    reference: str
    how: str
    hash: bytes
    order_id: int | None
    sign: int

    @property
    def change(self) -> int:
        return self.sign * self.amount


class End(NamedTuple):
    """Whose ledger account a transfer is from or for; nothing is known of one that is not there."""

    kind: Kind | None
    account_id: int | None
    currency: Currency | None


class Payment(NamedTuple):
    """A transfer for an order, and between whose accounts it was. `key` is its idempotency key."""

    order_id: int
    id: int
    amount: int
    at: int
    kind: str
    how: str
    key: str
    debit: End
    credit: End


class Credit(NamedTuple):
    """What came into a wallet from outside, by its transfer or its event, whose id comes first."""

    id: int
    account_id: int | None
    email: str | None
    currency: Currency | None
    amount: int
    at: int


class Dangling(NamedTuple):
    """A row that points to another one, which is not there."""

    table: str
    row: str
    column: str
    pointed_to: str


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What the data of an event says; what it does not say is None, or unset where None says something.

    `charged_until`: see `settlement`; the last ones: `rules.statements.terms`, which logs of earlier commits
    do not have.
    """

    type: OrderKind | None = None
    currency: Currency | None = None
    price: str | None = None
    reason: EndReason | None = None
    seen_until: int | None = None
    charged_until: int | None = None
    lease_until: int | UnsetType | None = UNSET
    renter_fee: str | UnsetType = UNSET
    host_fee: str | UnsetType = UNSET
    creation_fee: str | UnsetType = UNSET
    creation_grace_seconds: int | UnsetType = UNSET
    mrl_seconds: int | UnsetType = UNSET
    spend_max: str | UnsetType | None = UNSET


class Parties(NamedTuple):
    """Between whom an order is, and on which server."""

    account_id: int | None
    host_id: int | None
    server_id: int | None


class Happening(NamedTuple):
    """An event that an order's cost or state depends on; `order_id` is None if it is about its server."""

    id: int
    at: int
    kind: EventKind
    order_id: int | None
    parties: Parties | None
    said: Said
    price: int | None


class Rented(NamedTuple):
    """An order, without what it deploys, the e-mail addresses of its renter and its host (None if nobody is
    there), and what its server did while it was not over. `heard_until` is when that server was last heard
    of; None if it is not there.
    """

    order: Order
    renter: str | None
    host: str | None
    heard_until: int | None
    presence: list[Happening]


class Drawing(NamedTuple):
    """An order that is not over, without what it deploys, and the wallet that pays it; 0: there is none."""

    wallet_id: int
    order: Order


def ledger_accounts_by_id(tx: Connection) -> Generator[Owned]:
    query = (
        select(*_raw(ledger_accounts.c), accounts.c.email)
        .outerjoin(accounts, accounts.c.id == ledger_accounts.c.account_id)
        .order_by(ledger_accounts.c.id)
    )

    def read(row: Any) -> Owned:
        account = as_struct(row, LedgerAccount)
        return Owned(account, _value("accounts", account.account_id, row.email, str | None))

    return _each(tx, query, "ledger_accounts", read)


def sides_by_ledger_account(tx: Connection) -> Generator[Side]:
    """Both sides of every transfer, by ledger account and then in the order they were posted."""
    t = transfers.c

    def of(side: Any, sign: int, balance: Any, hashed: Any) -> Generator[Side]:
        columns = (side, t.id, t.amount, balance, t.at, t.kind, t.reference, t.how, hashed, t.order_id)
        query = select(*_raw(columns)).order_by(side, t.id)
        return _each(tx, query, "transfers", lambda row: msgspec.convert((*row, sign), Side))

    with (
        closing(of(t.debit_id, -1, t.debit_balance, t.debit_hash)) as out,
        closing(of(t.credit_id, 1, t.credit_balance, t.credit_hash)) as into,
    ):
        yield from merge(out, into)


def orders_by_id(tx: Connection) -> Generator[Rented]:
    hosts = accounts.alias()
    emails = accounts.c.email, hosts.c.email.label("host_email")
    query = (
        select(*_raw(_ORDER), *emails, servers.c.seen_until, _presence().label("presence"))
        .outerjoin(accounts, accounts.c.id == orders.c.account_id)
        .outerjoin(hosts, hosts.c.id == orders.c.host_id)
        .outerjoin(servers, servers.c.id == orders.c.server_id)
        .order_by(orders.c.id)
    )

    def read(row: Any) -> Rented:
        order = _order(row)
        return Rented(
            order,
            renter=_value("accounts", order.account_id, row.email, str | None),
            host=_value("accounts", order.host_id, row.host_email, str | None),
            heard_until=_value("servers", order.server_id, row.seen_until, int | None),
            presence=_presence_read(row.presence),
        )

    return _each(tx, query, "orders", read)


def orders_by_wallet(tx: Connection) -> Generator[Drawing]:
    """Those that are not over."""
    paid_from = (orders.c.account_id == ledger_accounts.c.account_id) & (
        orders.c.currency == ledger_accounts.c.currency
    )
    wallet_id = func.coalesce(ledger_accounts.c.id, 0).label("wallet_id")
    query = (
        select(*_raw(_ORDER), wallet_id)
        .outerjoin(ledger_accounts, paid_from)
        .where(orders.c.state != State.ENDED)
        .order_by(wallet_id, orders.c.id)
    )
    return _each(tx, query, "orders", lambda row: Drawing(row.wallet_id, _order(row)))


_ORDER = [column for column in orders.c if column.name != "deployment"]


def _order(row: Any) -> Order:
    flags = {"deployed": _flag(row.deployed), "began": _flag(row.began)}
    return as_struct(row, Order, deployment=_NOTHING, **flags)


_NOTHING = Deployment()


def _presence() -> ColumnElement[str | None]:
    """Events of an order's server while the order was not over, one a line: id, time, kind, data.

    A subquery for each order: it looks at no other events, however many there are.
    """
    own = events.alias()
    of_order = select(func.min(own.c.id)).where(own.c.order_id == orders.c.id).correlate(orders)
    made = of_order.where(own.c.kind == EventKind.ORDER_CREATED).scalar_subquery()
    ended = of_order.where(own.c.kind == EventKind.ORDER_ENDED).scalar_subquery()
    e = events.c
    line = cast(e.id, Text) + " " + cast(e.at, Text) + " " + e.kind + " " + func.replace(e.data, "\n", " ")
    return (
        select(func.aggregate_strings(line, "\n"))
        .where(e.server_id == orders.c.server_id, e.id > made, e.id < func.coalesce(ended, 2**62))
        .where(e.kind.in_((EventKind.SERVER_ONLINE, EventKind.SERVER_OFFLINE)))
        .correlate(orders)
        .scalar_subquery()
    )


def _presence_read(lines: str | None) -> list[Happening]:
    found = [line.split(" ", 3) for line in (lines.split("\n") if lines else [])]
    return sorted(_happening(int(event_id), at, kind, None, None, data) for event_id, at, kind, data in found)


def happenings_by_order(tx: Connection) -> Generator[Happening]:
    """What the event log says of each order, in the order it happened."""
    told = (
        EventKind.ORDER_CREATED,
        EventKind.ORDER_DEPLOYING,
        EventKind.ORDER_RUNNING,
        EventKind.ORDER_WON,
        EventKind.ORDER_OUTBID,
        EventKind.ORDER_REPRICED,
        EventKind.ORDER_LEASED,
        EventKind.ORDER_ENDED,
    )
    e = events.c
    columns = (e.id, e.at, e.kind, e.order_id, e.account_id, e.host_id, e.server_id, e.data)
    query = select(*columns).where(e.order_id.is_not(None), e.kind.in_(told)).order_by(e.order_id, e.id)

    def happening(row: Row[*tuple[Any, ...]]) -> Happening:
        parties = row.account_id, row.host_id, row.server_id
        return _happening(row.id, row.at, row.kind, row.order_id, parties, row.data)

    return _each(tx, query, "events", happening)


def _happening(
    event_id: int, at: object, kind: str, order_id: object, parties: object, data: str
) -> Happening:
    """
    Raises:
        Unreadable
    """
    try:
        said = msgspec.json.decode(data, type=Said)
        price = None if said.price is None else money.from_text(said.price)
        at = int(at) if isinstance(at, str) else at
        return msgspec.convert((event_id, at, kind, order_id, parties, said, price), Happening)
    except _NO_VALUE as error:
        raise Unreadable(f"the row {event_id} of events", error) from error


def payments_by_order(tx: Connection) -> Generator[Payment]:
    debit, credit = ledger_accounts.alias(), ledger_accounts.alias()
    t = transfers.c
    own = t.order_id, t.id, t.amount, t.at, t.kind, t.how, t.idempotency_key
    ends = [column for side in (debit.c, credit.c) for column in (side.kind, side.account_id, side.currency)]
    query = (
        select(*own, *ends, t.debit_id, t.credit_id)
        .outerjoin(debit, debit.c.id == t.debit_id)
        .outerjoin(credit, credit.c.id == t.credit_id)
        .where(t.order_id.is_not(None))
        .order_by(t.order_id, t.id)
    )

    def read(row: Any) -> Payment:
        debit, credit = tuple(row[7:10]), tuple(row[10:13])
        try:
            return msgspec.convert((*row[:7], debit, credit), Payment)
        except msgspec.ValidationError:
            _value("ledger_accounts", row.debit_id, debit, End)
            _value("ledger_accounts", row.credit_id, credit, End)
            raise

    return _each(tx, query, "transfers", read)


def credits_posted(tx: Connection) -> Generator[Credit]:
    """The transfers that are for no order, in the order they were posted."""
    t, wallet = transfers.c, ledger_accounts.c
    query = (
        select(t.id, wallet.account_id, accounts.c.email, wallet.currency, t.amount, t.at)
        .outerjoin(ledger_accounts, wallet.id == t.credit_id)
        .outerjoin(accounts, accounts.c.id == wallet.account_id)
        .where(t.order_id.is_(None))
        .order_by(t.id)
    )
    return _each(tx, query, "transfers", lambda row: msgspec.convert(tuple(row), Credit))


def credits_told(tx: Connection) -> Generator[Credit]:
    """The credits that the event log tells of, in the order they happened."""
    e = events.c
    query = (
        select(e.id, e.account_id, accounts.c.email, e.data, e.at)
        .outerjoin(accounts, accounts.c.id == e.account_id)
        .where(e.kind == EventKind.WALLET_CREDITED)
        .order_by(e.id)
    )

    def read(row: Any) -> Credit:
        said = msgspec.json.decode(row.data, type=_Credited)
        amount = money.from_text(said.amount)
        return msgspec.convert((row.id, row.account_id, row.email, said.currency, amount, row.at), Credit)

    return _each(tx, query, "events", read)


class _Credited(msgspec.Struct, frozen=True):
    """The data of such an event."""

    currency: Currency
    amount: str


def dangling(tx: Connection) -> Iterator[Dangling]:
    """The first row of each column that points to a row that is not there."""
    for table in metadata.sorted_tables:
        for key in sorted(table.foreign_keys, key=lambda key: key.parent.name):
            column, target = key.parent, key.column
            query = (
                select(*_raw(table.primary_key), type_coerce(column, NullType()).label("value"))
                .outerjoin(target.table, target == column)
                .where(column.is_not(None), target.is_(None))
                .limit(1)
            )
            for *row, value in tx.execute(query):
                name = ", ".join(map(str, row))
                yield Dangling(table.name, name, column.name, f"the row {value} of {target.table.name}")


def _value(table: str, row_id: int | None, value: object, kind: Any) -> Any:
    """A value that is from the row of another table.

    Raises:
        Unreadable
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Unreadable(f"the row {row_id} of {table}", error) from error


_NO_VALUE = (msgspec.MsgspecError, TypeError, ValueError)


def _each(
    tx: Connection, query: Select[*tuple[Any, ...]], table: str, read: Callable[[Any], T]
) -> Generator[T]:
    last = 0
    try:
        with tx.execute(query.execution_options(yield_per=PAGE)) as rows:
            for row in rows:
                try:
                    found = read(row)
                except _NO_VALUE as error:
                    raise Unreadable(f"the row {row.id} of {table}", error) from error
                last = row.id
                yield found
    except OperationalError as error:
        if "decode" not in str(error.orig):
            raise
        raise Unreadable(f"a row of {table} after the row {last}", error.orig) from error


def _raw(columns: Any) -> list[ColumnElement[Any]]:
    return [type_coerce(column, NullType()).label(column.name) for column in columns]


def _flag(value: object) -> object:
    """What SQLite has for a Boolean is a number."""
    return bool(value) if value in (0, 1) else value
