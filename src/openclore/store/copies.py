"""A whole market in another database: backups, restoring them, moving from SQLite to PostgreSQL and back.

A backup is one SQLite file with all tables, whatever database the market runs on.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Table, delete, func, literal, select, text

from .store import Store, StoreError, database_url, open_database, open_store, revision
from .tables import leases, metadata

PAGE = 2_000
TABLES = [table for table in metadata.sorted_tables if table is not leases]
"""All that is the market's, each after those it points to. Who leads its processes is not."""


class NotEmpty(Exception):
    """There is a market already where one should be copied to; nothing was changed."""


def copy_market(source: Store, target: Store, *, overwrite: bool = False) -> dict[str, int]:
    """Copy all tables as they are at one moment, all or nothing; rows by table.

    The source goes on meanwhile. With `overwrite`, what was in the target is gone.

    Raises:
        NotEmpty: the target has something already, and may not be overwritten.
    """
    with source.reading() as read, target.writing() as write:
        if any(_rows(write, table) for table in TABLES):
            if not overwrite:
                raise NotEmpty("the database has a market already, nothing was changed")
            for table in reversed(TABLES):
                write.execute(delete(table))
        copied = {table.name: _copy(read, write, table) for table in TABLES}
        for table in TABLES:
            if table.dialect_options["sqlite"]["autoincrement"]:
                _set_last_id(write, table, _last_id(read, table))
        return copied


def back_up(store: Store, file: Path) -> None:
    """Write the market as it is now to a new file, readable by its owner only, while it runs.

    All that was committed before is in it. The file appears when it is complete and on the disk.

    Raises:
        StoreError: the file is there already, or can't be written.
    """
    if file.exists():
        raise StoreError(f"{file} is there already, choose another name")
    partial = file.with_name(f"{file.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600, exist_ok=False)
        try:
            if store.shared:
                _export(store, partial)
            else:
                _vacuum(Path(store.engine.url.database or ""), partial)
            _sync(partial)
            partial.rename(file)
            _sync(file.parent)
        finally:
            for left in ("", "-wal", "-shm", "-journal"):
                Path(f"{partial}{left}").unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"can't write the backup {file}: {error}") from error


def restore(file: Path, store: Store, *, overwrite: bool = False) -> dict[str, int]:
    """Make a market from a backup, all or nothing; rows by table. One of an earlier release is brought up.

    Raises:
        StoreError: the file is no backup of a market.
        NotEmpty: there is a market already, and it may not be overwritten.
    """
    with _backup_to_read(file) as backup:
        return copy_market(backup, store, overwrite=overwrite)


@contextmanager
def _backup_to_read(file: Path) -> Iterator[Store]:
    """A backup's tables as they are now. It works on a copy: backups stay as they are."""
    with tempfile.TemporaryDirectory(prefix="openclore-restore-") as folder:
        url = database_url(Path(folder))
        try:
            shutil.copyfile(file, url.removeprefix("sqlite:///"))
        except OSError as error:
            raise StoreError(f"can't read the backup {file}: {error.strerror}") from error
        with closing(open_database(url)) as found:
            if revision(found) is None:
                raise StoreError(f"{file} is no backup of a market")
        with closing(open_store(url)) as backup:
            yield backup


def _export(store: Store, file: Path) -> None:
    with closing(open_store(f"sqlite:///{file}")) as target:
        copy_market(store, target)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


def _vacuum(source: Path, file: Path) -> None:
    """Unlike the copying of pages, this leaves out what was deleted: secrets of ended orders too."""
    with closing(sqlite3.connect(source, isolation_level=None)) as connection:
        connection.execute("VACUUM INTO ?", (str(file),))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _rows(tx: Connection, table: Table) -> bool:
    return tx.execute(select(literal(1)).select_from(table).limit(1)).first() is not None


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
