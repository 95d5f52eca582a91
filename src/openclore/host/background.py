"""The background job: carries out what the plan wants of it, one step at a time, and lets it rest."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from .logs import Trouble, get_logger
from .plan import AbandonBackground, BackgroundAction, RemoveBackground, RunBackground, StopBackground
from .runtime import DeploymentFailed, FoundBackground, Runtime, RuntimeTrouble

REST_SECONDS_MAX = 300.0
STEADY_SECONDS = 600.0
"""A job that ran for so long before it ended is started again as if for the first time."""


def rest_seconds(ends: int) -> float:
    """The pause after this many ends or failures in a row (from 1): 1 s, doubling up to 5 minutes."""
    return min(2.0 ** (min(ends, 20) - 1), REST_SECONDS_MAX)


class Background:
    """What there is of the job (`found`), what is being done about it (`work`), how long it rests.

    `rests_until` is in steady s. `wake` is called when a step is done.
    """

    def __init__(
        self,
        runtime: Runtime,
        wake: Callable[[], None],
        retry_seconds: float,
        steady_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.found = FoundBackground()
        self.work: BackgroundAction | None = None
        self.rests_until = 0.0
        self._runtime = runtime
        self._wake = wake
        self._retry_seconds = retry_seconds
        self._steady_clock = steady_clock
        self._task: asyncio.Task[None] | None = None
        self._ends = 0
        self._up_since = 0.0
        self._log = get_logger()
        self._trouble = Trouble(self._log, "the background job is past its trouble")

    async def look(self) -> None:
        """Raises `RuntimeTrouble`; then the last view stays, as it does where our own work knows better."""
        worked_on = self.work is not None
        found = await self._runtime.look_background()
        if worked_on or self.found.state == "unknown":
            return
        if self.found.state == "running" and found.state == "stopped":
            self._ended(found.detail)
        self.found = found

    def act(self, action: BackgroundAction) -> None:
        if isinstance(action, AbandonBackground):
            if self._task:
                self._task.cancel()
            return
        self.work = action
        self._task = asyncio.create_task(self._carry_out(action))
        self._task.add_done_callback(self._done)

    async def stop_working(self) -> None:
        """The container stays as it is."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _carry_out(self, action: BackgroundAction) -> None:
        try:
            match action:
                case RunBackground(job):
                    self.found = FoundBackground("unknown", job.revision)
                    await self._runtime.run_background(job)
                    self.found = FoundBackground("running", job.revision)
                    self._up_since = self._steady_clock()
                    self._log.info("background job up", image=job.image)
                    self._trouble.passed()
                case StopBackground():
                    await self._runtime.stop_background()
                    self.found = replace(self.found, state="stopped")
                    self.rests_until = 0.0
                    self._log.info("background job stopped for an order")
                case RemoveBackground():
                    await self._runtime.remove_background()
                    self.found = FoundBackground()
                    self.rests_until, self._ends = 0.0, 0
                    self._log.info("background job removed")
                    self._trouble.passed()
        except (DeploymentFailed, RuntimeTrouble) as error:
            self._trouble.happened(f"the background job: {error}")
            await self._after_failure(action)
        except Exception as defect:
            self._log.error("a defect in the agent", exc_info=defect)
            await self._after_failure(action)

    async def _after_failure(self, action: BackgroundAction) -> None:
        if isinstance(action, RunBackground):
            self._rest()
        else:
            await asyncio.sleep(self._retry_seconds)

    def _done(self, _: asyncio.Task[None]) -> None:
        self.work = self._task = None
        self._wake()

    def _ended(self, detail: str) -> None:
        if self._steady_clock() >= self._up_since + STEADY_SECONDS:
            self._ends = 0
        self._rest()
        self._log.info("background job ended", how=detail, again_in_seconds=rest_seconds(self._ends))

    def _rest(self) -> None:
        self._ends += 1
        self.rests_until = self._steady_clock() + rest_seconds(self._ends)
