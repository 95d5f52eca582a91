"""What an account is told of what happened."""

from collections.abc import Collection

from sqlalchemy import Connection

from ..api.open.events import Event as ToldEvent
from ..api.open.events import EventsReply, ReadEvents
from ..rules.orders import EndReason
from ..rules.refused import InvalidInput
from ..store import accounts, events
from ..store.accounts import ApiKey
from ..store.events import Event, Kind
from .market import Market

_PAGE = 100
_MARKET_WIDE = {Kind.RATES_SET, Kind.PRICES_REPEGGED}
"""Told to nobody."""

KINDS = sorted(set(Kind) - _MARKET_WIDE)

_HOSTS_HEAR = {"type", "price", "currency", "reason", "clocks"}
_HOST_REASONS = {EndReason.FAILED, EndReason.HOST_LOST}


def read_events(market: Market, account_id: int, request: ReadEvents) -> EventsReply:
    """A page of the account's events. Following `after` misses none and doubles none.

    Raises:
        InvalidInput: a kind that there is not, or a cursor that no event had yet.
    """
    kinds = kinds_named("kinds", request.kinds.split(",") if request.kinds else ())
    with market.store.reading() as tx:
        _check_cursor(tx, "after", request.after)
        return _page(
            tx,
            account_id,
            request.after,
            request.limit,
            kinds,
            order_id=request.order_id,
            server_id=request.server_id,
        )


def start_of_stream(market: Market, cursor: int | None, member: str) -> int:
    """The cursor that a stream goes on from: the newest event's, if none is given.

    Raises:
        InvalidInput: no event had this cursor yet; `member` of the request named it.
    """
    with market.store.reading() as tx:
        if cursor is None:
            return events.newest(tx)
        _check_cursor(tx, member, cursor)
        return cursor


def next_events(market: Market, key: ApiKey, cursor: int, kinds: Collection[Kind]) -> EventsReply | None:
    """What comes after the cursor for the owner of a key; None if the key was revoked."""
    with market.store.reading() as tx:
        if accounts.is_revoked(tx, key.id):
            return None
        return _page(tx, key.account_id, cursor, _PAGE, kinds)


def kinds_named(member: str, names: Collection[str]) -> list[Kind]:
    """Kinds of events by their names, each once.

    Raises:
        InvalidInput: there is no such kind; `member` of the request named it.
    """
    wrong = next((name for name in names if name not in KINDS), None)
    if wrong is not None:
        raise InvalidInput(f"{member}: there is no {wrong[:64]!r}; the kinds are {', '.join(KINDS)}")
    return sorted({Kind(name) for name in names})


def told(event: Event, account_id: int) -> ToldEvent:
    """An event as this account may see it. A host hears of a renter's order what concerns its machine."""
    data = event.data
    if event.account_id != account_id:
        hears = _HOSTS_HEAR | ({"detail"} if data.get("reason") in _HOST_REASONS else set())
        data = {name: value for name, value in data.items() if name in hears}
    return ToldEvent(
        id=event.id,
        at=event.at,
        kind=event.kind,
        server_id=event.server_id,
        order_id=event.order_id,
        data=data,
    )


def _page(
    tx: Connection,
    account_id: int,
    cursor: int,
    limit: int,
    kinds: Collection[Kind],
    *,
    order_id: int | None = None,
    server_id: int | None = None,
) -> EventsReply:
    """The page's `after` is its last event, or once there is no more, the newest of the whole market: so a
    reader who rarely finds something does not look through the same events again.
    """
    found = events.of_account(
        tx, account_id, cursor, limit + 1, kinds, order_id=order_id, server_id=server_id
    )
    more, found = len(found) > limit, found[:limit]
    return EventsReply(
        code=0,
        events=[told(event, account_id) for event in found],
        after=found[-1].id if more else events.newest(tx),
        more=more,
    )


def _check_cursor(tx: Connection, member: str, cursor: int) -> None:
    if cursor > events.newest(tx):
        raise InvalidInput(f"{member}: no event has this id yet, start from 0 or from an event's id")
