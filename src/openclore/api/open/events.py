"""What happened, in order: read with a cursor, or as server-sent events."""

from typing import Annotated, Any

import msgspec

from ..base import Id, Part, Reply, Request

PAGE_MAX = 1_000

EventKinds = Annotated[str, msgspec.Meta(max_length=1_024)]
"""Comma-separated kinds."""


class ReadEvents(Request):
    """Events after the cursor `after`, oldest first. `kinds` is a comma-separated list."""

    after: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 100
    kinds: EventKinds | None = None
    order_id: Id | None = None
    server_id: Id | None = None


class StreamEvents(Request):
    """Events from now on, or after the cursor `after` (the header `Last-Event-ID` says the same)."""

    after: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    kinds: EventKinds | None = None


class Event(Part):
    """Something that happened to the caller's account, orders or servers at `at` (Unix s); ids rise."""

    id: int
    at: int
    kind: str
    server_id: int | None = None
    order_id: int | None = None
    data: dict[str, Any] = {}


class EventsReply(Reply):
    """`after` is the cursor for the next read; `more` says whether there is more already."""

    events: list[Event] = []
    after: int = 0
    more: bool = False
