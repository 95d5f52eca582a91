"""`openclore serve` on a market that is full from the start."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from openclore.store.store import database_url

from .prefill import SERVE_SETTINGS, Filled, fill
from .processes import free_port, running, wait_for_answer


@dataclass(frozen=True)
class Serving:
    """A market that answers on a port; `pid` is its process, `auth` what a keyed call sends, `database` its
    address.
    """

    port: int
    pid: int
    auth: dict[str, str]
    database: str


@contextmanager
def sqlite_market(servers: int, orders: int = 0) -> Iterator[Serving]:
    """On a SQLite file of its own, durable as always, on the disk where temporary files lie."""
    with tempfile.TemporaryDirectory(prefix="openclore-bench-") as name:
        url = database_url(Path(name))
        filled = fill(url, servers, orders)
        with serving(url, filled) as market:
            yield market


@contextmanager
def serving(url: str, filled: Filled, settings: Mapping[str, str] | None = None) -> Iterator[Serving]:
    """`settings` go before those that suit a benchmark."""
    port = free_port()
    words = ("openclore", "serve", "--port", str(port))
    chosen = {**SERVE_SETTINGS, "OPENCLORE_DATABASE_URL": url, **(settings or {})}
    with running(*words, settings=chosen) as process:
        wait_for_answer(process, port, "/readyz")
        yield Serving(port, process.pid, {"auth": filled.secret}, url)
