"""The world with its doors: one request after another, each at its own second, and time between them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from sqlalchemy import select

from ..api.currencies import Currency
from ..rules import money
from ..rules.refused import InvalidInput, Refused
from ..rules.statistics import HOUR_SECONDS
from ..server.loops import RELIST_EVERY_SECONDS, keep_evidence, keep_hour
from ..server.service import Service
from ..server.webhooks import Sender
from ..store import orders as orders_store
from ..store.tables import webhooks as webhooks_table
from ..usecases import accounts, hosts, webhooks
from .changes import Changes
from .faults import Fault, Faults
from .hosts import Mishap
from .ports import Sockets
from .pricing import reprice
from .world import World

T = TypeVar("T")

TICK_SECONDS = 0.5
TURN_SECONDS_MAX = 366 * 86_400
_NEARLY_A_SECOND = 0.999_999


class Clock:
    """The time that it should be: at `speed` times the pace of ours, and moved on by hand."""

    def __init__(self, start: int, speed: float) -> None:
        self.speed = speed
        self._base = float(start)
        self._began = time.monotonic()

    def read(self) -> float:
        return self._base + (time.monotonic() - self._began) * self.speed

    def move(self, seconds: float) -> None:
        self._base += seconds

    def catch_up(self, at: int) -> None:
        """Be at least there."""
        self.move(max(0.0, at - self.read()))


class Stage:
    """Everything here runs on one event loop, nothing of the world at the same time as anything else."""

    def __init__(self, world: World, service: Service, clock: Clock, request_seconds: float) -> None:
        self.world = world
        self.service = service
        self.faults = Faults()
        self._clock = clock
        self._request_seconds = request_seconds
        self._sockets = Sockets()
        self._relisted_at = world.now
        self._changes = Changes(world.market.store)
        self.closing = asyncio.Event()
        self._lock = asyncio.Lock()
        self._turning = asyncio.Lock()
        self._posting = asyncio.Lock()
        self._sender = Sender(service)
        self._seen: int | None = None
        self._webhook_changes = Changes(world.market.store)
        self._has_webhooks = False
        world.each(HOUR_SECONDS, partial(keep_hour, service))

    # Time -------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Unix s; a part of a second is on its way to the next."""
        return min(self._clock.read(), self.world.now + _NEARLY_A_SECOND)

    @property
    def speed(self) -> float:
        return self._clock.speed

    async def turn(self, seconds: float) -> int:
        """Move the clock on, and live through what happens until then; the time afterwards.

        Messages to webhooks go out at their moments and are waited for; receivers may act on the market.

        Raises:
            InvalidInput: it does not turn back, and a year at most.
        """
        if not 0 <= seconds <= TURN_SECONDS_MAX:
            raise InvalidInput(f"the clock turns by 0 to {TURN_SECONDS_MAX} seconds at once, not {seconds:g}")
        async with self._turning:
            await self._post()
            self._clock.move(seconds)
            until = int(self._clock.read())
            arrived = False
            while not (arrived or self.closing.is_set()):
                async with self._lock:
                    await self._look_for_webhooks()
                    arrived = await asyncio.to_thread(self.world.turn_to, until, self._breaks_off)
                    await self._after_change()
                await self._post()
            self._clock.catch_up(self.world.now)
            return self.world.now

    @asynccontextmanager
    async def request(self) -> AsyncIterator[None]:
        """The time of one request, with everything up to it lived through."""
        async with self._lock:
            await self._pass(self._request_seconds)
            yield
            await self._after_change()

    async def run(self) -> None:
        """Let time pass as it does outside, and messages go out, until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            async with self._lock:
                await self._pass()
                await asyncio.to_thread(self._mind_agents)
            if not self._turning.locked():
                async with self._posting:
                    await self._sender.turn_safely()

    async def close(self) -> None:
        """Have everybody leave, and time stand still."""
        self.closing.set()
        await self._sockets.close()
        self.service.watchers.close()

    # Interventions ----------------------------------------------------------------------------------

    async def put(self, fault: Fault) -> None:
        """Let a fault wait for its requests, or happen now if it waits for none.

        Raises:
            InvalidInput: there is no such server, or nothing to do there.
        """
        if not fault.happens_at_once:
            self.faults.put(fault)
            return
        async with self._lock:
            await self._pass()
            await self.apply(fault)
            await self._after_change()

    def clear_faults(self) -> None:
        """Nothing waits any more; what happened already stays."""
        self.faults.clear()
        self.world.hosts.mishaps.clear()

    async def apply(self, fault: Fault) -> None:
        """Let something happen on the market; for somebody who is within `request`."""
        await asyncio.to_thread(self._apply, fault)

    async def credit(self, email: str, currency: Currency, amount: float) -> None:
        """Money from outside for an account.

        Raises:
            InvalidInput: no such account, or no such amount.
        """
        key = f"sandbox:{time.monotonic_ns()}"
        exact = money.of_member("amount", amount)
        async with self._lock:
            await self._pass()
            await asyncio.to_thread(
                accounts.credit, self.world.market, email, currency, exact, self.world.now, key
            )
            await self._after_change()

    def _apply(self, fault: Fault) -> None:
        world, now, server_id = self.world, self.world.now, fault.server_id
        if server_id is not None and not world.hosts.has(server_id):
            raise InvalidInput(f"server_id: there is no simulated server {server_id}")
        match fault.kind:
            case "slow_image":
                world.hosts.mishaps.append(Mishap(fault.image, server_id, fault.count, fault.seconds or 0))
            case "never_deploys":
                world.hosts.mishaps.append(Mishap(fault.image, server_id, fault.count, None))
            case "failing_image":
                world.hosts.mishaps.append(Mishap(fault.image, server_id, fault.count, 5, fault.reason))
            case "host_lost" if server_id is not None:
                world.hosts.lose(server_id, now, fault.seconds)
            case "host_back" if server_id is not None:
                world.hosts.find(server_id, now)
            case "floor_moved" if server_id is not None:
                _refused_as_input(lambda: reprice(world.market, server_id, 1.0, fault.factor, now))
            case "outbid" if server_id is not None:
                self._outbid(server_id, fault.factor)

    def _outbid(self, server_id: int, factor: float) -> None:
        with self.world.market.store.reading() as tx:
            bids = [order for order in orders_store.active_on_server(tx, server_id) if order.is_bid]
        running = next((order for order in bids if order.holds), None)
        if running is None:
            raise InvalidInput(f"server_id: no bid runs on server {server_id}")
        _refused_as_input(
            lambda: self.world.rivals.outbid(
                server_id, running.currency, int(running.price * factor) + 1, self.world.now
            )
        )

    # What follows from change -----------------------------------------------------------------------

    async def _pass(self, seconds: float = 0.0) -> None:
        """Live through what happens until now, or so many seconds later.

        While the clock is being turned, now is where the world has got to: the moment of a message, when one
        of its receivers acts.
        """
        if self._turning.locked():
            until = self.world.now + int(seconds)
        else:
            self._clock.move(seconds)
            until = int(self._clock.read())
        if until > self.world.now:
            await asyncio.to_thread(self.world.turn_to, until, self.closing.is_set)
            await self._after_change()

    async def _after_change(self) -> None:
        """Show what changed: to those it concerns, on the marketplace, on the ports of this machine."""
        if self._changes.any() or self._must_relist():
            await asyncio.to_thread(self._show)
        failed: list[tuple[int, str]] = []
        await self._sockets.show(
            self.world.hosts.listening(), lambda order_id, reason: failed.append((order_id, reason))
        )
        for order_id, reason in failed:
            await asyncio.to_thread(self.world.hosts.fail, order_id, reason, self.world.now)

    def _show(self) -> None:
        self.world.follow()
        self.service.catch_up()
        if self._must_relist():
            self.service.refresh(None)
            self._relisted_at = self.world.now

    def _must_relist(self) -> bool:
        return self.world.now - self._relisted_at >= RELIST_EVERY_SECONDS

    def _mind_agents(self) -> None:
        """What the server's loop does for machines that are real, and speak for themselves."""
        keep_evidence(self.service)
        hosts.sweep(self.world.market, self.world.now)

    async def _look_for_webhooks(self) -> None:
        if self._webhook_changes.any():
            self._has_webhooks = await asyncio.to_thread(self._any_webhooks)

    def _any_webhooks(self) -> bool:
        with self.service.market.store.reading() as tx:
            return tx.execute(select(webhooks_table.c.id).limit(1)).first() is not None

    def _breaks_off(self) -> bool:
        """Whether time must stand still now: there are messages for webhooks to send, or all is over."""
        if self.closing.is_set() or not self._has_webhooks:
            return self.closing.is_set()
        self._seen = webhooks.fan_out(self.service.market, self._seen, self.world.now)
        return bool(webhooks.with_due(self.service.market, self.world.now))

    async def _post(self) -> None:
        """Send every message that is due, and wait until that is done."""
        await self._look_for_webhooks()
        if self._has_webhooks:
            async with self._posting:
                await self._sender.send_due()


def _refused_as_input(act: Callable[[], T]) -> T:
    try:
        return act()
    except Refused as refused:
        raise InvalidInput(f"the market refuses that: {refused.refusal}") from None
