"""How cost grows with the market: milliseconds per call at 100 to 100,000 servers or orders.

Drawn into docs/bench/, one picture for each of the first rows of the table, with the figures beside it.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from openclore.store.store import database_url

from . import orders, reply, wallets
from .load import rate
from .market import serving, sqlite_market
from .measure import FULL, QUICK, Scale
from .picture import picture
from .processes import ROOT, KeptAlive

SIZES = (100, 1_000, 10_000, 100_000)
QUICK_SIZES = (100, 200)
FOLDER = ROOT / "docs" / "bench"

Samples = list[float]
"""Calls per second."""


def draw(machine: dict[str, Any], *, quick: bool, folder: Path = FOLDER) -> None:
    """Measure, and write SVG pictures and their figures."""
    scale, sizes = (QUICK, QUICK_SIZES) if quick else (FULL, SIZES)
    folder.mkdir(parents=True, exist_ok=True)
    told = "{cores} cores, {processor}, Python {python}, {system}, load {load}".format(**machine)
    for name, title, of, measured in (
        ("marketplace", "GET /v1/marketplace, keyed, gzip", "servers listed", _marketplace),
        ("wallets", "GET /v1/wallets, keyed, SQLite", "orders running on the market", _wallets),
        ("orders", "create_order and cancel_order, SQLite", "orders running on the market", _orders),
    ):
        samples = {size: measured(size, scale) for size in sizes}
        points = [(float(size), 1_000 / median(taken)) for size, taken in samples.items()]
        (folder / f"{name}.svg").write_text(picture(title, of, "ms of the server per call", told, points))
        figures = {"machine": machine, "at": time.strftime("%Y-%m-%d"), "calls_per_second": samples}
        (folder / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")


def _marketplace(servers: int, scale: Scale) -> Samples:
    with sqlite_market(servers) as market:
        KeptAlive(market.port, reply.PATH, market.auth).get()  # waits until all is compressed
        return _turns(lambda: rate(market.port, reply.PATH, scale.load_seconds, headers=market.auth), scale)


def _wallets(running: int, scale: Scale) -> Samples:
    with sqlite_market(running, running) as market:
        return _turns(lambda: rate(market.port, wallets.PATH, scale.load_seconds, headers=market.auth), scale)


def _orders(running: int, scale: Scale) -> Samples:
    with TemporaryDirectory(prefix="openclore-bench-") as folder:
        url = database_url(Path(folder))
        filled, renters = orders.prepared(url, running)
        with serving(url, filled) as market:
            return _turns(lambda: orders.calls(market, renters, running, scale.load_seconds), scale)


def _turns(work: Callable[[], float], scale: Scale) -> Samples:
    if scale.load_turns > 1:
        work()  # does not count
    return [work() for _ in range(scale.load_turns)]
