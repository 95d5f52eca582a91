"""The benchmark runs; how fast anything is, no test asks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(400)

ROOT = Path(__file__).parents[1]
ROWS = [
    *["/marketplace, 500 servers"] * 2,
    *["/wallets, 100 orders on the market"] * 2,
    *["create_order and cancel_order, 100 other orders"] * 2,
    "320 running orders, billed for an hour",
    "320 running orders, billed for an hour: posting all",
    "20 hosts' links on one process: memory",
    "20 hosts' links on one process: processor",
    "20 hosts' links on one process: delivery",
    "marketplace() of the client, 500 servers",
    "4 processes on one key, 4 s",
    "4 processes on one key, 4 s: not refused",
    "start",
    "memory after the start",
    "import of the package",
    "import of the client",
    "--help of the command line",
]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )


def test_every_row_is_measured_against_something_in_the_same_run() -> None:
    done = run("--quick", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["quick"]
    assert {"cores", "python"} <= told["machine"].keys()
    rows = [row for row in told["rows"] if "a recording" not in row["what"]]
    assert [row["what"] for row in rows] == ROWS
    missing = [row for row in rows if "not_measured" in row]
    for row in rows:
        if row not in missing:
            assert row["ours_divided_by_theirs"] == row["ours_median"] / row["theirs_median"] > 0
            assert len(row["ours"]) == len(row["theirs"]) >= 1
            assert (row["met"] is None) == (row["target"] is None)
    if missing:
        pytest.skip("; ".join(sorted({row["not_measured"] for row in missing})))


def test_a_missing_peer_is_said_so_and_the_others_are_measured(tmp_path: Path) -> None:
    (tmp_path / "clore_ai").mkdir()
    (tmp_path / "clore_ai" / "__init__.py").write_text(
        "raise ModuleNotFoundError('clore_ai', name='clore_ai')"
    )
    done = run("--quick", "--rows", "decoding", "startup", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "NOT MEASURED: marketplace() of the client, 500 servers: clore-ai is not installed" in done.stdout
    assert "memory after the start" in done.stdout
    assert "1 turn" in done.stdout
    assert "NOT met" not in done.stdout


def test_the_made_up_marketplace_is_always_the_same() -> None:
    from bench.marketplace import offers

    assert offers(3) == offers(30)[:3]
    assert [offer.id for offer in offers(30)] == list(range(1, 31))


def test_growth_is_drawn_with_the_machine_named(tmp_path: Path) -> None:
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed: apt-get install wrk")
    done = run("--quick", "--growth", str(tmp_path))
    assert done.returncode == 0, done.stderr
    for name in ("marketplace", "wallets", "orders"):
        figures = json.loads((tmp_path / f"{name}.json").read_text())
        assert list(figures["calls_per_second"]) == ["100", "200"]
        picture = (tmp_path / f"{name}.svg").read_text()
        assert figures["machine"]["processor"] in picture
        assert picture.count("<circle") == 2


def test_a_row_that_fails_is_told_and_the_others_go_on() -> None:
    broken = (
        "import runpy, sys, bench.decoding\n"
        "bench.decoding.measure = lambda scale: 1 / 0\n"
        "sys.argv = ['bench', '--quick', '--json', '--rows', 'decoding', 'commands']\n"
        "runpy.run_module('bench', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", broken], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    failed, *others = json.loads(done.stdout)["rows"]
    assert failed["not_measured"] == "failed: ZeroDivisionError: division by zero"
    assert others
    assert "Traceback" in done.stderr
    assert done.returncode == 1
