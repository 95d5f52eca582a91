"""For receivers of webhooks: is a message the market's, and what does it say?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class SignatureError(Exception):
    """A message to a webhook was not signed with its secret, or too long ago."""


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """A message that the market sent.

    Attributes:
        id: the same on every attempt to deliver this message: do what it asks for once per id.
        kind: of the event, "order_ended".
        timestamp: when it happened, in ISO 8601.
        data: the event's facts.
    """

    id: str
    kind: str
    timestamp: str
    data: dict[str, Any]


def verify_webhook(headers: Mapping[str, str], body: bytes | str, secret: str) -> WebhookMessage:
    """The message in a request to your webhook's address.

    Args:
        headers: of the request, in any spelling.
        body: exactly as it came, not decoded and encoded again.
        secret: of the webhook, "whsec_...".

    Raises:
        SignatureError: it was not signed with this secret, not at all, or longer ago than five minutes.
            Answer with HTTP 401 and do nothing.
        ValueError: the secret can't be one.
    """
    from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook, WebhookVerificationError

    try:
        webhook = Webhook(secret)
    except (EmptyWebhookSecretError, ValueError) as problem:
        raise ValueError("secret: give the webhook's, whsec_...") from problem
    plain = {name.lower(): value for name, value in headers.items()}
    try:
        content = webhook.verify(body, plain)
        return WebhookMessage(plain["webhook-id"], content["type"], content["timestamp"], content["data"])
    except WebhookVerificationError as problem:
        raise SignatureError(f"The message is not the market's: {problem}.") from problem
    except (ValueError, LookupError, TypeError, AttributeError) as problem:
        raise SignatureError("The message is not the market's: it can't be read as one.") from problem
