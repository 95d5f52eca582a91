"""Events as they happen, as server-sent events."""

from collections.abc import AsyncIterator, Collection

import msgspec
import structlog
from litestar.response import Stream
from sqlalchemy.exc import SQLAlchemyError

from ..api.codes import HTTP_STATUS, Code
from ..api.dialects import DIALECT_HEADER
from ..api.open.events import LAST_EVENT_ID, Event, StreamEvents
from ..rules.refused import InvalidInput
from ..store.accounts import ApiKey
from ..store.events import Kind
from ..usecases import events
from .door import AnyResponse, Call, whole_number
from .service import Service
from .watchers import Watcher

HEARTBEAT_SECONDS = 15.0
RETRY_AFTER_SECONDS = 5
"""When to ask again for a stream that would be one too many."""
_COMMENT = b":\n\n"

log = structlog.get_logger()


async def stream_events(call: Call, request: StreamEvents) -> AnyResponse:
    """A stream that ends when its key is revoked, the server stops, or the caller leaves.

    A caller who reconnects says where it was in the header, which counts for more than the address.
    """
    service, key = call.service, call.signed_in
    kinds = events.kinds_named("kinds", request.kinds.split(",") if request.kinds else ())
    last_seen = _last_event_id(call.http.headers.get(LAST_EVENT_ID, ""))
    member, cursor = ("after", request.after) if last_seen is None else (LAST_EVENT_ID, last_seen)
    streams_max = service.market.policy.event_streams_max
    if service.watchers.count(key.account_id) >= streams_max:
        return call.voice.too_fast(
            RETRY_AFTER_SECONDS, f"your account has {streams_max} event streams, the most it may have at once"
        )
    watcher = service.watchers.add(key.account_id)
    start = await service.read(events.start_of_stream, service.market, cursor, member)
    return Stream(
        _feed(service, key, watcher, start, kinds),
        status_code=HTTP_STATUS[Code.OK],
        media_type="text/event-stream",
        headers={
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            LAST_EVENT_ID: str(start),
            DIALECT_HEADER: call.voice.dialect,
        },
    )


async def _feed(
    service: Service, key: ApiKey, watcher: Watcher, cursor: int, kinds: Collection[Kind]
) -> AsyncIterator[bytes]:
    """One page at a time: the next is read when the caller has taken the last, however long that takes."""
    yield _COMMENT
    while not watcher.closed:
        try:
            page = await service.read(events.next_events, service.market, key, cursor, kinds)
        except SQLAlchemyError as error:
            log.error("an event stream is closed", error=type(error).__name__)
            return
        if page is None:
            return
        if page.events:
            yield b"".join(map(_encoded, page.events))
        cursor = page.after
        if not page.more and not await watcher.news(HEARTBEAT_SECONDS):
            yield _COMMENT


def _encoded(event: Event) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (
        event.id,
        event.kind.encode(),
        msgspec.json.encode(event),
    )


def _last_event_id(header: str) -> int | None:
    if not header:
        return None
    event_id = whole_number(header)
    if event_id is None:
        raise InvalidInput(f"{LAST_EVENT_ID}: must be an event's id")
    return event_id
