"""Every error of the client. The class answers one question: what can the caller do?

CloreError
├── SetupError             give a usable address, key or profile
├── SignInError            give a valid API key
├── InputError             change the request; `field` names the member where it is known
│   └── PriceError         change the price; `min_price`, `max_step` say how far
├── BalanceError           top up the wallet, or pay in another currency
├── UnavailableError       choose another server
├── NotFoundError          no such order or server, not yours, or already over
├── WaitError              try again later; `retry_after_seconds` where it is known
│   ├── RateError          ... the API key was used too often
│   └── LimitError         ... or make room first: too many orders, too much spent; `limit`
├── RefusedError           read `error`: a refusal this version has no class for
├── ServiceError           the market failed; nothing is wrong with the request
├── ReplyError             what answered does not speak the API: check the address
│   └── BlockedError       ... a filter in front of the market turned the client away
├── NetworkError           no answer: check the network and the address
│   └── TimedOutError      ... in time
└── OutcomeUnknownError    look in `my_orders` before trying again: the order may exist

Foreign exceptions are translated where they appear and kept as the cause.
"""

from collections.abc import Mapping
from typing import Any


class CloreError(Exception):
    """What all have.

    Attributes:
        endpoint: name of the endpoint that was called ("create_order"); None if none was.
        status: HTTP status of the answer; None if there was none.
        code: body code (`openclore.api.codes.Code`); None if the body carried none.
        error: the market's own name of the refusal, exact wire value ("server-offline").
        extra: every other member of the reply ({"min_price": 1.25}).
        ambiguous: the request may have been carried out although it failed.
        repeated: an earlier attempt of the same call may have been carried out.
    """

    def __init__(
        self,
        message: str,
        *,
        endpoint: str | None = None,
        status: int | None = None,
        code: int | None = None,
        error: str | None = None,
        extra: Mapping[str, Any] | None = None,
        ambiguous: bool = False,
    ) -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.status = status
        self.code = code
        self.error = error
        self.extra = dict(extra or {})
        self.ambiguous = ambiguous
        self.repeated = False

    def _number(self, member: str) -> float | None:
        value = self.extra.get(member)
        try:
            return None if value is None or isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            return None

    @property
    def min_price(self) -> float | None:
        """The lowest bid that would do, per day in the order's currency."""
        return self._number("min_price")

    @property
    def max_step(self) -> float | None:
        """The most a bid may be lowered at once, per day in the order's currency."""
        return self._number("max_step")

    @property
    def time_to_lowering(self) -> float | None:
        """Seconds until the bid may be lowered again."""
        return self._number("time_to_lowering")

    @property
    def limit(self) -> float | None:
        """Orders per day."""
        return self._number("limit")

    @property
    def retry_after_seconds(self) -> float | None:
        """How long to wait, where the market said so."""
        return self._number("retry_after") if "retry_after" in self.extra else self.time_to_lowering


class SetupError(CloreError):
    """No usable address, key or profile."""


class SignInError(CloreError):
    """The API key is missing or unknown to this market."""


class InputError(CloreError):
    """The request is wrong as it stands.

    Attributes:
        field: the member at fault ("image"); None if the market did not say. Found locally, nothing was sent.
    """

    field: str | None = None


class PriceError(InputError):
    """The price is too low, changed too far, or no longer holds."""


class BalanceError(CloreError):
    """The wallet of that currency is too small."""


class UnavailableError(CloreError):
    """This server can't be rented now; another one can."""


class NotFoundError(CloreError):
    """No such order or server, not yours, or already over."""


class WaitError(CloreError):
    """Try again later."""


class RateError(WaitError):
    """The API key was used too often."""


class LimitError(WaitError):
    """Too many orders or webhooks, or a spend limit is reached."""


class RefusedError(CloreError):
    """A refusal this version has no class for."""


class ServiceError(CloreError):
    """The market failed."""


class ReplyError(CloreError):
    """The answer is not one of the API."""


class BlockedError(ReplyError):
    """A filter in front of the market turned the client away."""


class NetworkError(CloreError):
    """No answer. `ambiguous` is false if nothing was sent."""


class TimedOutError(NetworkError):
    """No answer in time."""


class OutcomeUnknownError(CloreError):
    """An order was asked for and may exist, but is not to be seen; it would cost money."""
