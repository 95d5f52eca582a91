"""From an answer to a reply or an error. No I/O.

The body is read before the HTTP status, since the live service answers refusals with 200 and 500 alike
(docs/api.md); `code` decides, then `error`, and the status only where the body says nothing.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, TypeVar

import msgspec

from openclore.api.base import Reply
from openclore.api.codes import DOCKERHUB_REFUSAL_PREFIX, REFUSAL_MEANINGS, Code, Refusal
from openclore.api.dialects import DIALECT_HEADER, Dialect
from openclore.api.endpoints import Endpoint
from openclore.api.open.endpoints import OPEN_PATH
from openclore.api.orders import Order

from . import errors as e
from ._extra import remember
from ._lenient import Mismatch, lenient

R = TypeVar("R", bound=Reply)


class Speaks(Enum):
    """What is known of a market's dialect: one of OpenClore's, or that the market is another."""

    UNKNOWN = "?"
    PUBLIC = ""
    OPEN = Dialect.OPEN.value
    LIVE = Dialect.LIVE.value


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def date(self) -> float | None:
        """When it was given by the clock of who gave it (Unix s); None where it does not say."""
        try:
            return parsedate_to_datetime(self.headers.get("date", "")).timestamp()
        except (ValueError, TypeError, OverflowError):
            return None


def speaks(answer: Answer, *, success: bool = False) -> Speaks | None:
    """What an answer tells of the market; None: nothing, as it may be of something in front of it."""
    named = answer.headers.get(DIALECT_HEADER.lower())
    if named in (Speaks.OPEN.value, Speaks.LIVE.value):
        return Speaks(named)
    return Speaks.PUBLIC if success else None


def check_status(endpoint: Endpoint[Any, Any], answer: Answer) -> None:
    """
    Raises:
        CloreError: the answer is not the thing that was asked for.
    """
    if answer.status != 200:
        raise _by_status(endpoint, answer, "")


def decoded(endpoint: Endpoint[Any, R], answer: Answer, *, secret: str | None = None) -> R:
    """The typed reply of a successful call.

    Members that have an unexpected type become None and rows keep the rest; only a row without a usable
    id is dropped. `secret` is kept out of the errors, whatever the answer says.

    Raises:
        CloreError: the subclass that fits, see `errors`.
    """
    try:
        reply = msgspec.json.decode(answer.body, type=endpoint.reply, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    else:
        if reply.code == Code.OK:
            remember(reply, lambda: _content(answer.body))
            return reply
    content = parsed(endpoint, answer, secret=secret)
    try:
        reply = lenient(endpoint.reply, content)
    except (Mismatch, RecursionError) as problem:
        raise e.ReplyError(
            f"{endpoint.name}: the reply does not have the shape of this endpoint.",
            endpoint=endpoint.name,
            status=answer.status,
        ) from problem
    assert isinstance(reply, endpoint.reply)
    return reply


def parsed(endpoint: Endpoint[Any, Any], answer: Answer, *, secret: str | None = None) -> dict[str, Any]:
    """The members of a successful reply as they came.

    Raises:
        CloreError: the subclass that fits.
    """
    text = _text(answer.body)
    if secret:
        text = text.replace(secret, "[key]")
    try:
        content = _json(text)
    except (ValueError, RecursionError):
        raise _by_status(endpoint, answer, _glimpse(text)) from None
    if not isinstance(content, dict):
        raise _by_status(endpoint, answer, "")
    code = _code(content.get("code"))
    if code == Code.OK:
        return {**content, "code": 0}
    raise _failure(endpoint, answer, code, content)


def _content(body: bytes) -> Any:
    return _json(_text(body))


def _text(body: bytes) -> str:
    return body.decode("utf-8-sig", "replace")


def _json(text: str) -> Any:
    """
    Raises:
        ValueError: not JSON.
    """
    return json.loads(text, parse_constant=lambda _: None, parse_float=_finite)


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def order_in(content: Mapping[str, Any]) -> Order | int | None:
    """The order a reply to `create_order` or `place_order` carries, or its id, or None.

    Read, in this order: `order` (a row), `order.order`, `order.id`, `id`, `order_id`, `data.id`.
    """
    for member in (content.get("order"), content.get("data")):
        if isinstance(member, dict):
            if isinstance(member.get("order"), dict):
                member = member["order"]
            try:
                row = lenient(Order, member)
            except Mismatch:
                continue
            assert isinstance(row, Order)
            return row if row.si is not None else row.id
    for candidate in (content.get("id"), content.get("order_id"), content.get("order")):
        number = _code(candidate)
        if number is not None and number > 0:
            return number
    return None


def _code(value: Any) -> int | None:
    """A whole number, also where it came as text or with a decimal point."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return int(value) if float(value) == int(float(value)) else None
    except (ValueError, OverflowError):
        return None


