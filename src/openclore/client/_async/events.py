"""Events as they happen, over a connection that may break as often as it likes."""

import random
from collections.abc import AsyncIterator

import httpx2
import msgspec

from openclore.api.open.endpoints import STREAM_EVENTS
from openclore.api.open.events import LAST_EVENT_ID, Event, StreamEvents

from .._extra import remember
from .._retry import backoff
from ..errors import CloreError, NetworkError, RateError, ReplyError, ServiceError
from .caller import AsyncCaller

ATTEMPTS = 4
"""Of opening the stream the first time; once it was open, it is opened again for ever."""


async def stream_events(caller: AsyncCaller, request: StreamEvents) -> AsyncIterator[Event]:
    """Events from the cursor on, each once and in order; see `stream_events` of the client."""
    after = request.after
    opened = False
    failures = 0
    while True:
        problem: CloreError = NetworkError("stream_events: the stream ended.", endpoint=STREAM_EVENTS.name)
        try:
            asked = msgspec.structs.replace(request, after=after)
            async with caller.stream(STREAM_EVENTS, asked, after) as stream:
                opened = True
                begins = stream.response.headers.get(LAST_EVENT_ID, "")
                if after is None and begins.isdecimal():
                    after = int(begins)
                async for message in stream:
                    failures = 0
                    if message.id.isdecimal() and int(message.id) > (after or 0):
                        after = int(message.id)
                        if message.data:
                            yield _event(message)
        except (NetworkError, ServiceError, RateError) as error:
            problem = error
        failures += 1
        if not opened and failures >= ATTEMPTS:
            raise problem
        asked_for = problem.retry_after_seconds if isinstance(problem, RateError) else None
        await caller.pause(problem, asked_for or backoff(failures, random.random()))  # noqa: S311


def _event(message: httpx2.ServerSentEvent) -> Event:
    """
    Raises:
        ReplyError: it is none.
    """
    try:
        event = msgspec.json.decode(message.data, type=Event, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise ReplyError(
            f"stream_events: what came under the id {message.id} is no event.", endpoint=STREAM_EVENTS.name
        ) from problem
    remember(event, lambda: msgspec.json.decode(message.data))
    return event
