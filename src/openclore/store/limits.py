"""Spend limits as rows."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, select, update

from ..api.currencies import Currency
from ..api.open.limits import Period
from .rows import among, as_structs
from .tables import spend_limits


class SpendLimit(msgspec.Struct, frozen=True, kw_only=True):
    """At most `amount` since `since` (Unix s), for an account or for one of its keys.

    `spent_before` is what the orders in its scope had cost at `since`.
    """

    id: int
    account_id: int
    key_id: int | None
    currency: Currency
    amount: int
    period: Period
    since: int
    spent_before: int


def put(tx: Connection, limit: SpendLimit) -> SpendLimit:
    """Keep a limit in place of the one with the same scope and currency."""
    tx.execute(
        spend_limits.delete().where(
            spend_limits.c.account_id == limit.account_id,
            spend_limits.c.currency == limit.currency,
            spend_limits.c.key_id.is_(None)
            if limit.key_id is None
            else spend_limits.c.key_id == limit.key_id,
        )
    )
    values = msgspec.structs.asdict(limit)
    del values["id"]
    limit_id = tx.execute(spend_limits.insert().values(**values).returning(spend_limits.c.id)).scalar_one()
    return msgspec.structs.replace(limit, id=limit_id)


def of_account(tx: Connection, account_id: int) -> list[SpendLimit]:
    """Its own limits and those of its keys."""
    return of_accounts(tx, [account_id])


def of_accounts(tx: Connection, account_ids: Sequence[int]) -> list[SpendLimit]:
    """The limits of these accounts and of their keys."""
    return as_structs(tx.execute(_OF_ACCOUNTS, {"accounts": account_ids}), SpendLimit)


# Every order asks. It is built once: building takes longer than running.
_OF_ACCOUNTS = (
    select(spend_limits).where(among(spend_limits.c.account_id, "accounts")).order_by(spend_limits.c.id)
)


def has_own(tx: Connection, key_id: int | None) -> bool:
    """Whether a key has a limit of its own."""
    return (
        tx.execute(select(spend_limits.c.id).where(spend_limits.c.key_id == key_id).limit(1)).scalar()
        is not None
    )


def restart(tx: Connection, limit_id: int, since: int, spent_before: int) -> None:
    """Count from then on."""
    tx.execute(
        update(spend_limits)
        .where(spend_limits.c.id == limit_id)
        .values(since=since, spent_before=spent_before)
    )


def remove(tx: Connection, limit_id: int) -> None:
    tx.execute(spend_limits.delete().where(spend_limits.c.id == limit_id))
