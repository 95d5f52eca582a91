"""The queue of a key: never too early, hardly ever late, shared by tasks, threads and processes."""

import asyncio
import http.server
import itertools
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openclore.client import AsyncClore, Clore, Spacing
from openclore.client.pace import FileTurn, Pace, Turn, shared_turn

from .fakes import BASE_URL, KEY, Clock, reply

ORDER = {"renting_server": 1, "currency": "bitcoin", "image": "a"}
MADE = {"code": 0, "order": {"id": 1, "si": 1}, "wallets": [], "orders": []}


def test_markets_get_their_documented_limits_and_the_live_service_a_little_more():
    own = Spacing.of("http://127.0.0.1:8080/v1")
    assert 1.0 < own.every < 1.02
    assert 5.0 < own.after["create_order"] < 5.02
    live = Spacing.of("https://api.clore.ai/v1")
    assert (live.every, dict(live.after)) == (1.2, {"create_order": 5.2})


def test_calls_are_spaced_from_the_end_of_the_previous_one(connect, clock):
    clore, script = connect(reply(MADE), takes=0.7)
    for _ in range(3):
        clore.wallets()
    clore.create_order(**ORDER)
    clore.my_orders()
    clore.create_order(**ORDER)
    ends = [start + 0.7 for start in script.times]
    gaps = [start - end for start, end in zip(script.times[1:], ends, strict=False)]
    assert all(1.0 <= gap < 1.02 for gap in gaps[:4])
    assert 5.0 <= script.times[5] - ends[3] < 5.02


def test_a_fast_market_is_used_at_its_full_rate(connect, clock):
    clore, script = connect(reply(MADE), takes=0.01)
    for _ in range(100):
        clore.wallets()
    assert 99 / (script.times[-1] - script.times[0]) >= 0.95


def test_retries_wait_for_their_turn_too(connect):
    clore, script = connect(httpx2.ConnectError("x"), reply(MADE), takes=0.1)
    clore.wallets()
    assert script.times[1] - script.times[0] > 1.1


def test_clients_of_one_key_share_its_queue_and_other_keys_do_not(connect, clock):
    first, one = connect(reply(MADE))
    second, two = connect(reply(MADE))
    third, three = connect(reply(MADE), key="another")
    fourth, four = connect(reply(MADE), base_url="http://elsewhere.test/v1")
    for clore in (first, second, third, fourth):
        clore.wallets()
    assert two.times[0] - one.times[0] >= 1.0
    assert three.times == four.times == two.times


def test_the_file_tells_nothing_and_is_private(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shared_turn(KEY, BASE_URL)
    (file,) = (tmp_path / "cache" / "openclore" / "pace").iterdir()
    assert KEY not in file.name
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_without_a_writable_place_the_queue_is_kept_in_memory(tmp_path, monkeypatch, connect):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    clore, script = connect(reply(MADE))
    clore.wallets()
    clore.wallets()
    assert script.times[1] - script.times[0] >= 1.0


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"*": "x"}', b'{"*": 9e18}', b"\xff"])
def test_a_spoiled_file_stops_nobody(tmp_path, content):
    path = tmp_path / "pace"
    path.write_bytes(content)
    clock = Clock()
    pace = Pace(Spacing(1.0), FileTurn(path), clock)
    ticket = pace.join("wallets")
    assert pace.ask(ticket) == 0
    pace.leave(ticket)
    assert 0.9 < pace.ask(pace.join("wallets")) <= 1.0


def test_a_stopped_process_does_not_hold_the_others_up_for_ever(tmp_path):
    clock = Clock()
    held = Pace(Spacing(1.0), FileTurn(tmp_path / "pace"), clock)
    assert held.ask(held.join("wallets")) == 0
    other = Pace(Spacing(1.0), FileTurn(tmp_path / "pace"), clock)
    ticket = other.join("wallets")
    assert other.ask(ticket) > 0
    clock.now += 200
    assert other.ask(ticket) == 0


def test_a_caller_that_went_away_gives_its_place_up():
    clock = Clock()
    pace = Pace(Spacing(1.0), Turn(), clock)
    gone, waiting = pace.join("wallets"), pace.join("wallets")
    assert pace.ask(waiting) > 0
    clock.now += 3
    assert pace.ask(waiting) == 0
    assert pace.ask(gone) > 0


