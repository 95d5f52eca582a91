"""Webhooks, signed by the Standard Webhooks scheme (standardwebhooks.com)."""

from typing import Annotated

import msgspec

from ..base import NO_NUL, Part, Reply, Request

URL_LENGTH_MAX = 2_048


class AddWebhook(Request):
    """Sends the account's events of these kinds (all, if none are named) to `url`, from now on.

    Each is one POST of `{"type": kind, "timestamp": ..., "data": event}` with the headers `webhook-id`,
    `webhook-timestamp` and `webhook-signature` of the Standard Webhooks scheme. Any status from 200 to 299
    within 10 s is a success, 410 removes the webhook; after anything else, redirects too, the message is
    sent again after 5 s, 1 min, 5 min, 30 min, 2 h, 5 h, 10 h and 14 h, then given up. A message may arrive
    twice, with the same `webhook-id`, and later than newer ones.

    `url` is http or https, without user name and fragment; private addresses only where the market's
    operator allows them.
    """

    url: Annotated[str, msgspec.Meta(min_length=1, max_length=URL_LENGTH_MAX, pattern=NO_NUL)]
    kinds: Annotated[list[Annotated[str, msgspec.Meta(max_length=64)]], msgspec.Meta(max_length=64)] = []


class Delivery(Part):
    """One message to a receiver. `state`: waiting, delivered or failed; `next_at` while waiting.

    `status` is the HTTP status of the last attempt, `problem` says what went wrong.
    """

    id: str
    event_id: int | None
    kind: str
    state: str
    attempts: int
    at: int
    next_at: int | None = None
    status: int | None = None
    problem: str | None = None


class Webhook(Part):
    """A receiver. `secret` is only shown when it is made or rotated; until `previous_secret_until` (Unix s)
    messages are signed with the one before, too. `deliveries` are the last 20, newest first.
    """

    id: int
    url: str
    kinds: list[str]
    created_at: int
    secret: str | None = None
    previous_secret_until: int | None = None
    deliveries: list[Delivery] | None = None


class WebhooksReply(Reply):
    webhooks: list[Webhook] = []


class WebhookReply(Reply):
    webhook: Webhook


class TestReply(Reply):
    """What became of the test message."""

    delivery: Delivery
