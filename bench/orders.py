"""create_order and cancel_order, each durable when it is answered: calls per second.

Ours is `openclore serve`, asked by wrk: each of eight connections rents a server of its own with a key of its
own, cancels, and begins again, on a market where so many other orders run.

The peer on PostgreSQL is its own benchmark, pgbench, tpcb-like, with as many connections on the same server
with its default settings. The floor on SQLite is a bare loop of the sqlite3 module, synchronous FULL, that
makes the same changes to the same rows: all that our use cases write for such calls, recorded beforehand.
"""

import json
import re
import shutil
import sqlite3
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import event

from openclore.api.orders import CancelOrder, CreateOrder
from openclore.rules.policy import Policy
from openclore.store.store import DATABASE_FILE, database_url, open_store
from openclore.usecases import accounts, orders
from openclore.usecases.market import Market

from .load import rate
from .market import Serving, serving
from .measure import NotMeasured, Row, Scale, in_turns
from .peers import Missing
from .postgres import for_sqlalchemy, postgres
from .prefill import BALANCE, CURRENCY, SILENCE_SECONDS, Filled, fill

CONNECTIONS = 8
SCRIPT = Path(__file__).with_suffix(".lua")
PAUSE_SECONDS = 0.5
POLICY = Policy(offline_after_seconds=SILENCE_SECONDS, host_lost_after_seconds=SILENCE_SECONDS)


@dataclass(frozen=True)
class Renter:
    account_id: int
    secret: str


def measure(scale: Scale) -> list[Row | NotMeasured]:
    what = f"create_order and cancel_order, {scale.orders:,} other orders"
    rows: list[Row | NotMeasured] = []
    for against, on in (("pgbench, tpcb-like", _on_postgresql), ("a bare sqlite3 loop", _on_sqlite)):
        try:
            rows.append(on(what, scale))
        except Missing as missing:
            rows.append(NotMeasured(what=what, against=against, reason=str(missing)))
    return rows


def _on_postgresql(what: str, scale: Scale) -> Row:
    seconds = max(1, round(2 * scale.load_seconds))
    with postgres() as server:
        peer = server.new_database("pgbench")
        server.pgbench(peer, "-i", "-q", "-s", str(scale.pgbench_scale))
        url = for_sqlalchemy(server.new_database("market"))
        filled, renters = prepared(url, scale.orders)

        def theirs() -> float:
            said = server.pgbench(peer, "-c", str(CONNECTIONS), "-T", str(seconds))
            found = re.search(r"tps = ([\d.]+)", said)
            assert found, said
            return float(found[1])

        with serving(url, filled) as market:
            samples = in_turns(
                lambda: calls(market, renters, scale.orders, scale.load_seconds), theirs, scale.load_turns
            )
    return Row(
        what=what,
        against=f"pgbench, tpcb-like, scale {scale.pgbench_scale}, transactions on the same server",
        unit="/s",
        ours=samples[0],
        theirs=samples[1],
        note="PostgreSQL with its default settings; calls, each durable when it is answered",
        more=True,
        target=0.25,
    )


def _on_sqlite(what: str, scale: Scale) -> Row:
    with tempfile.TemporaryDirectory(prefix="openclore-bench-") as name:
        folder = Path(name)
        url = database_url(folder / "market")
        filled, renters = prepared(url, scale.orders)
        floor = _bare_loop(folder, scale, renters)
        with serving(url, filled) as market:
            samples = in_turns(
                lambda: calls(market, renters, scale.orders, scale.load_seconds), floor, scale.load_turns
            )
    return Row(
        what=what,
        against="a bare sqlite3 loop that writes the same rows",
        unit="/s",
        ours=samples[0],
        theirs=samples[1],
        note="SQLite, synchronous FULL; calls, each durable when it is answered",
        more=True,
        target=0.3,
    )


