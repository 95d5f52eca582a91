"""The wallet alert as a process of its own, told to a real HTTP receiver, through restarts and outages."""

import json
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ..processes import Process, until
from .conftest import Installation


@contextmanager
def a_receiver() -> Iterator[tuple[str, list[str]]]:
    """An Apprise address, and the titles of the messages that arrive there."""
    titles: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            titles.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["title"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"json://127.0.0.1:{server.server_port}/", titles
        server.shutdown()


def nothing_to_tell(world: Installation) -> bool:
    """Whether the watch remembers an alert, and that it was delivered."""
    for file in (world.folder / "w").glob("*.sqlite"):
        with (
            closing(sqlite3.connect(file)) as memory,
            suppress(sqlite3.OperationalError),
        ):  # being made just now
            kept = memory.execute("SELECT value FROM parts WHERE name = 'alerts'").fetchone()
            return bool(kept) and b'"said":1' in kept[0] and b'"outbox":[]' in kept[0]
    return False


def test_an_alert_is_told_once_survives_restarts_and_outages_and_ends(installation: Installation) -> None:
    world = installation
    world.start_market()
    world.json("admin", "account", "create", "renter@example.org")
    world.keys["renter"] = world.json("admin", "key", "create", "renter@example.org")["key"]
    world.json("admin", "credit", "renter@example.org", "USD-Blockchain", "1")

    def watch(number: int) -> Process:
        words = ("watch", "--wallet", "usd", "--below", "5", "--every", "1")
        env = world.env | {"CLORE_API_KEY": world.keys["renter"], "OPENCLORE_NOTIFY": url}
        log = world.folder / f"watch-{number}.log"
        world.processes["watch"] = Process(log, *words, "--state-dir", str(world.folder / "w"), env=env)
        return world.processes["watch"]

    with a_receiver() as (url, titles):
        first = watch(1)
        until(lambda: nothing_to_tell(world), what="the alert to be told and that to be remembered")
        assert len(titles) == 1
        first.stop(signal.SIGKILL)

        second = watch(2)
        until(lambda: "0.99" in second.text() or ": 1" in second.text(), what="the second watch to read")
        world.processes["market"].stop(signal.SIGKILL)
        until(lambda: len(titles) == 2, seconds=60, what="word that the wallet can't be read")
        world.start_market()
        until(lambda: len(titles) == 3, seconds=60, what="word that it can be read again")
        world.json("admin", "credit", "renter@example.org", "USD-Blockchain", "10")
        until(lambda: len(titles) == 4, what="word that the balance is back")
        assert second.stop() in (0, 130, 143)

    assert "low" in titles[0]
    assert "back" in titles[3]
    assert world.keys["renter"] not in second.text()
