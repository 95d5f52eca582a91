"""Webhooks, signed by the Standard Webhooks scheme (standardwebhooks.com)."""

from typing import Annotated

import msgspec

from ..base import NO_NUL, Part, Reply, Request

URL_LENGTH_MAX = 2_048


class AddWebhook(Request):
    """Sends the account's events of these kinds (all, if none are named) to `url`, from now on."""

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
    """A receiver. `secret` is only shown when it is made or rotated."""

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
