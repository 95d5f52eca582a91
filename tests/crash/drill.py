"""Killing a market again and again, and checking its books each time it is back."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from openclore.api.currencies import Currency
from openclore.rules.orders import State
from openclore.store import ledger
from openclore.usecases import accounts
from openclore.usecases.market import Market

from ..processes import openclore, until
from . import checks, serving
from .databases import Database, Postgres, Victim, opened
from .load import NO_TLS, Journal, Load, ask_again
from .market import populate
from .serving import Child, Clock

EARLY = 0.12
"""How often a market that was killed is killed once more while it starts."""
WORK_SECONDS_MAX = 0.8
LATE_SECONDS = 5
AGAIN_MAX = 20
"""Acknowledged writes that are asked for again after a kill."""


@dataclass
class Report:
    """What happened: blows by victim, writes asked for over HTTP, all that were acknowledged, those of which
    it was unknown what became of them and how many of these turned out to be done, and seconds.
    """

    blows: Counter[Victim] = field(default_factory=Counter)
    early: int = 0
    asked: int = 0
    acknowledged: int = 0
    unknown: int = 0
    unknown_done: int = 0
    failed: int = 0
    orders: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    transfers: int = 0
    seconds: float = 0.0

    @property
    def kills(self) -> int:
        return self.blows.total() - self.blows["writes"]

    def __str__(self) -> str:
        undone = self.unknown - self.unknown_done
        blows = ", ".join(f"{victim} {times}" for victim, times in sorted(self.blows.items()))
        ended = ", ".join(f"{reason} {times}" for reason, times in sorted(self.ended.items()))
        return (
            f"{self.kills} kills in {self.seconds:.0f} s ({blows}), {self.early} while the market started\n"
            f"  {self.acknowledged} writes were acknowledged, and each is there once\n"
            f"  {self.unknown} of {self.asked} writes over HTTP lost their answer: "
            f"{self.unknown_done} are done, {undone} are not, none by half\n"
            f"  {self.failed} answers had code 1\n"
            f"  {self.orders} orders ({ended or 'none ended'}), {self.transfers} transfers\n"
            "  all books add up"
        )


def drill(
    database: Database,
    folder: Path,
    *,
    kills: int,
    seed: int,
    say: Callable[[str], None] = print,
) -> Report:
    """Kill so many times; what is asked for and when the blow comes follow from the seed, as far as timing
    can.

    Raises:
        AssertionError: the books are wrong, or the market did not come back; a note has the seed.
    """
    try:
        return _Drill(database, folder, seed, say).run(kills)
    except BaseException as error:
        error.add_note(f"seed {seed}, {database.name} in {folder}")
        raise


class _Drill:
    def __init__(self, database: Database, folder: Path, seed: int, say: Callable[[str], None]) -> None:
        self._database, self._seed, self._say = database, seed, say
        self._chance = random.Random(seed)
        self._clock = Clock(time.time())
        self._log = folder / "market.log"
        self._market: Child | None = None
        self._address = ""
        self._report = Report()

    def run(self, kills: int) -> Report:
        began = time.monotonic()
        self._journal = Journal(populate(self._database, self._clock))
        try:
            while self._report.kills < kills:
                self._strike_once()
            self._end_in_peace()
        finally:
            if self._market is not None:
                self._market.kill()
                self._market.gone()
        self._report.seconds = time.monotonic() - began
        return self._report

    def _strike_once(self) -> None:
        report, number = self._report, self._report.blows.total() - self._report.early
        self._be_up()
        victim = self._database.victims[number % len(self._database.victims)]
        load = Load(self._address, self._journal, f"{self._seed}:{number}")
        asked_before = len(self._journal.asked)
        emails = [renter.email for renter in self._journal.people.renters]
        operator = serving.start(
            serving.credit, self._database.address, self._clock, self._log, emails, f"{self._seed}-{number}"
        )
        try:
            asyncio.run(load.run(self._work_and_strike(load, victim, operator)))
        finally:
            operator.kill()
            while (said := operator.heard(0.05)) is not None:
                self._journal.note_credit(said)
            operator.gone()
        report.blows[victim] += 1
        if isinstance(self._database, Postgres) and victim != "market":
            self._database.start()
        if self._market is None and self._chance.random() < EARLY:
            self._kill_while_it_starts()
        self._be_up()
        self._check(asked_before)
        self._say(f"{report.kills:4} {victim:9} {self._journal.done()} acknowledged")

    def _kill_while_it_starts(self) -> None:
        with serving.running(serving.serve, self._database.address, self._clock, self._log):
            time.sleep(self._chance.random() * 0.3)
        self._report.blows["market"] += 1
        self._report.early += 1

    def _be_up(self) -> None:
        """Start a market that was killed; one that lost its database must recover by itself."""
        if self._market is None:
            self._market = serving.start(serving.serve, self._database.address, self._clock, self._log)
            self._address = self._market.heard(60)
            assert self._address, f"it does not start: {self._log.read_text()[-5_000:]}"
        until(self._is_ready, what="the market to be ready")

    def _is_ready(self) -> bool:
        address = f"{self._address}/readyz"
        return httpx2.get(address, timeout=20, trust_env=False, verify=NO_TLS).status_code == 200

    async def _work_and_strike(self, load: Load, victim: Victim, operator: Child) -> None:
        async with asyncio.timeout(30):
            await load.answered.wait()
        await asyncio.sleep(self._chance.random() * WORK_SECONDS_MAX)
        assert self._market is not None
        if victim in ("market", "both"):
            self._market.kill()
        if victim == "writes":
            with self._database.unwritable(self._market.pid, self._chance):
                await asyncio.sleep(0.3 + self._chance.random() * WORK_SECONDS_MAX)
        if isinstance(self._database, Postgres):
            if victim in ("database", "both"):
                await asyncio.to_thread(self._database.kill)
            elif victim == "backend":
                self._database.kill_backend(self._chance)
        if self._chance.random() < 0.5:
            operator.kill()
        if victim in ("market", "both"):
            self._market.gone()
            self._market = None
        else:
            await asyncio.sleep(self._chance.random() * 0.3)

    def _check(self, asked_before: int) -> None:
        journal, report = self._journal, self._report
        lately = journal.asked[asked_before:]
        report.asked += len(lately)
        report.unknown += sum(asked.outcome == "unknown" for asked in lately)
        verdict = openclore("admin", "verify", "--database-url", self._database.address)
        assert verdict["difference"] is None, verdict
        self._compare()
        done = [asked for asked in lately if asked.key and asked.outcome == "done"]
        again = self._chance.sample(done, min(AGAIN_MAX, len(done)))
        again += [asked for asked in lately if asked.key and asked.outcome == "unknown"]
        report.unknown_done += asyncio.run(ask_again(self._address, journal, again))
        self._compare()

    def _compare(self) -> None:
        with opened(self._database) as store, store.reading() as tx:
            books = checks.read(tx)
        wrong = list(checks.differences(books, self._journal))
        assert not wrong, "\n".join(wrong)
        for renter in self._journal.people.renters:
            self._journal.orders[renter.id] = checks.known(books, renter.id)
        report = self._report
        report.acknowledged, report.failed = self._journal.done(), self._journal.failed
        report.orders, report.transfers = len(books.orders), len(books.transfers)
        report.ended = Counter(str(o.end_reason) for o in books.orders if o.state is State.ENDED)

    def _credit_again(self) -> None:
        """The operator repeats credits under their keys: all that may not be done, and many of the others."""
        done = [key for key, (*_, done) in self._journal.credited.items() if done]
        again = self._journal.credited.keys() - done
        again |= set(self._chance.sample(done, min(10 * AGAIN_MAX, len(done))))
        with opened(self._database) as store, store.writing():
            for key in sorted(again):
                email, currency, amount, _ = self._journal.credited[key]
                own = key.removeprefix("credit:")
                accounts.credit(
                    Market(store, serving.POLICY), email, Currency(currency), amount, self._clock(), own
                )
                self._journal.credited[key] = (email, currency, amount, True)

    def _is_settled(self) -> bool:
        """No wallet waits for the loop for longer than it takes a turn or two."""
        with opened(self._database) as store, store.reading() as tx:
            return not ledger.wallets_due(tx, self._clock() - LATE_SECONDS * serving.SPEED)

    def _end_in_peace(self) -> None:
        """Many writes are asked for again, what is due is settled; then the market stops as it should."""
        self._be_up()
        until(self._is_settled, what="all that is due to be settled")
        done = [asked for asked in self._journal.asked if asked.key and asked.outcome == "done"]
        again = self._chance.sample(done, min(10 * AGAIN_MAX, len(done)))
        asyncio.run(ask_again(self._address, self._journal, again))
        self._credit_again()
        self._compare()
        assert self._market is not None
        assert self._market.process.is_alive()
        self._market.process.terminate()
        self._market.process.join(60)
        assert self._market.process.exitcode == 0, self._log.read_text()[-5_000:]
        self._market.gone()
        self._market = None
        assert openclore("admin", "verify", "--database-url", self._database.address)["difference"] is None
        assert self._database.whole() is None
        assert '"event": "request failed"' not in self._log.read_text()
