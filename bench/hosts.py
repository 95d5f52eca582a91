"""Many hosts' links on one process, each beating every five seconds.

Measured, once all are linked: resident memory of the market's process; its share of a core, in so many
windows of time; and how long it is from sending create_order over HTTP until the assignment reaches the host.
The hosts are one process that holds all links and knows nothing but beats (`bench.swarm`).
"""

import http.client
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import psutil
from sqlalchemy import bindparam, update

from openclore.store.store import database_url, open_store
from openclore.store.tables import servers
from openclore.usecases.secrets import hashed

from .load import BadAnswer
from .market import Serving, serving
from .measure import NotMeasured, Row, Scale
from .prefill import fill
from .processes import ROOT
from .swarm import credential

WINDOWS = 5
ORDERS = 15
MIB_MAX, CORE_PERCENT_MAX, DELIVERY_MS_MAX = 2_048.0, 60.0, 100.0
LINKED_SECONDS_MAX = 600


def measure(scale: Scale) -> list[Row | NotMeasured]:
    with tempfile.TemporaryDirectory(prefix="openclore-bench-") as folder:
        url = database_url(Path(folder))
        filled = fill(url, scale.links)
        with closing(open_store(url)) as store, store.writing() as tx:
            tx.execute(
                update(servers)
                .where(servers.c.id == bindparam("of"))
                .values(credential_hash=bindparam("hash")),
                [{"of": i, "hash": hashed(credential(i))} for i in range(1, scale.links + 1)],
            )
        with serving(url, filled) as market:
            return _rows(market, scale)


def _rows(market: Serving, scale: Scale) -> list[Row | NotMeasured]:
    words = [sys.executable, "-m", "bench.swarm", str(market.port), str(scale.links)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as swarm:
        try:
            lines = _lines(swarm)
            if lines.get(timeout=LINKED_SECONDS_MAX) != "linked":
                raise BadAnswer("the hosts could not link")
            process = psutil.Process(market.pid)
            percents, mib = [], []
            time.sleep(2 * scale.load_seconds)
            for _ in range(WINDOWS):
                began, used = time.monotonic(), _cpu_seconds(process)
                time.sleep(4 * scale.load_seconds)
                percents.append((_cpu_seconds(process) - used) / (time.monotonic() - began) * 100)
                mib.append(process.memory_info().rss / 2**20)
            deliveries = [_delivery_ms(market, server_id, lines) for server_id in range(1, ORDERS + 1)]
        finally:
            assert swarm.stdin
            swarm.stdin.close()
            swarm.wait(timeout=60)
    what = f"{scale.links:,} hosts' links on one process"
    return [
        _row(f"{what}: memory", "MiB", mib, MIB_MAX, "resident"),
        _row(f"{what}: processor", "% of a core", percents, CORE_PERCENT_MAX, "each beats every 5 s"),
        _row(f"{what}: delivery", "ms", deliveries, DELIVERY_MS_MAX, "create_order until the host has it"),
    ]


def _row(what: str, unit: str, ours: list[float], bound: float, note: str) -> Row:
    return Row(
        what=what,
        against="the bound we set",
        unit=unit,
        ours=ours,
        theirs=[bound] * len(ours),
        note=note,
        target=1.0,
    )


def _lines(swarm: subprocess.Popen[str]) -> "queue.Queue[str]":
    """What it prints, as it comes; empty at its end."""
    lines: queue.Queue[str] = queue.Queue()

    def follow() -> None:
        assert swarm.stdout
        for line in swarm.stdout:
            lines.put(line.strip())
        lines.put("")

    threading.Thread(target=follow, daemon=True).start()
    return lines


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _delivery_ms(market: Serving, server_id: int, lines: "queue.Queue[str]") -> float:
    order = {
        "renting_server": server_id,
        "type": "on-demand",
        "currency": "CLORE-Blockchain",
        "image": "ubuntu:24.04",
    }
    with closing(http.client.HTTPConnection("127.0.0.1", market.port, timeout=60)) as connection:
        connection.connect()
        sent = time.time()
        headers = {**market.auth, "Content-Type": "application/json"}
        connection.request("POST", "/v1/create_order", json.dumps(order), headers)
        reply = json.loads(connection.getresponse().read())
    if reply["code"] != 0:
        raise BadAnswer(str(reply))
    server, _, at = lines.get(timeout=60).partition(" ")
    assert int(server) == server_id
    return (float(at) - sent) * 1_000
