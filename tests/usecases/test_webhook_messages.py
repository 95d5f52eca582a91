import json
from typing import Any

import pytest

from openclore.api.open import webhooks as wire
from openclore.rules.policy import Policy, Webhooks
from openclore.rules.refused import InvalidInput, NotFound, Refused
from openclore.store.store import Store
from openclore.usecases import webhooks
from openclore.usecases.webhooks import Message, Outcome

from ..world import START, World

URL = "https://hooks.example/secret-path"
GOOD = Outcome(200, None)
BAD = Outcome(500, "the receiver answered with status 500")
FOR_EVER = 10**10


@pytest.fixture
def world(store: Store) -> World:
    return World(store, Policy(webhooks=Webhooks(account_max=3)))


def add(world: World, *kinds: str, account: int | None = None, url: str = URL) -> wire.Webhook:
    request = wire.AddWebhook(url=url, kinds=list(kinds))
    return webhooks.add_webhook(world.market, account or world.renter, request, world.now).webhook


def read(world: World, webhook_id: int) -> wire.Webhook:
    return webhooks.read_webhook(world.market, world.renter, webhook_id, world.now).webhook


def deliveries(world: World, webhook_id: int) -> list[wire.Delivery]:
    return read(world, webhook_id).deliveries or []


def claim(world: World, webhook_id: int, limit: int = 100, **more: Any) -> list[Message]:
    until = world.now + 40
    return webhooks.claim(world.market, {webhook_id: limit}, world.now, until, START, **more)


def fan_out(world: World, seen: int | None = None) -> int:
    return webhooks.fan_out(world.market, seen, world.now)


def test_a_webhook_shows_its_secret_only_when_it_is_made_or_rotated(world: World) -> None:
    made = add(world, "order_ended", "order_created", "order_ended")
    assert (made.secret or "").startswith("whsec_")
    assert made.kinds == ["order_created", "order_ended"]
    assert read(world, made.id).secret is None
    (listed,) = webhooks.list_webhooks(world.market, world.renter, world.now).webhooks
    assert (listed.secret, listed.url, listed.deliveries) == (None, URL, None)
    rotated = webhooks.rotate_webhook(world.market, world.renter, made.id, world.now).webhook
    assert rotated.secret not in (None, made.secret)
    assert read(world, made.id).previous_secret_until == world.now + 86_400
    world.now += 86_400
    assert read(world, made.id).previous_secret_until is None


def test_what_can_not_be_is_refused_and_nothing_is_kept(world: World) -> None:
    for url, kinds, member in (
        ("http://127.0.0.1/", (), "url"),
        ("ftp://hooks.example/", (), "url"),
        (URL, ("order_exploded",), "kinds"),
    ):
        with pytest.raises(InvalidInput, match=f"^{member}: "):
            add(world, *kinds, url=url)
    assert webhooks.list_webhooks(world.market, world.renter, world.now).webhooks == []


def test_an_account_has_only_so_many_webhooks(world: World) -> None:
    made = [add(world) for _ in range(3)]
    with pytest.raises(Refused, match="webhook_limit_reached"):
        add(world)
    add(world, account=world.host)
    webhooks.remove_webhook(world.market, world.renter, made[0].id, world.now)
    add(world)


def test_a_webhook_is_its_owners_alone(world: World) -> None:
    webhook_id = add(world).id
    for use_case in (webhooks.read_webhook, webhooks.remove_webhook, webhooks.rotate_webhook):
        for account, wanted in ((world.host, webhook_id), (world.renter, webhook_id + 1)):
            with pytest.raises(NotFound):
                use_case(world.market, account, wanted, world.now)
    with pytest.raises(NotFound):
        webhooks.test_message(world.market, world.host, webhook_id, world.now, START)
    assert webhooks.list_webhooks(world.market, world.host, world.now).webhooks == []


def test_a_webhook_gets_what_happens_after_it_was_made(world: World) -> None:
    world.credit("10")
    webhook = add(world)
    fan_out(world)
    assert deliveries(world, webhook.id) == []
    world.rent()
    fan_out(world)
    assert [delivery.kind for delivery in deliveries(world, webhook.id)] == ["order_created"]


def test_hosts_and_renters_each_get_their_own_view_of_an_event(world: World) -> None:
    world.credit("10")
    renters, hosts = add(world, "order_ended"), add(world, "order_ended", account=world.host)
    world.cancel(world.rent().id)
    fan_out(world)
    (mine,), (his,) = claim(world, renters.id), claim(world, hosts.id)
    assert json.loads(mine.delivery.body)["data"]["data"] == {"reason": "cancelled", "detail": ""}
    assert json.loads(his.delivery.body)["data"]["data"] == {"reason": "cancelled"}


