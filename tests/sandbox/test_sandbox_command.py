"""`openclore sandbox` as the process that it is."""

import itertools
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from openclore.cli.main import app
from openclore.sandbox import Sandbox

from ..processes import Process, openclore, until


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[Process, dict[str, Any]]]:
    """A running sandbox with a minute in every second, and what it said as JSON."""
    words = ("sandbox", "--seed", "4", "--servers", "10", "--speed", "60", "--no-pace", "--json")
    process = Process(tmp_path / "log", *words)
    try:
        yield process, json.loads(until(lambda: complete(process), what="the sandbox to start"))
    finally:
        process.stop()


def complete(process: Process) -> str:
    text = process.text()
    return text if text.endswith("}\n") else ""


def test_it_runs_on_its_own_time_and_obeys(started: tuple[Process, dict[str, Any]]) -> None:
    _, said = started
    env = {"CLORE_BASE_URL": said["base_url"], "CLORE_API_KEY": said["keys"]["renter"]}
    until(lambda: clock(said) > said["now"] + 60, what="a minute")
    turned = openclore("sandbox", "turn", "1d2h", env=env)
    assert turned["now"] > said["now"] + 26 * 3_600
    offers = httpx2.get(f"{said['base_url']}/marketplace").json()["servers"]
    free = [
        o for o in offers if not (o["rented"] or o.get("gigaspot")) and "USD-Blockchain" in o["allowed_coins"]
    ]
    faults = openclore("sandbox", "fault", "error_after", "--endpoint", "create_order", env=env)
    assert faults["faults"] == [{"kind": "error_after", "endpoint": "create_order"}]
    order = openclore(
        "rent", str(free[0]["id"]), "--currency", "usd", "--image", "busybox", "--no-wait", env=env
    )
    assert order["si"] == free[0]["id"]
    status = openclore("sandbox", "status", env=env)
    assert (status["seed"], status["speed"], status["ledger"]) == (4, 60, "adds up")


def clock(said: dict[str, Any]) -> int:
    address = said["base_url"].removesuffix("/v1")
    return int(httpx2.get(f"{address}/sandbox/clock").json()["now"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once_and_leaves_nothing(
    started: tuple[Process, dict[str, Any]], number: int
) -> None:
    process, said = started
    memory = Path("/dev/shm")
    folders = [f for f in opened_by(process.pid) if "openclore.db" in f]
    with httpx2.Client(base_url=said["base_url"]) as visitor:
        assert visitor.get("/marketplace").status_code == 200  # and stays connected
        turning = subprocess.Popen(
            [sys.executable, "-m", "openclore", "sandbox", "turn", "52w", "--base-url", said["base_url"]],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: json.loads(visitor.get("/marketplace").content), what="any answer")
        assert process.stop(number, seconds=20) == 0
        turning.wait(timeout=20)
    assert "nothing of it is left" in process.text()
    assert folders or not memory.is_dir()
    assert not any(Path(folder).exists() for folder in folders)


def test_who_waits_for_a_simulated_pull_is_told_how_to_turn_the_clock(clore_sandbox: Sandbox) -> None:
    with clore_sandbox.client() as clore:
        offer = clore.search_offers(currency="USD-Blockchain", limit=1).offers[0].offer
    words = ("rent", str(offer.id), "--currency", "usd", "--image", "pytorch/pytorch", "--timeout", "0")
    env = {"CLORE_BASE_URL": clore_sandbox.base_url, "CLORE_API_KEY": clore_sandbox.keys["renter"]}
    waited = CliRunner().invoke(app, words, env=env)
    assert waited.exit_code == 12, waited.stderr
    assert f"openclore sandbox turn 5m --base-url {clore_sandbox.base_url} " in waited.stderr
    assert "--no-wait" in waited.stderr


def test_a_fault_that_lacks_its_server_is_told_the_option(clore_sandbox: Sandbox) -> None:
    env = {"CLORE_BASE_URL": clore_sandbox.base_url}
    for words in (("outbid",), ("host_lost", "--server", "1")):
        done = CliRunner().invoke(app, ["sandbox", "fault", *words], env=env)
        assert done.exit_code == 2
        assert "refuses: --server: " in done.stderr


def opened_by(pid: int) -> list[str]:
    """The files that a process has open."""
    return [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]


def test_its_first_words_fit_a_terminal_and_say_what_to_do() -> None:
    words = ("sandbox", "--servers", "3", "--dialect", "live")
    with subprocess.Popen(
        [sys.executable, "-m", "openclore", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = list(itertools.takewhile(lambda line: line != "Ctrl-C ends it.\n", process.stdout))
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate(timeout=20)
    text = "".join(lines)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert re.search(r"ready at http://127\.0\.0\.1:\d+/v1", text)
    assert "dialect live" in text
    assert "export CLORE_API_KEY=" in text
    assert (rest, said.splitlines()) == (
        "",
        ["Stopping ...", "The sandbox has ended; nothing of it is left."],
    )


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("sandbox", "--marketplace", "/nowhere.json"), 2, "can't read /nowhere.json"),
        (("sandbox", "turn", "soon", "--base-url", "http://127.0.0.1:9/v1"), 2, "1d12h"),
        (("sandbox", "turn", "1h", "--base-url", "http://127.0.0.1:9/v1"), 10, "No sandbox answers"),
        (("sandbox", "turn", "1h"), 2, "Say which sandbox"),
        (("sandbox", "--dialect", "klingon"), 2, "klingon"),
    ],
)
def test_what_can_not_be_done_is_said_in_a_line(words: tuple[str, ...], status: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "openclore", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stderr
    assert said in done.stderr
