"""A PostgreSQL that is stopped in mid-air, not gone: everybody is answered in time, and then it goes on."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from openclore.server import app, metrics, service, writer
from openclore.server.settings import Settings
from openclore.store.store import Store, open_store

from ..conftest import Postgres
from ..processes import until
from .conftest import Door, a_door
from .scrapes import Samples, scrape

SOON_SECONDS = 0.5
TOKEN = "scraper"
ORDER = {"renting_server": 1, "type": "on-demand", "currency": "USD-Blockchain", "image": "busybox"}


@pytest.fixture
def door(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    for module, name in (
        (service, "READ_SECONDS"),
        (app, "READY_SECONDS"),
        (metrics, "LOOK_SECONDS"),
        (writer, "ANSWER_SECONDS"),
    ):
        monkeypatch.setattr(module, name, SOON_SECONDS)
    with postgres.database("migrated") as address:
        store = open_store(address)
        with a_door(store, Settings(metrics_token=TOKEN)) as door:
            yield door


@contextmanager
def stopped(postgres: Postgres, store: Store) -> Iterator[None]:
    """The server takes no new connections, and the processes of those that stand do nothing."""
    running = postgres.connection.execute(
        text("SELECT pid FROM pg_stat_activity WHERE datname = :name"), {"name": store.engine.url.database}
    )
    folder = Path(postgres.connection.execute(text("SHOW data_directory")).scalar_one())
    first = int((folder / "postmaster.pid").read_text().split()[0])
    pids = [first, *running.scalars()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def figures(door: Door) -> Samples:
    return scrape(door.http, TOKEN)


def test_while_the_database_is_stopped_everybody_is_answered_in_time(door: Door, postgres: Postgres) -> None:
    store = door.world.store
    door.world.credit("10")
    store.turn_seconds = SOON_SECONDS
    assert door.call("wallets")[0] == 200
    once = {"Idempotency-Key": "k-1"}
    with stopped(postgres, store):
        silent = "the market's database can't be reached: nothing was done, try again later"
        assert door.call("wallets") == (500, {"code": 1, "error": silent})
        unclear = "the database failed, look before trying again"
        assert door.call("create_order", ORDER, headers=once) == (500, {"code": 1, "error": unclear})
        assert door.call("create_order", ORDER)[1] == {"code": 6, "error": "wait"}
        assert door.call("marketplace", key=None)[0] == 200
        assert door.http.get("/readyz").status_code == 503
        assert figures(door)["openclore_database_answers"] == {(): 0}
    until(lambda: door.http.get("/readyz").status_code == 200)
    until(lambda: door.call("create_order", ORDER, headers=once)[1]["code"] == 0)
    assert len(door.world.orders()) == 1
    until(lambda: figures(door)["openclore_database_answers"] == {(): 1})
    assert door.world.difference() is None
