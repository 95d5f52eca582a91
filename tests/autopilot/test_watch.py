"""The watch with a real receiver: what is read, remembered and delivered."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openclore.api.wallets import Wallet
from openclore.autopilot.watch import (
    AlreadyWatchedError,
    Watch,
    memory_path,
    only_one,
    rule_for,
    targets_of,
)
from openclore.client import NetworkError, NotFoundError, SetupError, SignInError

# Apprise imports a module that Python 3.13 dropped.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

RULE = rule_for("bitcoin", 1.0, None)


class Receiver(http.server.ThreadingHTTPServer):
    """Takes what Apprise posts; answers with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.titles: list[str] = []
        self.bodies: list[str] = []

    @property
    def url(self) -> str:
        return f"json://user:s3cret@127.0.0.1:{self.server_address[1]}/"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status == 200:
            self.server.titles.append(message["title"])
            self.server.bodies.append(message["message"])
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def new_receiver() -> Iterator[Callable[[], Receiver]]:
    running = []

    def start() -> Receiver:
        server = Receiver()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def receiver(new_receiver: Callable[[], Receiver]) -> Receiver:
    return new_receiver()


class Account:
    """Gives the balances of a list, one a reading; an exception is raised."""

    def __init__(self, *readings: float | Exception | None) -> None:
        self._readings = list(readings)

    def wallets(self) -> list[Wallet]:
        reading = self._readings.pop(0)
        if isinstance(reading, Exception):
            raise reading
        return [Wallet(name="USD-Blockchain", balance=1.0), Wallet(name="bitcoin", balance=reading)]


