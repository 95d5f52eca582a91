"""A mark says for nothing whether what was read still holds."""

from collections.abc import Callable

from openclore.store import events
from openclore.store.store import Store, open_store


def change(store: Store) -> None:
    with store.writing() as tx:
        events.append(tx, events.Kind.RATES_SET, 1)


def test_reading_leaves_the_mark_and_a_commit_moves_it(new_sqlite_store: Callable[[], Store]) -> None:
    store = new_sqlite_store()
    before = store.mark()
    assert before is not None
    with store.reading() as tx:
        events.newest(tx)
        assert store.mark() == before
    change(store)
    assert store.mark() != before


def test_the_mark_stays_until_the_commit_and_after_a_rollback(new_sqlite_store: Callable[[], Store]) -> None:
    store = new_sqlite_store()
    before = store.mark()
    try:
        with store.writing() as tx:
            events.append(tx, events.Kind.RATES_SET, 1)
            assert store.mark() == before
            raise InterruptedError
    except InterruptedError:
        pass
    assert store.mark() == before


def test_a_commit_of_another_process_moves_it_too(new_sqlite_store: Callable[[], Store]) -> None:
    store = new_sqlite_store()
    before = store.mark()
    other = open_store(f"sqlite:///{store.engine.url.database}")
    change(other)
    other.close()
    assert store.mark() != before


def test_a_closed_store_and_one_that_takes_a_round_trip_have_none(
    store: Store, new_sqlite_store: Callable[[], Store]
) -> None:
    if store.shared:
        assert store.mark() is None
    closed = new_sqlite_store()
    closed.close()
    assert closed.mark() is None
