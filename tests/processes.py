"""Real processes of ours, for tests that go through real sockets: each is ended by its own id."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def until(check: Callable[[], T], *, seconds: float = 20, what: str = "") -> T:
    """The first truthy answer of `check`; fails when there is none in time."""
    end = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not in {seconds} s: {what or check}")
        time.sleep(0.02)


class Process:
    """A command of ours running in the background, its output in a file."""

    def __init__(self, log: Path, *words: str, env: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "openclore", *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def text(self) -> str:
        return self.log.read_text()

    def running(self) -> bool:
        return self._process.poll() is None

    def kill(self, number: int) -> None:
        self._process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20) -> int:
        """Signal it and wait for its end; its status."""
        if self.running():
            self._process.send_signal(number)
        return self._process.wait(timeout=seconds)


def openclore(*words: str, env: dict[str, str] | None = None, status: int = 0) -> Any:
    """Run one command with --json to its end; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "openclore", *words, "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


@contextmanager
def a_server(log: Path, *words: str, env: dict[str, str] | None = None) -> Iterator[tuple[Process, str]]:
    """A running `openclore serve` and its address (without /v1)."""
    process = Process(log, "serve", *words, env=env)
    try:
        yield process, address_of(process)
    finally:
        process.stop()


def address_of(process: Process) -> str:
    """The address a starting server says it is ready at."""

    def ready() -> str | None:
        assert process.running(), process.text()
        found = re.findall(r"ready at (http://\S+)/v1", process.text())
        return found[-1] if found else None

    return until(ready, what="the server to be ready") or ""
