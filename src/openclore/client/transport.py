"""The edge to the HTTP library: what it calls an error, and what that means to a caller."""

import ssl
from functools import cache

import httpx2

from openclore import __version__

from .errors import CloreError, NetworkError, ReplyError, TimedOutError

USER_AGENT = f"openclore/{__version__} (Python)"
BODY_BYTES_MAX = 64 * 1024 * 1024
"""A marketplace is about 2 MB; what is so much larger is none."""

_NOTHING_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
    httpx2.InvalidURL,
)


@cache
def tls() -> ssl.SSLContext:
    """Whom to trust: read once, since that takes 25 ms."""
    return httpx2.create_ssl_context()


def translated(error: Exception, endpoint: str, base_url: str) -> CloreError:
    """The error a caller gets for one of the HTTP library's."""
    ambiguous = not isinstance(error, _NOTHING_SENT)
    if isinstance(error, httpx2.DecodingError | httpx2.TooManyRedirects):
        kind: type[CloreError] = ReplyError
        what = f"the answer of {base_url} can't be read"
    elif isinstance(error, httpx2.TimeoutException):
        kind = TimedOutError
        what = f"{base_url} did not answer in time" if ambiguous else f"{base_url} can't be reached in time"
    else:
        kind = NetworkError
        what = f"the connection to {base_url} broke" if ambiguous else f"{base_url} can't be reached"
    reason = f": {error}" if str(error) else ""
    return kind(f"{endpoint}: {what}{reason}.", endpoint=endpoint, ambiguous=ambiguous)


def too_large(endpoint: str, status: int) -> CloreError:
    """The answer does not end."""
    return ReplyError(
        f"{endpoint}: the answer is larger than {BODY_BYTES_MAX // 2**20} MiB.",
        endpoint=endpoint,
        status=status,
        ambiguous=True,
    )


def too_slow(endpoint: str, seconds: float) -> CloreError:
    """The answer drips."""
    return TimedOutError(
        f"{endpoint}: the answer was not complete after {seconds:.0f} s.", endpoint=endpoint, ambiguous=True
    )
