"""The watch with a real receiver: what is read, remembered and delivered."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from openclore.api.wallets import Wallet
from openclore.autopilot.remember import AlreadyRunningError, Keeper, NotKeptError
from openclore.autopilot.watch import Watch, file_for, memory_path
from openclore.client import NetworkError, NotFoundError, SetupError, SignInError

from ..receivers import Receiver, a_receiver

# Apprise imports a module that Python 3.13 dropped.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

MARKET = ("http://x/v1", "key")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with a_receiver() as receiver:
        yield receiver


def address(receiver: Receiver, path: str = "ok") -> str:
    return receiver.url(path, host="user:s3cret@127.0.0.1", scheme="json")


def titles(receiver: Receiver, path: str = "ok") -> list[str]:
    return [json.loads(one.body)["title"] for one in receiver.messages if one.path == f"/{path}"]


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


class Clock:
    """Unix seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Watching:
    """A watch of bitcoin below 1, whose memory is closed at the end."""

    def __init__(
        self, folder: Path, account: Account, *urls: str, wallet: str = "bitcoin", every: float = 300
    ):
        self.log = Log()
        self.clock = Clock()
        self.keeper = Keeper(folder / "m.sqlite", MARKET)
        file = file_for(wallet, 1.0, None, urls, every)
        self.watch = Watch(account, file, self.keeper, tell=self.log, date=self.clock)

    def rounds(self, count: int) -> list[bool]:
        return [self.round() for _ in range(count)]

    def round(self) -> bool:
        self.clock.now += 600
        return self.watch.once()

    def __enter__(self) -> "Watching":
        return self

    def __exit__(self, *_: object) -> None:
        self.keeper.close()


DOWN = NetworkError("wallets: the market can't be reached.")


def test_a_message_for_a_target_that_is_gone_waits_for_nobody(receiver, tmp_path):
    there, gone = address(receiver), "json://127.0.0.1:1/"
    with Watching(tmp_path, Account(0.5), there, gone) as watching:
        assert watching.round() is False
    with Watching(tmp_path, Account(0.5), there) as watching:
        assert watching.round() is True
    assert titles(receiver) == ["bitcoin is low: 0.5"]


def test_a_real_receiver_hears_of_low_and_back_once(receiver, tmp_path):
    account = Account(2.0, 0.5, 0.4, 1.02, 1.06, 2.0)
    with Watching(tmp_path, account, address(receiver)) as watching:
        assert watching.rounds(6) == [True] * 6
    assert titles(receiver) == ["bitcoin is low: 0.5", "bitcoin is back: 1.06"]
    said = json.loads(receiver.messages[0].body)["message"]
    assert said == "The balance is 0.5, below 1. (1970-01-01 00:20 UTC)"


def test_failures_are_survived_and_told_once(receiver, tmp_path):
    with Watching(tmp_path, Account(2.0, DOWN, DOWN, DOWN, DOWN, 0.5), address(receiver)) as watching:
        assert watching.rounds(6) == [True, False, False, False, False, True]
    assert titles(receiver) == ["Can't read wallets", "2 messages: Can read wallets again, ..."]
    assert "bitcoin is low: 0.5" in receiver.messages[-1].body


def test_a_restart_repeats_and_forgets_nothing(receiver, tmp_path):
    for account, count in ((Account(2.0, 0.5), 2), (Account(0.5, 0.4), 2), (Account(2.0), 1)):
        with Watching(tmp_path, account, address(receiver)) as watching:
            watching.rounds(count)
    assert titles(receiver) == ["bitcoin is low: 0.5", "bitcoin is back: 2"]


def test_what_could_not_be_delivered_is_delivered_later_even_after_a_restart(receiver, tmp_path):
    receiver.manners["ok"] = "fail"
    with Watching(tmp_path, Account(0.5, 0.5), address(receiver)) as watching:
        assert watching.rounds(2) == [False, False]
        assert any("Could not tell json (1)" in line for line in watching.log)
    receiver.manners.clear()
    receiver.messages.clear()
    with Watching(tmp_path, Account(0.5, 2.0), address(receiver)) as watching:
        assert watching.rounds(2) == [True, True]
    assert titles(receiver) == ["bitcoin is low: 0.5", "bitcoin is back: 2"]


