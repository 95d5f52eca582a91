"""The real program: at a terminal, in a pipe, and when it is told to end."""

import http.server
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from openclore.cli.output import amount, json_text, price

from .renter_fakes import offer

SERVERS = json.dumps({"code": 0, "servers": [offer(n) for n in range(1, 2_000)]}).encode()
WALLETS = json.dumps({"code": 0, "wallets": [{"name": "bitcoin", "balance": 0.5}]}).encode()
PROGRAM = [sys.executable, "-c", "from openclore.cli.main import run; run()"]


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = SERVERS if self.path.endswith("marketplace") else WALLETS
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def environment(address: str, tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    places = {name: str(tmp_path) for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME")}
    return {**kept, **places, "CLORE_BASE_URL": address, "CLORE_API_KEY": "k", "TERM": "xterm"}


def at_terminal(words: list[str], environment: dict[str, str], typed: bytes = b"") -> tuple[int, str]:
    """Exit code and all that appeared on the terminal."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *words], stdin=child, stdout=child, stderr=child, env=environment, start_new_session=True
    )
    os.close(child)
    seen = b""
    while True:
        ready, _, _ = select.select([parent], [], [], 60)
        assert ready, seen
        try:
            chunk = os.read(parent, 65_536)
        except OSError:  # Linux says so when the other side is closed
            break
        if not chunk:
            break
        seen += chunk
        if typed and b"[y/N]" in seen:
            os.write(parent, typed)
            typed = b""
    os.close(parent)
    return process.wait(60), seen.decode()


def test_rent_asks_at_a_terminal_and_takes_no_for_an_answer(environment):
    words = ["rent", "7", "--image", "a/b", "--currency", "btc"]
    code, seen = at_terminal(words, environment, typed=b"n\n")
    assert code == 1
    assert "Server 7: 2x RTX 4090" in seen
    assert "Price: 0.0000013 bitcoin an hour, 0.0000312 a day (about $0.1079 an hour)" in seen
    assert "Nothing was ordered." in seen


def test_a_terminal_gets_a_bounded_list_with_a_bold_title_and_no_colour_is_respected(environment):
    code, seen = at_terminal(["marketplace"], {**environment, "COLUMNS": "80"})
    assert code == 0
    assert "40 of 1999 offers; --limit 0 shows all." in seen
    assert "\x1b[1m" in seen
    _, seen = at_terminal(["marketplace"], {**environment, "NO_COLOR": "1"})
    assert "\x1b[" not in seen


def test_a_pipe_gets_every_column_however_wide_the_terminal_is(environment):
    done = subprocess.run(
        [*PROGRAM, "marketplace", "--limit", "1"],
        env={**environment, "COLUMNS": "40"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0].split()[-2:] == ["PAY", "IN"]
    assert "…" not in done.stdout


def test_a_reader_that_leaves_early_is_no_error(environment):
    process = subprocess.Popen(
        [*PROGRAM, "marketplace"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) in (0, 141)


@pytest.mark.parametrize(
    ("sent", "code", "words"), [(signal.SIGTERM, 0, "Ended by SIGTERM"), (signal.SIGINT, 130, "Interrupted")]
)
def test_a_watch_ends_when_it_is_told_to(environment, sent, code, words):
    process = subprocess.Popen(
        [*PROGRAM, "watch", "--wallet", "btc", "--below", "0.1", "--every", "60"],
        stderr=subprocess.PIPE,
        env={**environment, "OPENCLORE_NOTIFY": "json://127.0.0.1:1/"},
        text=True,
    )
    assert process.stderr is not None
    said = ""
    while "bitcoin: 0.5" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    process.send_signal(sent)
    said += process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == code
    assert words in said
    assert "Traceback" not in said


def test_a_second_interruption_while_the_program_leaves_shows_no_traceback():
    leaving = (
        "import atexit, os, signal, sys; from openclore.cli.main import run;"
        "atexit.register(os.kill, os.getpid(), signal.SIGINT); sys.argv = ['openclore', '--version']; run()"
    )
    done = subprocess.run([sys.executable, "-c", leaving], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_a_watch_of_cron_reads_once(environment):
    words = ["watch", "--wallet", "btc", "--below", "0.1", "--once", "--notify", "json://127.0.0.1:1/"]
    done = subprocess.run([*PROGRAM, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [*PROGRAM, *words[:4], "1", *words[5:]], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Could not tell json (1)" in done.stderr


def test_numbers_are_written_as_people_write_them():
    assert [amount(x) for x in (3.12e-05, 410.5, 0.1 + 0.2, 1e16, 0.0, -0.0, None, float("nan"))] == [
        "0.0000312", "410.5", "0.3", "10000000000000000", "0", "0", "-", "-",
    ]  # fmt: skip
    assert [price(x, "usd") for x in (2, 2.5, 0.10833333)] == ["2.00", "2.50", "0.1083"]
    assert json_text({"a": [1e-7, 1.0, True, None, "ü\n"], "b": {}}) == (
        '{\n  "a": [\n    0.0000001,\n    1.0,\n    true,\n    null,\n    "\\u00fc\\n"\n  ],\n  "b": {}\n}'
    )
