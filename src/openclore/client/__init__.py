"""The client: `Clore` and `AsyncClore`, their errors, and the profiles with addresses and keys."""

from ._async import AsyncClore
from ._pace import Spacing
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
from .settings import settings_of

__all__ = [
    "AsyncClore",
    "BalanceError",
    "BlockedError",
    "Clore",
    "CloreError",
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
    "Spacing",
    "TimedOutError",
    "UnavailableError",
    "WaitError",
    "settings_of",
]