def test_an_event_becomes_one_message_however_often_it_is_looked_at(world: World) -> None:
    first, second = add(world, "wallet_credited"), add(world, "wallet_credited")
    seen = None
    for number in range(250):
        world.credit("1", key=str(number))
        if number % 50 == 0:
            seen = fan_out(world, seen)
            fan_out(world)
    fan_out(world, seen)
    for webhook in (first, second):
        with world.store.reading() as tx:
            query = f"SELECT event_id FROM deliveries WHERE webhook_id = {webhook.id}"  # noqa: S608
            made = [row.event_id for row in tx.exec_driver_sql(query)]
        assert len(made) == len(set(made)) == 250


def test_a_claimed_message_is_nobody_elses_until_the_claim_ends(world: World) -> None:
    webhook = add(world, "wallet_credited")
    for number in range(3):
        world.credit("1", key=str(number))
    fan_out(world)
    assert webhooks.with_due(world.market, world.now) == [webhook.id]
    first = claim(world, webhook.id, 2)
    rest = claim(world, webhook.id)
    ids = [message.delivery.event_id for message in first + rest]
    assert ids == sorted(ids)  # type: ignore[type-var]
    assert len(set(ids)) == 3
    assert claim(world, webhook.id) == []
    assert webhooks.with_due(world.market, world.now) == []
    world.now += 40
    again = claim(world, webhook.id, besides=[first[0].delivery.id])
    assert [m.delivery.id for m in again] == [m.delivery.id for m in (first + rest)[1:]]
    assert [m.delivery.attempts for m in again] == [2, 2]


def test_a_late_failure_does_not_undo_what_came_after_it(world: World) -> None:
    webhook = add(world, "wallet_credited")
    world.credit("1")
    fan_out(world)
    (slow,) = claim(world, webhook.id)
    world.now += 40
    (quick,) = claim(world, webhook.id)
    webhooks.finish(world.market, [(slow, BAD)], world.now)
    assert deliveries(world, webhook.id)[0].problem is None
    webhooks.finish(world.market, [(quick, GOOD)], world.now)
    webhooks.finish(world.market, [(slow, BAD)], world.now)
    (delivery,) = deliveries(world, webhook.id)
    assert (delivery.state, delivery.status, delivery.attempts) == ("delivered", 200, 2)


def test_a_removed_webhook_sends_nothing_more(world: World) -> None:
    webhook = add(world, "wallet_credited")
    world.credit("1")
    fan_out(world)
    (message,) = claim(world, webhook.id)
    webhooks.remove_webhook(world.market, world.renter, webhook.id, world.now)
    webhooks.finish(world.market, [(message, BAD)], world.now)
    webhooks.release(world.market, [message], world.now)
    assert webhooks.with_due(world.market, FOR_EVER) == []
    reply = webhooks.keep_test(world.market, message, GOOD)
    assert reply.delivery.state == "delivered"


def test_a_test_message_is_kept_and_not_tried_again(world: World) -> None:
    webhook = add(world)
    message = webhooks.test_message(world.market, world.renter, webhook.id, world.now, START)
    assert json.loads(message.delivery.body) == {
        "type": "test",
        "timestamp": "2027-01-15T08:00:00Z",
        "data": {},
    }
    webhooks.keep_test(world.market, message, BAD)
    (delivery,) = deliveries(world, webhook.id)
    assert (delivery.state, delivery.event_id, delivery.status) == ("failed", None, 500)
    assert webhooks.with_due(world.market, FOR_EVER) == []


def test_messages_done_with_are_forgotten_after_thirty_days(world: World) -> None:
    webhook = add(world, "wallet_credited")
    world.credit("1")
    fan_out(world)
    webhooks.finish(world.market, [(claim(world, webhook.id)[0], GOOD)], world.now)
    world.credit("2")
    fan_out(world)
    world.now += 30 * 86_400
    webhooks.prune(world.market, world.now)
    assert len(deliveries(world, webhook.id)) == 2
    world.now += 1
    webhooks.prune(world.market, world.now)
    assert [delivery.state for delivery in deliveries(world, webhook.id)] == ["waiting"]


def test_a_webhook_is_not_told_of_itself_but_its_owner_is(world: World) -> None:
    first = add(world, "webhook_added", "webhook_rotated", "webhook_removed")
    second = add(world)
    webhooks.rotate_webhook(world.market, world.renter, second.id, world.now)
    webhooks.remove_webhook(world.market, world.renter, second.id, world.now)
    fan_out(world)
    told = [json.loads(message.delivery.body)["data"] for message in claim(world, first.id)]
    assert [event["kind"] for event in told] == ["webhook_added", "webhook_rotated", "webhook_removed"]
    assert [event["data"]["webhook_id"] for event in told] == [second.id] * 3
