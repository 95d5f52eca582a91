"""Noticing that a SQLite file has changed, for less than reading it."""

import sqlite3
import threading


class Marks:
    """Callable from any thread."""

    def __init__(self, file: str) -> None:
        self._connection = sqlite3.connect(file, timeout=0, check_same_thread=False, isolation_level=None)
        self._lock = threading.Lock()

    def current(self) -> int | None:
        """A number that is another one after any other connection, of any process, has committed a change;
        None if the file can't be asked at once.
        """
        try:
            with self._lock:
                (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            return None
        return int(version)

    def close(self) -> None:
        with self._lock:
            self._connection.close()
