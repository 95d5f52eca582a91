"""The market under test, asked over plain HTTP at its pace: status, headers and bytes as they come."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2

from openclore.api.codes import Code
from openclore.api.dialects import DIALECT_HEADER, Dialect
from openclore.client.pace import Pace, Spacing, shared_turn
from openclore.client.transport import BODY_BYTES_MAX, USER_AGENT, too_large, translated

PATIENCE = 3
"""How often a call that came too fast, though it kept the pace, is made again."""
BACKOFF_SECONDS = 3.0
GLIMPSE_LENGTH = 300


@dataclass(frozen=True)
class Seen:
    """One answer. `content` is the decoded JSON object, empty where the body is none."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    content: dict[str, Any]

    @property
    def code(self) -> Any:
        return self.content.get("code")

    @property
    def error(self) -> Any:
        return self.content.get("error")

    def is_(self, status: int | None, code: Code) -> bool:
        """Whether it has this code and HTTP status (None: any)."""
        return self.code == code and not isinstance(self.code, bool) and status in (None, self.status)

    def __str__(self) -> str:
        """ "401 code 3", "200 server-offline"."""
        if "code" not in self.content:
            return f"{self.status} {self._glimpse()}"
        named = self.code == Code.BUSINESS and isinstance(self.error, str)
        return f"{self.status} {self.error if named else f'code {self.code}'}"

    def in_full(self) -> str:
        return f"HTTP {self.status} {self._glimpse()}"

    def _glimpse(self) -> str:
        text = (
            json.dumps(self.content) if self.content else self.body[:GLIMPSE_LENGTH].decode(errors="replace")
        )
        return text if len(text) <= GLIMPSE_LENGTH else f"{text[: GLIMPSE_LENGTH - 1]}…"


class Market:
    """One address and one key. Every call waits for its turn; answers are counted.

    Attributes:
        dialect: what the market says it speaks to this key; `live` if it says nothing.
        answers, without_code, too_fast: how many answers there were, how many of them without a `code`, and
            how many said "too fast" although the pace was kept.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        spacing: Spacing | None = None,
        transport: httpx2.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url
        self.spacing = spacing or Spacing.of(base_url)
        self.dialect = Dialect.LIVE
        self.answers = self.without_code = self.too_fast = 0
        self.clock, self.sleep = clock, sleep
        self._key = key
        self._pace = Pace(self.spacing, None if transport else shared_turn(key, base_url), clock)
        self._http = httpx2.Client(headers={"User-Agent": USER_AGENT}, timeout=30, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self._http.close()

    @property
    def says_open(self) -> bool:
        return self.dialect is Dialect.OPEN

    def key_as(self, form: str) -> dict[str, str]:
        """The key in `Authorization`: "{key}" or "Bearer {key}"."""
        return {"Authorization": form.format(key=self._key)}

    def get(self, name: str, **query: Any) -> Seen:
        return self.ask("GET", name, query=query)

    def post(self, name: str, body: Any) -> Seen:
        return self.ask("POST", name, body=body)

    def ask(
        self,
        method: str,
        name: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Seen:
        """One call with the key, or with these headers instead.

        Raises:
            CloreError: no answer.
        """
        for _ in range(PATIENCE):
            with self._turn(name):
                seen = self._exchange(method, name, query, body, headers)
            if seen.code != Code.RATE_EXCEEDED:
                break
            self.too_fast += 1
            self.sleep(_asked_to_wait(seen))
        return seen

    def at_once(self, first: str, second: str) -> Seen:
        """The answer to a second GET sent right behind a first one, out of turn."""
        with self._turn(first):
            self._exchange("GET", first, None, None, None)
            return self._exchange("GET", second, None, None, None)

    def fetch(self, url: str) -> Seen:
        """Something published elsewhere, without the key.

        Raises:
            CloreError: no answer.
        """
        return self._seen(url, lambda: self._http.build_request("GET", url))

    @contextmanager
    def _turn(self, name: str) -> Iterator[None]:
        ticket = self._pace.join(name)
        try:
            while seconds := self._pace.ask(ticket):
                self.sleep(seconds)
            yield
        finally:
            self._pace.leave(ticket)

    def _exchange(
        self,
        method: str,
        name: str,
        query: Mapping[str, Any] | None,
        body: Any,
        headers: Mapping[str, str] | None,
    ) -> Seen:
        sent = dict({"auth": self._key} if headers is None else headers)
        if body is not None:
            sent["Content-Type"] = "application/json"
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        url = f"{self.base_url}/{name}"
        seen = self._seen(
            name,
            lambda: self._http.build_request(
                method, url, params=dict(query) if query else None, content=content, headers=sent
            ),
        )
        self.answers += 1
        self.without_code += "code" not in seen.content
        if headers is None:
            self.dialect = _dialect(seen)
        return seen

    def _seen(self, name: str, build: Callable[[], httpx2.Request]) -> Seen:
        try:
            response = self._http.send(build(), stream=True)
            try:
                body = b""
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > BODY_BYTES_MAX:
                        raise too_large(name, response.status_code)
            finally:
                response.close()
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise translated(error, name, self.base_url) from error
        headers = {header.lower(): value for header, value in response.headers.items()}
        return Seen(response.status_code, headers, body, self._decoded(body))

    def _decoded(self, body: bytes) -> dict[str, Any]:
        """The JSON object in a body; what comes back of the key is not shown to anybody."""
        try:
            content = json.loads(body.decode().replace(self._key, "[key]"))
        except (ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}


def _asked_to_wait(seen: Seen) -> float:
    asked = seen.headers.get("retry-after", "")
    return min(float(asked), 60.0) if asked.isascii() and asked.isdigit() else BACKOFF_SECONDS


def _dialect(seen: Seen) -> Dialect:
    return Dialect.OPEN if seen.headers.get(DIALECT_HEADER.lower()) == Dialect.OPEN else Dialect.LIVE
