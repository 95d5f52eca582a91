"""Whatever is sent to the documented endpoints, the answer is a documented one, and never a 5xx."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from openclore.api.dialects import Dialect
from openclore.api.open.endpoints import STREAM_EVENTS
from openclore.server import openapi
from openclore.server.app import build
from openclore.server.courier import Courier
from openclore.server.service import Service
from openclore.server.settings import Pace, Settings
from openclore.store.store import database_url, open_store
from openclore.usecases import accounts, servers

from ..world import World

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
bounded = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


class Market:
    """An application that exists once the fixture has made it: tests are collected before that."""

    app: Any = None
    key = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


MARKET = Market()


def schema(document: openapi.Json, *, thorough: bool = True) -> Any:
    """All but the stream, which has no end to wait for; thorough at every boundary of every member."""
    loaded = schemathesis.openapi.from_dict(msgspec.to_builtins(document))
    loaded.app = MARKET
    loaded.config.phases.coverage.enabled = thorough
    return loaded.exclude(path=STREAM_EVENTS.path)


async def nowhere(host: str, port: int) -> list[str]:
    raise OSError("no address is looked up")


@pytest.fixture(scope="module")
def world(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The renter has money, an order on server 1, and server 2; there is no pace."""
    folder = tmp_path_factory.mktemp("schemathesis")
    shutil.copy(sqlite_template, folder / "openclore.db")
    world = World(open_store(database_url(folder)))
    world.credit("100")
    world.rent()
    servers.create_server(world.market, "renter@example.org", "rack-a2", world.now)
    world.add_server("rack-3")
    service = Service(world.market, lambda: world.now, Settings(pace=Pace(0, 0, 0)))
    service.courier = Courier(world.market.policy.webhooks, nowhere)
    service.start()
    MARKET.app = build(service)
    yield world
    world.store.close()


@pytest.fixture(scope="module")
def key(world: World) -> str:
    return accounts.create_key(world.market, "renter@example.org", "test", world.now)[1]


@pytest.fixture(scope="module")
def live_key(world: World) -> str:
    return accounts.create_key(world.market, "renter@example.org", "live", world.now, Dialect.LIVE)[1]


IDS = {"order_id", "server_id", "webhook_id", "limit_id", "renting_server", "market", "id"}


def acquainted(case: Case) -> Case:
    """The case with its ids among those that the market has: luck alone would hardly meet one."""
    for members in (case.path_parameters, case.query, case.body):
        for name in IDS & members.keys() if isinstance(members, dict) else ():
            number = str(members[name])
            if number.isascii() and number.isdigit() and int(number) > 0:
                members[name] = 1 + (int(number) - 1) % 3
    return case


@schema(openapi.v1()).parametrize()
@bounded
def test_v1_with_a_key(case: Case, key: str) -> None:
    acquainted(case).call_and_validate(headers={"auth": key}, checks=CHECKS)


@schema(openapi.open_v1()).parametrize()
@bounded
def test_open_v1_with_a_key(case: Case, key: str) -> None:
    acquainted(case).call_and_validate(headers={"auth": key}, checks=CHECKS)


@schema(openapi.v1(), thorough=False).parametrize()
@bounded
def test_v1_in_the_live_dialect(case: Case, live_key: str) -> None:
    # There, 500 is the recorded answer to some bad input.
    case.call_and_validate(
        headers={"auth": live_key}, checks=[c for c in CHECKS if c is not not_a_server_error]
    )


@schema(openapi.v1(), thorough=False).parametrize()
@bounded
def test_v1_without_a_key(case: Case, key: str) -> None:
    case.call_and_validate(checks=[*CHECKS, ignored_auth])


@schema(openapi.open_v1(), thorough=False).parametrize()
@bounded
def test_open_v1_without_a_key(case: Case, key: str) -> None:
    case.call_and_validate(checks=[*CHECKS, ignored_auth])
