"""What a market costs before anybody uses it, above a bare application of its framework on its HTTP server.

Measured, for a fresh process each time: milliseconds from its creation until /readyz answers HTTP 200
(asked every 2 ms), and then the resident memory of its process tree in MiB.

Ours is `openclore serve` with an empty data directory, so the time includes making the database and its
tables. The floor is a Litestar application with one route on the same embedded Granian.
"""

import tempfile
import time
from importlib.metadata import version

import psutil

from .measure import NotMeasured, Row, Scale, in_turns
from .processes import free_port, running, wait_for_answer


def measure(scale: Scale) -> list[Row | NotMeasured]:
    ours, floor = in_turns(_ours, _floor, scale.start_turns)
    against = f"a bare Litestar {version('litestar')} on Granian {version('granian')}"
    note = "openclore serve with a fresh data directory until /readyz answers"
    return [
        Row(
            what="start",
            against=against,
            unit="ms",
            ours=[ms for ms, _ in ours],
            theirs=[ms for ms, _ in floor],
            note=note,
        ),
        Row(
            what="memory after the start",
            against=against,
            unit="MiB",
            ours=[mib for _, mib in ours],
            theirs=[mib for _, mib in floor],
            note="resident, the whole process tree",
        ),
    ]


def _ours() -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        return _start(port, "openclore", "serve", "--data-dir", folder, "--port", str(port))


def _floor() -> tuple[float, float]:
    port = free_port()
    return _start(port, "bench.bare", str(port))


def _start(port: int, *words: str) -> tuple[float, float]:
    """Milliseconds until it answers, and MiB then."""
    began = time.perf_counter()
    with running(*words) as process:
        wait_for_answer(process, port, "/readyz")
        return (time.perf_counter() - began) * 1_000, _resident_mib(process.pid)


def _resident_mib(pid: int) -> float:
    root = psutil.Process(pid)
    tree = [root, *root.children(recursive=True)]
    return sum(process.memory_info().rss for process in tree) / 2**20