def _glimpse(text: str) -> str:
    """The first words of a page, for an error message: no markup, no control characters."""
    title = re.search(r"<title[^>]*>(.*?)</title>", text[:20_000], re.IGNORECASE | re.DOTALL)
    words = title.group(1) if title else re.sub(r"<[^>]*>", " ", text[:2_000])
    clean = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return clean[:117] + "..." if len(clean) > 120 else clean


# Refusals -------------------------------------------------------------------------------------------

_REFUSALS: dict[str, type[e.CloreError]] = {
    Refusal.SERVER_DONT_EXIST: e.UnavailableError,
    Refusal.SERVER_OFFLINE: e.UnavailableError,
    Refusal.SERVER_ALREADY_RENTED: e.UnavailableError,
    Refusal.CANT_RENT_FROM_YOURSELF: e.UnavailableError,
    Refusal.MACHINE_IS_ON_GIGASPOT: e.UnavailableError,
    Refusal.COMPUTE_NOT_AVAILABLE: e.UnavailableError,
    Refusal.NOT_ENOUGH_BALANCE: e.BalanceError,
    Refusal.CURRENCY_NOT_ALLOWED: e.InputError,
    Refusal.YOU_ALREADY_HAVE_SPOT_ORDER: e.InputError,
    Refusal.ISSUE_DESCRIPTION_TOO_LONG: e.InputError,
    Refusal.NOT_ALL_PARAMETERS_PRESENT: e.InputError,
    Refusal.INVALID_MRL: e.InputError,
    Refusal.INVALID_INPUT: e.InputError,
    Refusal.TOO_LOW_PRICE: e.PriceError,
    Refusal.PRICE_NOT_MATCHING: e.PriceError,
    Refusal.AMOUNT_TOO_LOW: e.PriceError,
    Refusal.EXCEEDED_MAX_STEP: e.PriceError,
    Refusal.REACHED_ORDER_LIMIT: e.LimitError,
    Refusal.REACHED_ORDER_LIMIT_PER_DAY: e.LimitError,
    Refusal.WAIT: e.WaitError,
    Refusal.CAN_LOWER_EVERY_600_SECONDS: e.WaitError,
    Refusal.YOU_DONT_OWN_THIS_ORDER: e.NotFoundError,
    Refusal.ORDER_NOT_ACTIVE: e.NotFoundError,
    Refusal.ORDER_DONT_EXIST: e.NotFoundError,
    Refusal.SPEND_LIMIT_REACHED: e.LimitError,
    Refusal.WEBHOOK_LIMIT_REACHED: e.LimitError,
    Refusal.SERVER_IN_USE: e.WaitError,
    Refusal.SERVER_DONT_EXIST_BY_NAME: e.NotFoundError,
}
"""What they mean is said in `openclore.api.codes`."""

_BY_CODE: dict[int, tuple[type[e.CloreError], str]] = {
    Code.DATABASE_ERROR: (e.ServiceError, "the market failed inside and gives no reason"),
    Code.INVALID_INPUT: (e.InputError, "the market does not accept this input"),
    Code.INVALID_TOKEN: (e.SignInError, "the market does not know this API key"),
    Code.INVALID_ENDPOINT: (e.NotFoundError, "no such endpoint or object; does the address end in /v1?"),
    Code.RATE_EXCEEDED: (e.RateError, "too many requests with this API key; wait a little"),
}

_UNKNOWN = (e.RefusedError, "the market refused")

_FIGURES = {
    "min_price": "at least {} a day",
    "max_step": "at most {} a day at once",
    "time_to_lowering": "in {} s",
    "limit": "limit {}",
}


