"""One attempt to deliver a webhook's message: to no address it must not reach, and not for too long."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import httpx2

from ..rules import webhooks as rules
from ..rules.policy import Webhooks
from ..rules.webhooks import Target
from ..usecases.webhooks import Message, Outcome

ANSWER_BYTES_MAX = 4_096
"""How much of an answer's body is read, out of politeness; only the status counts."""
ANSWER_SECONDS_MAX = 1.0
CONNECT_SECONDS_MAX = 3.0
"""Per address, so that a dead one leaves time for the next."""
PROBLEM_LENGTH_MAX = 200
_ADDRESSES_MAX = 4
_LOOKUPS_MAX = 512
_HEADERS = {
    "content-type": "application/json",
    "user-agent": "OpenClore",
    "connection": "close",
}

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""A host's IP addresses, for a port. Raises OSError if it has none."""


class Courier:
    """Carries messages, many at once. `resolve` is for tests."""

    def __init__(self, settings: Webhooks, resolve: Resolve | None = None) -> None:
        self._private_allowed = settings.allow_private_addresses
        self._resolve = resolve or self._look_up
        # Threads of its own, as many as may hang: a name's dead servers hold one for longer than an attempt
        # lasts, and it must not be one that use cases wait for.
        self._lookups = ThreadPoolExecutor(_LOOKUPS_MAX, thread_name_prefix="webhook-lookup")

    async def deliver(self, message: Message, timeout_seconds: float) -> Outcome:
        """Send a message once. Whatever the receiver does, this ends in time and raises nothing."""
        attempt = _Attempt(message)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._send(attempt)
        except Exception as error:
            if attempt.status is None:
                return Outcome(None, _problem(error, timeout_seconds))
        if rules.is_delivered(attempt.status):
            return Outcome(attempt.status, None)
        return Outcome(attempt.status, f"the receiver answered with status {attempt.status}")

    async def _send(self, attempt: "_Attempt") -> None:
        """To the first address that can be connected to. The name is not looked up again for that."""
        target = rules.target(attempt.message.url, private_allowed=True)
        addresses = await self._resolve(target.host, target.port)
        if not self._private_allowed and not all(map(rules.is_public, addresses)):
            raise _NotPublic
        *others, last = addresses[:_ADDRESSES_MAX]
        for address in others:
            with suppress(httpx2.ConnectError, httpx2.ConnectTimeout):
                return await self._post(attempt, target, address)
        return await self._post(attempt, target, last)

    async def _look_up(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._lookups, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    async def _post(self, attempt: "_Attempt", target: Target, address: str) -> None:
        """A connection for this message alone: one that is kept would be found by its address, and another
        host's certificate was checked on it.
        """
        message = attempt.message
        request = httpx2.Request(
            "POST",
            httpx2.URL(
                scheme=target.scheme, host=address, port=target.port, raw_path=target.path.encode("ascii")
            ),
            headers={"host": target.authority, **_HEADERS, **message.headers},
            content=message.delivery.body.encode(),
            extensions={"sni_hostname": target.host, "timeout": {"connect": CONNECT_SECONDS_MAX}},
        )
        async with httpx2.AsyncHTTPTransport(verify=self._tls, trust_env=False) as transport:
            response = await transport.handle_async_request(request)
            attempt.status = response.status_code
            await _read_a_little(response)
            await response.aclose()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx2.create_ssl_context()


@dataclass
class _Attempt:
    """`status` is there as soon as the receiver answered; what goes wrong afterwards changes nothing."""

    message: Message
    status: int | None = None


class _NotPublic(Exception):
    """A host resolves to an address that nothing is sent to."""


async def _read_a_little(response: httpx2.Response) -> None:
    size = 0
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        async for chunk in response.stream:  # type: ignore[union-attr]
            size += len(chunk)
            if size > ANSWER_BYTES_MAX:
                return


def _problem(error: Exception, timeout_seconds: float) -> str:
    """A sentence for the webhook's owner; it names neither path nor query, which may be secret."""
    match error:
        case TimeoutError():
            return f"no answer within {timeout_seconds:g} s"
        case _NotPublic():
            return (
                "the host has a private address, which this market sends nothing to unless its operator sets"
                f" {rules.PRIVATE_ALLOWED_BY}"
            )
        case socket.gaierror():
            return "the host's name can't be resolved"
        case httpx2.ConnectTimeout():
            return f"no connection within {CONNECT_SECONDS_MAX:g} s"
        case httpx2.ConnectError():
            return f"can't connect: {error}".encode("ascii", "backslashreplace").decode()[:PROBLEM_LENGTH_MAX]
        case httpx2.RemoteProtocolError():
            return "the answer is not HTTP"
        case httpx2.TransportError():
            return "the connection broke"
        case _:
            return f"it can't be sent ({type(error).__name__})"