def prepared(url: str, running: int) -> tuple[Filled, list[Renter]]:
    """A market with so many running orders, and for each connection a free server and a renter with money."""
    filled = fill(url, running + CONNECTIONS, running)
    now = int(time.time())
    with closing(open_store(url)) as store:
        market = Market(store, POLICY)
        return filled, [_add_renter(market, f"caller-{i}@example.org", now) for i in range(CONNECTIONS)]


def _add_renter(market: Market, email: str, now: int) -> Renter:
    account = accounts.create_account(market, email, now)
    accounts.credit(market, email, CURRENCY, BALANCE, now, email)
    return Renter(account.id, accounts.create_key(market, email, "bench", now)[1])


def calls(market: Serving, renters: list[Renter], running: int, seconds: float) -> float:
    """Per second, after what was under way at the end of the turn before is cancelled."""
    keys = [renter.secret for renter in renters]
    left = True
    while left:
        time.sleep(PAUSE_SECONDS)  # what a caller that hung up had asked for may yet be made
        left = sum(_cancelled(market, key) for key in keys) > 0
    return rate(
        market.port,
        "/",
        2 * seconds,
        connections=CONNECTIONS,
        script=SCRIPT,
        arguments=(str(running + 1), *keys),
    )


def _cancelled(market: Serving, key: str) -> int:
    """How many orders there were to cancel."""
    orders = _ask(market, key, "my_orders")["orders"]
    for order in orders:
        _ask(market, key, "cancel_order", {"id": order["id"]})
    return len(orders)


def _ask(market: Serving, key: str, endpoint: str, body: object = None) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{market.port}/v1/{endpoint}",
        headers={"auth": key, "Content-Type": "application/json"},
        data=None if body is None else json.dumps(body).encode(),
    )
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 -- our own server
        reply: dict[str, Any] = json.load(response)
    return reply


Writes = list[list[tuple[str, Any, bool]]]
"""Transactions of statements with their parameters, and whether these are many."""


def _bare_loop(folder: Path, scale: Scale, renters: list[Renter]) -> Callable[[], float]:
    """A loop that makes, on a copy, what our use cases write for such calls; it returns calls per second."""
    before, recorded = folder / "before.db", folder / "recorded"
    recorded.mkdir()
    shutil.copy(folder / "market" / DATABASE_FILE, before)
    shutil.copy(before, recorded / DATABASE_FILE)
    writes = _recorded(database_url(recorded), scale, renters)

    def loop() -> float:
        copy = folder / "copy.db"
        for left in folder.glob("copy.db*"):
            left.unlink()
        shutil.copy(before, copy)
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                connection.execute(f"PRAGMA {pragma}")
            started = time.perf_counter()
            for transaction in writes:
                connection.execute("BEGIN IMMEDIATE")
                for statement, parameters, many in transaction:
                    if many:
                        connection.executemany(statement, parameters)
                    else:
                        connection.execute(statement, parameters).fetchall()
                connection.execute("COMMIT")
            return len(writes) / (time.perf_counter() - started)

    return loop


def _recorded(url: str, scale: Scale, renters: list[Renter]) -> Writes:
    writes: Writes = []
    with closing(open_store(url)) as store:

        @event.listens_for(store.engine, "before_cursor_execute")
        def record(_: Any, __: Any, statement: str, parameters: Any, ___: Any, many: bool) -> None:
            if statement.startswith("BEGIN IMMEDIATE"):
                writes.append([])
            elif statement.startswith(("INSERT", "UPDATE", "DELETE")):
                writes[-1].append((statement, parameters, many))

        market, now = Market(store, POLICY), int(time.time())
        for _ in range(max(1, round(scale.load_seconds * 20))):
            for place, renter in enumerate(renters):
                wanted = CreateOrder(
                    renting_server=scale.orders + 1 + place,
                    type="on-demand",
                    currency=CURRENCY,
                    image="ubuntu:24.04",
                    ports={"22": "tcp"},
                )
                made = orders.create_order(market, renter.account_id, wanted, now)
                assert made.order
                orders.cancel_order(market, renter.account_id, CancelOrder(id=made.order.id), now)
    return writes
