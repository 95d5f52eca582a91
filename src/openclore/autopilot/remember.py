"""The memory on disk: one SQLite file that one process at a time writes and anybody may read.

What a round decided is in the file before any of it is done, and what became of each action right after it.
So a crash at any point is followed by a round that knows what was under way.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from openclore.client.errors import SetupError

from .actions import AnyAction, Note, Outcome
from .memory import Memory

FORMAT = 1
LOG_ROWS_MAX = 10_000
BUSY_SECONDS = 10.0


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What a round saw, in short, for `status`; `problems`: part to why it could not be read."""

    at: int
    wallets: dict[str, float] = {}
    offers: int | None = None
    servers: int | None = None
    orders: int | None = None
    problems: dict[str, str] = {}
    notes: tuple[Note, ...] = ()


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the log: what was done at `at` (Unix s), and what became of it."""

    at: int
    action: AnyAction
    done: bool
    detail: str
    unknown: bool


class NotKeptError(SetupError):
    """The memory can't be written: nothing may be done that could not be remembered."""


class AlreadyRunningError(SetupError):
    """Another process works with this memory."""


def state_directory() -> Path:
    """`$XDG_STATE_HOME/openclore`."""
    root = os.environ.get("XDG_STATE_HOME", "")
    base = Path(root) if Path(root).is_absolute() else Path("~/.local/state").expanduser()
    return base / "openclore"


def default_path(file: Path, base_url: str, key_digest: str) -> Path:
    """Where a file's memory is, unless it is told otherwise: one for each file, market and key."""
    return (
        state_directory() / "autopilot" / f"{file.stem}-{digest(file.resolve(), base_url, key_digest)}.sqlite"
    )


def digest(*parts: object) -> str:
    """Names something by what it is, without telling it."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:24]


class Keeper:
    """A memory and its file, for the one who writes it.

    Args:
        path: made if it is not there, readable only by its owner.
        market: the address and the digest of the key that it is about.

    Attributes:
        memory: as it is on disk.

    Raises:
        AlreadyRunningError: another process writes it.
        SetupError: it can't be used, or is about another market or key.
    """

    def __init__(self, path: Path, market: tuple[str, str]) -> None:
        self.path = path
        with contextlib.ExitStack() as stack, _told(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.callback(os.close, _locked(path))
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = stack.enter_context(contextlib.closing(_connected(path)))
            self._prepare(market)
            self.memory = _memory(self._db)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Let others have it."""
        self._stack.close()

    def __enter__(self) -> "Keeper":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def keep(self, memory: Memory, outcome: Outcome | None = None, known: Known | None = None) -> None:
        """Write down what changed, and with it what became of an action, or what a round saw.

        Raises:
            NotKeptError: all is as it was.
        """
        try:
            with self._transaction():
                for field in msgspec.structs.fields(Memory):
                    value = getattr(memory, field.name)
                    if value != getattr(self.memory, field.name):
                        self._put(field.name, value)
                if outcome is not None:
                    self._log(outcome)
                if known is not None:
                    self._put("known", known)
        except sqlite3.Error as problem:
            raise NotKeptError(
                f"{self.path} can't be written ({problem}); nothing is done that could not be remembered."
            ) from problem
        self.memory = memory

    def _prepare(self, market: tuple[str, str]) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            self._db.execute("CREATE TABLE IF NOT EXISTS parts (name TEXT PRIMARY KEY, value BLOB NOT NULL)")
            self._db.execute("CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, line BLOB NOT NULL)")
            if self._db.execute("SELECT 1 FROM parts").fetchone() is None:
                self._put("about", _about(market))
                self._put("name", secrets.token_hex(8))
        _check_about(self._db, self.path, market)

    def _put(self, name: str, value: Any) -> None:
        self._db.execute(
            "INSERT INTO parts (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, msgspec.json.encode(value)),
        )

    def _log(self, outcome: Outcome) -> None:
        line = Done(
            at=outcome.at,
            action=outcome.action,
            done=outcome.done,
            detail=outcome.detail,
            unknown=outcome.unknown,
        )
        added = self._db.execute("INSERT INTO log (line) VALUES (?)", (msgspec.json.encode(line),))
        self._db.execute("DELETE FROM log WHERE id <= ?", ((added.lastrowid or 0) - LOG_ROWS_MAX,))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk has ended it already
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


class Glance(NamedTuple):
    """What a memory says to somebody who only looks: `known` of the last round, the last actions first."""

    memory: Memory
    known: Known | None
    log: list[Done]


def glance(path: Path, market: tuple[str, str], log_rows: int = 20) -> Glance | None:
    """What is in a memory that somebody may be writing; None where there is none yet.

    Raises:
        SetupError: it can't be read, or is about another market or key.
    """
    if not path.exists():
        return None
    with _told(path), contextlib.closing(_connected(path)) as db:
        _check_about(db, path, market)
        known = db.execute("SELECT value FROM parts WHERE name = 'known'").fetchone()
        rows = db.execute("SELECT line FROM log ORDER BY id DESC LIMIT ?", (log_rows,))
        return Glance(
            _memory(db),
            msgspec.json.decode(known[0], type=Known) if known else None,
            [msgspec.json.decode(row[0], type=Done) for row in rows],
        )


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def _memory(db: sqlite3.Connection) -> Memory:
    rows = db.execute("SELECT name, value FROM parts").fetchall()
    members = {field.name for field in msgspec.structs.fields(Memory)}
    return msgspec.convert(
        {name: msgspec.json.decode(value) for name, value in rows if name in members},
        Memory,
        strict=False,  # JSON has only text as names of members, ids are numbers
    )


def _about(market: tuple[str, str]) -> dict[str, Any]:
    return {"format": FORMAT, "base_url": market[0], "key": market[1]}


def _check_about(db: sqlite3.Connection, path: Path, market: tuple[str, str]) -> None:
    row = db.execute("SELECT value FROM parts WHERE name = 'about'").fetchone()
    if row is None or msgspec.json.decode(row[0]) != _about(market):
        raise SetupError(
            f"{path} is the memory of another market, API key or version; use another with --memory, or the"
            " address and key it was made with"
        )


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What goes wrong with the file, as a sentence."""
    try:
        yield
    except OSError as problem:
        raise SetupError(f"{path} can't be used: {problem.strerror or problem}") from problem
    except (sqlite3.Error, msgspec.MsgspecError) as problem:
        raise SetupError(
            f"{path} is not a memory that this version can read ({problem}); move it away to begin afresh,"
            " and see to running orders yourself"
        ) from problem


def _locked(path: Path) -> int:
    """A lock that ends with this process.

    Raises:
        AlreadyRunningError: somebody has it.
    """
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise AlreadyRunningError(f"Another process works with {path}; end it first.") from None
    return lock
