"""Webhooks: their owners' side, and what the sender does with events and messages.

Every event becomes one message per webhook. Sending happens between two transactions: one that claims a
message, one that keeps what became of it.
"""

import base64
import secrets
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection
from standardwebhooks import Webhook as Signer

from ..api.codes import Refusal
from ..api.open import webhooks as wire
from ..rules import webhooks as rules
from ..rules.refused import NotFound, Refused
from ..rules.webhooks import State
from ..store import events, webhooks
from ..store.events import Kind
from ..store.webhooks import Delivery, Webhook
from . import events as event_cases
from .market import Market

TEST_KIND = "test"
SHOWN_DELIVERIES = 20
KEPT_SECONDS = 30 * 86_400
_SECRET_BYTES = 32
_BATCH = 100

log = structlog.get_logger()


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery under way, signed."""

    delivery: Delivery
    url: str
    headers: dict[str, str]


class Outcome(msgspec.Struct, frozen=True):
    """What became of an attempt: the HTTP status if there was one, and what was wrong (None: nothing)."""

    status: int | None
    problem: str | None


def add_webhook(market: Market, account_id: int, request: wire.AddWebhook, now: int) -> wire.WebhookReply:
    """Have the account's events sent to an address from now on. Its secret is in the reply.

    Raises:
        InvalidInput: the address or a kind is unusable.
        Refused: webhook_limit_reached.
    """
    settings = market.policy.webhooks
    rules.target(request.url, private_allowed=settings.allow_private_addresses)
    kinds = event_cases.kinds_named("kinds", request.kinds)
    with market.store.writing() as tx:
        if len(webhooks.of_account(tx, account_id)) >= settings.account_max:
            raise Refused(Refusal.WEBHOOK_LIMIT_REACHED)
        webhook = webhooks.add(tx, account_id, request.url, [*kinds], _new_secret(), events.newest(tx), now)
        _tell(tx, Kind.WEBHOOK_ADDED, webhook, now)
        webhooks.advance(tx, webhook.id, events.newest(tx))
    return wire.WebhookReply(code=0, webhook=_shown(webhook, now, secret=webhook.secret))


def list_webhooks(market: Market, account_id: int, now: int) -> wire.WebhooksReply:
    """The account's webhooks, oldest first."""
    with market.store.reading() as tx:
        found = webhooks.of_account(tx, account_id)
    return wire.WebhooksReply(code=0, webhooks=[_shown(webhook, now) for webhook in found])


def read_webhook(market: Market, account_id: int, webhook_id: int, now: int) -> wire.WebhookReply:
    """A webhook with its last deliveries, newest first.

    Raises:
        NotFound: the account has no such webhook.
    """
    with market.store.reading() as tx:
        webhook = _own(tx, account_id, webhook_id)
        last = webhooks.last_deliveries(tx, webhook_id, SHOWN_DELIVERIES)
    deliveries = [_shown_delivery(delivery) for delivery in last]
    return wire.WebhookReply(code=0, webhook=_shown(webhook, now, deliveries=deliveries))


def remove_webhook(market: Market, account_id: int, webhook_id: int, now: int) -> None:
    """Send nothing more, not even what waits.

    Raises:
        NotFound: the account has no such webhook.
    """
    with market.store.writing() as tx:
        _remove(tx, _own(tx, account_id, webhook_id), now, "asked")


def rotate_webhook(market: Market, account_id: int, webhook_id: int, now: int) -> wire.WebhookReply:
    """Give a webhook a new secret, which is in the reply; the one before signs too for a day.

    Raises:
        NotFound: the account has no such webhook.
    """
    with market.store.writing() as tx:
        webhook = _own(tx, account_id, webhook_id)
        webhooks.rotate(tx, webhook, _new_secret(), now + rules.SECRET_OVERLAP_SECONDS)
        rotated = _own(tx, account_id, webhook_id)
        _tell(tx, Kind.WEBHOOK_ROTATED, rotated, now)
    return wire.WebhookReply(code=0, webhook=_shown(rotated, now, secret=rotated.secret))


