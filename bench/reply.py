"""The answer of /marketplace: kept as bytes (ours) against encoded for every request (the framework's way).

Measured: milliseconds from sending GET /v1/marketplace until the last byte of the gzip body, one request at
a time over one connection that stays open, the same client for both. Nothing is decoded within the time.

Ours is `openclore serve` on a market with so many listed servers. The peer is a Litestar application on the
same embedded Granian that holds the same typed rows in memory and lets Litestar encode and compress them.
Before measuring, both are checked to answer the same JSON.

Nothing changes on the market meanwhile. After a change, ours compresses all rows once, for the first to ask;
that price is not in the figure.
"""

import gzip
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

from .measure import NotMeasured, Row, Scale, in_turns, milliseconds
from .prefill import SERVE_SETTINGS, fill
from .processes import KeptAlive, free_port, running, wait_for_answer

PATH = "/v1/marketplace"


def measure(scale: Scale) -> list[Row | NotMeasured]:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        ours = stack.enter_context(_market(folder / "market", scale.servers))
        reply = gzip.decompress(ours.get())
        theirs = stack.enter_context(_encoding_per_request(folder / "reply.json", reply))
        _check(reply, gzip.decompress(theirs.get()), scale.servers)
        gzipped = (len(ours.get()), len(theirs.get()))
        samples = in_turns(
            lambda: milliseconds(ours.get), lambda: milliseconds(theirs.get), scale.reply_turns
        )
    return [
        Row(
            what=f"/marketplace, {scale.servers:,} servers",
            against=f"encoded and compressed per request by Litestar {version('litestar')}",
            unit="ms",
            ours=samples[0],
            theirs=samples[1],
            note=f"the same {len(reply) / 1e6:.2f} MB of JSON;"
            f" in gzip {gzipped[0] / 1e6:.2f} MB ours, {gzipped[1] / 1e6:.2f} MB theirs",
        )
    ]


@contextmanager
def _market(data_dir: Path, servers: int) -> Iterator[KeptAlive]:
    fill(data_dir, servers)
    port = free_port()
    words = ("openclore", "serve", "--data-dir", str(data_dir), "--port", str(port))
    with running(*words, settings=SERVE_SETTINGS) as process:
        wait_for_answer(process, port, "/readyz")
        yield KeptAlive(port, PATH)


@contextmanager
def _encoding_per_request(file: Path, reply: bytes) -> Iterator[KeptAlive]:
    file.write_bytes(reply)
    port = free_port()
    with running("bench.per_request", str(port), str(file)) as process:
        wait_for_answer(process, port, "/readyz")
        yield KeptAlive(port, PATH)


def _check(ours: bytes, theirs: bytes, servers: int) -> None:
    """Both must have done the same work."""
    listed = json.loads(ours)
    assert len(listed["servers"]) == servers, f"{len(listed['servers'])} of {servers} servers are listed"
    assert listed == json.loads(theirs), "the two answers are not the same JSON"
