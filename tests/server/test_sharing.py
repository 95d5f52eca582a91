"""What the processes of a market share through Valkey, and how they do without."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs
from valkey.asyncio.connection import AbstractConnection

from openclore.api.endpoints import CREATE_ORDER, MY_ORDERS, WALLETS
from openclore.server import shared_limits, wakeups
from openclore.server.keys import Keys
from openclore.server.limits import LEEWAY_SECONDS, Limits
from openclore.server.settings import Pace, SettingsError, load
from openclore.server.shared_limits import SharedLimits
from openclore.server.wakeups import Wakeups
from openclore.store.store import Store
from openclore.usecases import accounts

from ..ports import free_port
from ..world import World
from .valkeys import RealValkey, a_valkey

QUICK = Pace(spacing_seconds=0.5, create_order_seconds=5)
_key_ids = itertools.count(1)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, Valkey answers in time."""
    monkeypatch.setattr(shared_limits, "TIMEOUT_SECONDS", 20)
    monkeypatch.setattr(wakeups, "TIMEOUT_SECONDS", 20)


@pytest.fixture(scope="module")
def valkey() -> Iterator[RealValkey]:
    with a_valkey(free_port()) as running:
        yield running


@pytest.fixture
def key_id() -> int:
    return next(_key_ids)


@asynccontextmanager
async def processes(valkey: RealValkey, pace: Pace = QUICK) -> AsyncIterator[list[SharedLimits]]:
    """The limits of two processes."""
    made = [SharedLimits(valkey.url, pace, Limits(pace)) for _ in range(2)]
    yield made
    for one in made:
        await one.close()


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    def run(valkey: RealValkey, key_id: int) -> None:
        asyncio.run(test(valkey, key_id))

    run.__name__ = test.__name__
    return run


@in_a_loop
async def test_a_key_has_one_pace_over_all_processes(valkey: RealValkey, key_id: int) -> None:
    async with processes(valkey) as (one, other):
        start = time.monotonic()
        assert await one.admit(key_id, WALLETS) == 0
        wait = await other.admit(key_id, MY_ORDERS)
        assert 0 < wait <= 0.5 - LEEWAY_SECONDS
        assert await other.admit(next(_key_ids), WALLETS) == 0
        await asyncio.sleep(wait)
        assert await other.admit(key_id, MY_ORDERS) == 0
        assert time.monotonic() - start >= 0.5 - LEEWAY_SECONDS


@in_a_loop
async def test_orders_have_a_pace_of_their_own_there_too(valkey: RealValkey, key_id: int) -> None:
    async with processes(valkey) as (one, other):
        assert await one.admit(key_id, CREATE_ORDER) == 0
        await asyncio.sleep(0.5)
        assert 0 < await other.admit(key_id, CREATE_ORDER) <= 4.5 - LEEWAY_SECONDS
        assert await other.admit(key_id, WALLETS) == 0


@in_a_loop
async def test_what_a_call_takes_early_is_missing_for_the_next(valkey: RealValkey, key_id: int) -> None:
    start = time.monotonic()
    async with processes(valkey) as both:
        for one in both * 2:
            wait = await one.admit(key_id, WALLETS)
            if wait:
                await asyncio.sleep(wait)
                assert await one.admit(key_id, WALLETS) == 0
    assert time.monotonic() - start >= 3 * 0.5 - LEEWAY_SECONDS


@in_a_loop
async def test_refusals_and_completions_count_where_the_operator_says_so(
    valkey: RealValkey, key_id: int
) -> None:
    async with processes(valkey, Pace(spacing_seconds=5, refusals_count=True)) as (one, other):
        assert await one.admit(key_id, WALLETS) == 0
        assert await other.admit(key_id, WALLETS) == 5
        assert await one.admit(key_id, WALLETS) == 5
    async with processes(valkey, Pace(spacing_seconds=5, from_completion=True)) as (one, other):
        await one.completed(key := next(_key_ids), WALLETS)
        assert 0 < await other.admit(key, WALLETS) <= 5 - LEEWAY_SECONDS


@in_a_loop
async def test_without_a_pace_nobody_is_asked(valkey: RealValkey, key_id: int) -> None:
    async with processes(valkey, Pace(spacing_seconds=0, create_order_seconds=0)) as (one, _):
        assert [await one.admit(key_id, CREATE_ORDER) for _ in range(3)] == [0, 0, 0]


