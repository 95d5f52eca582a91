import pytest

from openclore.store import leases
from openclore.store.store import Store


def take(store: Store, holder: str, seconds: float = 60) -> int | None:
    with store.writing() as tx:
        return leases.take(tx, "loop", holder, seconds)


def test_one_has_it_and_may_go_on_having_it(store: Store) -> None:
    assert take(store, "one") == 1
    assert take(store, "two") is None
    assert take(store, "one") == 1
    with store.reading() as tx:
        assert leases.held_by_another(tx, "loop", "two")
        assert not leases.held_by_another(tx, "loop", "one")
        assert not leases.held_by_another(tx, "something else", "two")


def test_a_lease_that_ran_out_goes_to_the_next_and_its_token_rises(store: Store) -> None:
    assert take(store, "one", seconds=0) == 1
    assert take(store, "two") == 2
    with store.writing() as tx:
        assert not leases.is_current(tx, "loop", 1)
        assert leases.is_current(tx, "loop", 2)
        assert not leases.prolong(tx, "loop", 1, 60)
        leases.release(tx, "loop", 1)
    assert take(store, "one") is None


def test_a_lease_that_ran_out_and_that_nobody_wanted_is_still_good(store: Store) -> None:
    assert take(store, "one", seconds=0) == 1
    with store.writing() as tx:
        assert leases.is_current(tx, "loop", 1)
        assert leases.prolong(tx, "loop", 1, 60)
    assert take(store, "two") is None


def test_who_lets_go_keeps_nobody_waiting(store: Store) -> None:
    assert take(store, "one") == 1
    with store.writing() as tx:
        leases.release(tx, "loop", 1)
    assert take(store, "two") == 2


def test_a_guarded_store_writes_nothing_when_its_guard_objects(store: Store) -> None:
    def guard(tx: object) -> None:
        raise RuntimeError("no")

    guarded = store.guarded(guard)
    with pytest.raises(RuntimeError), guarded.writing() as tx:
        leases.take(tx, "loop", "one", 60)
    with store.writing(), pytest.raises(RuntimeError), guarded.writing() as tx:
        leases.take(tx, "loop", "one", 60)
    with guarded.reading() as tx:
        assert not leases.held_by_another(tx, "loop", "two")
    assert take(store, "two") == 1
