"""Encoding replies: every one has a `code`, every code its HTTP status."""

import math

import msgspec
from litestar import Response

from ..api.base import Failure, Reply
from ..api.codes import HTTP_STATUS, Code
from ..rules.refused import Refused

_encode = msgspec.json.Encoder().encode


def success(reply: Reply) -> Response[bytes]:
    return _response(Code.OK, _encode(reply))


def failure(code: Code, error: str | None = None) -> Response[bytes]:
    return _response(code, _encode(Failure(code=code, error=error)))


def refusal(refused: Refused) -> Response[bytes]:
    return _response(
        Code.BUSINESS, _encode({"code": Code.BUSINESS, "error": refused.refusal, **refused.facts})
    )


def too_fast(wait_seconds: float) -> Response[bytes]:
    return _response(Code.RATE_EXCEEDED, b'{"code":5}', {"Retry-After": str(math.ceil(wait_seconds))})


def _response(code: Code, body: bytes, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(
        body,
        status_code=HTTP_STATUS[code],
        media_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