def test_without_valkey_each_process_minds_the_pace_alone_until_it_is_back(
    key_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_limits, "RETRY_SECONDS", 0.2)

    async def test(valkey: RealValkey) -> None:
        async with processes(valkey, Pace(spacing_seconds=20)) as (one, other):
            assert await one.admit(key_id, WALLETS) == 0
            await asyncio.to_thread(valkey.stop)
            for process in (one, other):
                assert await process.admit(key_id, WALLETS) == 0
                assert 0 < await process.admit(key_id, WALLETS) <= 20
            await asyncio.to_thread(valkey.start)
            await asyncio.sleep(0.5)
            assert await one.admit(key_id, WALLETS) == 0
            assert await other.admit(key_id, WALLETS) > 0

    with a_valkey(free_port()) as valkey:
        asyncio.run(test(valkey))


def test_a_valkey_that_never_answers_costs_a_moment_once(
    valkey: RealValkey, key_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_limits, "TIMEOUT_SECONDS", 1)
    monkeypatch.setattr(shared_limits, "RETRY_SECONDS", 60)

    async def test() -> None:
        async with processes(valkey, Pace(spacing_seconds=20)) as (one, _):
            with valkey.paused():
                assert await one.admit(key_id, WALLETS) == 0
                start = time.monotonic()
                assert await one.admit(key_id, WALLETS) > 0
                assert time.monotonic() - start < shared_limits.TIMEOUT_SECONDS

    asyncio.run(test())


def test_processes_wake_each_other_and_find_together_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeups, "RETRY_SECONDS", 0.1)

    async def test(valkey: RealValkey) -> None:
        heard = [asyncio.Event(), asyncio.Event()]
        one, other = (Wakeups(valkey.url, news.set) for news in heard)
        running = [asyncio.create_task(both.run()) for both in (one, other)]

        async def told() -> None:
            async with asyncio.timeout(20):
                while not heard[1].is_set():
                    one.tell()
                    await asyncio.sleep(0.02)
            heard[1].clear()

        await told()
        assert not heard[0].is_set(), "nobody is told what it said itself"
        await asyncio.to_thread(valkey.stop)
        one.tell()
        await asyncio.to_thread(valkey.start)
        await told()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    with a_valkey(free_port()) as valkey:
        asyncio.run(test(valkey))


@asynccontextmanager
async def listening(valkey: RealValkey) -> AsyncIterator[tuple[Wakeups, asyncio.Event]]:
    """One that tells, and what another one hears."""
    heard = asyncio.Event()
    both = [Wakeups(valkey.url, lambda: None), Wakeups(valkey.url, heard.set)]
    running = [asyncio.create_task(one.run()) for one in both]
    async with asyncio.timeout(20):
        while not heard.is_set():
            both[0].tell()
            await asyncio.sleep(0.02)
    yield both[0], heard
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def test_who_listens_to_a_quiet_market_is_not_cut_off(
    valkey: RealValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(AbstractConnection.__init__.__kwdefaults__, "socket_timeout", 0.05)

    async def test() -> None:
        async with listening(valkey) as (one, heard):
            await asyncio.sleep(0.3)
            heard.clear()
            one.tell()
            async with asyncio.timeout(20):
                await heard.wait()

    with capture_logs() as logs:
        asyncio.run(test())
    assert logs == []


def test_every_outage_is_logged_once_and_so_is_its_end(
    valkey: RealValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeups, "TIMEOUT_SECONDS", 1)
    monkeypatch.setattr(wakeups, "RETRY_SECONDS", 0.1)

    async def test() -> None:
        async def logged(count: int) -> None:
            async with asyncio.timeout(20):
                while len(logs) < count:
                    one.tell()
                    await asyncio.sleep(0.02)

        async with listening(valkey) as (one, _):
            for outage in (1, 2):
                with valkey.paused():
                    await logged(2 * outage - 1)
                await logged(2 * outage)

    with capture_logs() as logs:
        asyncio.run(test())
    assert [entry["log_level"] for entry in logs] == ["error", "info"] * 2


def test_a_process_that_can_not_follow_the_log_asks_whether_a_key_is_still_good(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(store)
    made, secret = accounts.create_key(world.market, "renter@example.org", "test", world.now)
    keys = Keys(world.market)
    assert keys.look_up(secret) == made
    assert keys.recall(secret) == made
    later = time.monotonic() + 4.5
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert (keys.recall(secret) is None) == store.shared
    keys.confirm(later)
    assert keys.recall(secret) == made


def test_an_address_that_can_not_be_valkeys_is_refused_without_being_shown() -> None:
    for address in ("http://:s3cret@host/0", "redis://:s3cret@host:port/0", "redis://:s3cret@host/market"):
        with pytest.raises(SettingsError, match="settings") as error:
            load(None, {}, {"valkey_url": address})
        assert "s3cret" not in str(error.value)
