"""A whole market in another database: backups, restoring them, moving from SQLite to PostgreSQL and back.

A backup is one SQLite file with all tables, whatever database the market runs on, and a digest of them.
"""

import hashlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, MetaData, Table, delete, func, literal, select, text

from .serving import unserved
from .store import Store, StoreError, database_url, migrate, open_database, open_store, revision, shown
from .tables import leases, metadata

PAGE = 2_000
TABLES = [table for table in metadata.sorted_tables if table is not leases]
"""All that is the market's, each after those it points to. Who leads its processes is not."""
_GIVING_IDS = {table.name for table in TABLES if table.dialect_options["sqlite"]["autoincrement"]}


class NotEmpty(Exception):
    """There is a market already where one should be copied to; nothing was changed."""


def copy_market(source: Store, target: Store, *, overwrite: bool = False) -> dict[str, int]:
    """Copy a market of this release as it is at one moment, all or nothing; rows by table.

    The source goes on meanwhile. The target gets its tables; with `overwrite`, what was in it is gone.

    Raises:
        NotEmpty: the target has something already, and may not be overwritten.
        Served: somebody serves the target.
        StoreError: the target can't be reached, or is no database of a market.
    """
    revision(target)
    with unserved(target), source.reading() as read, target.writing() as write:
        migrate(target)
        if any(_rows(write, table) for table in TABLES):
            if not overwrite:
                raise NotEmpty(f"{shown(target)} has a market already, nothing was changed")
            for table in reversed(TABLES):
                write.execute(delete(table))
        return _copy_tables(read, write, TABLES)


