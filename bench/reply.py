"""The answer of /marketplace, with a key and in gzip: nginx's way with a file, and the framework's way.

Measured: answers per second to wrk, over the same connections that stay open.

Ours is `openclore serve` on a market with so many listed servers. nginx serves the very bytes that ours
answers, compressed already, from a file. The other peer is a Litestar application on the same embedded
Granian that holds the same typed rows in memory and lets Litestar encode and compress them for every request;
before measuring, it is checked to answer the same JSON.

Nothing changes on the market meanwhile. After a change, ours compresses the changed piece once, for the first
to ask; that price is not in the figure.
"""

import gzip
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from .load import rate
from .market import sqlite_market
from .measure import NotMeasured, Row, Scale, in_turns
from .nginx import serving_file
from .peers import Missing
from .processes import KeptAlive, free_port, running, wait_for_answer

PATH = "/v1/marketplace"
FRAMEWORK_SECONDS = 5
"""It takes most of a second for one answer."""


def measure(scale: Scale) -> list[Row | NotMeasured]:
    what = f"/marketplace, {scale.servers:,} servers"
    framework = f"encoded and compressed per request by Litestar {version('litestar')}"
    with sqlite_market(scale.servers) as market:
        gzipped = KeptAlive(market.port, PATH, market.auth).get()

        def ours() -> float:
            return rate(market.port, PATH, scale.load_seconds, headers=market.auth)

        rows: list[Row | NotMeasured] = []
        try:
            with serving_file(PATH, gzipped) as port:
                samples = in_turns(ours, lambda: rate(port, PATH, scale.load_seconds), scale.load_turns)
            rows.append(
                Row(
                    what=what,
                    against="nginx with the same bytes in a file, one worker",
                    unit="/s",
                    ours=samples[0],
                    theirs=samples[1],
                    note=f"with a key; {len(gzipped) / 1e6:.2f} MB in gzip",
                    more=True,
                    target=0.5,
                )
            )
        except Missing as missing:
            rows.append(NotMeasured(what=what, against="nginx", reason=str(missing)))
        reply = gzip.decompress(gzipped)
        try:
            with _encoding_per_request(reply) as port:
                _check(reply, gzip.decompress(KeptAlive(port, PATH).get()), scale.servers)
                seconds = min(FRAMEWORK_SECONDS, 5 * scale.load_seconds)
                samples = in_turns(ours, lambda: rate(port, PATH, seconds, connections=2), scale.load_turns)
            rows.append(
                Row(
                    what=what,
                    against=framework,
                    unit="/s",
                    ours=samples[0],
                    theirs=samples[1],
                    note=f"the same {len(reply) / 1e6:.2f} MB of JSON",
                    more=True,
                    target=200,
                )
            )
        except Missing as missing:
            rows.append(NotMeasured(what=what, against=framework, reason=str(missing)))
    return rows


@contextmanager
def _encoding_per_request(reply: bytes) -> Iterator[int]:
    with tempfile.TemporaryDirectory(prefix="openclore-bench-") as folder:
        file = Path(folder) / "reply.json"
        file.write_bytes(reply)
        port = free_port()
        with running("bench.per_request", str(port), str(file)) as process:
            wait_for_answer(process, port, "/readyz")
            yield port


def _check(ours: bytes, theirs: bytes, servers: int) -> None:
    """Both must have done the same work."""
    mine, other = json.loads(ours), json.loads(theirs)
    assert len(mine["servers"]) == servers, f"{len(mine['servers'])} of {servers} servers are listed"
    assert mine == other, "the two answers are not the same JSON"
