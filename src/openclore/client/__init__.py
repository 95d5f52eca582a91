"""The client: `Clore` and `AsyncClore`, their errors, and the profiles with addresses and keys."""

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from ._async import AsyncClore

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


def __getattr__(name: str) -> object:
    """`AsyncClore` when it is first used: who has no use for it need not wait for asyncio."""
    if name != "AsyncClore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ._async import AsyncClore

    return AsyncClore
