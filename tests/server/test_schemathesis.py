"""Whatever is sent to the documented endpoints, the answer is a documented one, and never a 5xx."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from litestar import Litestar
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.pytest.lazy import get_all_tests
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
Check = Callable[[Case], None]
V1, OPEN_V1 = openapi.v1(), openapi.open_v1()
bounded = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


async def nowhere(host: str, port: int) -> list[str]:
    raise OSError("no address is looked up")


@pytest.fixture(scope="module")
def world(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The renter has money, an order on server 1, and server 2."""
    folder = tmp_path_factory.mktemp("schemathesis")
    shutil.copy(sqlite_template, folder / "openclore.db")
    world = World(open_store(database_url(folder)))
    world.credit("100")
    world.rent()
    servers.create_server(world.market, "renter@example.org", "rack-a2", world.now)
    world.add_server("rack-3")
    yield world
    world.store.close()


@pytest.fixture(scope="module")
def app(world: World) -> Litestar:
    """The market's doors, without a pace."""
    service = Service(world.market, lambda: world.now, Settings(pace=Pace(0, 0, 0)))
    service.courier = Courier(world.market.policy.webhooks, nowhere)
    service.start()
    return build(service)


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


def ask(document: openapi.Json, operation: str, app: Litestar, check: Check, *, thorough: bool) -> None:
    """Check cases of one operation: generated ones and, if `thorough`, every boundary of every member.

    They are made here, not by the library's own parametrization, which makes all of them in every process
    that collects tests.
    """
    method, path = operation.split(" ")
    schema = schemathesis.openapi.from_dict(msgspec.to_builtins(document))
    schema.app = app
    schema.config.phases.coverage.enabled = thorough
    only = schema.include(method=method, path=path)
    (made,) = get_all_tests(schema=only, test_func=bounded(check), settings=None, given_kwargs={})
    made.ok()[1]()


def of(document: openapi.Json) -> pytest.MarkDecorator:
    """Its operations; without the stream, which has no end to wait for."""
    return pytest.mark.parametrize(
        "operation",
        [
            f"{method.upper()} {path}"
            for path, methods in document["paths"].items()
            if path != STREAM_EVENTS.path
            for method in methods
        ],
    )


@of(V1)
def test_v1_with_a_key(operation: str, app: Litestar, key: str) -> None:
    def check(case: Case) -> None:
        acquainted(case).call_and_validate(headers={"auth": key}, checks=CHECKS)

    ask(V1, operation, app, check, thorough=True)


@of(OPEN_V1)
def test_open_v1_with_a_key(operation: str, app: Litestar, key: str) -> None:
    def check(case: Case) -> None:
        acquainted(case).call_and_validate(headers={"auth": key}, checks=CHECKS)

    ask(OPEN_V1, operation, app, check, thorough=True)


@of(V1)
def test_v1_in_the_live_dialect(operation: str, app: Litestar, live_key: str) -> None:
    def check(case: Case) -> None:
        # There, 500 is the recorded answer to some bad input.
        case.call_and_validate(
            headers={"auth": live_key}, checks=[c for c in CHECKS if c is not not_a_server_error]
        )

    ask(V1, operation, app, check, thorough=False)


@of(V1)
def test_v1_without_a_key(operation: str, app: Litestar) -> None:
    def check(case: Case) -> None:
        case.call_and_validate(checks=[*CHECKS, ignored_auth])

    ask(V1, operation, app, check, thorough=False)


@of(OPEN_V1)
def test_open_v1_without_a_key(operation: str, app: Litestar) -> None:
    def check(case: Case) -> None:
        case.call_and_validate(checks=[*CHECKS, ignored_auth])

    ask(OPEN_V1, operation, app, check, thorough=False)
