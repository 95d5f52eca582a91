import asyncio
import threading
import time

import pytest

from openclore.api.currencies import Currency
from openclore.server.loops import Loop, follow
from openclore.usecases import accounts, hosts, settlement
from openclore.usecases.books import Books

from .conftest import Door


def test_a_turn_settles_what_is_due_and_shows_it(door: Door) -> None:
    door.world.credit("0.15")
    order = door.world.rent()
    door.service.catch_up()
    assert door.call("marketplace", key=None)[1]["servers"][0]["rented"] is True
    door.world.jump(7_200)
    Loop(door.service).turn()
    assert door.world.orders()[order.id].end_reason == "exhausted"
    assert door.call("marketplace", key=None)[1]["servers"][0]["rented"] is False


def test_a_reply_that_is_kept_for_repetition_is_forgotten_after_a_day(door: Door) -> None:
    headers = {"Idempotency-Key": "k-1"}
    loop = Loop(door.service)
    assert door.call("webhooks", {"url": "https://one.example/"}, open=True, headers=headers)[0] == 200
    for hours, status in ((1, 400), (24, 200)):
        door.world.jump(hours * 3_600)
        loop.turn()
        other = {"url": "https://two.example/"}
        assert door.call("webhooks", other, open=True, headers=headers)[0] == status


def test_a_failing_loop_goes_on_and_readiness_says_so(door: Door) -> None:
    loop = Loop(door.service)
    with door.world.store.writing() as tx:
        tx.exec_driver_sql("ALTER TABLE orders RENAME TO hidden")
    asyncio.run(loop.turn_safely())
    reply = door.http.get("/readyz")
    assert (reply.status_code, reply.json()) == (503, {"status": "the market's loop fails"})
    with door.world.store.writing() as tx:
        tx.exec_driver_sql("ALTER TABLE hidden RENAME TO orders")
    asyncio.run(loop.turn_safely())
    assert door.http.get("/readyz").status_code == 200


def test_a_wallet_that_can_not_be_settled_keeps_no_other_waiting(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = door.world
    other = accounts.create_account(world.market, "other@example.org", world.now).id
    world.credit("0.15")
    world.credit("0.15", "other@example.org", "other")
    mine, theirs = world.rent(), world.rent(world.add_server("rack-2"), other)
    bring_up = settlement.bring_up

    def failing_for_one(books: Books, account_id: int, currency: Currency) -> None:
        if account_id == world.renter:
            raise RuntimeError("this wallet can't be settled")
        bring_up(books, account_id, currency)

    monkeypatch.setattr(settlement, "bring_up", failing_for_one)
    world.jump(7_200)
    asyncio.run(Loop(door.service).turn_safely())
    assert door.service.loop_fails
    assert world.orders(other)[theirs.id].end_reason == "exhausted"
    assert world.orders()[mine.id].state == "placed"


def test_evidence_is_kept_and_events_are_followed_while_a_turn_takes_its_time(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that beats is not taken for silent because its process settles many wallets."""
    kept, turned = threading.Event(), threading.Event()
    monkeypatch.setattr(hosts, "keep_evidence", lambda *_: kept.set())
    monkeypatch.setattr(settlement, "settle_due", lambda *_: kept.wait(10) and turned.set())

    async def run() -> None:
        door.service.links.kept_at = time.monotonic() - 4.9
        turning = asyncio.create_task(Loop(door.service).turn_safely())
        following = asyncio.create_task(follow(door.service, asyncio.Event()))
        await turning
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    asyncio.run(run())
    assert kept.is_set()
    assert turned.is_set()
