"""What happens without anybody asking: evidence is kept, silent hosts go offline, wallets are settled."""

import asyncio
import time

import structlog
from sqlalchemy.exc import SQLAlchemyError

from ..usecases import hosts, settlement
from .service import Service

TICK_SECONDS = 1.0
EVIDENCE_EVERY_SECONDS = 5.0
RELIST_EVERY_SECONDS = 600.0

log = structlog.get_logger()


class Loop:
    """One turn a second. A failed turn is logged once until one succeeds, and tried again."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._evidence_at = 0.0
        self._relisted_at = time.monotonic()
        self.failing = False

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.turn_safely()
            try:
                async with asyncio.timeout(TICK_SECONDS):
                    await stop.wait()
            except TimeoutError:
                continue
        self._evidence_at = 0.0
        await self.turn_safely()

    async def turn_safely(self) -> None:
        try:
            await asyncio.to_thread(self.turn)
        except SQLAlchemyError as error:
            if not self.failing:
                log.error("the market's loop fails, trying again", error=type(error).__name__)
            self.failing = True
        else:
            if self.failing:
                log.info("the market's loop works again")
            self.failing = False

    def turn(self) -> None:
        """Keep evidence first: what follows judges hosts by it."""
        service, now = self._service, self._service.clock()
        started = time.monotonic()
        if started - self._evidence_at >= EVIDENCE_EVERY_SECONDS:
            hosts.keep_evidence(service.market, service.links.take_evidence())
            self._evidence_at = started
        hosts.sweep(service.market, now)
        settlement.settle_due(service.market, now)
        service.catch_up()
        if started - self._relisted_at >= RELIST_EVERY_SECONDS:
            service.refresh(None)
            self._relisted_at = started
