"""The server against clients that are many, slow, large or gone: over real sockets."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from bench import prefill

from openclore.store.store import database_url

from ..processes import Process, a_server, until


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "market.log"


@pytest.fixture
def market(log: Path, quick_dir: Path) -> Iterator[tuple[Process, tuple[str, int]]]:
    """A running server that waits two seconds for requests under way, and its host and port."""
    env = {"OPENCLORE_DRAIN_SECONDS": "2"}
    with a_server(log, "--data-dir", str(quick_dir / "data"), "--port", "0", env=env) as (process, address):
        parts = urlsplit(address)
        yield process, (parts.hostname or "", parts.port or 0)


def talk(where: tuple[str, int], *pieces: bytes) -> tuple[int, dict[str, object]]:
    """Send the pieces of one request; status and JSON of the answer."""
    with socket.create_connection(where, timeout=20) as client:
        for piece in pieces:
            client.sendall(piece)
        return answer(client)


def answer(client: socket.socket) -> tuple[int, dict[str, object]]:
    received = b""
    while b"\r\n\r\n" not in received:
        received += client.recv(65_536)
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if b"content-length" in line)
    while len(body) < length:
        body += client.recv(65_536)
    return int(head.split()[1]), json.loads(body)


def test_hundreds_of_idle_connections_keep_nobody_out(market: tuple[Process, tuple[str, int]]) -> None:
    _, where = market
    with ExitStack() as stack:
        for _ in range(300):
            client = stack.enter_context(socket.create_connection(where, timeout=20))
            client.sendall(b"GET /v1/marketplace HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answer(client)[0] == 200
        assert talk(where, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 200


@pytest.mark.parametrize("path", [b"/v1/create_order", b"/host/register"])
def test_a_body_of_ten_megabytes_is_answered_however_it_comes(
    market: tuple[Process, tuple[str, int]], path: bytes
) -> None:
    _, where = market
    head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    whole = (head + b"Content-Length: 10000000\r\n\r\n", b"x" * 10_000_000)
    chunk = b"%x\r\n" % 1_000_000 + b"x" * 1_000_000 + b"\r\n"
    chunked = (head + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 10, b"0\r\n\r\n")
    for request in (whole, chunked):
        status, reply = talk(where, *request)
        assert (status, reply["code"]) == (400, 2)


def test_a_get_may_carry_its_argument_in_a_body(market: tuple[Process, tuple[str, int]]) -> None:
    _, where = market
    body = b'{"server_name": "rack"}'
    head = b"GET /v1/server_config HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert talk(where, head + body)[1]["code"] == 3


def half_a_request(where: tuple[str, int]) -> socket.socket:
    """A request whose body the server waits for: it said so by asking to continue."""
    client = socket.create_connection(where, timeout=20)
    head = (
        b"POST /v1/create_order HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
    )
    client.sendall(head)
    assert client.recv(1_000).startswith(b"HTTP/1.1 100 ")
    client.sendall(b"{")
    return client


def test_a_request_under_way_is_answered_before_the_server_stops(log: Path, quick_dir: Path) -> None:
    with a_server(log, "--data-dir", str(quick_dir / "data"), "--port", "0") as (process, address):
        parts = urlsplit(address)
        where = (parts.hostname or "", parts.port or 0)
        with half_a_request(where) as client:
            process.kill(signal.SIGTERM)
            until(lambda: not reachable(*where), what="the door to close")
            client.sendall(b" " * 998 + b"}")
            assert answer(client)[1]["code"] == 3
        until(lambda: not process.running(), what="the server to end")
        assert process.stop() == 0


def test_a_stop_does_not_wait_for_ever_for_a_request_that_never_comes(
    market: tuple[Process, tuple[str, int]],
) -> None:
    process, where = market
    with half_a_request(where):
        assert process.stop(seconds=25) == 1
    assert "under way" in process.text()


def test_a_second_signal_waits_for_nobody(log: Path, quick_dir: Path) -> None:
    with a_server(log, "--data-dir", str(quick_dir / "data"), "--port", "0") as (process, address):
        parts = urlsplit(address)
        with half_a_request((parts.hostname or "", parts.port or 0)) as client:
            process.kill(signal.SIGINT)
            client.settimeout(0.5)
            until(lambda: not reachable(parts.hostname or "", parts.port or 0), what="the door to close")
            assert process.stop(signal.SIGINT, seconds=25) == 1


def reachable(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def test_a_slow_reader_gets_its_whole_reply_before_the_server_stops(log: Path, quick_dir: Path) -> None:
    prefill.fill(database_url(quick_dir / "data"), 8_000)
    words = ("--data-dir", str(quick_dir / "data"), "--port", "0")
    with a_server(log, *words, env=prefill.SERVE_SETTINGS) as (process, address):
        parts = urlsplit(address)
        with socket.create_connection((parts.hostname, parts.port), timeout=20) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            client.sendall(b"GET /v1/marketplace HTTP/1.1\r\nHost: x\r\n\r\n")
            first = client.recv(1_000, socket.MSG_PEEK)
            assert first
            process.kill(signal.SIGTERM)
            status, reply = answer(client)
        assert status == 200
        assert len(reply["servers"]) == 8_000  # type: ignore[arg-type]
        until(lambda: not process.running(), what="the server to end")
        assert process.stop() == 0


def test_one_sqlite_file_has_one_server(
    market: tuple[Process, tuple[str, int]], log: Path, quick_dir: Path
) -> None:
    second = Process(
        log.with_name("second.log"), "serve", "--data-dir", str(quick_dir / "data"), "--port", "0"
    )
    until(lambda: not second.running(), what="the second server to give up")
    assert second.stop() == 2
    assert "a server is running on" in second.text()
