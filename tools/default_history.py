"""Make the history that ships with the package, on which a backtest runs when it is given no other.

It comes from the sandbox: two weeks of sixty machines of a few kinds, six of them the host's own, looked at
every half hour. The same version of the sandbox makes the same again.
"""

import dataclasses
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from openclore.api.currencies import Currency
from openclore.autopilot.history import Document, Header, Recorder, document
from openclore.sandbox.backtest import DEFAULT_HISTORY
from openclore.sandbox.founding import found
from openclore.sandbox.machines import RATES, Machine, made_up
from openclore.sandbox.sandbox import POLICY
from openclore.sandbox.world import World
from openclore.store.store import database_url, open_store
from openclore.usecases.market import Market
from openclore.usecases.servers import listings, my_servers

SEED = 4
MACHINES = 60
KINDS = 5
OWN = 6
DAYS = 14
EVERY_SECONDS = 1_800
START = 1_788_739_200
"""A Monday, 00:00 UTC."""
HEADER = Header(
    market="sandbox",
    note=(
        f"Made up by OpenClore's sandbox (seed {SEED}): {DAYS} days of {MACHINES} machines,"
        f" {OWN} of them the host's own. No real market was recorded."
    ),
)
MACHINES_MADE = 400


def moments() -> Iterator[tuple[int, Document]]:
    """Each time at which the market is looked at, and what is seen."""
    machines, host = _machines()
    money = dict.fromkeys(Currency, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(database_url(Path(folder)))
        market = Market(store, POLICY)
        founded = found(market, machines, RATES, SEED, START, 10_000, money, host)
        world = World(market, founded, machines, dict(RATES), SEED, START)
        for at in range(START, START + DAYS * 86_400 + 1, EVERY_SECONDS):
            world.turn_to(at)
            listed = listings(market, None, at)
            offers = [listing.offer for listing in listed.values() if listing.offer is not None]
            yield at, document(offers, my_servers(market, host).servers)
        store.close()


def _machines() -> tuple[list[Machine], int]:
    """As many of each of the commonest kinds, so that there is something to compare with; and the host."""
    kinds = defaultdict(list)
    for machine in made_up(SEED, MACHINES_MADE):
        if machine.gigaspot is None:
            kinds[machine.specs.gpu].append(machine)
    commonest = sorted(kinds.values(), key=len, reverse=True)[:KINDS]
    chosen = [machine for kind in commonest for machine in kind[: MACHINES // KINDS]]
    own = [kind[number] for number in range(2) for kind in commonest[: OWN // 2]]
    host = own[0].owner
    names = {machine.id: f"rig-{number}" for number, machine in enumerate(own, 1)}
    return [
        dataclasses.replace(machine, owner=host, name=names[machine.id])
        if machine.id in names
        else dataclasses.replace(machine, owner=machine.owner + (machine.owner == host))
        for machine in chosen
    ], host


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_HISTORY
    target.unlink(missing_ok=True)
    with Recorder(target, HEADER) as recorder:
        for moment, seen in moments():
            recorder.append(moment, seen)
    print(f"{target}: {target.stat().st_size} bytes, {recorder.scenes} observations")
