"""The event log. Every change appends here in its transaction; whoever tells somebody something reads it."""

from collections.abc import Collection
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, Result, Select, bindparam, func, or_, select, union

from .rows import as_structs
from .tables import events, servers


class Kind(StrEnum):
    ACCOUNT_CREATED = "account_created"
    ACCOUNT_CHANGED = "account_changed"
    KEY_CREATED = "key_created"
    KEY_REVOKED = "key_revoked"
    WALLET_CREDITED = "wallet_credited"
    SPEND_LIMIT_SET = "spend_limit_set"
    SPEND_LIMIT_REMOVED = "spend_limit_removed"
    RATES_SET = "rates_set"
    PRICES_REPEGGED = "prices_repegged"
    SERVER_CREATED = "server_created"
    SERVER_CONNECTED = "server_connected"
    SERVER_ONLINE = "server_online"
    SERVER_OFFLINE = "server_offline"
    SERVER_SETTINGS_CHANGED = "server_settings_changed"
    SERVER_GIGASPOT_CHANGED = "server_gigaspot_changed"
    SERVER_BACKGROUND_JOB_CHANGED = "server_background_job_changed"
    SERVER_REMOVED = "server_removed"
    ORDER_CREATED = "order_created"
    ORDER_DEPLOYING = "order_deploying"
    ORDER_RUNNING = "order_running"
    ORDER_CHANGED = "order_changed"
    ORDER_OUTBID = "order_outbid"
    ORDER_WON = "order_won"
    ORDER_REPRICED = "order_repriced"
    ORDER_LEASED = "order_leased"
    ORDER_ENDED = "order_ended"
    WEBHOOK_ADDED = "webhook_added"
    WEBHOOK_ROTATED = "webhook_rotated"
    WEBHOOK_REMOVED = "webhook_removed"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened at `at` (Unix s). Ids rise in the order of commits.

    It is told to the account it is about and to the host whose server it is about; if to neither, to nobody.
    """

    id: int
    at: int
    kind: Kind
    account_id: int | None
    server_id: int | None
    order_id: int | None
    host_id: int | None
    data: dict[str, object]


def append(
    tx: Connection,
    kind: Kind,
    now: int,
    *,
    account_id: int | None = None,
    server_id: int | None = None,
    order_id: int | None = None,
    **data: object,
) -> None:
    tx.execute(
        _APPEND,
        {
            "at": now,
            "kind": kind,
            "account_id": account_id,
            "server_id": server_id,
            "order_id": order_id,
            "of": server_id,
            "data": msgspec.json.encode(data).decode(),
        },
    )


# Every change passes through these. They are built once: building takes longer than running.
_AFTER = (
    select(events).where(events.c.id > bindparam("cursor")).order_by(events.c.id).limit(bindparam("limit"))
)
_APPEND = (
    events.insert()
    .inline()
    .values(host_id=select(servers.c.account_id).where(servers.c.id == bindparam("of")).scalar_subquery())
)


def after(tx: Connection, cursor: int, limit: int = 1_000) -> list[Event]:
    """What happened after the event `cursor`, oldest first."""
    return _events(tx.execute(_AFTER, {"cursor": cursor, "limit": limit}))


def of_account(
    tx: Connection,
    account_id: int,
    cursor: int,
    limit: int,
    kinds: Collection[Kind] = (),
    *,
    order_id: int | None = None,
    server_id: int | None = None,
) -> list[Event]:
    """What an account is told of after the event `cursor`, oldest first; of all kinds if none are named.

    A page costs the same however long the log is: each part of the union ends at the limit.
    """
    wanted = [events.c.id > cursor]
    if kinds:
        wanted.append(events.c.kind.in_(kinds))
    mine = (events.c.account_id == account_id, events.c.host_id == account_id)
    if order_id is not None or server_id is not None:
        wanted += [events.c.order_id == order_id] if order_id is not None else []
        wanted += [events.c.server_id == server_id] if server_id is not None else []
        return _read(tx, select(events).where(or_(*mine), *wanted), limit)
    parts = [
        select(events.c.id).where(one, *wanted).order_by(events.c.id).limit(limit).subquery() for one in mine
    ]
    ids = union(*(select(part.c.id) for part in parts))
    return _read(tx, select(events).where(events.c.id.in_(ids)), limit)


def _read(tx: Connection, query: Select[*tuple[Any, ...]], limit: int) -> list[Event]:
    return _events(tx.execute(query.order_by(events.c.id).limit(limit)))


def _events(found: Result[*tuple[Any, ...]]) -> list[Event]:
    return as_structs(found, Event, data=msgspec.json.decode)


def of_order(tx: Connection, order_id: int) -> list[Event]:
    """An order's whole history, oldest first."""
    return _events(tx.execute(select(events).where(events.c.order_id == order_id).order_by(events.c.id)))


def newest(tx: Connection) -> int:
    """The id of the last event; 0 if nothing happened yet."""
    return tx.execute(select(func.max(events.c.id))).scalar_one() or 0
