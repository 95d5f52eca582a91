import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
import structlog
from standardwebhooks import Webhook as Signer
from standardwebhooks import WebhookVerificationError

from openclore.api.open import webhooks as wire
from openclore.rules.policy import Policy, Webhooks
from openclore.rules.webhooks import RETRY_SECONDS
from openclore.server import webhooks as sender_module
from openclore.server.courier import Courier
from openclore.server.service import Service
from openclore.server.webhooks import Sender
from openclore.store.store import Store
from openclore.usecases import events, webhooks

from ..receivers import Receiver, a_receiver
from ..world import World

PATIENT = Policy(webhooks=Webhooks(allow_private_addresses=True, timeout_seconds=30))
CALM = Policy(webhooks=Webhooks(allow_private_addresses=True, timeout_seconds=4))


@dataclass
class Sending:
    """A market, its receivers, and as many server processes as are made."""

    world: World
    receiver: Receiver
    services: list[Service] = field(default_factory=list)

    def add(self, path: str, *kinds: str, account: int | None = None) -> wire.Webhook:
        request = wire.AddWebhook(url=self.receiver.url(path), kinds=list(kinds))
        owner = account or self.world.renter
        return webhooks.add_webhook(self.world.market, owner, request, self.world.now).webhook

    def deliveries(self, webhook: wire.Webhook, account: int | None = None) -> list[wire.Delivery]:
        """Newest first; none if the webhook is gone."""
        owner = account or self.world.renter
        for found in webhooks.list_webhooks(self.world.market, owner, self.world.now).webhooks:
            if found.id == webhook.id:
                reply = webhooks.read_webhook(self.world.market, owner, webhook.id, self.world.now)
                return reply.webhook.deliveries or []
        return []

    def states(self, webhook: wire.Webhook) -> Counter[str]:
        return Counter(delivery.state for delivery in self.deliveries(webhook))

    def next_times(self, webhook: wire.Webhook) -> list[int | None]:
        return [delivery.next_at for delivery in self.deliveries(webhook)]

    def happen(self, count: int = 1) -> None:
        """Events of the renter."""
        for _ in range(count):
            self.world.credit("1", key=f"credit {next(_numbers)}")
        for service in self.services:
            service.catch_up()

    def turn_clock(self, seconds: int) -> None:
        self.world.now += seconds

    @asynccontextmanager
    async def process(self) -> AsyncIterator[Service]:
        service = Service(self.world.market, lambda: self.world.now)
        service.start()
        self.services.append(service)
        running = asyncio.create_task(Sender(service).run())
        try:
            yield service
        finally:
            self.services.remove(service)
            service.watchers.close()
            await running


_numbers = iter(range(1_000_000))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with a_receiver() as receiver:
        yield receiver


@pytest.fixture
def sending(store: Store, receiver: Receiver) -> Sending:
    return Sending(World(store, PATIENT), receiver)


@pytest.fixture
def calm(new_sqlite_store: Callable[[], Store], receiver: Receiver) -> Iterator[Sending]:
    """Receivers have time to answer, and less than there is between two tries. One database is enough."""
    store = new_sqlite_store()
    yield Sending(World(store, CALM), receiver)
    store.close()


@pytest.fixture(autouse=True)
def quick_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(sender_module, "TURN_SPACING_SECONDS", 0.0)
    monkeypatch.setattr(sender_module, "STOP_SECONDS", 0.2)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


