"""Reading request bodies: not too large, not too slowly."""

import asyncio
from typing import Any

from litestar import Request

from ..rules.refused import InvalidInput

TIMEOUT_SECONDS = 30.0
_DRAIN_BYTES_MAX = 64 * 1_048_576
"""How much of a body that is too large is read (and dropped), so that its sender hears the answer."""


async def read(request: Request[Any, Any, Any], bytes_max: int) -> bytes:
    """The whole body.

    Raises:
        InvalidInput: it is larger than `bytes_max`, or takes too long to arrive.
    """
    if not _announced(request):
        return b""
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= bytes_max:
                    chunks.append(chunk)
                elif size > _DRAIN_BYTES_MAX:
                    break
    except TimeoutError:
        raise InvalidInput(f"the body did not arrive within {TIMEOUT_SECONDS:.0f} s") from None
    if size > bytes_max:
        raise InvalidInput(f"a body may have at most {bytes_max} bytes")
    return b"".join(chunks)


def _announced(request: Request[Any, Any, Any]) -> bool:
    """Whether there may be a body. HTTP/1 says so in its headers (RFC 9112, section 6.3), and looking for one
    takes longer than many an answer.
    """
    if not request.scope["http_version"].startswith("1"):
        return True
    return "content-length" in request.headers or "transfer-encoding" in request.headers
