"""Several processes on one PostgreSQL: one acts for the market, and never one that was paused meanwhile."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from sqlalchemy import Connection as Transaction
from sqlalchemy import text

from openclore.rules.policy import Policy
from openclore.server import lease as leases
from openclore.server.lease import Lease, LeaseLost
from openclore.server.loops import Loop
from openclore.server.service import Service
from openclore.store import ledger
from openclore.store import store as stores
from openclore.store.ledger import LedgerAccount
from openclore.store.store import Store, open_store
from openclore.usecases import hosts, settlement
from openclore.usecases.market import Market

from ..conftest import Postgres
from ..processes import until
from ..world import World


@pytest.fixture
def address(postgres: Postgres) -> Iterator[str]:
    with postgres.database("migrated") as address:
        yield address


@pytest.fixture
def shared_store(address: str) -> Iterator[Store]:
    with closing(open_store(address)) as opened:
        yield opened


@pytest.fixture
def world(shared_store: Store) -> World:
    """An order that has used up its wallet, which nobody has noticed yet."""
    world = World(shared_store)
    world.credit("0.15")
    world.rent()
    world.jump(7_200)
    return world


def posted(world: World) -> int:
    with world.store.reading() as tx:
        return int(tx.execute(text("SELECT count(*) FROM transfers")).scalar_one())


def a_loop(world: World) -> Loop:
    service = Service(world.market, lambda: world.now)
    service.start()
    return Loop(service)


def test_one_loop_acts_and_the_other_when_it_lets_go(world: World) -> None:
    first, second = Lease(world.market, "loop"), Lease(world.market, "loop")
    assert first.hold() is not None
    assert second.hold() is None
    assert first.hold() is not None
    first.release()
    assert second.hold() is not None
    assert first.hold() is None


def test_what_a_loop_did_not_get_to_is_done_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is held up between its lease and its first transaction."""
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.05)
    held_up, other = a_loop(world), a_loop(world)
    before, sweep, running = posted(world), hosts.sweep, list[str]()

    def turned_and_posted() -> bool:
        other.turn()
        return posted(world) > before

    def sweep_late(market: Market, now: int) -> None:
        if not running:
            running.append("the other")
            until(turned_and_posted, what="the other loop to settle")
            running.append("both")
        sweep(market, now)

    monkeypatch.setattr(hosts, "sweep", sweep_late)
    held_up.turn()
    assert running == ["the other", "both"]
    assert world.orders()[1].end_reason == "exhausted"
    assert world.difference() is None


def test_a_process_that_is_paused_while_it_acts_writes_nothing_when_it_wakes(
    address: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.2)
    context = multiprocessing.get_context("forkserver")
    hears, tells = context.Pipe(duplex=False)
    process = context.Process(target=settle_after_a_pause, args=(address, world.now, tells))
    process.start()
    try:
        pid = process.pid or 0
        until(lambda: hears.poll() and hears.recv() == "pausing")
        until(
            lambda: "T (stopped)" in Path(f"/proc/{pid}/status").read_text(), what="the process to be paused"
        )
        before, other = posted(world), Lease(world.market, "loop")
        market = until(other.hold, what="the lease to run out")
        assert market is not None
        settlement.settle_due(market, world.now)
        after = posted(world)
        assert after > before
        os.kill(pid, signal.SIGCONT)
        assert hears.poll(20)
        assert hears.recv() == "refused"
        assert posted(world) == after
        assert world.orders()[1].end_reason == "exhausted"
        assert world.difference() is None
        assert other.hold() is not None
    finally:
        process.kill()
        process.join()


def settle_after_a_pause(address: str, now: int, tells: Connection) -> None:
    """What a loop does, paused when it has looked which wallets are due."""
    leases.LEASE_SECONDS = 0.2
    wallets_due = ledger.wallets_due

    def paused(tx: Transaction, now: int) -> list[LedgerAccount]:
        due = wallets_due(tx, now)
        tells.send("pausing")
        os.kill(os.getpid(), signal.SIGSTOP)
        return due

    ledger.wallets_due = paused
    with closing(open_store(address)) as store:
        market = Lease(Market(store, Policy()), "loop").hold()
        assert market is not None
        try:
            settlement.settle_due(market, now)
        except* LeaseLost:
            tells.send("refused")
        else:
            tells.send("posted")


def test_a_writer_that_falls_silent_in_a_transaction_loses_its_turn(
    address: str, shared_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(store: Store, pause_seconds: float) -> None:
        with store.writing() as tx:
            tx.execute(text("INSERT INTO rates (currency, usd, at) VALUES ('bitcoin', 1, 0)"))
            time.sleep(pause_seconds)
            tx.execute(text("UPDATE rates SET usd = 2"))

    with monkeypatch.context() as patch, closing(open_store(address)) as paused:
        patch.setattr(stores, "PAUSE_SECONDS", 0.2)
        with pytest.raises(Exception, match="idle-in-transaction"):
            write(paused, 0.6)
    write(shared_store, 0)
    with shared_store.reading() as tx:
        assert tx.execute(text("SELECT usd FROM rates")).scalar_one() == 2
