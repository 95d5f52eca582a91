"""The ledger: double entry and append-only. Balances are kept beside it and change with it, never alone.

The transfers of each ledger account form a chain: each carries, for both its sides, a hash over its content,
the balance it led to and the hash before. Who knows the last hash of an account would see any change of what
came before. Hashes are made when a transfer is posted, in its transaction: made later, they would vouch for
whatever was changed until then.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, select, union_all

from ..api.currencies import Currency
from ..rules import money
from ..rules.statements import line_hash
from .rows import among, as_struct, as_structs, inserting, updating
from .tables import ledger_accounts, transfers


class Kind(StrEnum):
    """Whose money it is: an account's, the market's own, or money that is not in the market."""

    WALLET = "wallet"
    MARKET = "market"
    OUTSIDE = "outside"


class LedgerAccount(msgspec.Struct, frozen=True, kw_only=True):
    """One side of transfers. `exhausts_at` and `due_at` matter to wallets with running orders.

    `head` is the hash of its last transfer, empty if it has none.
    """

    id: int
    kind: Kind
    account_id: int | None
    currency: Currency
    balance: int
    exhausts_at: int | None
    due_at: int | None
    head: bytes = b""


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """A movement of `amount` > 0 from debit to credit; `reference` is what it is for ("order:17").

    `how` says how the amount was computed, see `rules/statements.py`.
    """

    debit_id: int
    credit_id: int
    amount: int
    kind: str
    reference: str
    idempotency_key: str
    at: int
    order_id: int | None = None
    how: str = ""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer as one of its ledger accounts sees it: `amount` is below zero where it paid."""

    id: int
    ledger_account_id: int
    at: int
    amount: int
    balance: int
    kind: str
    reference: str
    order_id: int | None
    how: str
    hash: bytes


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


def accounts_of(tx: Connection, account_ids: Sequence[int]) -> list[LedgerAccount]:
    """All wallets of these accounts, and the market's own ledger accounts."""
    return as_structs(tx.execute(_OF_ACCOUNTS, {"accounts": account_ids}), LedgerAccount)


def wallets_due(tx: Connection, now: int) -> list[LedgerAccount]:
    """Wallets whose time has come, the longest overdue first."""
    rows = tx.execute(
        select(ledger_accounts).where(ledger_accounts.c.due_at <= now).order_by(ledger_accounts.c.due_at)
    )
    return [_account(row) for row in rows]


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
    post_new(tx, [transfer])
    return True


def post_new(tx: Connection, wanted: Sequence[Transfer]) -> None:
    """Make transfers whose keys are new, in this order.

    Raises:
        InsufficientFunds, LedgerOverflow: as `post`; nothing changed.
    """
    ids = {side for transfer in wanted for side in (transfer.debit_id, transfer.credit_id)}
    rows = tx.execute(select(ledger_accounts).where(ledger_accounts.c.id.in_(sorted(ids))))
    journal = Journal(map(_account, rows))
    for transfer in wanted:
        journal.post(transfer)
    journal.write(tx)


class Journal:
    """Transfers that one transaction makes in memory, one after another, and then writes all at once.

    Until they are written, nobody else may change the ledger accounts it knows.
    """

    def __init__(self, known: Iterable[LedgerAccount] = ()) -> None:
        self._accounts = {account.id: account for account in known}
        self._changed: set[int] = set()
        self._posted: list[dict[str, object]] = []

    def know(self, account: LedgerAccount) -> None:
        """Take in an account as it is written, unless it is known already."""
        self._accounts.setdefault(account.id, account)

    def __getitem__(self, ledger_account_id: int) -> LedgerAccount:
        """An account as it is after what was posted."""
        return self._accounts[ledger_account_id]

    def schedule(self, wallet_id: int, exhausts_at: int | None, due_at: int | None) -> None:
        """Note when a wallet runs dry and when it needs a look."""
        wallet = self._accounts[wallet_id]
        if (wallet.exhausts_at, wallet.due_at) != (exhausts_at, due_at):
            self._change(msgspec.structs.replace(wallet, exhausts_at=exhausts_at, due_at=due_at))

    def post(self, transfer: Transfer) -> None:
        """Make a transfer between accounts it knows, under a key that is new.

        Raises:
            InsufficientFunds, LedgerOverflow: nothing changed.
        """
        debit, credit = self._accounts[transfer.debit_id], self._accounts[transfer.credit_id]
        if debit.kind is not Kind.OUTSIDE and debit.balance < transfer.amount:
            raise InsufficientFunds(
                f"account {debit.id} holds {debit.balance}, the transfer is {transfer.amount}"
            )
        if debit.balance - transfer.amount < -BALANCE_MAX or credit.balance + transfer.amount > BALANCE_MAX:
            raise LedgerOverflow(
                f"the ledger can't hold {transfer.amount} more between {debit.id} and {credit.id}"
            )
        debit, credit = _moved(debit, transfer, -transfer.amount), _moved(credit, transfer, transfer.amount)
        self._change(debit)
        self._change(credit)
        self._posted.append(
            msgspec.structs.asdict(transfer)
            | {
                "debit_balance": debit.balance,
                "credit_balance": credit.balance,
                "debit_hash": debit.head,
                "credit_hash": credit.head,
            }
        )

    def _change(self, account: LedgerAccount) -> None:
        self._accounts[account.id] = account
        self._changed.add(account.id)

    def write(self, tx: Connection) -> None:
        """Write what was posted and scheduled; the transfers' ids rise in the order they were posted."""
        _POST(tx, self._posted)
        changed = (self._accounts[account_id] for account_id in sorted(self._changed))
        _SAVE(tx, [{"of": a.id} | {name: getattr(a, name) for name in _CHANGING} for a in changed])
        self._posted, self._changed = [], set()


