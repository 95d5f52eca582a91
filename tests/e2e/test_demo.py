"""The README's first command, minus its set-up."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ..processes import Process, until

pytestmark = pytest.mark.timeout(180)


def demo(**env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "openclore", "demo"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
        env=os.environ | env,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_rents_a_real_container(image: str) -> None:
    told = demo()
    assert "Hello from a rented container." in told
    assert "simulate" not in told
    assert told.rstrip().endswith("Every stop came out as it must.")


def test_without_an_engine_the_demo_simulates_and_says_so() -> None:
    told = demo(DOCKER_HOST="unix:///nowhere/docker.sock")
    assert "the demo simulates this machine's containers" in told
    assert told.rstrip().endswith("Every stop came out as it must.")


def ended(process: Process) -> bool:
    """Whether it has, else with one more Ctrl-C."""
    if process.running():
        process.kill(signal.SIGINT)
    return not process.running()


def test_a_demo_leaves_nothing_however_impatient_who_ends_it(tmp_path: Path) -> None:
    env = {"DOCKER_HOST": "unix:///nowhere/docker.sock", "TMPDIR": str(tmp_path)}
    process = Process(tmp_path / "demo.log", "demo", env=env)
    try:
        until(lambda: "This machine becomes a server" in process.text(), seconds=90)
        started = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill(signal.SIGHUP)
        until(lambda: ended(process), seconds=60)
    assert started
    assert psutil.wait_procs(started, timeout=60)[1] == []
    assert [file.name for file in tmp_path.glob("openclore-demo-*")] == []
