"""Load on an HTTP server, by wrk: a process of its own, connections that stay open."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .peers import program

CONNECTIONS = 16


class BadAnswer(Exception):
    """What is measured did not work."""


def rate(
    port: int,
    path: str,
    seconds: float,
    *,
    headers: Mapping[str, str] | None = None,
    connections: int = CONNECTIONS,
    script: Path | None = None,
    arguments: tuple[str, ...] = (),
) -> float:
    """Answers per second.

    A `script` decides what is sent; it has a thread for each connection, and its own idea of a bad answer,
    which it prints as "bad: COUNT".

    Raises:
        BadAnswer: an answer was not HTTP 200.
        Missing: wrk is not installed.
    """
    threads = connections if script else 1
    words = [
        program("wrk"),
        f"-t{threads}",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--timeout",
        "60s",
    ]
    for name, value in {"Accept-Encoding": "gzip", **(headers or {})}.items():
        words += ["-H", f"{name}: {value}"]
    words += ["-s", str(script)] if script else []
    done = subprocess.run(
        [*words, f"http://127.0.0.1:{port}{path}", *(["--", *arguments] if arguments else [])],
        capture_output=True,
        text=True,
        check=True,
    )
    bad = re.search(r"^bad: [1-9]\d*.*", done.stdout, re.MULTILINE)
    if bad or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise BadAnswer(done.stdout)
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if found is None or float(found[1]) == 0:
        raise BadAnswer(done.stdout)
    return float(found[1])
