"""Calls that come at the same time share a commit, and nothing else."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import msgspec
import psycopg
import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError, OperationalError

from openclore.api.orders import CreateOrder
from openclore.rules.refused import Refused
from openclore.server import writer as writers
from openclore.server.writer import NotShown, Writer
from openclore.store import events
from openclore.store.failures import Cause, cause
from openclore.store.store import Store, StoreBusy
from openclore.usecases import accounts, idempotency, orders
from openclore.usecases.idempotency import Answered, Once

from ..world import USD, World

Call = Callable[[], Any]
on_postgresql = pytest.mark.parametrize("store", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, all that wait are together."""
    monkeypatch.setattr(writers, "TOGETHER_SECONDS", 60)


def at_once(store: Store, calls: list[Call], follow: Call = lambda: None) -> list[Any]:
    """What came of calls that all waited when the first one's turn came: results, or what they raised."""

    async def ask() -> list[Any]:
        writer = Writer(store, follow)
        with suppress(_Enough), store.writing():
            asked = [asyncio.create_task(writer.make(call)) for call in calls]
            await asyncio.sleep(0)
            raise _Enough
        return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(ask())


class _Enough(Exception):
    """Leaves a transaction without committing anything."""


class Notes:
    """Calls that each write down a number, and how often each was made."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.made: Counter[int] = Counter()

    def call(self, number: int, then: Callable[[Connection], None] = lambda tx: None) -> Call:
        def note() -> int:
            with self.store.writing() as tx:
                self.made[number] += 1
                events.append(tx, events.Kind.RATES_SET, number)
                then(tx)
            return number

        return note

    def kept(self) -> list[int]:
        with self.store.reading() as tx:
            return [event.at for event in events.after(tx, 0)]


@pytest.fixture
def notes(store: Store) -> Notes:
    return Notes(store)


@contextmanager
def before_commits(store: Store, happens: Callable[[Connection], None]) -> Iterator[None]:
    """Let something happen whenever what was written is about to be committed."""

    def about_to(tx: Connection) -> None:
        if getattr(store._mine, "connection", None) is tx:
            happens(tx)

    event.listen(store.engine, "commit", about_to)
    yield
    event.remove(store.engine, "commit", about_to)


def refuse(_: Connection) -> None:
    raise Refused("wait")


def err(tx: Connection) -> None:
    tx.exec_driver_sql("SELECT no_such_member")


def kill(store: Store, tx: Connection) -> None:
    """End the connection of a transaction, as if PostgreSQL had been killed."""
    driver: Any = tx.connection.driver_connection
    with store.engine.connect() as other:
        other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": driver.info.backend_pid})


def test_callers_that_wait_share_one_commit_in_the_order_they_came(store: Store, notes: Notes) -> None:
    commits: list[Connection] = []
    with before_commits(store, commits.append):
        done = at_once(store, [notes.call(number) for number in range(8)])
    assert done == notes.kept() == list(range(8))
    assert len(commits) == 1


def test_a_caller_alone_has_a_transaction_without_more(store: Store, notes: Notes) -> None:
    said = []
    event.listen(store.engine, "before_cursor_execute", lambda *words: said.append(words[2]))
    assert at_once(store, [notes.call(1)]) == [1]
    assert not [statement for statement in said if "SAVEPOINT" in statement]


@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize("fails", [refuse, err])
def test_who_is_refused_or_fails_undoes_his_own_call_only(
    store: Store, notes: Notes, fails: Callable[[Connection], None], place: int
) -> None:
    calls = [notes.call(number) for number in range(4)]
    calls[place] = notes.call(place, then=fails)
    outcomes = at_once(store, calls)
    assert isinstance(outcomes.pop(place), Refused if fails is refuse else DBAPIError)
    assert outcomes == notes.kept() == [number for number in range(4) if number != place]
    assert set(notes.made.values()) == {1}


def test_many_may_be_refused(store: Store, notes: Notes) -> None:
    at_once(store, [notes.call(number, *([refuse] if number % 3 else [])) for number in range(10)])
    assert notes.kept() == [0, 3, 6, 9]


def test_nobody_is_answered_before_all_is_committed_and_shown(store: Store, notes: Notes) -> None:
    shown = []
    outcomes = at_once(
        store,
        [notes.call(1), notes.call(2, refuse), notes.call(3)],
        follow=lambda: shown.append(notes.kept()),
    )
    assert shown == [[1, 3]]
    assert [outcomes[0], outcomes[2]] == [1, 3]


def test_the_next_are_made_while_the_first_are_shown(store: Store, notes: Notes) -> None:
    shows, go_on = threading.Event(), threading.Event()

    def follow() -> None:
        shows.set()
        assert go_on.wait(20)

    async def ask() -> None:
        writer = Writer(store, follow)
        first = asyncio.create_task(writer.make(notes.call(1)))
        await asyncio.to_thread(shows.wait, 20)
        second = asyncio.create_task(writer.make(notes.call(2)))
        while notes.kept() != [1, 2]:  # noqa: ASYNC110 -- a database tells nobody
            await asyncio.sleep(0.01)
        assert not first.done()
        go_on.set()
        assert [await first, await second] == [1, 2]

    asyncio.run(asyncio.wait_for(ask(), 20))


def test_if_what_was_written_can_not_be_shown_nobody_hears_that_all_is_well(
    store: Store, notes: Notes
) -> None:
    def fail() -> None:
        raise OperationalError("SELECT", None, Exception("gone"))

    outcomes = at_once(store, [notes.call(1), notes.call(2)], follow=fail)
    assert [type(outcome) for outcome in outcomes] == [NotShown] * 2
    assert set(notes.made.values()) == {1}


def test_after_a_commit_of_which_nobody_knows_nobody_is_told_success_and_nothing_is_tried_again(
    store: Store, notes: Notes
) -> None:
    def fail(_: Connection) -> None:
        raise OperationalError("COMMIT", None, Exception("the connection is gone"))

    with before_commits(store, fail):
        outcomes = at_once(store, [notes.call(1), notes.call(2, refuse), notes.call(3)])
    assert [type(outcome) for outcome in outcomes] == [OperationalError] * 3
    assert set(notes.made.values()) == {1}


@on_postgresql
def test_so_it_is_when_postgresql_is_killed_as_it_commits(store: Store, notes: Notes) -> None:
    with before_commits(store, partial(kill, store)):
        outcomes = at_once(store, [notes.call(1), notes.call(2), notes.call(3)])
    assert [type(outcome) for outcome in outcomes] == [OperationalError] * 3
    assert set(notes.made.values()) == {1}
    assert at_once(store, [notes.call(4)]) == [4]


class _Full(Exception):
    sqlstate = "53100"


def test_after_a_commit_that_surely_did_nothing_each_is_made_again_alone(store: Store, notes: Notes) -> None:
    commits: list[Connection] = []

    def fail_for_many(tx: Connection) -> None:
        commits.append(tx)
        if len(commits) in (1, 3):
            raise OperationalError("COMMIT", None, _Full())

    with before_commits(store, fail_for_many):
        outcomes = at_once(store, [notes.call(1), notes.call(2), notes.call(3)])
    assert outcomes.pop(1).orig.sqlstate == _Full.sqlstate
    assert outcomes == notes.kept() == [1, 3]
    assert set(notes.made.values()) == {2}
    assert len(commits) == 4


@on_postgresql
def test_who_breaks_the_connection_harms_nobody_else(store: Store, notes: Notes) -> None:
    calls = [notes.call(1), notes.call(2, then=partial(kill, store)), notes.call(3)]
    outcomes = at_once(store, calls)
    assert isinstance(outcomes.pop(1), OperationalError)
    assert outcomes == notes.kept() == [1, 3]


@on_postgresql
def test_when_the_database_is_gone_one_attempt_to_reach_it_is_enough_for_all(
    store: Store, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def gone(*_: Any) -> None:
        attempts.append(1)
        psycopg.connect("host=127.0.0.1 port=1")

    def break_down(tx: Connection) -> None:
        kill(store, tx)
        store.engine.dispose()
        monkeypatch.setattr(store.engine.pool, "_invoke_creator", gone)

    outcomes = at_once(store, [notes.call(1), notes.call(2), notes.call(3, then=break_down), notes.call(4)])
    monkeypatch.undo()
    assert [cause(outcome) for outcome in outcomes] == [Cause.UNREACHABLE] * 4
    assert attempts == [1]
    assert at_once(store, [notes.call(5)]) == notes.kept() == [5]


@on_sqlite
def test_a_transaction_that_sqlite_undid_by_itself_is_made_again_call_by_call(
    store: Store, notes: Notes
) -> None:
    """As it may when the disk is full."""

    def undo_all(tx: Connection) -> None:
        tx.exec_driver_sql("ROLLBACK")
        err(tx)

    outcomes = at_once(store, [notes.call(1), notes.call(2, then=undo_all), notes.call(3)])
    assert isinstance(outcomes.pop(1), DBAPIError)
    assert outcomes == notes.kept() == [1, 3]


@on_sqlite
def test_who_needs_more_room_than_the_disk_has_keeps_nobody_else_from_writing(
    store: Store, notes: Notes
) -> None:
    with store.reading() as tx:
        pages_max = tx.exec_driver_sql("PRAGMA page_count").scalar_one() + 10
    said = f"PRAGMA max_page_count = {pages_max}"
    event.listen(store.engine, "checkout", lambda connection, *_: connection.execute(said))

    def need_much(tx: Connection) -> None:
        events.append(tx, events.Kind.RATES_SET, 0, words="x" * 1_000_000)

    outcomes = at_once(store, [notes.call(1), notes.call(2, then=need_much), notes.call(3)])
    assert cause(outcomes.pop(1)) is Cause.DISK_FULL
    assert outcomes == notes.kept() == [1, 3]


def test_nothing_is_made_of_calls_that_a_guard_stops(store: Store, notes: Notes) -> None:
    def lost(_: Connection) -> None:
        raise RuntimeError("another process acts by now")

    guarded = Notes(store.guarded(lost))
    outcomes = at_once(store, [notes.call(1), guarded.call(2), notes.call(3)])
    assert isinstance(outcomes.pop(1), RuntimeError)
    assert outcomes == notes.kept() == [1, 3]


def test_the_same_asked_twice_at_once_is_done_once_and_answered_twice(store: Store) -> None:
    world = World(store)
    world.credit("10")
    once = Once(world.renter, "key", "hash", world.now)
    call = partial(
        idempotency.once, world.market, once, orders.create_order, world.renter, an_order(world), world.now
    )
    made, answered = at_once(store, [call, call])
    assert isinstance(answered, Answered)
    assert answered.reply == msgspec.json.encode(made)
    assert len(world.orders()) == 1
    assert world.difference() is None


def test_of_two_who_want_one_machine_at_once_the_first_gets_it(store: Store) -> None:
    world = World(store)
    other = accounts.create_account(world.market, "other@example.org", world.now).id
    for email in ("renter@example.org", "other@example.org"):
        world.credit("10", email, email)
    made, refused = at_once(
        store,
        [
            partial(orders.create_order, world.market, account, an_order(world), world.now)
            for account in (other, world.renter)
        ],
    )
    assert isinstance(refused, Refused)
    assert list(world.orders(other)) == [made.order.id]
    assert world.orders() == {}
    assert world.difference() is None


def an_order(world: World) -> CreateOrder:
    return CreateOrder(renting_server=world.server, type="on-demand", currency=USD, image="busybox")


def test_who_hangs_up_has_his_call_made_whole(store: Store, notes: Notes) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(_: Connection) -> None:
        begun.set()
        assert go_on.wait(20)

    async def ask() -> Any:
        writer = Writer(store, lambda: None)
        hasty = asyncio.create_task(writer.make(notes.call(1, then=slowly)))
        patient = asyncio.create_task(writer.make(notes.call(2)))
        await asyncio.to_thread(begun.wait, 20)
        hasty.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hasty
        go_on.set()
        return await patient

    assert asyncio.run(ask()) == 2
    assert notes.kept() == [1, 2]


def test_who_waits_too_long_is_told_so_and_his_call_is_never_made(store: Store, notes: Notes) -> None:
    async def ask() -> list[Any]:
        writer = Writer(store, lambda: None)
        with store.writing():
            asked = [writer.make(notes.call(number)) for number in range(3)]
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
        return [*outcomes, await writer.make(notes.call(3))]

    store.turn_seconds = 0.05
    *busy, done = asyncio.run(ask())
    assert [type(outcome) for outcome in busy] == [StoreBusy] * 3
    assert notes.kept() == [done] == [3]


def test_a_turn_ends_though_others_keep_coming(
    store: Store, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "TOGETHER_MAX", 4)
    commits: list[Connection] = []
    with before_commits(store, commits.append):
        assert at_once(store, [notes.call(number) for number in range(10)]) == list(range(10))
    assert len(commits) == 3
    monkeypatch.setattr(writers, "TOGETHER_SECONDS", 0)
    with before_commits(store, commits.append):
        at_once(store, [notes.call(number) for number in range(10, 13)])
    assert len(commits) == 6