def test_message(market: Market, account_id: int, webhook_id: int, now: int, signed_at: int) -> Message:
    """A message to send at once, which is no event's.

    Raises:
        NotFound: the account has no such webhook.
    """
    with market.store.reading() as tx:
        webhook = _own(tx, account_id, webhook_id)
    delivery = Delivery(
        id=_new_message_id(),
        webhook_id=webhook_id,
        event_id=None,
        kind=TEST_KIND,
        body=_body(TEST_KIND, now, {}),
        at=now,
        attempts=1,
    )
    return _signed(delivery, webhook, now, signed_at)


def keep_test(market: Market, message: Message, outcome: Outcome) -> wire.TestReply:
    """What became of a test message; it is not tried again."""
    state = State.DELIVERED if outcome.problem is None else State.FAILED
    done = _with_outcome(message.delivery, outcome, state, None)
    with market.store.writing() as tx:
        if webhooks.by_id(tx, done.webhook_id) is not None:
            webhooks.add_deliveries(tx, [done])
    return wire.TestReply(code=0, delivery=_shown_delivery(done))


def fan_out(market: Market, seen: int | None, now: int) -> int:
    """Turn events into messages for every webhook, each once; the newest event that was looked at.

    `seen` is what the last call returned: only webhooks whose accounts were told something since are looked
    at, all of them if it is None.
    """
    with market.store.reading() as tx:
        newest = events.newest(tx)
        behind = webhooks.behind(tx, seen, newest) if newest != seen else []
    while behind:
        batch, behind = behind[:_BATCH], behind[_BATCH:]
        with market.store.writing() as tx:
            behind += [webhook.id for webhook in webhooks.by_ids(tx, batch) if _follow(tx, webhook, now)]
    return newest


def _follow(tx: Connection, webhook: Webhook, now: int) -> bool:
    """Make the messages for a webhook's next events; whether there are more events."""
    kinds = [Kind(kind) for kind in webhook.kinds]
    found = events.of_account(tx, webhook.account_id, webhook.cursor, _BATCH + 1, kinds)
    more, found = len(found) > _BATCH, found[:_BATCH]
    webhooks.add_deliveries(
        tx,
        [
            Delivery(
                id=_new_message_id(),
                webhook_id=webhook.id,
                event_id=event.id,
                kind=event.kind,
                body=_body(event.kind, event.at, event_cases.told(event, webhook.account_id)),
                at=now,
                next_at=now,
            )
            for event in found
        ],
    )
    webhooks.advance(tx, webhook.id, found[-1].id if more else events.newest(tx))
    return more


def with_due(market: Market, now: int) -> list[int]:
    """Ids of the webhooks that have messages to send, the most urgent first."""
    with market.store.reading() as tx:
        return webhooks.with_due(tx, now)


def claim(
    market: Market,
    room: Mapping[int, int],
    now: int,
    until: int,
    signed_at: int,
    *,
    besides: Collection[str] = (),
) -> list[Message]:
    """Take messages to send: webhook id to how many at most, none with these ids `besides`.

    No other process takes them before `until`. `signed_at` is the time on the messages, by the clock of the
    world outside: receivers refuse what looks old.
    """
    with market.store.writing() as tx:
        return [
            _signed(delivery, webhook, now, signed_at)
            for webhook in webhooks.by_ids(tx, room)
            for delivery in webhooks.claim(tx, webhook.id, room[webhook.id], now, until, besides)
        ]


def finish(market: Market, done: Collection[tuple[Message, Outcome]], now: int) -> None:
    """Keep what became of attempts, and when to try again. A receiver that is gone is removed."""
    with market.store.writing() as tx:
        for message, outcome in done:
            if outcome.status == rules.GONE:
                _remove_gone(tx, message, now)
            else:
                _finish(tx, message, outcome, now)


