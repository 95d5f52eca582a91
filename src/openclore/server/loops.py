"""What happens without anybody asking: evidence is kept, prices follow the rates, wallets are settled."""

import asyncio
import time
from contextlib import suppress

import structlog
from sqlalchemy.exc import SQLAlchemyError

from ..rules.statistics import HOUR_SECONDS
from ..store.store import StoreBusy
from ..usecases import hosts, idempotency, rates, settlement, statistics
from ..usecases.market import Market
from .lease import Lease, LeaseLost
from .service import Service

TICK_SECONDS = 1.0
EVIDENCE_EVERY_SECONDS = 5.0
RELIST_EVERY_SECONDS = 600.0
FOLLOW_SECONDS = 1.0
LEASE = "loop"

log = structlog.get_logger()


class Loop:
    """One turn a second. A failed turn is logged once until one succeeds, and tried again.

    Of the processes that serve a market, the one that has the lease judges and settles.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lease = Lease(service.market, LEASE)
        self._pegged_mark = 0
        self._hour = service.clock() // HOUR_SECONDS
        self._relisted_at = time.monotonic()

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.turn_safely()
            try:
                async with asyncio.timeout(TICK_SECONDS):
                    await stop.wait()
            except TimeoutError:
                continue
        self._service.links.kept_at = 0.0
        await self.turn_safely()
        with suppress(SQLAlchemyError, StoreBusy):
            await asyncio.to_thread(self._lease.release)

    async def turn_safely(self) -> None:
        """One turn; whatever goes wrong in it must not end the loop."""
        try:
            await asyncio.to_thread(self.turn)
        except Exception as error:
            if not self._service.loop_fails:
                log.error("the market's loop fails, trying again every second", exc_info=error)
            self._service.loop_fails = True
        else:
            if self._service.loop_fails:
                log.info("the market's loop works again")
            self._service.loop_fails = False
            self._service.metrics.finished("market")

    def turn(self) -> None:
        """Keep evidence first: what follows judges hosts by it."""
        service, now = self._service, self._service.clock()
        started = time.monotonic()
        keep_evidence_now_and_then(service)
        market = self._lease.hold()
        if market is not None:
            try:
                self._act(market, now)
            except* LeaseLost:
                log.warning("this process was paused for too long: another one goes on")
        if service.catch_up():
            service.tell()
        if now // HOUR_SECONDS != self._hour:
            keep_hour(service, now)
            self._hour = now // HOUR_SECONDS
        if started - self._relisted_at >= RELIST_EVERY_SECONDS:
            service.refresh(None)
            self._relisted_at = started

    def _act(self, market: Market, now: int) -> None:
        """What one process does for the whole market."""
        if now // rates.PEG_SECONDS != self._pegged_mark:
            rates.repeg(market, now)
            self._pegged_mark = now // rates.PEG_SECONDS
        hosts.sweep(market, now)
        settlement.settle_due(market, now)


async def follow(service: Service, news: asyncio.Event) -> None:
    """Keep this process's copies and evidence up to date, however long the loop takes: when another process
    has news, and else every second. Until cancelled.
    """
    while True:
        with suppress(SQLAlchemyError, StoreBusy):  # of which the loop complains
            await asyncio.to_thread(service.catch_up)
            await asyncio.to_thread(keep_evidence_now_and_then, service)
        with suppress(TimeoutError):
            async with asyncio.timeout(FOLLOW_SECONDS):
                await news.wait()
        news.clear()


def keep_evidence_now_and_then(service: Service) -> None:
    """Write down which hosts were heard of, unless that was done a moment ago."""
    if time.monotonic() - service.links.kept_at >= EVIDENCE_EVERY_SECONDS:
        service.links.kept_at = time.monotonic()
        keep_evidence(service)


def keep_evidence(service: Service) -> None:
    """Write down which hosts were heard of."""
    evidence = service.links.evidence()
    hosts.keep_evidence(service.market, evidence)
    service.links.written_down(evidence)


def keep_hour(service: Service, now: int) -> None:
    """What each full hour brings: its figures are kept, replies that are too old to ask for again are not."""
    service.catch_up()
    statistics.keep_hour(service.market, service.snapshot.listed(), now)
    idempotency.prune(service.market, now)
