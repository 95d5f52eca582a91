"""From a call to what is sent. No I/O."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import msgspec

from openclore.api.base import Id, Request
from openclore.api.complaints import Complaint, complaint
from openclore.api.endpoints import BASE_PATH, Endpoint
from openclore.api.open.endpoints import IDEMPOTENCY_HEADER, IDEMPOTENCY_KEY_PATTERN
from openclore.api.orders import EnvName, EnvValue

from .errors import InputError, SetupError

Q = TypeVar("Q", bound=Request)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One HTTP request."""

    method: str
    url: str
    params: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


def checked(request_type: type[Q], members: Mapping[str, Any]) -> Q:
    """A request made of members, with those left out that are None.

    Raises:
        InputError: it can't be right; `field` names the member. Nothing was sent.
    """
    required = {f.name for f in msgspec.structs.fields(request_type) if f.required}
    given = {name: value for name, value in members.items() if value is not None or name in required}
    try:
        plain = {name: _plain_member(name, value) for name, value in given.items()}
        request = msgspec.convert(plain, request_type)
        msgspec.json.encode(request)
        return request
    except UnicodeEncodeError as problem:
        raise _no_unicode() from problem
    except (msgspec.ValidationError, TypeError, ValueError) as problem:
        raise _input_error(problem, given) from problem


def rechecked(request: Q) -> Q:
    """A request made by the caller, checked like one made here: types hold only for what is decoded."""
    return checked(type(request), msgspec.to_builtins(request))


def checked_all(array_type: Any, rows: Iterable[Any]) -> Any:
    """The same for a request that is an array, of structs or of mappings."""
    try:
        return msgspec.json.decode(msgspec.json.encode(list(rows), enc_hook=_mapping), type=array_type)
    except UnicodeEncodeError as problem:
        raise _no_unicode() from problem
    except (msgspec.ValidationError, TypeError, ValueError) as problem:
        raise _input_error(problem, {}) from problem


def checked_id(name: str, value: Any) -> int:
    """A number that fits into a path."""
    try:
        return msgspec.convert(value, Id)
    except msgspec.ValidationError as problem:
        raise _input_error(ValueError(f"{name}: must be a positive whole number"), {}) from problem


def outgoing(
    endpoint: Endpoint[Any, Any],
    request: Any,
    base_url: str,
    ids: Mapping[str, int] | None = None,
    idempotency_key: str | None = None,
) -> Outgoing:
    """What to send for a request; `ids` fill the path."""
    made = Outgoing(endpoint.method, address(endpoint, base_url) + endpoint.path.format_map(ids or {}))
    if endpoint.carries == "query":
        plain = msgspec.to_builtins(request)
        made.params.update({name: _in_query(value) for name, value in plain.items()})
    elif endpoint.carries == "body":
        made = replace(made, content=msgspec.json.encode(request))
        made.headers["Content-Type"] = "application/json"
    if idempotency_key is not None:
        made.headers[IDEMPOTENCY_HEADER] = idempotency_key
    return made


def address(endpoint: Endpoint[Any, Any], base_url: str) -> str:
    """Where an endpoint's paths begin: /open/v1 is next to /v1.

    Raises:
        SetupError: that can't be told from this address.
    """
    if endpoint.below == BASE_PATH:
        return base_url
    if not base_url.endswith(BASE_PATH):
        raise SetupError(
            f"{endpoint.name}: {endpoint.below} is next to {BASE_PATH}, so give an address that ends in"
            f" {BASE_PATH}, not {base_url}.",
            endpoint=endpoint.name,
        )
    return base_url.removesuffix(BASE_PATH) + endpoint.below


def idempotency_key(text: str | None) -> str | None:
    """A caller's own key.

    Raises:
        InputError: it can't be one.
    """
    if text is not None and not re.match(IDEMPOTENCY_KEY_PATTERN, text):
        error = InputError("idempotency_key: must be 1 to 255 visible ASCII characters.")
        error.field = "idempotency_key"
        raise error
    return text


def _plain_member(name: str, value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name}: must be a finite number")
    try:
        return msgspec.to_builtins(value, str_keys=True, enc_hook=_mapping)
    except TypeError as problem:
        raise ValueError(f"{name}: {problem}") from problem


def _mapping(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is nothing JSON can hold")


def _in_query(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _no_unicode() -> InputError:
    return InputError("The request holds text that is not valid Unicode.")


def _input_error(problem: Exception, given: Mapping[str, Any]) -> InputError:
    member, text = complaint(problem)
    env = given.get("env")
    if member == "env" and isinstance(env, Mapping):
        culprit = next((name for name, value in env.items() if not _good_variable(name, value)), None)
        text = f"{culprit}: {text}" if culprit else text
    error = InputError(str(Complaint(member, text)))
    error.field = member
    return error


def _good_variable(name: Any, value: Any) -> bool:
    try:
        msgspec.convert({name: value}, dict[EnvName, EnvValue])
    except msgspec.ValidationError:
        return False
    return True
