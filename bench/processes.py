"""Servers in processes of their own, and plain requests to them."""

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
ANSWER_SECONDS_MAX = 60
POLL_SECONDS = 0.002


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(*words: str, settings: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m WORDS`, ended with the block. Of the OPENCLORE_* variables it sees these `settings` only."""
    with running_program(sys.executable, "-m", *words, settings=settings) as process:
        yield process


@contextmanager
def running_program(
    *words: str, settings: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Any program, likewise."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPENCLORE_")}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            words,
            cwd=ROOT,
            env={**inherited, **(settings or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        except NoAnswer:
            output.seek(0)
            sys.stderr.buffer.write(output.read())
            raise
        finally:
            _end(process)


class NoAnswer(Exception):
    """A server ended, or said nothing in time."""


def wait_for_answer(process: subprocess.Popen[bytes], port: int, path: str) -> None:
    """Ask until the answer is HTTP 200.

    Raises:
        NoAnswer: the process ended or the time is over.
    """
    deadline = time.monotonic() + ANSWER_SECONDS_MAX
    while not _answers(port, path):
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoAnswer(f"{process.args!r} does not answer {path}")
        time.sleep(POLL_SECONDS)


class KeptAlive:
    """One connection that stays open, for GET requests of one path; bodies are read, not decoded."""

    def __init__(self, port: int, path: str, headers: Mapping[str, str] | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS_MAX)
        self._path = path
        self._headers = {"Accept-Encoding": "gzip", **(headers or {})}

    def get(self) -> bytes:
        """The body as it came: in gzip, where the server has that."""
        self._connection.request("GET", self._path, headers=self._headers)
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise NoAnswer(f"HTTP {response.status}, not 200")
        return body


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS_MAX)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
