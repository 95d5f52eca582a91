"""Processes of ours, for tests that go through real sockets: each is ended by its own id."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from typer.testing import CliRunner

from openclore.cli.main import app

T = TypeVar("T")


def until(check: Callable[[], T], *, seconds: float = 60, what: str = "") -> T:
    """The first truthy answer of `check`, asked ever less often; fails when there is none in time."""
    start = time.monotonic()
    while True:
        found = check()
        if found:
            return found
        waited = time.monotonic() - start
        if waited > seconds:
            raise AssertionError(f"not in {seconds} s: {what or check}")
        time.sleep(min(0.02 + waited / 20, 0.25))


class Process:
    """A command of ours running in the background, its output in a file."""

    def __init__(
        self, log: Path, *words: str, env: dict[str, str] | None = None, within: Sequence[str] = ()
    ) -> None:
        """`within` are the words of a command that runs the command after them in its own place."""
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*within, sys.executable, "-m", "openclore", *words],
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

    def stop(self, number: int = signal.SIGTERM, seconds: float = 60) -> int:
        """Signal it and wait for its end; its status."""
        if self.running():
            self._process.send_signal(number)
        return self._process.wait(timeout=seconds)


def openclore(*words: str, env: dict[str, str] | None = None, status: int = 0) -> Any:
    """What a command prints with --json. It runs in this process, which is much quicker."""
    done = CliRunner().invoke(app, [*words, "--json"], env=env, catch_exceptions=False)
    assert done.exit_code == status, done.output
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
