"""Keeps the containers equal to what the market wants: look, plan, act, again."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace

import msgspec

from openclore.api.gigaspot import GpuClocks
from openclore.api.hostlink import Assignment, BackgroundJob, Container, ContainerState

from .background import Background
from .logs import DETAIL_LENGTH_MAX, Trouble, get_logger
from .plan import Abandon, Action, Actual, Deploy, Moment, Remove, Wanted, plan, report, whose_clocks
from .runtime import ClocksRefused, DeploymentFailed, Found, Runtime, RuntimeTrouble, Tuner
from .state import LastWord

LOOK_SECONDS = 1.0
RETRY_SECONDS = 3.0
CLOCKS_SECONDS = 10.0
"""How often GPUs that an order has set are looked at: a driver that was reloaded forgets."""
LAST_REMOVALS_SECONDS_MAX = 3.0
PAID_SECONDS_UNREMEMBERED = 60
"""`paid_until` moves with every beat; so much of it may be lost in a restart to spare the disk."""
CLOCK_JITTER_SECONDS = 5.0
"""The market's `now` is in whole seconds and travels a while, so it wavers without a clock being set."""


class Keeper:
    """Works on each order in a task of its own, so nothing here delays a beat.

    The link tells it what is wanted (`assign`, `extend`, `cut_off`); it tells the link what there is
    (`containers`, and `changed` when that differs from before). `remember` is called with the market's last
    word whenever it changes by enough, to be given back as `known` after a restart. `clock` is this
    machine's (Unix s); it may be wrong, so it is corrected by what the market says.
    """

    def __init__(
        self,
        runtime: Runtime,
        tuner: Tuner,
        known: LastWord | None = None,
        remember: Callable[[LastWord], None] = lambda word: None,
        clock: Callable[[], float] = time.time,
        steady_clock: Callable[[], float] = time.monotonic,
        look_seconds: float = LOOK_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self.changed = asyncio.Event()
        self._runtime = runtime
        self._tuner = tuner
        self._remember = remember
        self._clock = clock
        self._steady_clock = steady_clock
        self._look_seconds = look_seconds
        self._retry_seconds = retry_seconds
        self._remembered = known or LastWord()
        self._clock_ahead_seconds = self._remembered.clock_ahead_seconds
        self._wanted = Wanted(
            {order.order_id: order for order in self._remembered.orders},
            cut_off_since=steady_clock(),
            background=self._remembered.background,
        )
        self._found: dict[int, Found] = {}
        self._failed: dict[int, str] = {}
        self._settled: set[int] = set()
        self._remarks: dict[int, str] = {}
        self._progress: dict[int, ContainerState] = {}
        self._deploying: dict[int, asyncio.Task[None]] = {}
        self._removing: dict[int, asyncio.Task[None]] = {}
        self._tuning: asyncio.Task[None] | None = None
        self._held: tuple[float, list[GpuClocks]] | None = None
        self._clocks_refused: dict[int, str] = {}
        self._reported: list[Container] = []
        self._stale: set[int] = set()
        self._wake = asyncio.Event()
        self._background = Background(runtime, self._wake.set, retry_seconds, steady_clock)
        self._log = get_logger()
        self._clocks_trouble = Trouble(self._log, "the GPUs run as they should again")
        self._look_trouble = Trouble(self._log, f"the {runtime.name} runtime answers again")
        self._order_troubles: dict[int, Trouble] = {}

    def assign(self, orders: list[Assignment], now: int = 0, background: BackgroundJob | None = None) -> None:
        """The market says what should run: this and nothing else. `now`, `background` as in `Assignments`."""
        self._set_clock(now)
        self._want(Wanted({order.order_id: order for order in orders}, None, background))
        for order_id in self._failed.keys() - self._wanted.orders.keys():
            del self._failed[order_id]

    def extend(self, paid_until: Mapping[int, int], now: int = 0) -> None:
        """The market says until when orders are paid. Both in Unix s, `now` as in `Paid`."""
        self._set_clock(now)
        orders = dict(self._wanted.orders)
        for order_id in orders.keys() & paid_until.keys():
            orders[order_id] = msgspec.structs.replace(orders[order_id], paid_until=paid_until[order_id])
        self._want(replace(self._wanted, orders=orders))

    def cut_off(self) -> None:
        """The market is gone for now."""
        if self._wanted.cut_off_since is None:
            self._want(replace(self._wanted, cut_off_since=self._steady_clock()))

    def containers(self) -> list[Container]:
        """What to tell the market."""
        return report(self._actual(), self._progress, self._remarks | self._clocks_refused)

    async def look(self) -> bool:
        """See what is there; False where the runtime doesn't answer, and then the last view stays."""
        worked_on = {*self._deploying, *self._removing}
        try:
            found = await self._runtime.look()
            await self._background.look()
        except RuntimeTrouble as trouble:
            self._look_trouble.happened(str(trouble))
            return False
        self._look_trouble.passed()
        self._found = found
        # What changed hands while we looked may have been seen before or after: the next look tells.
        self._stale = worked_on - {*self._deploying, *self._removing}
        self._settled &= self._found.keys() | worked_on
        for order_id in self._found.keys() & self._wanted.orders.keys() - self._failed.keys():
            if self._found[order_id].container.state == "failed":
                self._fail(order_id, self._found[order_id].container.detail)
        for order_id in self._progress.keys() - worked_on - self._deploying.keys():
            del self._progress[order_id]
        self._tell_if_changed()
        return True

    async def run(self) -> None:
        """Until cancelled. Containers stay as they are then, but removals that have begun may end."""
        try:
            while True:
                self._wake.clear()
                if await self.look():
                    for action in plan(self._wanted, self._actual(), self._moment()):
                        self._act(action)
                    self._tune()
                await self._pause()
        finally:
            await self._stop_working()

    def _set_clock(self, now: int) -> None:
        self._clock_ahead_seconds = now - self._clock() if now else 0.0

    def _moment(self) -> Moment:
        return Moment(self._clock() + self._clock_ahead_seconds, self._steady_clock())

    def _want(self, wanted: Wanted) -> None:
        word = LastWord(
            orders=list(wanted.orders.values()),
            background=wanted.background,
            clock_ahead_seconds=self._clock_ahead_seconds,
        )
        if _says_more(word, self._remembered):
            self._remember(word)
            self._remembered = word
        self._wanted = wanted
        self._wake.set()

    def _actual(self) -> Actual:
        return Actual(
            found=self._found,
            settled=self._settled,
            failed=self._failed,
            deploying=self._deploying.keys(),
            removing=self._removing.keys() | self._stale,
            background=self._background.found,
            background_work=self._background.work,
            background_rests_until=self._background.rests_until,
        )

    def _act(self, action: Action) -> None:
        match action:
            case Deploy(order):
                self._start(self._deploying, order.order_id, self._deploy(order))
            case Abandon(order_id):
                self._deploying[order_id].cancel()
            case Remove(order_id):
                self._start(self._removing, order_id, self._remove(order_id))
            case _:
                self._background.act(action)

    def _tune(self) -> None:
        """See that the GPUs run as they should; an order being deployed sees to that itself."""
        deployed_meanwhile = self._wanted.orders.keys() & (self._deploying.keys() | self._stale)
        if self._tuning or any(self._wanted.orders[order_id].clocks for order_id in deployed_meanwhile):
            return
        order, now = whose_clocks(self._wanted, self._actual(), self._moment()), self._steady_clock()
        clocks = order.clocks if order else []
        if self._held and self._held[1] == clocks and now < self._held[0] + CLOCKS_SECONDS:
            return
        self._held = now, clocks
        self._tuning = asyncio.create_task(self._hold(order))

    async def _hold(self, order: Assignment | None) -> None:
        """Clocks that are refused to an order that runs are no reason to end it."""
        try:
            await asyncio.to_thread(self._tuner.hold, order.clocks if order else [])
            self._clocks_trouble.passed()
            self._clocks_refused = {}
        except ClocksRefused as refusal:
            self._clocks_trouble.happened(str(refusal))
            self._clocks_refused = {order.order_id: f"the clocks were refused: {refusal}"} if order else {}
        except Exception as defect:
            self._log.error("a defect in the agent", exc_info=defect)
        finally:
            self._tuning = None

    def _start(
        self, tasks: dict[int, asyncio.Task[None]], order_id: int, work: Coroutine[None, None, None]
    ) -> None:
        def finished(task: asyncio.Task[None]) -> None:
            del tasks[order_id]
            self._wake.set()
            if not task.cancelled() and task.exception():
                self._log.error("a defect in the agent", order=order_id, exc_info=task.exception())

        tasks[order_id] = asyncio.create_task(self._patiently(order_id, work))
        tasks[order_id].add_done_callback(finished)

    async def _patiently(self, order_id: int, work: Coroutine[None, None, None]) -> None:
        trouble = self._order_troubles.setdefault(order_id, self._trouble_of(order_id))
        try:
            await work
        except RuntimeTrouble as error:
            trouble.happened(str(error))
            await asyncio.sleep(self._retry_seconds)
        except Exception:
            await asyncio.sleep(self._retry_seconds)
            raise
        else:
            trouble.passed()
            del self._order_troubles[order_id]

    async def _deploy(self, order: Assignment) -> None:
        before = self._found.get(order.order_id)
        try:
            await self._provide_clocks(order, before)
            remark = await self._runtime.deploy(order, lambda state: self._note(order.order_id, state))
        except DeploymentFailed as failure:
            self._fail(order.order_id, str(failure))
        else:
            self._remarks[order.order_id] = remark[:DETAIL_LENGTH_MAX]
            self._settled.add(order.order_id)
            adopted = before is not None and not before.unfinished
            self._log.info(
                "container adopted" if adopted else "container up", order=order.order_id, image=order.image
            )

    async def _provide_clocks(self, order: Assignment, before: Found | None) -> None:
        """A container does not start without the clocks that its renter pays for."""
        if not order.clocks or (before and not before.unfinished):
            return
        self._held = None
        try:
            await asyncio.to_thread(self._tuner.hold, order.clocks)
        except ClocksRefused as refusal:
            if before and before.container.state == "exited":  # it holds a renter's work
                raise RuntimeTrouble(str(refusal)) from refusal
            raise DeploymentFailed(str(refusal)) from refusal

    def _fail(self, order_id: int, reason: str) -> None:
        self._failed[order_id] = reason[:DETAIL_LENGTH_MAX]
        self._log.warning("deployment failed", order=order_id, reason=reason)

    async def _remove(self, order_id: int) -> None:
        await self._runtime.remove(order_id)
        self._remarks.pop(order_id, None)
        self._settled.discard(order_id)
        self._log.info("container removed", order=order_id)

    def _note(self, order_id: int, state: ContainerState) -> None:
        self._progress[order_id] = state
        self._tell_if_changed()

    def _tell_if_changed(self) -> None:
        now = self.containers()
        if now != self._reported:
            self._reported = now
            self.changed.set()

    def _trouble_of(self, order_id: int) -> Trouble:
        return Trouble(self._log.bind(order=order_id), "the order is past its trouble")

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._look_seconds):  # wait_for may swallow a cancellation
                await self._wake.wait()

    async def _stop_working(self) -> None:
        deployments, removals = list(self._deploying.values()), list(self._removing.values())
        tuning = [self._tuning] if self._tuning else []
        for task in (*deployments, *tuning):
            task.cancel()
        if removals:
            await asyncio.wait(removals, timeout=LAST_REMOVALS_SECONDS_MAX)
        for task in removals:
            task.cancel()
        await asyncio.gather(*deployments, *removals, *tuning, return_exceptions=True)
        await self._background.stop_working()


def _says_more(word: LastWord, remembered: LastWord) -> bool:
    """Whether it differs by enough to write it down."""
    clock_was_set = abs(word.clock_ahead_seconds - remembered.clock_ahead_seconds) > CLOCK_JITTER_SECONDS
    before = {order.order_id: order for order in remembered.orders}
    return (
        clock_was_set
        or word.background != remembered.background
        or {order.order_id for order in word.orders} != before.keys()
        or any(_differs(order, before[order.order_id]) for order in word.orders)
    )


def _differs(order: Assignment, remembered: Assignment) -> bool:
    more_seconds = order.paid_until - remembered.paid_until
    same_otherwise = msgspec.structs.replace(order, paid_until=remembered.paid_until) == remembered
    return not (same_otherwise and 0 <= more_seconds < PAID_SECONDS_UNREMEMBERED)
