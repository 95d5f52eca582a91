"""The unit of work: one connection, one transaction, one commit."""

import copy
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from .marks import Marks
from .tables import REVISION, ledger_accounts, uptimes

DATABASE_FILE = "openclore.db"
BUSY_TIMEOUT_SECONDS = 30
TURN_SECONDS = 20.0
"""How long a writer waits for its turn."""
PAUSE_SECONDS = 5.0
"""How long a writer may be silent within a transaction: one that is paused or cut off then loses its turn."""
_CUT_OFF = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""When a process gives up on a PostgreSQL that it can't reach any more, unless the address says otherwise.
Seconds, the last one milliseconds; by default it would take minutes.
"""
_NO_ADDRESS = (
    "the database address must look like sqlite:////path/file.db or postgresql+psycopg://user@host/db"
)
_OURS = {ledger_accounts.name, uptimes.name}
"""Tables of every release, one of which even a damaged market has, and hardly anything else."""
_LOCK_NOT_AVAILABLE = "55P03"
_WRITER_LOCK = 0x6F70656E
"""The PostgreSQL advisory lock that every writing transaction takes."""


class StoreBusy(Exception):
    """Too many want to write at once; nothing was done."""


class StoreError(Exception):
    """The database can't be opened; the message says which and why."""


class Store:
    """A market's database.

    Writing transactions run one after another (SQLite's own way; an advisory lock on PostgreSQL), so a use
    case reads, decides and applies without anything moving under it, and event ids appear in commit order.
    """

    def __init__(self, engine: Engine, *, turn_seconds: float = TURN_SECONDS) -> None:
        self.engine = engine
        self.turn_seconds = turn_seconds
        self._mine = threading.local()
        self._sqlite = engine.dialect.name == "sqlite"
        # Waiting here is fair and prompt; SQLite's own waiting polls.
        self._turn = threading.Lock()
        self._guard: Callable[[Connection], None] | None = None
        self._marks = Marks(engine.url.database or "") if self._sqlite else None

    @property
    def shared(self) -> bool:
        """Whether several processes may serve this market."""
        return not self._sqlite

    def guarded(self, guard: Callable[[Connection], None]) -> "Store":
        """The same database, where every writing transaction begins with `guard`: if it raises, nothing is
        done.
        """
        view = copy.copy(self)
        view._guard = guard
        return view

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that commits when the block ends and rolls back when it raises.

        Inside another one of the same thread it is a part of that.

        Raises:
            StoreBusy: others wrote for longer than a caller should wait.
        """
        joined: Connection | None = getattr(self._mine, "connection", None)
        if joined is not None:
            self._check(joined)
            yield joined
            return
        if not self._turn.acquire(timeout=self.turn_seconds):
            raise StoreBusy
        try:
            with self.engine.connect() as connection, connection.begin():
                if self._sqlite:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                else:
                    self._lock(connection)
                self._check(connection)
                self._mine.connection = connection
                yield connection
        finally:
            self._mine.connection = None
            self._turn.release()

    def _check(self, connection: Connection) -> None:
        if self._guard is not None:
            self._guard(connection)

    def _lock(self, connection: Connection) -> None:
        """Take the turn among processes, and give it back if this one falls silent."""
        statements = (
            f"SET LOCAL lock_timeout = {int(self.turn_seconds * 1_000)}",
            f"SET LOCAL idle_in_transaction_session_timeout = {int(PAUSE_SECONDS * 1_000)}",
            f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})",
            "SET LOCAL lock_timeout = 0",
        )
        try:
            _run_all(connection, statements)
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
                raise StoreBusy from error
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view; nothing is written."""
        with self.engine.connect() as connection:
            if not self._sqlite:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                if self._sqlite:
                    connection.exec_driver_sql("BEGIN")
                yield connection

    def mark(self) -> int | None:
        """What is read while it stays the same is the same; waits for nobody. None: only reading can tell."""
        return self._marks.current() if self._marks is not None else None

    def close(self) -> None:
        if self._marks is not None:
            self._marks.close()
        self.engine.dispose()


class Savepoint:
    """A place in a transaction to go back to, so that what came before stays. It can be set anew."""

    def __init__(self, tx: Connection) -> None:
        self._tx = tx
        self._statements = ["SAVEPOINT here"]

    def set(self) -> None:
        _run_all(self._tx, self._statements)
        self._statements = ["RELEASE SAVEPOINT here", "SAVEPOINT here"]

    def go_back(self) -> None:
        """Undo what was changed since it was set last.

        Raises:
            SQLAlchemyError: it can't be; nothing of the transaction will be done.
        """
        _run_all(self._tx, ["ROLLBACK TO SAVEPOINT here"])


