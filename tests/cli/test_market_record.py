"""openclore market record: what a market looks like, appended to a file."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner, Result

from openclore.autopilot.history import read
from openclore.cli.main import app
from openclore.sandbox import Sandbox
from tests.processes import Process, until

from .renter_fakes import Market, offer

OpenClore = Callable[..., Result]
SERVERS = {"servers": [{"id": 7, "name": "rig", "init_token": "secret-1"}]}
WALLETS = {"wallets": [{"name": "bitcoin", "balance": 0.5}, {"name": "old", "balance": None}]}


def market(*listings: Any) -> Market:
    return Market(marketplace=list(listings), my_servers=SERVERS, wallets=WALLETS)


def test_one_observation_is_appended_and_told(openclore: OpenClore, tmp_path: Path) -> None:
    path = tmp_path / "history"
    here = market({"servers": [offer(1), offer(2, rented=True)]}, {"servers": [offer(1)]})
    first = openclore(here, "market", "record", str(path), "--once")
    assert first.exit_code == 0
    assert "2 servers, 1 of them yours, 1 rented" in first.stderr
    second = openclore(here, "market", "record", str(path), "--once")
    assert "2 observations" in second.stderr
    assert "1 server, 1 of them yours, 0 rented" in second.stderr
    history = read(path)
    assert history.header is not None
    assert history.header.market == "http://market.test/v1"
    assert [sorted(scene.offers) for scene in history.scenes] == [[1, 2], [1]]
    assert history.scenes[0].wallets == {"bitcoin": 0.5}
    assert history.scenes[0].servers["rig"].init_token is None


@pytest.mark.clore_sandbox(servers=5)
def test_a_market_whose_clock_is_turned_is_recorded_at_its_own_time(
    clore_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    words = ["market", "record", str(tmp_path / "h"), "--once", "--base-url", clore_sandbox.base_url]
    times = []
    for _ in range(3):
        assert CliRunner().invoke(app, words).exit_code == 0
        times.append(clore_sandbox.clock.now)
        clore_sandbox.clock.turn(hours=6)
    recorded = [scene.at for scene in read(tmp_path / "h").scenes]
    assert all(0 <= now - at < 60 for now, at in zip(times, recorded, strict=True))


def test_an_observation_that_fails_is_left_out(openclore: OpenClore, tmp_path: Path) -> None:
    path = tmp_path / "history"
    here = market(httpx2.ConnectError("down"), {"servers": [offer(1)]})
    result = openclore(here, "market", "record", str(path), "--every", "1s", "--for", "1s")
    assert result.exit_code == 0
    assert "Nothing is recorded this time" in result.stderr
    assert len(read(path).scenes) == 1
    assert (
        openclore(market(httpx2.ConnectError("down")), "market", "record", str(path), "--once").exit_code
        == 10
    )


def test_what_can_not_be_recorded_to_is_refused(openclore: OpenClore, tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text("[]")
    here = market({"servers": []})
    result = openclore(here, "market", "record", str(path), "--once")
    assert result.exit_code == 2
    assert "no history" in result.stderr
    assert path.read_text() == "[]"
    assert openclore(here, "market", "record", str(tmp_path), "--once").exit_code == 2
    assert openclore(here, "market", "record", str(tmp_path / "h"), "--every", "0").exit_code == 2
    assert here.requests == []


@pytest.mark.clore_sandbox(servers=5)
def test_sigterm_ends_it_with_the_file_whole(clore_sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "history"
    env = {
        "CLORE_BASE_URL": clore_sandbox.base_url,
        "CLORE_API_KEY": clore_sandbox.keys["host"],
        "XDG_CONFIG_HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path),
    }
    process = Process(tmp_path / "log", "market", "record", str(path), env=env)
    try:
        until(lambda: "1 observation in" in process.text(), what="an observation")
    finally:
        status = process.stop(signal.SIGTERM)
    assert status == 0
    assert "Ended" in process.text()
    history = read(path)
    assert history.torn_bytes == 0
    assert len(history.scenes[0].offers) == 5
    assert {server.id for server in history.scenes[0].servers.values()} == set(clore_sandbox.my_servers)
