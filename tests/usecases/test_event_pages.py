import threading
from typing import Any

import pytest

from openclore.api.open.events import Event, EventsReply, ReadEvents
from openclore.rules.refused import InvalidInput
from openclore.store import events as event_log
from openclore.store.events import Kind
from openclore.store.store import Store
from openclore.usecases import accounts
from openclore.usecases import events as events_cases

from ..world import World


@pytest.fixture
def world(store: Store) -> World:
    world = World(store)
    world.credit("10")
    return world


def page(world: World, account: int, **request: Any) -> EventsReply:
    return events_cases.read_events(world.market, account, ReadEvents(**request))


def told(world: World, account: int, **request: Any) -> list[Event]:
    return page(world, account, **request).events


def kinds(found: list[Event]) -> list[str]:
    return [event.kind for event in found]


def test_an_account_is_told_what_happens_to_itself(world: World) -> None:
    order = world.rent()
    world.cancel(order.id)
    found = told(world, world.renter)
    assert kinds(found) == ["account_created", "wallet_credited", "order_created", "order_ended"]
    assert found[1].data == {"currency": "USD-Blockchain", "amount": "10"}
    ended = found[-1]
    assert (ended.order_id, ended.server_id, ended.at) == (order.id, world.server, world.now)
    assert ended.data["reason"] == "cancelled"


def test_a_host_is_told_of_the_orders_on_his_machines(world: World) -> None:
    order = world.rent()
    world.cancel(order.id)
    found = [event for event in told(world, world.host) if event.order_id]
    assert set(found[0].data) == {"type", "price", "currency"}
    assert kinds(found) == ["order_created", "order_ended"]
    assert {event.server_id for event in found} == {world.server}
    assert found[-1].data["reason"] == "cancelled"


def test_a_host_is_told_nothing_that_is_the_renters(world: World) -> None:
    with world.store.writing() as tx:
        event_log.append(
            tx,
            Kind.ORDER_ENDED,
            world.now,
            account_id=world.renter,
            server_id=world.server,
            reason="limit_reached",
            detail="the limit of key 7",
            price=1.5,
            key="night bot",
            spend_max=3,
        )
    mine, his = told(world, world.renter)[-1], told(world, world.host)[-1]
    assert set(mine.data) == {"reason", "detail", "price", "key", "spend_max"}
    assert his.data == {"reason": "limit_reached", "price": 1.5}
    assert mine.id == his.id


def test_a_host_is_told_why_his_machine_failed(world: World) -> None:
    order = world.rent()
    world.report("failed", order.id, detail="no such image")
    assert told(world, world.host)[-1].data["detail"] == "no such image"


def test_others_are_told_nothing(world: World) -> None:
    world.cancel(world.rent().id)
    other = accounts.create_account(world.market, "other@example.org", world.now).id
    assert kinds(told(world, other)) == ["account_created"]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_whoever_follows_the_cursor_gets_everything_once(world: World, limit: int) -> None:
    for _ in range(3):
        world.cancel(world.rent().id)
    for account in (world.renter, world.host):
        everything = told(world, account, limit=1_000)
        found: list[Event] = []
        after, more = 0, True
        while more:
            reply = page(world, account, after=after, limit=limit)
            assert len(reply.events) <= limit
            found, after, more = found + reply.events, reply.after, reply.more
        assert found == everything
        assert page(world, account, after=after).events == []


def test_a_page_without_more_ends_at_the_newest_event_of_all(world: World) -> None:
    other = accounts.create_account(world.market, "other@example.org", world.now).id
    assert page(world, world.renter).after == page(world, other).after == told(world, other)[-1].id


def test_events_are_filtered_by_kind_order_and_server(world: World) -> None:
    first, second = world.rent(), world.rent(world.add_server("rack-2"))
    world.cancel(first.id)
    created = told(world, world.renter, kinds="order_created,wallet_credited")
    assert kinds(created) == ["wallet_credited", "order_created", "order_created"]
    assert kinds(told(world, world.renter, order_id=first.id)) == ["order_created", "order_ended"]
    assert kinds(told(world, world.host, order_id=first.id, kinds="order_ended")) == ["order_ended"]
    on_second = told(world, world.host, server_id=second.si)
    assert {event.server_id for event in on_second} == {second.si}
    assert kinds(on_second)[-1] == "order_created"
    assert told(world, world.renter, order_id=999) == []


def test_filters_never_show_what_is_somebody_elses(world: World) -> None:
    order = world.rent()
    other = accounts.create_account(world.market, "other@example.org", world.now).id
    assert told(world, other, order_id=order.id) == []
    assert told(world, other, server_id=world.server) == []


@pytest.mark.parametrize(
    "wrong", ["order_exploded", "order_ended,", "rates_set", " order_ended", "ORDER_ENDED"]
)
def test_an_unknown_kind_is_refused_with_those_there_are(world: World, wrong: str) -> None:
    with pytest.raises(InvalidInput, match=r"^kinds: .*account_created.*order_ended"):
        page(world, world.renter, kinds=wrong)


def test_a_cursor_from_the_future_is_refused(world: World) -> None:
    newest = page(world, world.renter).after
    assert page(world, world.renter, after=newest).events == []
    with pytest.raises(InvalidInput, match=r"^after: "):
        page(world, world.renter, after=newest + 1)


def test_nothing_is_missed_or_doubled_while_many_write(world: World) -> None:
    start, count = page(world, world.renter).after, 40

    def write(name: str) -> None:
        for number in range(count):
            world.credit("1", key=f"{name} {number}")

    writers = [threading.Thread(target=write, args=(name,)) for name in ("a", "b", "c")]
    for writer in writers:
        writer.start()
    found: list[int] = []
    after = start
    while True:
        done = not any(writer.is_alive() for writer in writers)
        reply = page(world, world.renter, after=after, limit=7)
        found += [event.id for event in reply.events]
        after = reply.after
        if done and not reply.more:
            break
    everything = [event.id for event in told(world, world.renter, after=start, limit=1_000)]
    assert found == everything
    assert len(found) == len(set(found)) == 3 * count


def test_the_contract_says_what_each_kind_is() -> None:
    for kind in events_cases.KINDS:
        assert kind in (Event.__doc__ or "")