def _moved(account: LedgerAccount, transfer: Transfer, change: int) -> LedgerAccount:
    balance = account.balance + change
    head = chained(
        account.head,
        currency=account.currency,
        at=transfer.at,
        kind=transfer.kind,
        reference=transfer.reference,
        amount=change,
        balance=balance,
        how=transfer.how,
    )
    return msgspec.structs.replace(account, balance=balance, head=head)


def chained(
    previous: bytes,
    *,
    currency: Currency,
    at: int,
    kind: str,
    reference: str,
    amount: int,
    balance: int,
    how: str,
) -> bytes:
    """The hash of one side of a transfer: over the hash before and what a statement shows of it.

    `amount` is below zero for the debit side, `balance` is what the account holds afterwards.
    """
    return line_hash(
        previous.hex(),
        currency=currency,
        at=at,
        kind=kind,
        reference=reference,
        amount=money.to_text(amount),
        balance=money.to_text(balance),
        how=how,
    )


def every(tx: Connection) -> Iterator[LedgerAccount]:
    """All ledger accounts by their ids."""
    for row in tx.execute(select(ledger_accounts).order_by(ledger_accounts.c.id)).yield_per(1_000):
        yield _account(row)


def lines(
    tx: Connection,
    ledger_account_id: int,
    *,
    after: int,
    limit: int,
    since: int | None = None,
    until: int | None = None,
) -> list[Line]:
    """Its transfers after the transfer `after`, from `since` on and before `until`, oldest first."""
    wanted = [transfers.c.id > after]
    wanted += [transfers.c.at >= since] if since is not None else []
    wanted += [transfers.c.at < until] if until is not None else []
    found = [
        Line(**row._mapping)
        for side in _SIDES
        for row in tx.execute(
            side.where(*wanted).order_by(transfers.c.id).limit(limit), {"account": ledger_account_id}
        )
    ]
    return sorted(found, key=lambda line: line.id)[:limit]


def line_before(tx: Connection, ledger_account_id: int, transfer_id: int) -> Line | None:
    """The account's last transfer before that one."""
    found = [
        Line(**row._mapping)
        for side in _SIDES
        for row in tx.execute(
            side.where(transfers.c.id < transfer_id).order_by(transfers.c.id.desc()).limit(1),
            {"account": ledger_account_id},
        )
    ]
    return max(found, key=lambda line: line.id, default=None)


def _open(tx: Connection, kind: Kind, account_id: int | None, currency: Currency) -> LedgerAccount:
    if account_id is None:
        found = tx.execute(_OF_NOBODY, {"kind": kind, "currency": currency}).one_or_none()
    else:
        found = tx.execute(_OF_ACCOUNT, {"account": account_id, "currency": currency}).one_or_none()
    if found is None:
        found = tx.execute(
            ledger_accounts.insert()
            .values(kind=kind, account_id=account_id, currency=currency, balance=0, head=b"")
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
_OF_ACCOUNTS = union_all(
    select(ledger_accounts).where(among(ledger_accounts.c.account_id, "accounts")),
    select(ledger_accounts).where(
        ledger_accounts.c.account_id.is_(None), ledger_accounts.c.kind == Kind.MARKET
    ),
)
_BY_KEY = select(transfers).where(transfers.c.idempotency_key == bindparam("key"))
_SIDES = [
    select(
        transfers.c.id,
        side.label("ledger_account_id"),
        transfers.c.at,
        change.label("amount"),
        balance.label("balance"),
        transfers.c.kind,
        transfers.c.reference,
        transfers.c.order_id,
        transfers.c.how,
        hashed.label("hash"),
    ).where(side == bindparam("account"))
    for side, change, balance, hashed in (
        (transfers.c.debit_id, -transfers.c.amount, transfers.c.debit_balance, transfers.c.debit_hash),
        (transfers.c.credit_id, transfers.c.amount, transfers.c.credit_balance, transfers.c.credit_hash),
    )
]
_POST = inserting(
    transfers,
    [*Transfer.__struct_fields__, "debit_balance", "credit_balance", "debit_hash", "credit_hash"],
)
_CHANGING = ("balance", "head", "exhausts_at", "due_at")
_SAVE = updating(ledger_accounts, _CHANGING)