class Log(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


def rounds(watch: Watch, count: int) -> list[bool]:
    return [watch.once() for _ in range(count)]


def watch_on(account: Account, receiver: Receiver, tmp_path: Path, log: Log | None = None) -> Watch:
    told = Log() if log is None else log
    return Watch(account, RULE, targets_of([receiver.url]), tmp_path / "m.json", tell=told, date=lambda: 0.0)


DOWN = NetworkError("wallets: the market can't be reached.")


def test_one_address_is_one_target():
    with pytest.raises(SetupError, match="one at a time"):
        targets_of(["json://127.0.0.1:1/,json://127.0.0.1:2/"])


def test_a_message_for_a_target_that_is_gone_waits_for_nobody(new_receiver, tmp_path):
    there, gone = new_receiver(), "json://127.0.0.1:1/"
    path = tmp_path / "m.json"

    def watch(*urls: str, account: Account) -> Watch:
        return Watch(account, RULE, targets_of(list(urls)), path, tell=Log(), date=lambda: 0.0)

    assert watch(there.url, gone, account=Account(0.5)).once() is False
    assert watch(there.url, account=Account(0.5)).once() is True
    assert there.titles == ["bitcoin is low: 0.5"]


def test_a_real_receiver_hears_of_low_and_back_once(receiver, tmp_path):
    watch = watch_on(Account(2.0, 0.5, 0.4, 1.02, 1.06, 2.0), receiver, tmp_path)
    assert rounds(watch, 6) == [True] * 6
    assert receiver.titles == ["bitcoin is low: 0.5", "bitcoin is back: 1.06"]
    assert receiver.bodies[0] == "The balance is 0.5, below 1. (1970-01-01 00:00 UTC)"


def test_failures_are_survived_and_told_once(receiver, tmp_path):
    watch = watch_on(Account(2.0, DOWN, DOWN, DOWN, DOWN, 0.5), receiver, tmp_path)
    assert rounds(watch, 6) == [True, False, False, False, False, True]
    assert receiver.titles == [
        "bitcoin: the balance can't be read",
        "bitcoin: the balance can be read again",
        "bitcoin is low: 0.5",
    ]


def test_a_restart_repeats_and_forgets_nothing(receiver, tmp_path):
    rounds(watch_on(Account(2.0, 0.5), receiver, tmp_path), 2)
    rounds(watch_on(Account(0.5, 0.4), receiver, tmp_path), 2)
    rounds(watch_on(Account(2.0), receiver, tmp_path), 1)
    assert receiver.titles == ["bitcoin is low: 0.5", "bitcoin is back: 2"]


def test_what_could_not_be_delivered_is_delivered_later_even_after_a_restart(receiver, tmp_path):
    receiver.status = 500
    log = Log()
    assert rounds(watch_on(Account(0.5, 0.5), receiver, tmp_path, log), 2) == [False, False]
    assert any("Could not tell json (1)" in line for line in log)
    receiver.status = 200
    assert rounds(watch_on(Account(0.5, 2.0), receiver, tmp_path), 2) == [True, True]
    assert receiver.titles == ["bitcoin is low: 0.5", "bitcoin is back: 2"]


def test_one_dead_receiver_neither_stops_nor_repeats_the_other(new_receiver, tmp_path):
    alive, dead = new_receiver(), new_receiver()
    dead.status = 500
    targets = targets_of([dead.url, alive.url])
    watch = Watch(Account(0.5, 2.0, 2.0), RULE, targets, tmp_path / "m.json", tell=Log())
    rounds(watch, 2)
    assert alive.titles == ["bitcoin is low: 0.5", "bitcoin is back: 2"]
    dead.status = 200
    rounds(watch, 1)
    assert dead.titles == alive.titles == ["bitcoin is low: 0.5", "bitcoin is back: 2"]


def test_a_bad_key_ends_the_watch_and_is_told_if_it_worked_before(receiver, tmp_path):
    refused = SignInError("wallets: the market does not know this API key (code 3).")
    watch = watch_on(Account(refused), receiver, tmp_path)
    with pytest.raises(SignInError):
        watch.once()
    assert receiver.titles == []
    watch = watch_on(Account(2.0, refused, refused), receiver, tmp_path)
    watch.once()
    for _ in range(2):
        with pytest.raises(SignInError):
            watch.once()
    assert receiver.titles == ["bitcoin: the balance can't be read"]
    assert "does not know this API key" in receiver.bodies[0]


def test_an_unknown_wallet_is_told_at_start_with_those_there_are(receiver, tmp_path):
    watch = Watch(Account(2.0), rule_for("nix", 1, 2), targets_of([receiver.url]), tmp_path / "m", tell=Log())
    with pytest.raises(NotFoundError, match="there is: USD-Blockchain, bitcoin"):
        watch.once()
    with pytest.raises(NotFoundError, match="has no balance"):
        watch_on(Account(None), receiver, tmp_path).once()


def test_a_failed_round_is_followed_by_an_earlier_one(receiver, tmp_path):
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch_on(Account(2.0, DOWN, 2.0), receiver, tmp_path).run(600, sleep)
    assert slept == [600, 60, 600]


@pytest.mark.parametrize("content", [b"", b"{", b'{"standing": 3}', b"\xff"])
def test_a_spoiled_memory_is_told_and_replaced(receiver, tmp_path, content):
    (tmp_path / "m.json").write_bytes(content)
    log = Log()
    assert watch_on(Account(0.5), receiver, tmp_path, log).once()
    assert "starting afresh" in log[0]
    assert receiver.titles == ["bitcoin is low: 0.5"]


def test_a_memory_that_cannot_be_written_does_not_stop_the_watch(receiver, tmp_path):
    log = Log()
    watch = Watch(Account(0.5), RULE, targets_of([receiver.url]), tmp_path / "gone" / "m.json", tell=log)
    assert watch.once()
    assert receiver.titles == ["bitcoin is low: 0.5"]
    assert any("a restart would forget" in line for line in log)


def test_neither_memory_nor_log_holds_an_address_of_a_target(receiver, tmp_path, caplog, capfd):
    receiver.status = 500
    log = Log()
    watch_on(Account(0.5), receiver, tmp_path, log).once()
    said = "".join(log) + (tmp_path / "m.json").read_text() + caplog.text + "".join(capfd.readouterr())
    assert "s3cret" not in said


def test_a_bad_address_is_told_by_number_and_kind_only(capfd):
    with pytest.raises(SetupError, match="address 2 of kind 'nonsense' can't be used") as caught:
        targets_of(["json://127.0.0.1/", "nonsense://token-s3cret@host"])
    assert "s3cret" not in str(caught.value) + "".join(capfd.readouterr())
    with pytest.raises(SetupError, match="Nobody to tell"):
        targets_of([])


@pytest.mark.parametrize(
    ("below", "back"), [(0, None), (-1, None), (float("nan"), None), (2, 1), (1, float("inf"))]
)
def test_marks_that_make_no_sense_are_refused(below, back):
    with pytest.raises(SetupError):
        rule_for("bitcoin", below, back)


def test_a_watch_has_a_memory_of_its_own_and_only_one_uses_it(tmp_path):
    one = memory_path(tmp_path / "d", RULE, "http://x/v1", "key")
    others = {
        memory_path(tmp_path / "d", rule_for("bitcoin", 2, None), "http://x/v1", "key"),
        memory_path(tmp_path / "d", rule_for("usd/../..", 1, None), "http://x/v1", "key"),
        memory_path(tmp_path / "d", RULE, "http://y/v1", "key"),
        memory_path(tmp_path / "d", RULE, "http://x/v1", "other"),
    }
    assert len({one, *others}) == 5
    assert {path.parent for path in others} == {tmp_path / "d"}
    with only_one(one):
        with pytest.raises(AlreadyWatchedError), only_one(one):
            pass
        with only_one(others.pop()):
            pass
    with only_one(one):
        pass