def _failure(
    endpoint: Endpoint[Any, Any], answer: Answer, code: int | None, content: dict[str, Any]
) -> e.CloreError:
    if code == Code.INVALID_ENDPOINT and (missing := _no_open_api(endpoint, answer)):
        return missing
    name = content.get("error")
    error = name if isinstance(name, str) and name else None
    if code is None and not (error and (answer.status == 200 or _is_refusal(error))):
        # Something in front of the market may speak JSON of its own: the HTTP status says more.
        return _by_status(endpoint, answer, _glimpse(error) if error else "JSON without a code")
    extra = {k: v for k, v in content.items() if k not in ("code", "error")}
    if code == Code.RATE_EXCEEDED and (seconds := _retry_after(answer)) is not None:
        extra["retry_after"] = seconds
    kind, sentence, remedy = _named(endpoint, code, error)
    reason = [error] if error else []
    if error and " " in error:  # not a name but words for people
        told = issubclass(kind, e.InputError | e.RefusedError | e.NotFoundError | e.ServiceError)
        sentence = _glimpse(error) if told else sentence
        reason = []
    said = "; ".join(_figures(extra))
    reason.append(f"code {code}" if code is not None else f"HTTP {answer.status}")
    failure = kind(
        f"{endpoint.name}: {sentence}{f': {said}' if said else ''} ({', '.join(reason)}).{remedy}",
        endpoint=endpoint.name,
        status=answer.status,
        code=code,
        error=error,
        extra=extra,
        ambiguous=kind is e.ServiceError,
    )
    member = re.match(r"([A-Za-z_][A-Za-z0-9_-]*): ", error or "")
    if isinstance(failure, e.InputError) and member:
        failure.field = member.group(1)
    return failure


def _no_open_api(endpoint: Endpoint[Any, Any], answer: Answer) -> e.SetupError | None:
    """The error where the market is not one of OpenClore's, and so has no /open/v1."""
    if endpoint.below != OPEN_PATH or speaks(answer) is not None:
        return None
    return e.SetupError(
        f"{endpoint.name}: this market has no {OPEN_PATH}, which only OpenClore has (HTTP {answer.status}).",
        endpoint=endpoint.name,
        status=answer.status,
    )


def _is_refusal(error: str) -> bool:
    return error in _REFUSALS or error.startswith(DOCKERHUB_REFUSAL_PREFIX)


def _named(
    endpoint: Endpoint[Any, Any], code: int | None, error: str | None
) -> tuple[type[e.CloreError], str, str]:
    """The class, what happened, and where it is known what to do then, as further sentences."""
    if code not in (None, Code.BUSINESS):
        kind, sentence = _BY_CODE.get(code, _UNKNOWN)
        if code == Code.INVALID_ENDPOINT and (of := re.search(r"{(\w+)_id}", endpoint.path)):
            sentence = f"you have no {of.group(1)} with this id"
        return kind, sentence, ""
    if error in _REFUSALS:
        meaning, remedy = REFUSAL_MEANINGS[Refusal(error)]
        return _REFUSALS[error], f"{meaning[0].lower()}{meaning[1:].removesuffix('.')}", f" {remedy}"
    if error and error.startswith(DOCKERHUB_REFUSAL_PREFIX):
        return e.InputError, "the registry refused the credentials of the image", ""
    return *_UNKNOWN, ""


def _figures(extra: Mapping[str, Any]) -> list[str]:
    said = [
        form.format(_plain_number(extra[name]))
        for name, form in _FIGURES.items()
        if extra.get(name) is not None
    ]
    if isinstance(extra.get("message"), str):
        said.append(_glimpse(extra["message"]))
    return said


def _plain_number(value: Any) -> str:
    text = f"{value:.8f}" if isinstance(value, float) else str(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _retry_after(answer: Answer) -> int | None:
    """Whole seconds; the date form of the header is not used by any known market."""
    text = answer.headers.get("retry-after", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else None


def _by_status(endpoint: Endpoint[Any, Any], answer: Answer, glimpse: str) -> e.CloreError:
    """The error where the body did not tell."""
    if answer.status in (404, 405) and (missing := _no_open_api(endpoint, answer)):
        return missing
    kind, sentence = _status_meaning(answer.status)
    said = f': "{glimpse}"' if glimpse else ""
    extra = {}
    if kind is e.RateError and (seconds := _retry_after(answer)) is not None:
        extra["retry_after"] = seconds
    return kind(
        f"{endpoint.name}: {sentence} (HTTP {answer.status}{said}).",
        endpoint=endpoint.name,
        status=answer.status,
        extra=extra,
        ambiguous=answer.status >= 500 or answer.status < 300,
    )


def _status_meaning(status: int) -> tuple[type[e.CloreError], str]:
    if status == 401:
        return e.SignInError, "the market does not know this API key"
    if status == 403:
        return e.BlockedError, "a filter in front of the market turned this client away"
    if status == 429:
        return e.RateError, "too many requests; wait a little"
    if status >= 500:
        return e.ServiceError, "the market or something in front of it failed"
    if 300 <= status < 400:
        return e.ReplyError, "the address redirects elsewhere; give the final one"
    return e.ReplyError, "what answered does not speak the Clore API; does the address end in /v1?"
