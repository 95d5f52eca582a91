"""Accounts and their API keys."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, select, update

from ..api.dialects import Dialect
from .rows import among, as_struct, as_structs
from .tables import accounts, api_keys


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A person or company; may rent and host. A limit that is None is the market's.

    `poh_stake` is its Proof of Holding, 10⁻⁸ CLORE.
    """

    id: int
    email: str
    created_at: int
    orders_max: int | None
    servers_max: int | None
    poh_stake: int = 0


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret. One that is pinned to a dialect is spoken to in it."""

    id: int
    account_id: int
    name: str
    created_at: int
    revoked_at: int | None
    dialect: Dialect | None = None


def add(tx: Connection, email: str, now: int) -> Account:
    row = tx.execute(accounts.insert().values(email=email, created_at=now).returning(accounts)).one()
    return as_struct(row, Account)


def by_email(tx: Connection, email: str) -> Account | None:
    row = tx.execute(select(accounts).where(accounts.c.email == email)).one_or_none()
    return as_struct(row, Account) if row else None


def by_id(tx: Connection, account_id: int) -> Account:
    return by_ids(tx, [account_id])[account_id]


def by_ids(tx: Connection, account_ids: Sequence[int]) -> dict[int, Account]:
    found = as_structs(tx.execute(_BY_IDS, {"accounts": account_ids}), Account)
    return {account.id: account for account in found}


def save(tx: Connection, account: Account) -> None:
    values = msgspec.structs.asdict(account)
    del values["id"]
    tx.execute(update(accounts).where(accounts.c.id == account.id).values(**values))


def add_key(
    tx: Connection, account_id: int, name: str, key_hash: str, now: int, dialect: Dialect | None = None
) -> ApiKey:
    row = tx.execute(
        api_keys.insert()
        .values(account_id=account_id, name=name, key_hash=key_hash, created_at=now, dialect=dialect)
        .returning(*_KEY_COLUMNS)
    ).one()
    return as_struct(row, ApiKey)


def keys_of(tx: Connection, account_id: int) -> list[ApiKey]:
    rows = tx.execute(
        select(*_KEY_COLUMNS).where(api_keys.c.account_id == account_id).order_by(api_keys.c.id)
    )
    return [as_struct(row, ApiKey) for row in rows]


def key_by_hash(tx: Connection, key_hash: str) -> ApiKey | None:
    """A key that is not revoked."""
    row = tx.execute(
        select(*_KEY_COLUMNS).where(api_keys.c.key_hash == key_hash, api_keys.c.revoked_at.is_(None))
    ).one_or_none()
    return as_struct(row, ApiKey) if row else None


def is_revoked(tx: Connection, key_id: int) -> bool:
    return tx.execute(select(api_keys.c.revoked_at).where(api_keys.c.id == key_id)).scalar_one() is not None


def revoke_key(tx: Connection, key_id: int, now: int) -> None:
    tx.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=now))


# Every order asks. It is built once: building takes longer than running.
_BY_IDS = select(accounts).where(among(accounts.c.id, "accounts"))
_KEY_COLUMNS = (
    api_keys.c.id,
    api_keys.c.account_id,
    api_keys.c.name,
    api_keys.c.created_at,
    api_keys.c.revoked_at,
    api_keys.c.dialect,
)
