"""The processes that are killed: a market that serves, and an operator who credits wallets beside it.

They are forked from a process that has everything imported, so one is back within a fraction of a second.
"""

import multiprocessing
import os
import random
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import openclore.server.lease
import openclore.server.run
from openclore.api.currencies import Currency
from openclore.cli.logs import configure_logs
from openclore.rules.policy import Fees, Policy
from openclore.server.settings import Pace, Settings
from openclore.store.store import open_store
from openclore.usecases import accounts
from openclore.usecases.market import Market

SPEED = 60
"""Seconds of the market in one of ours: a minute begins each second, so wallets run dry and leases end."""

POLICY = Policy(
    fees=Fees(creation_grace_seconds=120),
    orders_max=12,
    servers_max=100,
    post_every_seconds=120,
    offline_after_seconds=240,
    host_lost_after_seconds=900,
    idempotency_seconds=10**9,
)
NO_PACE = Pace(spacing_seconds=0, create_order_seconds=0, open_spacing_seconds=0)

_fork = multiprocessing.get_context("forkserver")
_fork.set_forkserver_preload([__name__])


class Clock(NamedTuple):
    """Unix seconds as the market counts them, which is `SPEED` times as fast since `start`."""

    start: float

    def __call__(self) -> int:
        return int(self.start + (time.time() - self.start) * SPEED)


@dataclass
class Child:
    """A process that is killed in the end, and what it tells."""

    process: Any
    hears: Connection

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    def kill(self) -> None:
        self.process.kill()

    def gone(self) -> None:
        """Wait until it is, and forget it."""
        self.process.join(60)
        assert self.process.exitcode is not None
        self.process.close()
        self.hears.close()

    def heard(self, seconds: float) -> Any:
        """The next thing it tells; None if it tells none in time or is dead."""
        try:
            return self.hears.recv() if self.hears.poll(seconds) else None
        except (EOFError, ConnectionResetError):
            return None


def start(what: Callable[..., None], *args: Any) -> Child:
    hears, tells = _fork.Pipe(duplex=False)
    process = _fork.Process(target=what, args=(*args, tells))
    process.start()
    tells.close()
    return Child(process, hears)


@contextmanager
def running(what: Callable[..., None], *args: Any) -> Iterator[Child]:
    """A child that is killed in the end, if nobody killed it before."""
    child = start(what, *args)
    try:
        yield child
    finally:
        child.kill()
        child.gone()


def serve(database: str, clock: Clock, log: Path, tells: Connection) -> None:
    """What `openclore serve` does; tells its address when it is ready."""
    _write_to(log)
    openclore.server.run.system_clock = clock
    openclore.server.lease.LEASE_SECONDS = 0.3
    settings = Settings(database_url=database, port=0, pace=NO_PACE, policy=POLICY)
    openclore.server.run.serve(settings, ready=tells.send)


def credit(database: str, clock: Clock, log: Path, emails: list[str], seed: str, tells: Connection) -> None:
    """Credit wallets, one by one; tells (email, currency, amount, key, done) before and after each."""
    _write_to(log)
    chance = random.Random(seed)
    with closing(open_store(database)) as store:
        market = Market(store, POLICY)
        for number in range(1_000_000):
            email, currency = chance.choice(emails), chance.choice([Currency.USD, Currency.CLORE])
            amount = chance.randrange(1, 10**7)
            asked = (email, currency, amount, f"{seed}:{number}")
            tells.send((*asked, False))
            accounts.credit(market, email, currency, amount, clock(), asked[3])
            tells.send((*asked, True))
            time.sleep(chance.random() * 0.05)


def _write_to(log: Path) -> None:
    """What the process says goes into a file, and nothing of it is lost with the process."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    configure_logs()
