"""A database that takes no changes for a while: code 1 says so, nothing is lost, and then it goes on."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, text
from structlog.testing import capture_logs

from openclore.server.loops import Loop
from openclore.store.store import Store, open_store

from ..conftest import Postgres
from .conftest import Door, a_door

ORDER = {
    "renting_server": 1,
    "type": "on-demand",
    "currency": "USD-Blockchain",
    "image": "busybox",
    "command": "x" * 10_000,
    "ssh_password": "s3cret-word",
}
READ_ONLY = {
    "sqlite": ("PRAGMA query_only = on", "PRAGMA query_only = off"),
    "postgresql": (
        "SET default_transaction_read_only = on",
        "SET default_transaction_read_only = off",
    ),
}
FULL = "PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1073741823"
"""No page more than there are."""


@contextmanager
def every_connection(door: Door, before: str, after: str) -> Iterator[None]:
    """Tell connections one thing as they are taken, and another from then on."""
    said = [before]

    def tell(connection: Any, *_: Any) -> None:
        connection.execute(said[0])
        connection.commit()

    event.listen(door.world.store.engine, "checkout", tell)
    yield
    said[0] = after


def order(door: Door, key: str = "k-1") -> tuple[int, Any]:
    return door.call("create_order", ORDER, headers={"Idempotency-Key": key})


def test_a_read_only_database_refuses_writes_and_answers_reads(any_door: Door) -> None:
    door = any_door
    door.world.credit("10")
    statements = READ_ONLY[door.world.store.engine.dialect.name]
    with every_connection(door, *statements), capture_logs() as logs:
        refused = "the market's database takes no changes at present: nothing was done, try again later"
        assert order(door) == (500, {"code": 1, "error": refused})
        assert door.call("wallets")[1]["wallets"][2]["balance"] == 10
        assert door.call("my_orders")[1]["orders"] == []
    assert logs[0]["event"] == "database error"
    assert "only" in logs[0]["error"]
    assert order(door)[1]["code"] == 0
    assert len(door.world.orders()) == 1
    assert door.world.difference() is None


def test_a_full_disk_refuses_what_needs_room_and_nothing_is_half_done(door: Door) -> None:
    door.world.credit("10")
    for number in range(2, 16):
        door.world.add_server(f"rack-{number}")
    made = 0
    with every_connection(door, *FULL):
        for number in range(1, 16):
            status, reply = door.call(
                "create_order",
                ORDER | {"renting_server": number},
                headers={"Idempotency-Key": f"k-{number}"},
            )
            made += status == 200
        refused = "the disk of the market's database is full: nothing was done, try again later"
        assert (status, reply) == (500, {"code": 1, "error": refused})
        assert len(door.world.orders()) == made < 15
        assert door.world.difference() is None
    assert order(door, f"k-{number}")[0] == 200
    assert door.world.difference() is None


def test_a_full_disk_of_postgresql_is_said_as_such(postgres: Postgres) -> None:
    """Its disk is not really full: the database says what it would say then."""
    with (
        postgres.database("migrated") as address,
        closing(open_store(address)) as store,
        a_door(store) as door,
    ):
        door.world.credit("10")
        with store.writing() as tx:
            raising = "BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END"
            tx.exec_driver_sql(
                f"CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ {raising} $$"
            )
            tx.exec_driver_sql(
                "CREATE TRIGGER full_disk BEFORE INSERT ON transfers EXECUTE FUNCTION full_disk()"
            )
        refused = "the disk of the market's database is full: nothing was done, try again later"
        assert order(door) == (500, {"code": 1, "error": refused})
        assert door.world.orders() == {}
        with store.writing() as tx:
            tx.exec_driver_sql("DROP TRIGGER full_disk ON transfers")
        assert order(door)[1]["code"] == 0
        assert door.world.difference() is None


def test_the_loop_charges_later_what_it_could_not_write(any_door: Door) -> None:
    door = any_door
    door.world.credit("0.15")
    rented = door.world.rent()
    loop = Loop(door.service)
    door.world.jump(7_200)
    with every_connection(door, *READ_ONLY[door.world.store.engine.dialect.name]):
        asyncio.run(loop.turn_safely())
        assert door.http.get("/readyz").status_code == 503
        assert door.world.orders()[rented.id].end_reason is None
    asyncio.run(loop.turn_safely())
    assert door.http.get("/readyz").status_code == 200
    assert door.world.orders()[rented.id].end_reason == "exhausted"
    assert door.world.difference() is None


def test_errors_of_the_database_show_no_values(any_door: Door) -> None:
    store = any_door.world.store
    with pytest.raises(Exception, match="no_such_table") as caught, store.writing() as tx:
        tx.execute(text("UPDATE no_such_table SET password = :password"), {"password": "s3cret-word"})
    assert "s3cret-word" not in str(caught.value)


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_a_database_that_can_not_be_reached_did_nothing_and_that_is_said(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_door(store) as door:
        door.world.credit("10")
        store.engine.dispose()
        away = "the market's database can't be reached: nothing was done, try again later"
        nobody_there = partial(psycopg.connect, "host=127.0.0.1 port=1")
        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr(psycopg, "connect", lambda *_, **__: nobody_there())
            assert order(door) == (500, {"code": 1, "error": away})
            assert door.call("wallets") == (500, {"code": 1, "error": away})
        assert all("refused" in entry["error"] and not entry.get("exception") for entry in logs)
        assert order(door)[1]["code"] == 0
        assert len(door.world.orders()) == 1
