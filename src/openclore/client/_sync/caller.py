# Generated from _async/caller.py by tools/unasync.py: change that one.
"""How a call goes: its turn, its attempts, and what the answers tell about the market."""

import hashlib
import random
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import httpx2

from openclore.api.base import Empty, Reply
from openclore.api.endpoints import MY_ORDERS, Endpoint
from openclore.api.open.events import LAST_EVENT_ID
from openclore.api.orders import MyOrders

from .. import _requests, _wire
from .._retry import delay_before_retry, repeatable
from .._seek import Moment
from ..errors import CloreError, SignInError
from ..pace import Pace, Spacing, shared_turn
from ..profiles import access
from ..transport import BODY_BYTES_MAX, USER_AGENT, tls, too_large, too_slow, translated

R = TypeVar("R", bound=Reply)
T = TypeVar("T")

TOTAL_TIMEOUTS = 4
"""A body that drips in may take so many times as long as a silence."""
STREAM_SILENCE_SECONDS = 60.0
"""A stream says something every 15 s."""


class Caller:
    """One account's calls to one market; the arguments are those of `Clore`.

    Attributes:
        base_url: where the endpoints of the public API are.
        speaks: what the answers told about the market.
        date: when the last answer was given, by the market's clock (Unix s); None where it does not say.
        key_digest: tells keys apart in names of files, without telling the key; empty without one.
    """

    def __init__(
        self,
        key: str | None,
        base_url: str | None,
        profile: str | None,
        timeout: float,
        attempts: int,
        spacing: Spacing | None,
        on_retry: Callable[[CloreError, float], None] | None,
        transport: httpx2.BaseTransport | None,
        sleep: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        found = access(key, base_url, profile)
        if found.warning:
            warnings.warn(found.warning, stacklevel=3)
        self.base_url = found.base_url
        self.speaks = _wire.Speaks.UNKNOWN
        self.date: float | None = None
        self.key_digest = hashlib.sha256(found.key.encode()).hexdigest()[:16] if found.key else ""
        self.sleep = sleep
        self.clock = clock
        self._key = found.key
        self._withheld = found.withheld
        self._attempts = attempts
        self._spacing = spacing
        self._on_retry = on_retry
        self._timeout = timeout
        self._paces: dict[str, Pace] = {}
        self._http = httpx2.Client(
            headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
            timeout=httpx2.Timeout(timeout, connect=min(10.0, timeout)),
            transport=transport,
            verify=tls(),
        )

    @property
    def has_open(self) -> bool | None:
        """Whether the market is one of OpenClore's; None before its first answer."""
        return None if self.speaks is _wire.Speaks.UNKNOWN else self.speaks is not _wire.Speaks.PUBLIC

    def close(self) -> None:
        self._http.close()

    def call(
        self,
        endpoint: Endpoint[Any, R],
        request: Any = Empty(),  # noqa: B008 -- never changed
        ids: Mapping[str, int] | None = None,
    ) -> R:
        """Make a call and read its reply; `ids` fill the path."""
        return self.tried(endpoint, request, lambda answer: self.decoded(endpoint, answer), ids=ids)

    def tried(
        self,
        endpoint: Endpoint[Any, Any],
        request: Any,
        read: Callable[[_wire.Answer], T],
        *,
        ids: Mapping[str, int] | None = None,
        idempotency_key: str | None = None,
        sent: Moment | None = None,
    ) -> T:
        """What is read from the answer to a call, tried as often as is safe.

        A write carries a key, the same on every attempt, so that a market that knows such keys does it once.
        `sent` learns when it was sent first.
        """
        key = (idempotency_key or uuid.uuid4().hex) if endpoint.writes else None
        message = _requests.outgoing(endpoint, request, self.base_url, ids, key)

        return self._until_done(endpoint, lambda: self.once(endpoint, message, read, sent))

    def once(
        self,
        endpoint: Endpoint[Any, Any],
        message: _requests.Outgoing,
        read: Callable[[_wire.Answer], T],
        sent: Moment | None = None,
    ) -> T:
        """What is read from the answer to a call made once, in its turn."""
        self._need_key(endpoint)
        with self._turn(endpoint):
            began = self.clock(), time.time()
            try:
                answer = self._exchange(endpoint, message, signed=True)
            except CloreError as error:
                if sent is not None and error.ambiguous:
                    sent.note(*began)
                raise
            if sent is not None:
                sent.note(*began)
        self.date = answer.date
        self.speaks = _wire.speaks(answer) or self.speaks
        value = read(answer)
        self.speaks = _wire.speaks(answer, success=True) or self.speaks
        return value

    def decoded(self, endpoint: Endpoint[Any, R], answer: _wire.Answer) -> R:
        """The typed reply, see `_wire`; no error repeats the key."""
        return _wire.decoded(endpoint, answer, secret=self._key)

    def parsed(self, endpoint: Endpoint[Any, Any], answer: _wire.Answer) -> dict[str, Any]:
        """The members of a reply, see `_wire`; no error repeats the key."""
        return _wire.parsed(endpoint, answer, secret=self._key)

    def fetch(self, endpoint: Endpoint[Any, Any], url: str) -> bytes:
        """What is at an address that a reply named. It may be anybody's: no key is sent."""

        def attempt() -> bytes:
            answer = self._exchange(endpoint, _requests.Outgoing("GET", url))
            _wire.check_status(endpoint, answer)
            return answer.body

        return self._until_done(endpoint, attempt)

    def _until_done(self, endpoint: Endpoint[Any, Any], attempt: Callable[[], T]) -> T:
        made = 1
        unclear = False
        while True:
            try:
                return attempt()
            except CloreError as error:
                error.repeated = unclear
                unclear = unclear or error.ambiguous
                if error.ambiguous and self.speaks is _wire.Speaks.UNKNOWN and not repeatable(endpoint):
                    self._find_out()
                delay = delay_before_retry(
                    error,
                    repeatable=repeatable(endpoint),
                    once_by_key=endpoint.writes and self.speaks is _wire.Speaks.OPEN,
                    attempt=made,
                    attempts=self._attempts,
                    dice=random.random(),  # noqa: S311 -- spreads retries
                )
                if delay is None:
                    raise
                self.pause(error, delay)
            made += 1

    def pause(self, error: CloreError, seconds: float) -> None:
        """Wait before a call is tried again."""
        if self._on_retry is not None:
            self._on_retry(error, seconds)
        self.sleep(seconds)

    def _find_out(self) -> None:
        """Any answer tells the dialect."""
        try:
            message = _requests.outgoing(MY_ORDERS, MyOrders(), self.base_url)
            self.once(MY_ORDERS, message, lambda answer: self.decoded(MY_ORDERS, answer))
        except CloreError:
            return

    @contextmanager
    def stream(
        self, endpoint: Endpoint[Any, Any], request: Any, last_event_id: int | None
    ) -> Iterator[httpx2.EventSource]:
        """Open a stream of server-sent events; only its beginning takes a turn."""
        self._need_key(endpoint)
        message = _requests.outgoing(endpoint, request, self.base_url)
        message.headers["Accept"] = "text/event-stream"
        if last_event_id is not None:
            message.headers[LAST_EVENT_ID] = str(last_event_id)
        silence = max(self._timeout, STREAM_SILENCE_SECONDS)
        with ExitStack() as stack:
            with self._turn(endpoint):
                response = stack.enter_context(
                    self._response(endpoint, message, signed=True, silence=silence)
                )
            if response.status_code != 200:
                answer = self._answer(endpoint, response, self._deadline())
                self.parsed(endpoint, answer)
            yield httpx2.EventSource(response)

    def _need_key(self, endpoint: Endpoint[Any, Any]) -> None:
        if endpoint.key == "required" and not self._key:
            where = "give one as argument, in CLORE_API_KEY, or in a profile (openclore profile set NAME)"
            raise SignInError(
                f"{endpoint.name} needs an API key: {self._withheld or where}.", endpoint=endpoint.name
            )

    @contextmanager
    def _turn(self, endpoint: Endpoint[Any, Any]) -> Iterator[None]:
        """Wait until the key may call, and keep others of it waiting during the call."""
        pace = self._pace(endpoint)
        ticket = pace.join(endpoint.name)
        try:
            while (seconds := pace.ask(ticket)) > 0:
                self.sleep(seconds)
            yield
        finally:
            pace.leave(ticket)

    def _pace(self, endpoint: Endpoint[Any, Any]) -> Pace:
        """Each API has a pace of its own."""
        if endpoint.below not in self._paces:
            address = _requests.address(endpoint, self.base_url)
            spacing = self._spacing or Spacing.of(address, endpoint.below)
            # Without a spacing there is nothing that other processes would have to know.
            turn = shared_turn(self._key, address) if self._key and spacing.every else None
            self._paces.setdefault(endpoint.below, Pace(spacing, turn, self.clock))
        return self._paces[endpoint.below]

    def _exchange(
        self, endpoint: Endpoint[Any, Any], message: _requests.Outgoing, *, signed: bool = False
    ) -> _wire.Answer:
        deadline = self._deadline()
        with self._response(endpoint, message, signed=signed) as response:
            return self._answer(endpoint, response, deadline)

    def _deadline(self) -> float:
        """By when a call that began now must be over."""
        return self.clock() + TOTAL_TIMEOUTS * self._timeout

    @contextmanager
    def _response(
        self,
        endpoint: Endpoint[Any, Any],
        message: _requests.Outgoing,
        *,
        signed: bool,
        silence: float | None = None,
    ) -> Iterator[httpx2.Response]:
        """Send; what the HTTP library raises until the response is closed becomes an error of ours."""
        seconds = silence or self._timeout
        try:
            with self._http.stream(
                message.method,
                message.url,
                params=message.params or None,
                content=message.content,
                headers=message.headers | ({"auth": self._key} if signed and self._key else {}),
                timeout=httpx2.Timeout(seconds, connect=min(10.0, self._timeout)),
            ) as response:
                yield response
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL) as error:
            where = self.base_url if signed else message.url
            raise translated(error, endpoint.name, where) from error

    def _answer(
        self, endpoint: Endpoint[Any, Any], response: httpx2.Response, deadline: float
    ) -> _wire.Answer:
        """Read a response to its end, in bounded time and space."""
        chunks: list[bytes] = []
        size = 0
        for chunk in response.iter_bytes():
            chunks.append(chunk)
            size += len(chunk)
            if size > BODY_BYTES_MAX:
                raise too_large(endpoint.name, response.status_code)
            if self.clock() > deadline:
                raise too_slow(endpoint.name, TOTAL_TIMEOUTS * self._timeout)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return _wire.Answer(response.status_code, headers, b"".join(chunks))
