"""Whether a market is being served: what would be gone, or missing, then waits until it is not."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import inspect

from . import leases
from .store import Store, StoreError, shown


class Served(StoreError):
    """Somebody serves this market; nothing was done."""


@contextmanager
def unserved(store: Store) -> Iterator[None]:
    """Nobody serves this market; a SQLite file can't be served either while this lasts.

    Raises:
        Served: somebody does, or died a few seconds ago.
    """
    if not store.shared:
        with alone_on(store):
            yield
        return
    with store.reading() as tx:
        if inspect(tx).has_table("leases") and leases.any_is_held(tx):
            raise Served(f"a server is running on {shown(store)}, or was a moment ago: stop it first")
    yield


@contextmanager
def alone_on(store: Store) -> Iterator[None]:
    """Hold a SQLite file for this process; let go by leaving, or by dying.

    Raises:
        Served: another process has it.
        StoreError: its folder can't be written.
    """
    try:
        held = os.open(Path(f"{store.engine.url.database}.serving"), os.O_RDONLY | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(f"can't hold the database {shown(store)}: {error}") from error
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Served(f"a server is running on {shown(store)}: stop it first") from None
        yield
    finally:
        os.close(held)
