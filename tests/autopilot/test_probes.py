"""Checks of machines meet real sockets, pages and programs."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from openclore.api.orders import Order
from openclore.autopilot.file import Check, CommandCheck, HttpCheck, Scale, TcpCheck
from openclore.autopilot.observation import Failed, Probe
from openclore.autopilot.probes import Prober

PROBER = Prober(seconds=20.0, scale_seconds=20.0)


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answers = {"/fine": (200, b"3\n"), "/elsewhere": (302, b""), "/words": (200, b"many")}
        status, body = answers.get(self.path, (503, b"secret"))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def page() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def order(port: int, http: bool = False) -> Order:
    if http:
        return Order(id=7, http_port="8080", http_pub=f"127.0.0.1:{port}")
    return Order(id=7, pub_cluster=["127.0.0.1"], tcp_ports=[f"22:{port}"])


def probe(given: Order, *checks: Check) -> Probe:
    return PROBER.check({given.id: (given, checks)})[given.id]


def python(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def test_a_port_that_accepts_connections_is_fine(page):
    assert probe(order(page), TcpCheck(port=22)) == Probe(passed=True)


def test_a_port_that_refuses_them_is_not():
    assert probe(order(closed_port()), TcpCheck(port=22)) == Probe(
        passed=False, detail="TCP port 22: Connection refused"
    )


def test_a_port_that_the_order_does_not_have_is_not():
    assert probe(order(1), TcpCheck(port=23)).detail == "TCP port 23: the order has no such port"


@pytest.mark.parametrize(
    ("path", "detail"), [("/fine", ""), ("elsewhere", ""), ("/broken?token=x", "HTTP port 8080: HTTP 503")]
)
def test_a_page_is_fine_below_400(page, path, detail):
    assert probe(order(page, http=True), HttpCheck(port=8080, path=path)) == Probe(
        passed=not detail, detail=detail
    )


def test_a_command_learns_of_the_machine_and_its_status_counts(page):
    text = "import os; raise SystemExit([os.environ[n] for n in ('ORDER_ID', 'HOST_22', 'PORT_22')] != %r)"
    right = CommandCheck(command=python(text % ["7", "127.0.0.1", str(page)]))
    assert probe(order(page), right) == Probe(passed=True)
    wrong = CommandCheck(command=python("print('secret'); raise SystemExit(3)"))
    assert probe(order(page), right, wrong).detail.endswith(": ended with 3")


def test_a_command_that_does_not_end_is_ended_with_its_children():
    sleeper = python("import subprocess; subprocess.run(['sleep', '60'])")
    began = time.monotonic()
    found = Prober(seconds=0.5).check({7: (order(1), (CommandCheck(command=sleeper),))})
    assert found[7].detail.endswith("did not end within 0.5 s")
    assert time.monotonic() - began < 10


def test_a_command_that_is_not_there_is_told_without_its_arguments():
    found = probe(order(1), CommandCheck(command=("/no/such/program", "--key", "secret")))
    assert found.detail == "command program: No such file or directory"


def test_machines_are_checked_at_once(tmp_path):
    meet = f"cd {tmp_path}; touch $ORDER_ID; until [ $(ls | wc -l) = 8 ]; do sleep 0.05; done"
    check = CommandCheck(command=("sh", "-c", meet))
    found = PROBER.check({n: (Order(id=n), (check,)) for n in range(8)})
    assert all(each.passed for each in found.values())


def test_numbers_come_from_the_last_line_of_a_command_or_from_a_page(page):
    assert PROBER.numbers(
        {
            "printed": Scale(command=python("print('hello'); print(12)"), maximum=20),
            "fetched": Scale(url=f"http://127.0.0.1:{page}/fine", maximum=20),
        }
    ) == {"printed": 12, "fetched": 3}


@pytest.mark.parametrize("text", ["print('many')", "print(-1)", "print(1.5)", "pass", "print('9' * 30)"])
def test_what_is_no_number_of_machines_is_a_failure(text):
    found = PROBER.numbers({"a": Scale(command=python(text), maximum=20)})["a"]
    assert found == Failed("the command of its scale: the last line is no number of machines")


def test_a_page_that_fails_is_told_without_its_address(page):
    found = PROBER.numbers(
        {
            "broken": Scale(url=f"http://127.0.0.1:{page}/no?token=secret", maximum=2),
            "gone": Scale(url=f"http://127.0.0.1:{closed_port()}/no?token=secret", maximum=2),
            "nonsense": Scale(url="secret", maximum=2),
        }
    )
    assert found["broken"] == Failed("the address of its scale: HTTP 503")
    assert "secret" not in str(found)