def back_up(store: Store, file: Path) -> None:
    """Write the market as it is now to a new file, readable by its owner only, while it runs.

    All that was committed before is in it, with the tables it has: they may be an earlier release's. The file
    appears when it is complete and on the disk.

    Raises:
        StoreError: there is no market or it is damaged, or the file is there already or can't be written.
    """
    found = revision(store)
    if found is None:
        raise StoreError(f"there is no market in {shown(store)}")
    if file.exists():
        raise StoreError(f"{file} is there already, choose another name")
    partial = file.with_name(f"{file.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600, exist_ok=False)
        try:
            if store.shared:
                _export(store, partial, found)
            else:
                _vacuum(Path(store.engine.url.database or ""), partial)
            _seal(partial)
            _sync(partial)
            partial.rename(file)
            _sync(file.parent)
        finally:
            for left in ("", "-wal", "-shm", "-journal"):
                Path(f"{partial}{left}").unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as error:
        damage = isinstance(error, sqlite3.Error) and not store.shared and _damage(store)
        if damage:
            raise StoreError(f"{shown(store)} is damaged: {damage}") from error
        raise StoreError(f"can't write the backup {file}: {error}") from error


def _damage(store: Store) -> str | None:
    """What is wrong with a SQLite file. Copying it can fail by that in words about the copy, as about a full
    disk.
    """
    try:
        with closing(sqlite3.connect(shown(store))) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found == "ok":
                _digest(connection)
    except (sqlite3.Error, UnicodeError) as error:
        found = _without_content(error)
    return None if found == "ok" else " ".join(found.split())


def _without_content(error: Exception) -> str:
    """What went wrong, but not in what: that may be a secret.

    >>> _without_content(sqlite3.OperationalError("Could not decode to UTF-8 column 'env' with text 'xyz'"))
    "Could not decode to UTF-8 column 'env'"
    """
    return "not text" if isinstance(error, UnicodeError) else str(error).partition(" with text ")[0]


@contextmanager
def opened_backup(file: Path) -> Iterator[Store]:
    """A backup's market, unharmed and with the tables of this release. It works on a copy: backups stay as
    they are.

    Raises:
        StoreError: the file is no backup, is damaged, or was made by a newer release.
    """
    with tempfile.TemporaryDirectory(prefix="openclore-restore-") as folder:
        url = database_url(Path(folder))
        copy = Path(url.removeprefix("sqlite:///"))
        try:
            shutil.copyfile(file, copy)
        except OSError as error:
            raise StoreError(f"can't read the backup {file}: {error.strerror}") from error
        _check(copy, file)
        try:
            backup = open_store(url)
        except StoreError as error:
            raise StoreError(
                f"can't bring {file} up to this release, was it made by a newer one? {error.__cause__}"
            ) from error
        with closing(backup):
            yield backup


def _check(copy: Path, file: Path) -> None:
    """
    Raises:
        StoreError: the file, of which this is a copy, is no backup, or not as it was made.
    """
    with copy.open("rb") as opened:
        if opened.read(16) != b"SQLite format 3\0":
            raise StoreError(f"{file} is no backup of a market")
    try:
        with closing(sqlite3.connect(copy)) as connection:
            if ("backup_digest",) not in connection.execute("SELECT name FROM sqlite_master"):
                raise StoreError(f"{file} is no backup of a market")
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if found == "ok" and not _is_as_sealed(connection):
                found = "its rows are not those it was made with"
    except (sqlite3.Error, UnicodeError) as error:
        found = _without_content(error)
    if found != "ok":
        raise StoreError(f"{file} is damaged: {' '.join(found.split())}")


def _export(store: Store, file: Path, found: str) -> None:
    with closing(open_database(f"sqlite:///{file}")) as target:
        migrate(target, found)
        with store.reading() as read, target.writing() as write:
            tables = MetaData()
            tables.reflect(write, only=lambda name, _: name not in (leases.name, "alembic_version"))
            _copy_tables(read, write, tables.sorted_tables)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


def _vacuum(source: Path, file: Path) -> None:
    """Unlike the copying of pages, this leaves out what was deleted: secrets of ended orders too."""
    with closing(sqlite3.connect(source, isolation_level=None)) as connection:
        connection.execute("VACUUM INTO ?", (str(file),))


def _seal(file: Path) -> None:
    """Write into a backup what tells whether it still is as it was made."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("DROP TABLE IF EXISTS backup_digest")
        connection.execute("CREATE TABLE backup_digest (sha256 TEXT NOT NULL)")
        connection.execute("INSERT INTO backup_digest VALUES (?)", (_digest(connection),))


def _is_as_sealed(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT sha256 FROM backup_digest").fetchall() == [(_digest(connection),)]


def _digest(connection: sqlite3.Connection) -> str:
    """SHA-256 over how all tables but that of the digest are made, and all their rows."""
    made = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name <> 'backup_digest' ORDER BY name"
    ).fetchall()
    digest = hashlib.sha256(repr(made).encode())
    for table in (name for kind, name, *_ in made if kind == "table"):
        for row in connection.execute(f'SELECT * FROM "{table}" NOT INDEXED'):  # noqa: S608
            digest.update(repr(row).encode())
    return digest.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _rows(tx: Connection, table: Table) -> bool:
    return tx.execute(select(literal(1)).select_from(table).limit(1)).first() is not None


def _copy_tables(read: Connection, write: Connection, tables: Sequence[Table]) -> dict[str, int]:
    copied = {table.name: _copy(read, write, table) for table in tables}
    for table in tables:
        if table.name in _GIVING_IDS:
            _set_last_id(write, table, _last_id(read, table))
    return copied


def _copy(read: Connection, write: Connection, table: Table) -> int:
    count = 0
    with read.execute(select(table).execution_options(yield_per=PAGE)) as rows:
        for page in rows.mappings().partitions():
            write.execute(table.insert(), [dict(row) for row in page])
            count += len(page)
    return count


def _last_id(tx: Connection, table: Table) -> int:
    """The last id that the table gave, so that none is given twice, even if its row is gone."""
    highest = tx.execute(select(func.max(table.c.id))).scalar_one() or 0
    if tx.dialect.name == "sqlite":
        given = text("SELECT seq FROM sqlite_sequence WHERE name = :table")
        return max(highest, tx.execute(given, {"table": table.name}).scalar_one_or_none() or 0)
    given = text("SELECT pg_sequence_last_value(pg_get_serial_sequence(:table, 'id')::regclass)")
    return max(highest, tx.execute(given, {"table": table.name}).scalar_one() or 0)


def _set_last_id(tx: Connection, table: Table, last: int) -> None:
    names = {"table": table.name, "last": last}
    if tx.dialect.name == "sqlite":
        tx.execute(text("DELETE FROM sqlite_sequence WHERE name = :table"), names)
        tx.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :last)"), names)
    elif last:
        tx.execute(text("SELECT setval(pg_get_serial_sequence(:table, 'id'), :last)"), names)