def test_a_call_that_may_not_go_yet_lets_others_pass_but_not_when_it_may():
    clock = Clock()
    pace = Pace(Spacing(1.0, {"create_order": 5.0}), Turn(), clock)
    first = pace.join("create_order")
    assert pace.ask(first) == 0
    pace.leave(first)
    order = pace.join("create_order")
    assert pace.ask(order) == pytest.approx(5.0)
    read = pace.join("wallets")
    clock.now += 1.0
    assert pace.ask(read) == 0
    pace.leave(read)
    read = pace.join("wallets")
    clock.now += 4.0
    assert pace.ask(read) > 0
    assert pace.ask(order) == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["wallets", "create_order"]), st.floats(0, 3), st.floats(0, 8)), max_size=12
    )
)
def test_no_call_starts_before_the_spacing_since_the_previous_ones_has_passed(calls):
    clock = Clock()
    spacing = Spacing(1.0, {"create_order": 5.0})
    pace = Pace(spacing, Turn(), clock)
    any_end, create_end = -1e9, -1e9
    for endpoint, takes, idle in calls:
        clock.now += idle
        ticket = pace.join(endpoint)
        while (seconds := pace.ask(ticket)) > 0:
            clock.now += seconds
        assert clock.now - any_end >= 1.0 - 1e-9
        assert endpoint != "create_order" or clock.now - create_end >= 5.0 - 1e-9
        clock.now += takes
        pace.leave(ticket)
        any_end = clock.now
        create_end = clock.now if endpoint == "create_order" else create_end


# Real time, real sockets ----------------------------------------------------------------------------

QUICK = Spacing(0.04)


class Arrivals(http.server.ThreadingHTTPServer):
    """Notes when requests arrive."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.times: list[float] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Arrivals

    def do_GET(self) -> None:
        self.server.times.append(time.monotonic())
        body = b'{"wallets": [], "code": 0}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def arrivals() -> Iterator[Arrivals]:
    server = Arrivals()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def address(server: Arrivals) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/v1"


def spaced(times: list[float], spacing: float) -> bool:
    ordered = sorted(times)
    return all(later - earlier >= spacing for earlier, later in itertools.pairwise(ordered))


def test_threads_and_tasks_of_one_process_share_the_queue(arrivals):
    def in_thread() -> None:
        with Clore("k", base_url=address(arrivals), spacing=QUICK) as clore:
            for _ in range(4):
                clore.wallets()

    async def in_tasks() -> None:
        async with AsyncClore("k", base_url=address(arrivals), spacing=QUICK) as clore:
            await asyncio.gather(*(clore.wallets() for _ in range(8)))

    threads = [threading.Thread(target=in_thread) for _ in range(2)]
    threads.append(threading.Thread(target=lambda: asyncio.run(in_tasks())))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(arrivals.times) == 16
    assert spaced(arrivals.times, QUICK.every)


def test_a_cancelled_task_leaves_the_queue(arrivals):
    async def scenario() -> None:
        async with AsyncClore("k", base_url=address(arrivals), spacing=QUICK) as clore:
            await clore.wallets()
            waiting = asyncio.create_task(clore.wallets())
            await asyncio.sleep(0)
            waiting.cancel()
            await clore.wallets()

    asyncio.run(scenario())
    assert len(arrivals.times) == 2


def test_processes_share_the_queue(arrivals):
    code = (
        "import sys; from openclore import Clore, Spacing\n"
        "with Clore('k', base_url=sys.argv[1], spacing=Spacing(0.1)) as clore:\n"
        "    for _ in range(4): clore.wallets()"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, address(arrivals)], env=dict(os.environ))
        for _ in range(3)
    ]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert len(arrivals.times) == 12
    assert spaced(arrivals.times, 0.1)


def test_a_forked_process_does_not_wait_for_its_parents_callers(tmp_path: Path):
    pace = Pace(Spacing(0.01), shared_turn("k", BASE_URL))
    pace.ask(pace.join("wallets"))
    pace.join("wallets")
    child = os.fork()
    if child == 0:
        ticket = pace.join("wallets")
        os._exit(0 if not pace._turn.waiting()[:-1] and ticket else 1)
    assert os.waitpid(child, 0)[1] == 0