def _finish(tx: Connection, message: Message, outcome: Outcome, now: int) -> None:
    delivery, state, next_at = message.delivery, State.DELIVERED, None
    if outcome.problem is not None:
        next_at = rules.next_attempt_at(delivery.attempts, now)
        state = State.FAILED if next_at is None else State.WAITING
    webhooks.finish(tx, _with_outcome(delivery, outcome, state, next_at))
    if state is State.FAILED:
        log.info(
            "webhook message given up",
            webhook=delivery.webhook_id,
            to=_shown_address(message),
            problem=outcome.problem,
        )


def _remove_gone(tx: Connection, message: Message, now: int) -> None:
    webhook = webhooks.by_id(tx, message.delivery.webhook_id)
    if webhook is not None:
        _remove(tx, webhook, now, "gone")
        log.info("webhook removed, its receiver is gone", webhook=webhook.id, to=_shown_address(message))


def _shown_address(message: Message) -> str:
    return rules.target(message.url, private_allowed=True).shown


def release(market: Market, messages: Collection[Message], now: int) -> None:
    """Let messages whose attempt was broken off be taken again."""
    if messages:
        with market.store.writing() as tx:
            webhooks.release(tx, [message.delivery.id for message in messages], now)


def prune(market: Market, now: int) -> None:
    """Forget messages that have been done with for long."""
    with market.store.writing() as tx:
        webhooks.prune(tx, now - KEPT_SECONDS)


def _own(tx: Connection, account_id: int, webhook_id: int) -> Webhook:
    webhook = webhooks.by_id(tx, webhook_id)
    if webhook is None or webhook.account_id != account_id:
        raise NotFound(f"you have no webhook {webhook_id}")
    return webhook


def _remove(tx: Connection, webhook: Webhook, now: int, reason: str) -> None:
    webhooks.remove(tx, webhook.id)
    _tell(tx, Kind.WEBHOOK_REMOVED, webhook, now, reason=reason)


def _tell(tx: Connection, kind: Kind, webhook: Webhook, now: int, **data: Any) -> None:
    events.append(tx, kind, now, account_id=webhook.account_id, webhook_id=webhook.id, **data)


def _new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


def _new_message_id() -> str:
    return f"msg_{secrets.token_hex(16)}"


def _body(kind: str, at: int, data: object) -> str:
    timestamp = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return msgspec.json.encode({"type": kind, "timestamp": timestamp, "data": data}).decode()


def _signed(delivery: Delivery, webhook: Webhook, now: int, signed_at: int) -> Message:
    """With every secret that is good now; receivers look for one signature they know."""
    good = [webhook.secret]
    if webhook.previous_secret is not None and now < (webhook.previous_secret_until or 0):
        good.append(webhook.previous_secret)
    time = datetime.fromtimestamp(signed_at, UTC)
    signatures = (Signer(secret).sign(delivery.id, time, delivery.body) for secret in good)
    headers = {
        "webhook-id": delivery.id,
        "webhook-timestamp": str(signed_at),
        "webhook-signature": " ".join(signatures),
    }
    return Message(delivery=delivery, url=webhook.url, headers=headers)


def _with_outcome(delivery: Delivery, outcome: Outcome, state: State, next_at: int | None) -> Delivery:
    return msgspec.structs.replace(
        delivery, state=state, next_at=next_at, status=outcome.status, problem=outcome.problem
    )


def _shown(
    webhook: Webhook,
    now: int,
    *,
    secret: str | None = None,
    deliveries: list[wire.Delivery] | None = None,
) -> wire.Webhook:
    overlap = webhook.previous_secret_until
    return wire.Webhook(
        id=webhook.id,
        url=webhook.url,
        kinds=webhook.kinds,
        created_at=webhook.created_at,
        secret=secret,
        previous_secret_until=overlap if overlap is not None and overlap > now else None,
        deliveries=deliveries,
    )


def _shown_delivery(delivery: Delivery) -> wire.Delivery:
    return wire.Delivery(
        id=delivery.id,
        event_id=delivery.event_id,
        kind=delivery.kind,
        state=delivery.state,
        attempts=delivery.attempts,
        at=delivery.at,
        next_at=delivery.next_at,
        status=delivery.status,
        problem=delivery.problem,
    )
