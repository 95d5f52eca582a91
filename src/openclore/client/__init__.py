"""The client: `Clore` and `AsyncClore`, their errors, and the profiles with addresses and keys."""

from ._async import AsyncClore
from ._sync import Clore
from .errors import (
    BalanceError,
    BlockedError,
    CloreError,
    InputError,
    LimitError,
    NetworkError,
    NotFoundError,
    OutcomeUnknownError,
    PriceError,
    RateError,
    RefusedError,
    ReplyError,
    ServiceError,
    SetupError,
    SignInError,
    TimedOutError,
    UnavailableError,
    WaitError,
)
from .gigaspot import Gigaspot
from .pace import Spacing
from .settings import settings_of
from .webhooks import SignatureError, WebhookMessage, verify_webhook

__all__ = [
    "AsyncClore",
    "BalanceError",
    "BlockedError",
    "Clore",
    "CloreError",
    "Gigaspot",
    "InputError",
    "LimitError",
    "NetworkError",
    "NotFoundError",
    "OutcomeUnknownError",
    "PriceError",
    "RateError",
    "RefusedError",
    "ReplyError",
    "ServiceError",
    "SetupError",
    "SignInError",
    "SignatureError",
    "Spacing",
    "TimedOutError",
    "UnavailableError",
    "WaitError",
    "WebhookMessage",
    "settings_of",
    "verify_webhook",
]