def _run_all(tx: Connection, statements: Sequence[str]) -> None:
    """Run statements without parameters; PostgreSQL gets them in one message."""
    if tx.dialect.name == "sqlite":
        for statement in statements:
            tx.exec_driver_sql(statement)
    else:
        tx.exec_driver_sql("; ".join(statements), execution_options={"no_parameters": True})


def database_url(data_dir: Path) -> str:
    """The address of the embedded database in a data directory."""
    return f"sqlite:///{data_dir / DATABASE_FILE}"


def open_store(url: str) -> Store:
    """Open a database and bring its tables up to date. A new SQLite file is readable by its owner only.

    Its errors never show the values of a statement: these may be secrets.

    Raises:
        StoreError: it can't be reached, written or understood.
    """
    store = open_database(url)
    try:
        migrate(store)
    except StoreError:
        store.close()
        raise
    return store


def open_database(url: str) -> Store:
    """Open a database with the tables it has. Errors of its statements say in a note which one it is.

    Raises:
        StoreError: this is no address of one, or its file can't be written.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() == "postgresql":
        given = {name: seconds for name, seconds in _CUT_OFF.items() if name not in parsed.query}
        parsed = parsed.set(drivername="postgresql+psycopg")
        engine = create_engine(parsed, pool_pre_ping=True, hide_parameters=True, connect_args=given)
    elif parsed.get_backend_name() == "sqlite" and parsed.database:
        engine = _sqlite_engine(Path(parsed.database))
    else:
        raise StoreError(_NO_ADDRESS)
    event.listen(engine, "handle_error", _say_which)
    try:
        return Store(engine)
    except sqlite3.Error as error:
        raise StoreError(f"can't open the database {_shown(engine.url)}: {error}") from error


def database_file(url: str) -> Path | None:
    """The file of a SQLite database; None for another.

    Raises:
        StoreError: this is no address.
    """
    parsed = _parsed(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise StoreError(_NO_ADDRESS) from None


def _say_which(context: ExceptionContext) -> None:
    error = context.sqlalchemy_exception
    if error is not None and context.engine is not None and not hasattr(error, "__notes__"):
        error.add_note(_shown(context.engine.url))


def revision(store: Store) -> str | None:
    """The migration that led to a database's tables; None if it has no tables.

    Raises:
        StoreError: it can't be reached or understood, or has tables of something else.
    """
    with _said_in_a_line(store):
        return _current_revision(store)


def check_revision(store: Store) -> None:
    """
    Raises:
        StoreError: it can't be reached, or its tables are not those of this release, or not ours.
    """
    if revision(store) != REVISION:
        raise StoreError(
            f"{shown(store)} has no tables of this release: stop the market, then run openclore db upgrade"
        )


@contextmanager
def _said_in_a_line(store: Store) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        raise StoreError(f"can't open the database {shown(store)}: {reason}") from error


def shown(store: Store) -> str:
    """The database's address without its password, or its file."""
    return _shown(store.engine.url)


def _shown(url: URL) -> str:
    return url.database or "" if url.get_backend_name() == "sqlite" else url.render_as_string()


def _sqlite_engine(file: Path) -> Engine:
    if file.is_dir():
        raise StoreError(f"can't open the database {file}: it is a directory")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)
    except OSError as error:
        raise StoreError(f"can't write the database {file}: {error.strerror}") from error
    engine = create_engine(
        f"sqlite:///{file}", connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: SqliteConnection, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say so
        for pragma in ("synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not tables or tables & _OURS:  # it is written into the file: not into another's
            connection.execute("PRAGMA journal_mode = WAL")

    return engine


def migrate(store: Store, revision: str = REVISION) -> None:
    """Bring the tables to a revision ("base" is none).

    Raises:
        StoreError: it can't be reached, written or understood, or has tables of something else.
    """
    with _said_in_a_line(store):
        if _current_revision(store) != revision:
            _move(store, revision)


def _move(store: Store, revision: str) -> None:
    """Alembic is loaded only where there is work to do."""
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    with store.writing() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        move = command.downgrade if revision == "base" else command.upgrade
        try:
            move(config, revision)
        except CommandError as error:
            raise StoreError(f"{shown(store)} was made by a newer OpenClore: {error}") from error


def _current_revision(store: Store) -> str | None:
    with store.reading() as connection:
        tables = set(inspect(connection).get_table_names())
        found: list[str] = []
        if "alembic_version" in tables:
            found = [*connection.execute(text("SELECT version_num FROM alembic_version")).scalars()]
    ours = tables & _OURS if found else not tables - {"alembic_version"}
    if not ours or len(found) > 1:
        raise StoreError(f"{shown(store)} has tables of something else: name another database")
    return found[0] if found else None