async def come_true(check: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not check():  # noqa: ASYNC110 -- what is awaited happens in threads and databases
            await asyncio.sleep(0.01)


def test_every_event_becomes_one_signed_message_per_webhook(sending: Sending) -> None:
    sending.happen()
    first, second = sending.add("ok", "wallet_credited"), sending.add("ok", "order_created")

    async def scenario() -> None:
        async with sending.process():
            sending.happen(3)
            sending.world.rent()
            await come_true(lambda: sending.states(first) == {"delivered": 3})
            await come_true(lambda: sending.states(second) == {"delivered": 1})

    run(scenario())
    assert len(sending.receiver.messages) == 4
    request = events.ReadEvents(after=0, kinds="wallet_credited,order_created")
    told = events.read_events(sending.world.market, sending.world.renter, request).events[1:]
    got = {}
    for message in sending.receiver.messages:
        body = json.loads(message.body)
        secret = first.secret if body["type"] == "wallet_credited" else second.secret
        assert Signer(secret or "").verify(message.body, message.headers) == body
        assert body["timestamp"] == "2027-01-15T08:00:00Z"
        got[body["data"]["id"]] = body["data"]
    assert got == {event.id: msgspec.to_builtins(event) for event in told}


def test_a_new_secret_signs_beside_the_old_one_for_a_day(sending: Sending) -> None:
    webhook = sending.add("ok", "wallet_credited")
    old = webhook.secret or ""
    world = sending.world
    rotated = webhooks.rotate_webhook(world.market, world.renter, webhook.id, world.now).webhook
    new = rotated.secret or ""
    assert new != old
    assert rotated.previous_secret_until == world.now + 86_400

    async def scenario() -> None:
        async with sending.process():
            sending.happen()
            await come_true(lambda: sending.states(webhook) == {"delivered": 1})
        sending.turn_clock(86_400)
        async with sending.process():
            sending.happen()
            await come_true(lambda: sending.states(webhook) == {"delivered": 2})

    run(scenario())
    during, after = sending.receiver.messages
    assert len(during.headers["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        Signer(secret).verify(during.body, during.headers)
    Signer(new).verify(after.body, after.headers)
    with pytest.raises(WebhookVerificationError):
        Signer(old).verify(after.body, after.headers)


@pytest.mark.parametrize("manner", ["hang", "drip"])
def test_receivers_that_never_answer_delay_nobody(sending: Sending, manner: str) -> None:
    stuck = [sending.add(manner, "wallet_credited") for _ in range(5)]
    good = sending.add("ok", "wallet_credited")

    async def scenario() -> None:
        async with sending.process():
            sending.happen(3)
            await come_true(lambda: sending.states(good) == {"delivered": 3})
            for webhook in stuck:
                assert sending.states(webhook) == {"waiting": 3}
            sending.happen(3)
            await come_true(lambda: sending.states(good) == {"delivered": 6})

    run(scenario())


def test_failing_receivers_leave_half_the_room_to_others(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "SENDS_MAX", 4)
    bad = [sending.add("bad", "wallet_credited") for _ in range(6)]
    sending.receiver.manners["bad"] = "fail"

    async def scenario() -> None:
        async with sending.process():
            sending.happen(2)
            await come_true(lambda: all(_all_failed_once(sending, webhook) for webhook in bad))
            sending.receiver.manners["bad"] = "hang"
            sending.turn_clock(5)
            await come_true(lambda: len(sending.receiver.ids("bad")) == 2 * 6 + 2)
            good = sending.add("ok", "wallet_credited")
            sending.happen(4)
            await come_true(lambda: sending.states(good) == {"delivered": 4})
            assert len(sending.receiver.ids("bad")) == 2 * 6 + 2

    run(scenario())


def _all_failed_once(sending: Sending, webhook: wire.Webhook) -> bool:
    deliveries = sending.deliveries(webhook)
    return len(deliveries) == 2 and all(delivery.problem for delivery in deliveries)


def test_a_message_is_tried_again_by_the_markets_clock_with_the_same_id(calm: Sending) -> None:
    webhook = calm.add("fail", "wallet_credited")

    async def scenario() -> None:
        async with calm.process():
            calm.happen()
            for attempts, seconds in enumerate(RETRY_SECONDS, start=1):
                due_at = calm.world.now + seconds
                await come_true(lambda at=due_at: calm.next_times(webhook) == [at])
                (delivery,) = calm.deliveries(webhook)
                assert (delivery.state, delivery.attempts, delivery.status) == ("waiting", attempts, 503)
                calm.turn_clock(seconds)
            await come_true(lambda: calm.states(webhook) == {"failed": 1})

    run(scenario())
    (delivery,) = calm.deliveries(webhook)
    assert (delivery.attempts, delivery.next_at) == (9, None)
    assert delivery.problem == "the receiver answered with status 503"
    assert calm.receiver.ids("fail") == [delivery.id] * 9


def test_a_receiver_that_recovers_gets_what_it_missed(calm: Sending) -> None:
    webhook = calm.add("flaky", "wallet_credited")
    calm.receiver.manners["flaky"] = "garbage"

    async def scenario() -> None:
        async with calm.process():
            calm.happen(3)
            await come_true(lambda: calm.next_times(webhook) == [calm.world.now + 5] * 3)
            calm.receiver.manners["flaky"] = "ok"
            calm.turn_clock(5)
            await come_true(lambda: calm.states(webhook) == {"delivered": 3})

    run(scenario())
    assert len(set(calm.receiver.ids("flaky"))) == 3
    assert {d.problem for d in calm.deliveries(webhook)} == {None}


def test_a_receiver_that_is_gone_is_removed_and_its_owner_told(calm: Sending) -> None:
    webhook = calm.add("gone", "wallet_credited")
    other = calm.add("ok", "webhook_removed")

    async def scenario() -> None:
        async with calm.process():
            calm.happen(3)
            await come_true(lambda: calm.states(other) == {"delivered": 1})

    run(scenario())
    left = webhooks.list_webhooks(calm.world.market, calm.world.renter, calm.world.now).webhooks
    assert [one.id for one in left] == [other.id]
    (message,) = (m for m in calm.receiver.messages if m.path == "/ok")
    assert json.loads(message.body)["data"]["data"] == {"webhook_id": webhook.id, "reason": "gone"}


def test_a_stop_hands_what_is_under_way_to_the_next_process(sending: Sending) -> None:
    webhook = sending.add("hang", "wallet_credited")

    async def scenario() -> None:
        async with sending.process():
            sending.happen(3)
            await come_true(lambda: len(sending.receiver.messages) == 3)
        sending.receiver.manners["hang"] = "ok"
        async with sending.process():
            await come_true(lambda: sending.states(webhook) == {"delivered": 3})

    run(scenario())
    assert Counter(sending.receiver.ids("hang")) == dict.fromkeys(sending.receiver.ids("hang")[:3], 2)


def test_what_a_killed_process_was_sending_is_sent_again_in_a_minute(sending: Sending) -> None:
    webhook = sending.add("hang", "wallet_credited")

    async def scenario() -> None:
        service = Service(sending.world.market, lambda: sending.world.now)
        sender = Sender(service)
        sending.happen(2)
        await sender.turn()
        await come_true(lambda: len(sending.receiver.messages) == 2)
        # Nothing of the sender runs from here on: what it claimed stays claimed.
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        sending.receiver.manners["hang"] = "ok"
        async with sending.process():
            sending.happen()
            await come_true(lambda: sending.states(webhook) == {"delivered": 1, "waiting": 2})
            sending.turn_clock(60)
            await come_true(lambda: sending.states(webhook) == {"delivered": 3})

    run(scenario())
    assert len(set(sending.receiver.ids("hang"))) == 3


def test_processes_that_send_side_by_side_send_each_message_once(sending: Sending) -> None:
    all_of_it = [sending.add(path) for path in ("ok", "ok", "ok")]

    async def scenario() -> None:
        async with sending.process(), sending.process(), sending.process():
            for _ in range(5):
                sending.happen(4)
                await asyncio.sleep(0)
            for webhook in all_of_it:
                # The one that was added first also hears of the two that came after it.
                expected = 20 + len(all_of_it) - 1 - all_of_it.index(webhook)
                await come_true(lambda w=webhook, n=expected: _delivered(sending, w) == n)

    run(scenario())
    ids = sending.receiver.ids("ok")
    assert len(ids) == len(set(ids)) == 3 * 20 + 3


def _delivered(sending: Sending, webhook: wire.Webhook) -> int:
    with sending.world.store.reading() as tx:
        rows = tx.exec_driver_sql(
            f"SELECT event_id FROM deliveries WHERE webhook_id = {webhook.id} AND state = 'delivered'"  # noqa: S608
        ).all()
    assert len(rows) == len(set(rows))
    return len(rows)


def test_a_name_that_becomes_private_gets_nothing_more(calm: Sending) -> None:
    world = calm.world
    request = wire.AddWebhook(url=calm.receiver.url("ok", host="hooks.example"), kinds=["wallet_credited"])
    webhook = webhooks.add_webhook(world.market, world.renter, request, world.now).webhook

    async def resolve(host: str, port: int) -> list[str]:
        assert host == "hooks.example"
        return ["127.0.0.1"]

    async def scenario() -> None:
        async with calm.process() as service:
            service.courier = Courier(Webhooks(), resolve)
            calm.happen()
            await come_true(lambda: calm.next_times(webhook) == [world.now + 5])

    run(scenario())
    (delivery,) = calm.deliveries(webhook)
    assert "the host has a private address" in delivery.problem
    assert "policy.webhooks.allow_private_addresses" in delivery.problem
    assert calm.receiver.messages == []


def test_logs_name_no_path_and_no_secret(calm: Sending) -> None:
    webhook = calm.add("fail?key=very-secret", "wallet_credited")
    gone = calm.add("gone?key=very-secret", "wallet_credited")
    with structlog.testing.capture_logs() as logs:

        async def scenario() -> None:
            async with calm.process():
                calm.happen()
                for seconds in RETRY_SECONDS:
                    due_at = calm.world.now + seconds
                    await come_true(lambda at=due_at: calm.next_times(webhook) == [at])
                    calm.turn_clock(seconds)
                await come_true(lambda: calm.states(webhook) == {"failed": 1})

        run(scenario())
    assert {entry["event"] for entry in logs} >= {
        "webhook message given up",
        "webhook removed, its receiver is gone",
    }
    said = json.dumps(logs, default=str)
    assert f"http://127.0.0.1:{calm.receiver.port}" in said
    for secret in ("very-secret", "fail?", webhook.secret or "", gone.secret or ""):
        assert secret not in said


def test_a_sender_whose_database_fails_goes_on_when_it_works_again(calm: Sending) -> None:
    webhook = calm.add("ok", "wallet_credited")

    async def scenario() -> None:
        async with calm.process():
            with calm.world.store.writing() as tx:
                tx.exec_driver_sql("ALTER TABLE deliveries RENAME TO hidden")
            calm.happen()
            await come_true(lambda: any("fails" in entry["event"] for entry in logs))
            with calm.world.store.writing() as tx:
                tx.exec_driver_sql("ALTER TABLE hidden RENAME TO deliveries")
            await come_true(lambda: calm.states(webhook) == {"delivered": 1})

    with structlog.testing.capture_logs() as logs:
        run(scenario())
    assert [entry["event"] for entry in logs if "sending webhooks" in entry["event"]] == [
        "sending webhooks fails, trying again every second",
        "sending webhooks works again",
    ]
