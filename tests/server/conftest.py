"""A service on a market in a temporary file, reached in process through its real routes."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from litestar.testing import TestClient

from openclore.server.app import build
from openclore.server.service import Service
from openclore.server.settings import Settings
from openclore.store.store import Store
from openclore.usecases import accounts

from ..world import World


@dataclass
class Door:
    """What a caller sees. Time stands still unless a test moves it; every call waits out the pace first."""

    world: World
    service: Service
    http: Any
    keys: dict[str, str] = field(default_factory=dict)

    def call(
        self,
        name: str,
        body: Any = None,
        *,
        method: str = "",
        key: str | None = "renter",
        open: bool = False,  # noqa: A002 -- the name of the API
        **more: Any,
    ) -> tuple[int, Any]:
        """HTTP status and decoded reply. `key` is whose: "renter", "host", or None for nobody's.

        `open` calls /open/v1.
        """
        self.service.limits.__init__(self.service.settings.pace)  # type: ignore[misc]
        headers = dict(more.pop("headers", {}))
        if key:
            headers["auth"] = self.keys[key]
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("content-type", "application/json")
        reply = self.http.request(
            method or ("GET" if body is None else "POST"),
            f"{'/open' if open else ''}/v1/{name}",
            content=body,
            headers=headers,
            **more,
        )
        return reply.status_code, reply.json()


@pytest.fixture
def door(new_sqlite_store: Callable[[], Store]) -> Iterator[Door]:
    with a_door(new_sqlite_store()) as door:
        yield door


@pytest.fixture
def any_door(store: Store) -> Iterator[Door]:
    """A door on both databases, one after the other."""
    with a_door(store) as door:
        yield door


@contextmanager
def a_door(store: Store, settings: Settings | None = None) -> Iterator[Door]:
    settings = settings or Settings()
    world = World(store, settings.policy)
    service = Service(world.market, lambda: world.now, settings)
    service.start()
    with TestClient(build(service), raise_server_exceptions=False) as http:
        door = Door(world, service, http)
        for who in ("renter", "host"):
            _, door.keys[who] = accounts.create_key(world.market, f"{who}@example.org", "test", world.now)
        service.catch_up()
        yield door
    world.store.close()
