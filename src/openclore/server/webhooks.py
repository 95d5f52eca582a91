"""The sender: events become messages, messages go out, receivers that fail hold up nobody else."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

import structlog

from ..usecases import webhooks
from ..usecases.webhooks import Message, Outcome
from .service import Service

TICK_SECONDS = 1.0
TURN_SPACING_SECONDS = 0.05
"""What happens in this time is written down together."""
SENDS_MAX = 256
PER_WEBHOOK_MAX = 4
CLAIM_MARGIN_SECONDS = 30
"""How much longer than an attempt a claim lasts; a message whose sender died is sent anew after that."""
STOP_SECONDS = 2.0
"""How long attempts under way have when the server stops."""
PRUNE_EVERY_SECONDS = 3_600.0

log = structlog.get_logger()


class Sender:
    """One per process, made where its event loop runs.

    Several processes send beside each other: each claims what it sends. A message may arrive twice, with
    the same id.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._watcher = service.watchers.add(None)
        self._seen: int | None = None
        self._under_way: dict[str, tuple[Message, asyncio.Task[None]]] = {}
        self._done: list[tuple[Message, Outcome]] = []
        # Webhooks whose last attempt failed: each has one attempt at a time, all together half the room.
        self._failing: set[int] = set()
        self._fails = False
        self._pruned_at = 0.0

    async def run(self) -> None:
        """Send until the watchers are closed; what is under way then has a moment to end."""
        while not self._watcher.closed:
            await self.turn_safely()
            await self._watcher.news(TICK_SECONDS)
            await asyncio.sleep(TURN_SPACING_SECONDS)
        await self._stop()

    async def turn_safely(self) -> None:
        """One turn; whatever goes wrong in it must not end the sender."""
        try:
            await self.turn()
        except Exception as error:
            if not self._fails:
                log.error("sending webhooks fails, trying again every second", exc_info=error)
            self._fails = True
        else:
            if self._fails:
                log.info("sending webhooks works again")
            self._fails = False
            self._service.metrics.finished("webhooks")

    async def turn(self) -> None:
        """Keep what became of attempts, and start sending what is due as far as there is room."""
        market, now = self._service.market, self._service.clock()
        await self._keep_outcomes()
        if time.monotonic() - self._pruned_at >= PRUNE_EVERY_SECONDS:
            await asyncio.to_thread(webhooks.prune, market, now)
            self._pruned_at = time.monotonic()
        self._seen = await asyncio.to_thread(webhooks.fan_out, market, self._seen, now)
        room = self._room(await asyncio.to_thread(webhooks.with_due, market, now))
        if room:
            until = now + int(market.policy.webhooks.timeout_seconds) + CLAIM_MARGIN_SECONDS
            signed_at = int(time.time())
            for message in await asyncio.to_thread(
                webhooks.claim, market, room, now, until, signed_at, besides=list(self._under_way)
            ):
                self._under_way[message.delivery.id] = message, asyncio.create_task(self._send(message))

    async def send_due(self) -> None:
        """Send everything that is due now, and keep what became of it."""
        await self.turn()
        while self._under_way:
            await asyncio.wait({task for _, task in self._under_way.values()})
            await self.turn()

    def _room(self, due: Sequence[int]) -> dict[int, int]:
        """Webhook id to how many more of its messages may be under way."""
        busy = Counter(message.delivery.webhook_id for message, _ in self._under_way.values())
        free = SENDS_MAX - busy.total()
        free_failing = SENDS_MAX // 2 - sum(busy[webhook_id] for webhook_id in self._failing)
        room: dict[int, int] = {}
        for webhook_id in due:
            failing = webhook_id in self._failing
            most = (1 if failing else PER_WEBHOOK_MAX) - busy[webhook_id]
            most = min(most, free, free_failing) if failing else min(most, free)
            if most > 0:
                room[webhook_id] = most
                free -= most
                free_failing -= most if failing else 0
        return room

    async def _send(self, message: Message) -> None:
        outcome = await self._service.courier.deliver(
            message, self._service.market.policy.webhooks.timeout_seconds
        )
        if outcome.problem is None:
            self._failing.discard(message.delivery.webhook_id)
        else:
            self._failing.add(message.delivery.webhook_id)
        self._done.append((message, outcome))
        self._watcher.wake()

    async def _keep_outcomes(self) -> None:
        done = list(self._done)
        if done:
            await asyncio.to_thread(webhooks.finish, self._service.market, done, self._service.clock())
            del self._done[: len(done)]
            for message, _ in done:
                del self._under_way[message.delivery.id]

    async def _stop(self) -> None:
        """What was not answered in a moment is for whoever sends next."""
        tasks = {task for _, task in self._under_way.values() if not task.done()}
        if tasks:
            _, broken_off = await asyncio.wait(tasks, timeout=STOP_SECONDS)
            for task in broken_off:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._keep_outcomes()
            left = [message for message, _ in self._under_way.values()]
            await asyncio.to_thread(webhooks.release, self._service.market, left, self._service.clock())
        except Exception as error:
            log.error("what became of webhooks' messages is not written down", exc_info=error)
