"""Webhooks and the messages for them."""

from collections.abc import Collection

import msgspec
from sqlalchemy import Connection, delete, func, select, union, update

from ..rules.webhooks import State
from .rows import as_struct
from .tables import deliveries, events, webhooks


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver of an account's events after `cursor`; of all kinds if none are named.

    Until `previous_secret_until` (Unix s) the secret before signs too.
    """

    id: int
    account_id: int
    url: str
    kinds: list[str]
    secret: str
    previous_secret: str | None
    previous_secret_until: int | None
    created_at: int
    cursor: int


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message: `body` is what is signed. Waiting ones are due at `next_at` (Unix s).

    `status` (HTTP) and `problem` are the last attempt's.
    """

    id: str
    webhook_id: int
    event_id: int | None
    kind: str
    body: str
    at: int
    state: State = State.WAITING
    attempts: int = 0
    next_at: int | None = None
    status: int | None = None
    problem: str | None = None


def add(
    tx: Connection, account_id: int, url: str, kinds: list[str], secret: str, cursor: int, now: int
) -> Webhook:
    row = tx.execute(
        webhooks.insert()
        .values(
            account_id=account_id,
            url=url,
            kinds=msgspec.json.encode(kinds).decode(),
            secret=secret,
            cursor=cursor,
            created_at=now,
        )
        .returning(webhooks)
    ).one()
    return as_struct(row, Webhook, kinds=kinds)


def by_id(tx: Connection, webhook_id: int) -> Webhook | None:
    found = by_ids(tx, [webhook_id])
    return found[0] if found else None


def by_ids(tx: Connection, webhook_ids: Collection[int]) -> list[Webhook]:
    rows = tx.execute(select(webhooks).where(webhooks.c.id.in_(webhook_ids)).order_by(webhooks.c.id))
    return [as_struct(row, Webhook, kinds=msgspec.json.decode(row.kinds)) for row in rows]


def of_account(tx: Connection, account_id: int) -> list[Webhook]:
    """Oldest first."""
    ids = tx.execute(select(webhooks.c.id).where(webhooks.c.account_id == account_id)).scalars().all()
    return by_ids(tx, ids)


def rotate(tx: Connection, webhook: Webhook, secret: str, previous_until: int) -> None:
    tx.execute(
        update(webhooks)
        .where(webhooks.c.id == webhook.id)
        .values(secret=secret, previous_secret=webhook.secret, previous_secret_until=previous_until)
    )


def advance(tx: Connection, webhook_id: int, cursor: int) -> None:
    """All events up to the cursor have their messages."""
    tx.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(cursor=cursor))


def remove(tx: Connection, webhook_id: int) -> None:
    """Forget a webhook and its messages."""
    tx.execute(delete(webhooks).where(webhooks.c.id == webhook_id))


def behind(tx: Connection, seen: int | None, newest: int) -> list[int]:
    """Ids of the webhooks whose accounts were told something after the event `seen` (None: ever)."""
    query = select(webhooks.c.id).where(webhooks.c.cursor < newest).order_by(webhooks.c.id)
    if seen is not None:
        told = (select(one).where(events.c.id > seen) for one in (events.c.account_id, events.c.host_id))
        query = query.where(webhooks.c.account_id.in_(union(*told)))
    return list(tx.execute(query).scalars())


def add_deliveries(tx: Connection, new: Collection[Delivery]) -> None:
    if new:
        tx.execute(deliveries.insert(), [msgspec.structs.asdict(delivery) for delivery in new])


def last_deliveries(tx: Connection, webhook_id: int, limit: int) -> list[Delivery]:
    """Newest first."""
    rows = tx.execute(
        select(deliveries)
        .where(deliveries.c.webhook_id == webhook_id)
        .order_by(deliveries.c.at.desc(), deliveries.c.event_id.desc(), deliveries.c.id)
        .limit(limit)
    )
    return [as_struct(row, Delivery) for row in rows]


def with_due(tx: Connection, now: int) -> list[int]:
    """Ids of the webhooks that have a message to send, the one that waits longest first."""
    waiting = (deliveries.c.webhook_id == webhooks.c.id, deliveries.c.next_at.is_not(None))
    first_at = select(func.min(deliveries.c.next_at)).where(*waiting).scalar_subquery()
    return list(tx.execute(select(webhooks.c.id).where(first_at <= now).order_by(first_at)).scalars())


def claim(
    tx: Connection, webhook_id: int, limit: int, now: int, until: int, besides: Collection[str]
) -> list[Delivery]:
    """Take the messages of a webhook that are due, the oldest first, but for those `besides`.

    Nobody else takes them before `until`; the attempt counts already.
    """
    due = (
        select(deliveries.c.id)
        .where(
            deliveries.c.webhook_id == webhook_id,
            deliveries.c.next_at <= now,
            deliveries.c.id.not_in(besides),
        )
        .order_by(deliveries.c.next_at, deliveries.c.event_id)
        .limit(limit)
    )
    rows = tx.execute(
        update(deliveries)
        .where(deliveries.c.id.in_(due.scalar_subquery()))
        .values(next_at=until, attempts=deliveries.c.attempts + 1)
        .returning(deliveries)
    )
    return sorted((as_struct(row, Delivery) for row in rows), key=lambda delivery: delivery.event_id or 0)


def finish(tx: Connection, delivery: Delivery) -> None:
    """Keep what became of an attempt, unless another one was made or succeeded meanwhile."""
    query = update(deliveries).where(deliveries.c.id == delivery.id, deliveries.c.state == State.WAITING)
    if delivery.state is not State.DELIVERED:
        query = query.where(deliveries.c.attempts == delivery.attempts)
    tx.execute(
        query.values(
            state=delivery.state,
            next_at=delivery.next_at,
            status=delivery.status,
            problem=delivery.problem,
        )
    )


def release(tx: Connection, delivery_ids: Collection[str], now: int) -> None:
    """Let the claimed messages be taken again."""
    tx.execute(
        update(deliveries)
        .where(deliveries.c.id.in_(delivery_ids), deliveries.c.state == State.WAITING)
        .values(next_at=now)
    )


def prune(tx: Connection, before: int) -> None:
    """Forget the messages from before that are done with."""
    done = (deliveries.c.at < before, deliveries.c.next_at.is_(None))
    # By webhook, because that is how the index goes.
    tx.execute(delete(deliveries).where(deliveries.c.webhook_id.in_(select(webhooks.c.id)), *done))
