"""A real market in process, whose answers can be spoiled on their way; time passes when somebody sleeps."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from litestar.testing import TestClient

from openclore.api.dialects import Dialect
from openclore.client import Spacing
from openclore.conformance.findings import Finding
from openclore.conformance.market import Market
from openclore.conformance.run import run
from openclore.server.app import build
from openclore.server.limits import Limits
from openclore.server.service import Service
from openclore.server.settings import Settings
from openclore.store.store import database_url, open_store
from openclore.usecases import accounts

from ..world import START, World


@dataclass
class Answer:
    """What a market is about to say: change it, or raise what keeps it from being heard."""

    name: str
    status: int
    headers: dict[str, str]
    content: Any


PASSED_ON = ("openclore-dialect", "retry-after")
Spoil = Callable[[Answer], None]


def unspoiled(answer: Answer) -> None:
    pass


class TurnedLimits(Limits):
    """The pace, by the clock of the test."""

    clock: Callable[[], float]

    def admit(self, key_id: int, endpoint: Any, now: float) -> float:
        return super().admit(key_id, endpoint, self.clock())

    def completed(self, key_id: int, endpoint: Any, now: float) -> None:
        super().completed(key_id, endpoint, self.clock())


@dataclass
class Rehearsal:
    """A market with a renter who has ten dollars, and a host with two machines."""

    world: World
    service: Service
    http: Any
    key: str
    host_key: str
    said: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.world.wait(START + int(self.seconds) - self.world.now)
        self.service.catch_up()

    def market(self, spoil: Spoil = unspoiled, key: str | None = None) -> Market:
        return Market(
            "http://market.test/v1",
            key or self.key,
            spacing=Spacing(1.01, {"create_order": 5.01}),
            transport=Line(self.http, spoil),
            clock=lambda: self.seconds,
            sleep=self.sleep,
        )

    def findings(
        self, spoil: Spoil = unspoiled, *, spend: bool = False, key: str | None = None
    ) -> list[Finding]:
        with self.market(spoil, key) as market:
            return list(run(market, spend=spend, max_price_per_day=5, tell=self.said.append))


class Line(httpx2.BaseTransport):
    """Carries calls into the application and spoils what comes back."""

    def __init__(self, http: Any, spoil: Spoil) -> None:
        self._http = http
        self._spoil = spoil

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        reply = self._http.request(
            request.method, str(request.url), content=request.read(), headers=dict(request.headers)
        )
        headers = {name: reply.headers[name] for name in PASSED_ON if name in reply.headers}
        answer = Answer(request.url.path.rsplit("/", 1)[-1], reply.status_code, headers, reply.json())
        self._spoil(answer)
        content = answer.content
        if content == reply.json():
            content = reply.content
        elif not isinstance(content, bytes):
            content = json.dumps(content).encode()
        return httpx2.Response(answer.status, headers=answer.headers, content=content)


@pytest.fixture
def new_rehearsal(sqlite_template: Path, quick_dir: Path) -> Iterator[Callable[[Dialect], Rehearsal]]:
    opened: list[Any] = []

    def make(dialect: Dialect) -> Rehearsal:
        folder = quick_dir / f"{dialect}-{len(opened)}"
        folder.mkdir()
        shutil.copy(sqlite_template, folder / "openclore.db")
        world = World(open_store(database_url(folder)))
        world.credit("10")
        choosy = {"bitcoin_on_demand": 0.00003, "bitcoin_spot": 0.00002, "usd_on_demand": 3, "usd_spot": 2}
        world.add_server("rack-2", **choosy)
        service = Service(world.market, lambda: world.now, Settings(dialect=dialect))
        service.start()
        http = TestClient(build(service), base_url="http://market.test", raise_server_exceptions=False)
        http.__enter__()
        opened.extend([http, world.store])
        keys = [
            accounts.create_key(world.market, f"{who}@example.org", "test", world.now)[1]
            for who in ("renter", "host")
        ]
        made = Rehearsal(world, service, http, *keys)
        service.limits = TurnedLimits(service.settings.pace)
        service.limits.clock = lambda: made.seconds
        return made

    yield make
    for http, store in zip(opened[::2], opened[1::2], strict=True):
        http.__exit__(None, None, None)
        store.close()