def test_one_dead_receiver_neither_stops_nor_repeats_the_other(receiver, tmp_path):
    receiver.manners |= {"alive": "ok", "dead": "fail"}
    both = address(receiver, "dead"), address(receiver, "alive")
    with Watching(tmp_path, Account(0.5, 2.0, 2.0), *both) as watching:
        watching.rounds(2)
        assert titles(receiver, "alive") == ["bitcoin is low: 0.5", "bitcoin is back: 2"]
        receiver.manners["dead"] = "ok"
        receiver.messages.clear()
        watching.rounds(1)
    assert titles(receiver, "dead") == ["bitcoin is low: 0.5", "bitcoin is back: 2"]
    assert titles(receiver, "alive") == []


def test_a_bad_key_ends_the_watch_and_is_told_if_it_worked_before(receiver, tmp_path):
    refused = SignInError("wallets: the market does not know this API key (code 3).")
    with Watching(tmp_path, Account(refused), address(receiver)) as watching, pytest.raises(SignInError):
        watching.round()
    assert titles(receiver) == []
    with Watching(tmp_path, Account(2.0, refused, refused), address(receiver)) as watching:
        watching.round()
        for _ in range(2):
            with pytest.raises(SignInError):
                watching.round()
    assert titles(receiver) == ["Can't read wallets"]
    assert "does not know this API key" in receiver.messages[0].body


def test_an_unknown_wallet_is_told_at_start_with_those_there_are(receiver, tmp_path):
    with (
        Watching(tmp_path, Account(2.0), address(receiver), wallet="nix") as watching,
        pytest.raises(NotFoundError, match="'nix' with a balance here; there is: USD-Blockchain, bitcoin"),
    ):
        watching.round()
    with (
        Watching(tmp_path, Account(None), address(receiver)) as watching,
        pytest.raises(NotFoundError, match="'bitcoin' with a balance here; there is: USD-Blockchain"),
    ):
        watching.round()


def test_a_failed_round_is_followed_by_an_earlier_one(receiver, tmp_path):
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    account = Account(2.0, DOWN, 2.0)
    with (
        Watching(tmp_path, account, address(receiver), every=600) as watching,
        pytest.raises(KeyboardInterrupt),
    ):
        watching.watch.run(sleep)
    assert slept == [600, 60, 600]


def test_a_memory_that_cannot_be_written_does_not_stop_the_watch(receiver, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise NotKeptError("database or disk is full")

    with Watching(tmp_path, Account(0.5, 0.5), address(receiver)) as watching:
        monkeypatch.setattr(watching.keeper, "keep", full)
        assert watching.rounds(2) == [True, True]
        assert any("a restart would forget" in line for line in watching.log)
    assert titles(receiver) == ["bitcoin is low: 0.5"]


def test_neither_memory_nor_log_holds_an_address_of_a_target(receiver, tmp_path, caplog, capfd):
    receiver.manners["ok"] = "fail"
    caplog.set_level("DEBUG")
    with Watching(tmp_path, Account(0.5), address(receiver)) as watching:
        watching.round()
        said = "".join(watching.log) + caplog.text + "".join(capfd.readouterr())
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert "s3cret" not in said
    assert b"s3cret" not in files


@pytest.mark.parametrize(
    ("below", "back", "said"),
    [
        (0, None, "--below must be above 0"),
        (-1, None, "--below must be above 0"),
        (float("nan"), None, "--below"),
        (2, 1, r"--back-above must not be less than below \(2\)"),
    ],
)
def test_marks_that_make_no_sense_are_refused(below, back, said):
    with pytest.raises(SetupError, match=said):
        file_for("bitcoin", below, back, ("json://127.0.0.1/",))


def test_who_is_to_be_told_must_be_said_and_what_that_looks_like():
    with pytest.raises(SetupError, match=r"Nobody to tell: give --notify URL .* such as mailtos://"):
        file_for("bitcoin", 1, None, ())
    with pytest.raises(SetupError, match="of kind 'nonsense' can't be used"):
        file_for("bitcoin", 1, None, ("nonsense://x",))


def test_a_watch_has_a_memory_of_its_own_and_only_one_uses_it(tmp_path):
    def path(wallet: str = "bitcoin", below: float = 1.0, url: str = "http://x/v1", key: str = "key") -> Path:
        return memory_path(tmp_path / "d", wallet, below, url, key)

    others = {path(below=2), path("usd/../.."), path(url="http://y/v1"), path(key="other")}
    assert len({path(), *others}) == 5
    assert {other.parent for other in others} == {tmp_path / "d"}
    with Keeper(path(), MARKET):
        with pytest.raises(AlreadyRunningError):
            Keeper(path(), MARKET)
        Keeper(others.pop(), MARKET).close()
    Keeper(path(), MARKET).close()
