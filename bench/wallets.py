"""The answer of /wallets, with a key, from SQLite: the framework's floor, and the usual way to write it.

Measured: answers per second to wrk, over the same connections that stay open. The key's account has a few
running orders, whose cost until now is taken off.

Ours is `openclore serve` on a market with so many running orders. The floor is a handler in the same
framework on the same HTTP server that returns our reply's bytes and asks nobody. The peer does the same work
with FastAPI, async SQLAlchemy, aiosqlite and uvicorn, in one process as ours, on a copy of our database;
before measuring, it is checked to say the same.
"""

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from openclore.store.store import DATABASE_FILE

from .load import rate
from .market import Serving, sqlite_market
from .measure import NotMeasured, Row, Scale, in_turns
from .peers import FASTAPI, Missing, python_with
from .processes import KeptAlive, free_port, running, running_program, wait_for_answer

PATH = "/v1/wallets"


def measure(scale: Scale) -> list[Row | NotMeasured]:
    what = f"/wallets, {scale.orders:,} orders on the market"
    floor, peer = "a constant handler in the same framework and server", f"{FASTAPI[0]}, aiosqlite, uvicorn"
    rows: list[Row | NotMeasured] = []
    with sqlite_market(scale.orders, scale.orders) as market:
        for against, target, serving in ((floor, 0.4, _constant), (peer, 3.0, _fastapi)):
            try:
                with serving(market) as port:
                    rows.append(_row(what, against, target, market, port, scale))
            except Missing as missing:
                rows.append(NotMeasured(what=what, against=against, reason=str(missing)))
    return rows


def _row(what: str, against: str, target: float, market: Serving, port: int, scale: Scale) -> Row:
    ours, theirs = in_turns(
        lambda: rate(market.port, PATH, scale.load_seconds, headers=market.auth),
        lambda: rate(port, PATH, scale.load_seconds, headers=market.auth),
        scale.load_turns,
    )
    note = "with a key, SQLite"
    return Row(
        what=what, against=against, unit="/s", ours=ours, theirs=theirs, note=note, more=True, target=target
    )


@contextmanager
def _constant(market: Serving) -> Iterator[int]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="openclore-bench-") as folder:
        file = Path(folder) / "reply.json"
        file.write_bytes(_reply(market.port, market.auth))
        with running("bench.constant", str(port), str(file)) as process:
            wait_for_answer(process, port, "/readyz")
            yield port


@contextmanager
def _fastapi(market: Serving) -> Iterator[int]:
    python, port = python_with("fastapi", FASTAPI), free_port()
    program = Path(__file__).with_name("fastapi_wallets.py")
    with tempfile.TemporaryDirectory(prefix="openclore-bench-") as folder:
        copy = Path(folder) / DATABASE_FILE
        with (
            closing(sqlite3.connect(market.database.removeprefix("sqlite:///"))) as here,
            closing(sqlite3.connect(copy)) as there,
        ):
            here.backup(there)
        with running_program(str(python), str(program), str(port), str(copy)) as process:
            wait_for_answer(process, port, "/openapi.json")
            ours, theirs = (json.loads(_reply(at, market.auth)) for at in (market.port, port))
            assert ours == theirs, f"the two answers differ: {ours} and {theirs}"
            yield port


def _reply(port: int, auth: dict[str, str]) -> bytes:
    return KeptAlive(port, PATH, auth).get()
