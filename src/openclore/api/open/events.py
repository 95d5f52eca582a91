"""What happened, in order: read with a cursor, or as server-sent events."""

from typing import Annotated, Any

import msgspec

from ..base import Id, Part, Reply, Request

PAGE_MAX = 1_000
LAST_EVENT_ID = "Last-Event-ID"
"""The header of a stream's request, and of its answer: the event after which it begins."""

EventKinds = Annotated[str, msgspec.Meta(max_length=1_024)]
"""Comma-separated kinds."""


class ReadEvents(Request):
    """Events after the cursor `after`, oldest first. `kinds` is a comma-separated list.

    Whoever goes on with the `after` of each reply misses none and gets none twice.
    """

    after: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 100
    kinds: EventKinds | None = None
    order_id: Id | None = None
    server_id: Id | None = None


class StreamEvents(Request):
    """Events from now on, or after the cursor `after`. The header `Last-Event-ID` says the same and counts
    for more, so that a reader that reconnects misses nothing. The answer has it too: the cursor of a reader
    whose connection breaks before the first event.

    A quiet stream sends a comment every 15 s. It ends when its key is revoked or the market restarts. One
    stream too many for an account is refused with code 5.
    """

    after: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    kinds: EventKinds | None = None


class Event(Part):
    """Something that happened to the caller's account, orders or servers at `at` (Unix s); ids rise.

    `data` says more, by kind; amounts are text, prices per day. Of the account: account_created,
    account_changed, key_created and key_revoked (`key_id`), wallet_credited (`currency`, `amount`),
    spend_limit_set and spend_limit_removed (`currency`, `amount`, `period`). Of its servers: server_created,
    server_connected (the agent said what the machine is), server_online, server_offline (`seen_until`, and
    `charged_until` of the order on it, Unix s), server_settings_changed, server_gigaspot_changed,
    server_background_job_changed, server_removed. Of its orders, and of those on its servers: order_created
    (`type`, `price`, `currency`, and what it is made with: `renter_fee`, `host_fee`, `creation_fee`,
    `creation_grace_seconds`, `mrl_seconds`, `spend_max`, `lease_until`), order_deploying, order_running,
    order_changed, order_outbid (a bid waits), order_won (a bid runs), order_repriced (`price`, `currency`),
    order_leased (`lease_until`), order_ended (`reason`, `detail`). Of its webhooks: webhook_added,
    webhook_rotated, webhook_removed (`webhook_id`, `reason`).

    A host is not told what only concerns the renter. `charged_until` is also said where somebody who came
    later wrote first, and the order was charged for more than the time until `at`.
    """

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
