"""The event log. Every change appends here in its transaction; whoever tells somebody something reads it."""

from enum import StrEnum

import msgspec
from sqlalchemy import Connection, func, select

from .rows import as_struct
from .tables import events


class Kind(StrEnum):
    ACCOUNT_CREATED = "account_created"
    KEY_CREATED = "key_created"
    KEY_REVOKED = "key_revoked"
    WALLET_CREDITED = "wallet_credited"
    RATES_SET = "rates_set"
    SERVER_CREATED = "server_created"
    SERVER_CONNECTED = "server_connected"
    SERVER_ONLINE = "server_online"
    SERVER_OFFLINE = "server_offline"
    SERVER_SETTINGS_CHANGED = "server_settings_changed"
    ORDER_CREATED = "order_created"
    ORDER_DEPLOYING = "order_deploying"
    ORDER_RUNNING = "order_running"
    ORDER_CHANGED = "order_changed"
    ORDER_ENDED = "order_ended"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened at `at` (Unix s). Ids rise in the order of commits."""

    id: int
    at: int
    kind: Kind
    account_id: int | None
    server_id: int | None
    order_id: int | None
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
        events.insert().values(
            at=now,
            kind=kind,
            account_id=account_id,
            server_id=server_id,
            order_id=order_id,
            data=msgspec.json.encode(data).decode(),
        )
    )


def after(tx: Connection, cursor: int, limit: int = 1_000) -> list[Event]:
    """What happened after the event `cursor`, oldest first."""
    rows = tx.execute(select(events).where(events.c.id > cursor).order_by(events.c.id).limit(limit))
    return [as_struct(row, Event, data=msgspec.json.decode(row.data)) for row in rows]


def newest(tx: Connection) -> int:
    """The id of the last event; 0 if nothing happened yet."""
    return tx.execute(select(func.max(events.c.id))).scalar_one() or 0
