"""A market made of canned answers, and a clock that moves only when somebody sleeps."""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpx2

from openclore.client import AsyncClore, Clore

BASE_URL = "http://market.test/v1"
KEY = "S3cretKeyThatNobodyMaySee0000000"


class Clock:
    """Monotonic seconds; sleeping moves them."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


Answerer = httpx2.Response | Exception | Callable[[httpx2.Request], httpx2.Response]


def reply(content: Any = None, status: int = 200, headers: dict[str, str] | None = None) -> httpx2.Response:
    """An HTTP answer: JSON of anything, or bytes as they are."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return httpx2.Response(status, content=body, headers=headers)


class Script:
    """Answers each request with the next of its list, the last one for ever; remembers the requests."""

    def __init__(self, answers: Iterable[Answerer], clock: Clock | None = None, takes: float = 0.0) -> None:
        self._answers = list(answers)
        self._clock = clock
        self._takes = takes
        self.requests: list[httpx2.Request] = []
        self.times: list[float] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if self._clock:
            self.times.append(self._clock.now)
            self._clock.now += self._takes
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, httpx2.Response):
            return answer(request)
        # A fresh copy: a response can be read once.
        return httpx2.Response(answer.status_code, content=answer.content, headers=answer.headers)

    @property
    def paths(self) -> list[str]:
        return [request.url.path.removeprefix("/v1/") for request in self.requests]

    def body(self, index: int = -1) -> Any:
        return json.loads(self.requests[index].content)


class Both:
    """Calls the asynchronous client as if it were the synchronous one."""

    def __init__(self, clore: AsyncClore) -> None:
        self._clore = clore
        self._runner = asyncio.Runner()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: self._runner.run(getattr(self._clore, name)(*args, **kwargs))

    def walk(self, name: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """What the asynchronous iterator that a method returns brings."""
        iterator = getattr(self._clore, name)(*args, **kwargs)
        try:
            while True:
                try:
                    yield self._runner.run(anext(iterator))
                except StopAsyncIteration:
                    return
        finally:
            self._runner.run(iterator.aclose())

    def close(self) -> None:
        self._runner.run(self._clore.aclose())
        self._runner.close()


class Sync(Clore):
    """The synchronous client, with the same way to walk through an iterator."""

    def walk(self, name: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
        yield from getattr(self, name)(*args, **kwargs)


def make(
    kind: str, answers: Callable[[httpx2.Request], httpx2.Response], clock: Clock, **options: Any
) -> Any:
    """A client of either kind on canned answers and a clock of its own."""
    options = {"key": KEY, "base_url": BASE_URL, "_clock": clock, **options}
    transport = httpx2.MockTransport(answers)
    if kind == "sync":
        return Sync(transport=transport, _sleep=clock.sleep, **options)
    return Both(AsyncClore(transport=transport, _sleep=clock.asleep, **options))
