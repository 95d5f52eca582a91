"""Answers kept for whoever asks the same again."""

from sqlalchemy import Connection, select

from .tables import idempotency


def find(tx: Connection, account_id: int, key: str) -> tuple[str, bytes] | None:
    """The hash of the request that used this key, and the reply it got."""
    row = tx.execute(
        select(idempotency.c.request_hash, idempotency.c.reply).where(
            idempotency.c.account_id == account_id, idempotency.c.key == key
        )
    ).one_or_none()
    return (row.request_hash, row.reply.encode()) if row else None


def keep(tx: Connection, account_id: int, key: str, request_hash: str, reply: bytes, now: int) -> None:
    tx.execute(
        idempotency.insert().values(
            account_id=account_id, key=key, request_hash=request_hash, reply=reply.decode(), at=now
        )
    )


def prune(tx: Connection, before: int) -> None:
    tx.execute(idempotency.delete().where(idempotency.c.at < before))
