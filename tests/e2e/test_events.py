"""Events through real processes: streams that are followed, left and resumed, webhooks of a killed server."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from standardwebhooks import Webhook as Signer

from openclore.api.currencies import Currency
from openclore.store.store import database_url, open_store
from openclore.usecases import accounts
from openclore.usecases.market import Market

from ..processes import Process, a_server, until
from ..receivers import a_receiver

ADA = "ada@example.org"
UNHURRIED = {
    "OPENCLORE_PACE__OPEN_SPACING_SECONDS": "0",
    "OPENCLORE_POLICY__WEBHOOKS__ALLOW_PRIVATE_ADDRESSES": "true",
}


@dataclass
class Ours:
    """A running server, and what another process does to the same market."""

    process: Process
    address: str
    market: Market
    key: str
    credited: int = 0

    def credit(self) -> None:
        """One event."""
        self.credited += 1
        now = int(time.time())
        accounts.credit(self.market, ADA, Currency.USD, self.credited, now, f"{self.credited}")

    @contextmanager
    def stream(self, headers: dict[str, str] | None = None, **query: Any) -> Iterator[Iterator[Any]]:
        url = f"{self.address}/open/v1/events/stream"
        more = {"auth": self.key, **(headers or {})}
        with httpx2.stream("GET", url, params=query, headers=more, timeout=20) as reply:
            assert reply.status_code == 200, reply.read()
            assert reply.headers["content-type"].startswith("text/event-stream")
            yield messages(reply.iter_lines())


def messages(lines: Iterator[str]) -> Iterator[Any]:
    """Each message of a stream as (id, event, data)."""
    fields: dict[str, str] = {}
    for line in lines:
        if not line and fields:
            yield int(fields["id"]), fields["event"], json.loads(fields["data"])
            fields = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


@pytest.fixture
def ours(tmp_path: Path, quick_dir: Path) -> Iterator[Ours]:
    data = quick_dir / "data"
    words = ("--data-dir", str(data), "--port", "0")
    with (
        a_server(tmp_path / "market.log", *words, env=UNHURRIED) as (process, address),
        closing(open_store(database_url(data))) as store,
    ):
        market = Market(store)
        accounts.create_account(market, ADA, int(time.time()))
        _, key = accounts.create_key(market, ADA, "bot", int(time.time()))
        yield Ours(process, address, market, key)


def amounts(found: Iterator[Any], count: int) -> list[str]:
    return [next(found)[2]["data"]["amount"] for _ in range(count)]


def test_a_stream_tells_what_happens_and_goes_on_where_it_was_left(ours: Ours) -> None:
    with ours.stream() as events:
        ours.credit()
        first, kind, event = next(events)
        assert (kind, event["id"], event["data"]["amount"]) == ("wallet_credited", first, "0.00000001")
    for _ in range(150):
        ours.credit()
    with ours.stream({"Last-Event-ID": str(first)}, after=0) as events:
        ids = []
        for number in range(2, 152):
            last, _, event = next(events)
            ids.append(last)
            assert event["data"]["amount"] == f"{number / 10**8:.8f}".rstrip("0")
        assert ids == sorted(set(ids))
    with ours.stream(after=0, kinds="key_created") as events:
        assert next(events)[1] == "key_created"


def test_a_server_that_stops_ends_its_streams_at_once(ours: Ours) -> None:
    with ours.stream() as events:
        ours.credit()
        next(events)
        started = time.monotonic()
        ours.process.kill(signal.SIGTERM)
        assert list(events) == []
        until(lambda: not ours.process.running(), what="the server to end")
        assert time.monotonic() - started < 25
    assert ours.process.stop() == 0


def test_a_revoked_key_ends_its_streams(ours: Ours) -> None:
    _, other = accounts.create_key(ours.market, ADA, "other", int(time.time()))
    ours.key = other
    with ours.stream(kinds="order_created") as events:
        accounts.revoke_key(ours.market, ADA, "other", int(time.time()))
        assert list(events) == []


def test_an_account_has_only_so_many_streams_at_once(ours: Ours) -> None:
    url, headers = f"{ours.address}/open/v1/events/stream", {"auth": ours.key}

    with httpx2.Client(headers=headers, timeout=20) as client:
        opened = [client.send(client.build_request("GET", url), stream=True) for _ in range(10)]
        assert {reply.status_code for reply in opened} == {200}
        reply = httpx2.get(url, headers=headers, timeout=20)
        assert (reply.status_code, reply.json()["code"]) == (429, 5)
        assert int(reply.headers["retry-after"]) > 0
        opened.pop().close()

        def admitted() -> bool:
            with client.stream("GET", url) as again:
                return again.status_code == 200

        until(admitted)
        for reply in opened:
            reply.close()


def test_a_reader_that_reads_nothing_holds_up_nobody_and_misses_nothing(ours: Ours) -> None:
    parts = urlsplit(ours.address)
    for _ in range(2_000):
        ours.credit()
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        stuck.settimeout(20)
        stuck.connect((parts.hostname, parts.port))
        head = f"GET /open/v1/events/stream?after=0 HTTP/1.1\r\nHost: x\r\nauth: {ours.key}\r\n\r\n"
        stuck.sendall(head.encode())
        assert stuck.recv(15, socket.MSG_PEEK).startswith(b"HTTP/1.1 200")
        with ours.stream(after=0, kinds="wallet_credited") as events:
            assert len(amounts(events, 2_000)) == 2_000
            ours.credit()
            assert amounts(events, 1) == ["0.00002001"]
        received = bytearray()
        while b"0.00002001" not in received[-20_000:]:
            received += stuck.recv(65_536)
        assert received.count(b"event: wallet_credited") == 2_001


def test_a_killed_server_sends_what_it_owes_when_it_is_back(ours: Ours, tmp_path: Path) -> None:
    with a_receiver() as receiver:
        receiver.manners = {"first": "hang", "second": "ok"}
        made = [
            httpx2.post(
                f"{ours.address}/open/v1/webhooks",
                json={"url": receiver.url(f"{path}?token=secret"), "kinds": ["wallet_credited"]},
                headers={"auth": ours.key},
            ).json()["webhook"]
            for path in ("first", "second")
        ]
        for _ in range(20):
            ours.credit()
        until(lambda: len(receiver.ids("second?token=secret")) == 20, what="one receiver to have all")
        until(lambda: receiver.ids("first?token=secret"), what="the other to hang")
        ours.process.stop(signal.SIGKILL)
        ours.credit()
        receiver.manners["first"] = "ok"
        # As if the minute were over in which what the killed server was sending is nobody else's.
        with ours.market.store.writing() as tx:
            tx.exec_driver_sql("UPDATE deliveries SET next_at = 0 WHERE next_at IS NOT NULL")
        words = ("--database-url", str(ours.market.store.engine.url), "--port", "0")
        with a_server(tmp_path / "second.log", *words, env=UNHURRIED) as (again, _):
            for path in ("first", "second"):
                until(lambda path=path: len(set(receiver.ids(f"{path}?token=secret"))) == 21)
            until(lambda: states(ours.market) == {("delivered", 21)}, what="it to be written down")
        for message in receiver.messages:
            secret = made[message.path.startswith("/second")]["secret"]
            Signer(secret).verify(message.body, message.headers)
            assert secret not in ours.process.text() + again.text()
        assert "token" not in ours.process.text() + again.text()


def states(market: Market) -> set[tuple[str, int]]:
    """Of each webhook's deliveries: in which state how many events are."""
    query = "SELECT state, count(DISTINCT event_id) FROM deliveries GROUP BY webhook_id, state"
    with market.store.reading() as tx:
        return {(state, count) for state, count in tx.exec_driver_sql(query)}
