"""The ledger: double entry and append-only. Balances are kept beside it and change with it, never alone."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, func, select, union_all, update

from ..api.currencies import Currency
from .rows import as_struct
from .tables import ledger_accounts, transfers


class Kind(StrEnum):
    """Whose money it is: an account's, the market's own, or money that is not in the market."""

    WALLET = "wallet"
    MARKET = "market"
    OUTSIDE = "outside"


class LedgerAccount(msgspec.Struct, frozen=True, kw_only=True):
    """One side of transfers. `exhausts_at` and `due_at` matter to wallets with running orders."""

    id: int
    kind: Kind
    account_id: int | None
    currency: Currency
    balance: int
    exhausts_at: int | None
    due_at: int | None


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """A movement of `amount` > 0 from debit to credit; `reference` is what it is for ("order:17")."""

    debit_id: int
    credit_id: int
    amount: int
    kind: str
    reference: str
    idempotency_key: str
    at: int


class IdempotencyConflict(Exception):
    """A transfer's idempotency key was used before for another movement."""


class InsufficientFunds(Exception):
    """The debit account holds less than the transfer's amount."""


class LedgerOverflow(Exception):
    """A balance would not fit its column any more."""


BALANCE_MAX = 9 * 10**18
"""Either side of zero; 64-bit columns hold a little more."""


def wallet(tx: Connection, account_id: int, currency: Currency) -> LedgerAccount:
    """An account's wallet, opened if it had none."""
    return _open(tx, Kind.WALLET, account_id, currency)


def market(tx: Connection, currency: Currency) -> LedgerAccount:
    """Where the market's fees go."""
    return _open(tx, Kind.MARKET, None, currency)


def outside(tx: Connection, currency: Currency) -> LedgerAccount:
    """Where credited money comes from; its balance is what the market owes the world, below zero."""
    return _open(tx, Kind.OUTSIDE, None, currency)


def by_id(tx: Connection, ledger_account_id: int) -> LedgerAccount:
    return _account(tx.execute(_BY_ID, {"of": ledger_account_id}).one())


def wallets_of(tx: Connection, account_id: int) -> dict[Currency, LedgerAccount]:
    rows = tx.execute(select(ledger_accounts).where(ledger_accounts.c.account_id == account_id))
    return {found.currency: found for found in map(_account, rows)}


def wallets_due(tx: Connection, now: int) -> list[LedgerAccount]:
    """Wallets whose time has come, the longest overdue first."""
    rows = tx.execute(
        select(ledger_accounts).where(ledger_accounts.c.due_at <= now).order_by(ledger_accounts.c.due_at)
    )
    return [_account(row) for row in rows]


def schedule(tx: Connection, wallet_id: int, exhausts_at: int | None, due_at: int | None) -> None:
    """Note when a wallet runs dry and when it needs a look."""
    tx.execute(_SCHEDULE, {"of": wallet_id, "exhausts": exhausts_at, "due": due_at})


def post(tx: Connection, transfer: Transfer) -> bool:
    """Make a transfer; False if it was made before.

    Raises:
        IdempotencyConflict: its key belongs to another movement; nothing changed.
        InsufficientFunds: the debit account can't pay it; nothing changed.
        LedgerOverflow: a balance would leave the bounds of its column; nothing changed.
    """
    before = tx.execute(_BY_KEY, {"key": transfer.idempotency_key}).one_or_none()
    if before is not None:
        same = ("debit_id", "credit_id", "amount", "kind", "reference")
        if any(getattr(before, name) != getattr(transfer, name) for name in same):
            raise IdempotencyConflict(
                f"the transfer {transfer.idempotency_key!r} was made with other content"
            )
        return False
    debit = by_id(tx, transfer.debit_id)
    if debit.kind is not Kind.OUTSIDE and debit.balance < transfer.amount:
        raise InsufficientFunds(
            f"account {debit.id} holds {debit.balance}, the transfer is {transfer.amount}"
        )
    credit = by_id(tx, transfer.credit_id)
    if debit.balance - transfer.amount < -BALANCE_MAX or credit.balance + transfer.amount > BALANCE_MAX:
        raise LedgerOverflow(
            f"the ledger can't hold {transfer.amount} more between {debit.id} and {credit.id}"
        )
    tx.execute(_MOVE, msgspec.structs.asdict(transfer))
    for account_id, change in ((transfer.debit_id, -transfer.amount), (transfer.credit_id, transfer.amount)):
        tx.execute(_CHANGE, {"of": account_id, "change": change})
    return True


def recomputed(tx: Connection) -> Iterator[tuple[LedgerAccount, int]]:
    """Each account with the balance that its transfers add up to."""
    sides = union_all(
        select(transfers.c.credit_id.label("id"), transfers.c.amount.label("change")),
        select(transfers.c.debit_id, -transfers.c.amount),
    ).subquery()
    moved = select(sides.c.id, func.sum(sides.c.change).label("total")).group_by(sides.c.id).subquery()
    rows = tx.execute(
        select(ledger_accounts, moved.c.total)
        .outerjoin(moved, moved.c.id == ledger_accounts.c.id)
        .order_by(ledger_accounts.c.id)
    )
    for row in rows:
        yield _account(row), int(row.total or 0)


def sums_by_reference(tx: Connection, reference: str) -> dict[str, int]:
    """Transfer kind to the sum moved for this reference."""
    rows = tx.execute(
        select(transfers.c.kind, func.sum(transfers.c.amount).label("total"))
        .where(transfers.c.reference == reference)
        .group_by(transfers.c.kind)
    )
    return {row.kind: int(row.total) for row in rows}


def _open(tx: Connection, kind: Kind, account_id: int | None, currency: Currency) -> LedgerAccount:
    if account_id is None:
        found = tx.execute(_OF_NOBODY, {"kind": kind, "currency": currency}).one_or_none()
    else:
        found = tx.execute(_OF_ACCOUNT, {"account": account_id, "currency": currency}).one_or_none()
    if found is None:
        found = tx.execute(
            ledger_accounts.insert()
            .values(kind=kind, account_id=account_id, currency=currency, balance=0)
            .returning(ledger_accounts)
        ).one()
    return _account(found)


def _account(row: Row[*tuple[Any, ...]]) -> LedgerAccount:
    return as_struct(row, LedgerAccount)


# Every minute of every order passes through these. They are built once: building takes longer than running.
_BY_ID = select(ledger_accounts).where(ledger_accounts.c.id == bindparam("of"))
_OF_ACCOUNT = select(ledger_accounts).where(
    ledger_accounts.c.account_id == bindparam("account"), ledger_accounts.c.currency == bindparam("currency")
)
_OF_NOBODY = select(ledger_accounts).where(
    ledger_accounts.c.account_id.is_(None),
    ledger_accounts.c.kind == bindparam("kind"),
    ledger_accounts.c.currency == bindparam("currency"),
)
_BY_KEY = select(transfers).where(transfers.c.idempotency_key == bindparam("key"))
_MOVE = transfers.insert()
_CHANGE = (
    update(ledger_accounts)
    .where(ledger_accounts.c.id == bindparam("of"))
    .values(balance=ledger_accounts.c.balance + bindparam("change"))
)
_SCHEDULE = (
    update(ledger_accounts)
    .where(ledger_accounts.c.id == bindparam("of"))
    .values(exhausts_at=bindparam("exhausts"), due_at=bindparam("due"))
)
