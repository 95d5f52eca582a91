"""When a failed call is tried again, and after how long. Pure: `dice` brings the randomness."""

from typing import Any

from openclore.api.codes import Refusal
from openclore.api.endpoints import CANCEL_ORDER, SET_SERVER_SETTINGS, Endpoint

from .errors import CloreError, NetworkError, RateError, ServiceError

BACKOFF_SECONDS_MIN = 2.0
BACKOFF_SECONDS_MAX = 6.0
RETRY_AFTER_SECONDS_MAX = 60.0

_REPEATABLE = {SET_SERVER_SETTINGS.name, CANCEL_ORDER.name}
"""POSTs that may be sent twice without a key: settings are replaced as a whole, an order ends once."""
_PASSING_STATUSES = (502, 503, 504)


def repeatable(endpoint: Endpoint[Any, Any]) -> bool:
    """Whether a call that may have been carried out can be made again without harm."""
    return endpoint.method != "POST" or endpoint.name in _REPEATABLE


def delay_before_retry(
    error: CloreError, *, repeatable: bool, once_by_key: bool, attempt: int, attempts: int, dice: float
) -> float | None:
    """Seconds to wait before the next attempt, or None: give up.

    Code 5 and `wait` are retried always, since the market did nothing; network failures and HTTP 502, 503,
    504 if nothing was sent or the call is repeatable. A write that the market does once by its key is sent
    again whenever it is unclear whether it was done. The market's `Retry-After` overrules our 2, 4, 6 s,
    which are spread by up to a quarter.

    Args:
        attempt: how many were made, from 1.
        attempts: how many may be made.
        dice: 0 to 1.
    """
    again = _worth_it(error, repeatable) or (once_by_key and error.ambiguous)
    if attempt >= attempts or not again:
        return None
    asked = error.retry_after_seconds if isinstance(error, RateError) else None
    if asked is not None:
        return asked if asked <= RETRY_AFTER_SECONDS_MAX else None
    return backoff(attempt, dice)


def backoff(attempt: int, dice: float) -> float:
    """Seconds to wait after so many failed attempts."""
    return min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN * attempt) * (1 + dice / 4)


def too_soon(error: CloreError) -> bool:
    """The market did nothing and asks to come again."""
    return isinstance(error, RateError) or error.error == Refusal.WAIT


def _worth_it(error: CloreError, repeatable: bool) -> bool:
    if too_soon(error):
        return True
    if isinstance(error, NetworkError):
        return repeatable or not error.ambiguous
    return repeatable and isinstance(error, ServiceError) and error.status in _PASSING_STATUSES
