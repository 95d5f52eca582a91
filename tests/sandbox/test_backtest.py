"""A file rehearsed on a history: what it would have earned, or cost."""

import itertools
import runpy
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from openclore.api.offers import Offer
from openclore.autopilot.history import Header, History, read
from openclore.autopilot.reading import read as file_of
from openclore.sandbox.backtest import DEFAULT_HISTORY, Report, backtest
from openclore.sandbox.report import page

from .histories import EVERY, START, USD, history_of, offer, rig

CHEAPER = """
[pricing.rigs]
servers = ["rig-*"]
strategy = "fixed"
price = 5.0
floor = 4.0
ceiling = 9.0
step_per_hour = 1.0
"""
FLEET = """
notify = ["json://127.0.0.1:1/nobody"]
[fleets.train]
machines = 2
image = "busybox"
gpu = "4090"
price_per_hour_max = 0.5
lease = "15m"
[alerts.gone]
when = "host_lost"
"""


def a_day_at(price: float) -> list[list[Offer]]:
    """Somebody rents the other machine for half of the time; ours is at a price nobody pays."""
    free = [offer(1, price), offer(2, 6.0)]
    taken = [offer(1, price), offer(2, 6.0, rented=True)]
    return [free] * 4 + [taken] * 24 + [free] * 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backtest")


@pytest.fixture(scope="module")
def hosts_day(folder: Path) -> Report:
    return backtest(file_of(CHEAPER), history_of(folder / "host", a_day_at(8.0), [rig(1)]))


@pytest.fixture(scope="module")
def renters_day(folder: Path) -> Report:
    there = [offer(1, 5.0), offer(2, 6.0), offer(3, 7.0), offer(9, 1.0, gpu="1x NVIDIA GeForce RTX 3060")]
    return backtest(file_of(FLEET), history_of(folder / "renter", [there] * 6 + [there[1:]] * 12))


def test_a_lower_price_earns_what_others_had(hosts_day: Report) -> None:
    host = hosts_day.host
    assert host is not None
    server = host.servers["rig-1"]
    assert (server.price_first, server.price_last) == (8.0, 5.0)
    assert server.price_changes == host.price_changes == 1
    assert server.occupancy == pytest.approx(24 / 47, abs=0.01)
    # 12 h at 5 $ a day, less the fees of hosts: 5 % and 15 % for dollars.
    assert host.usd == pytest.approx(5.0 / 2 * 0.8, rel=0.01)
    assert host.earned == {USD: pytest.approx(host.usd)}
    assert (server.recorded_occupancy, host.recorded_usd) == (0, 0)


def test_figures_are_there_for_every_round(hosts_day: Report) -> None:
    assert hosts_day.rounds == len(hosts_day.times) == 48
    assert hosts_day.times == [START + number * EVERY for number in range(48)]
    assert hosts_day.every_seconds == EVERY
    assert {name: len(values) for name, values in hosts_day.curves.items()} == dict.fromkeys(
        ("earned", "occupancy", "price of rig-1", "earned at recorded prices"), 48
    )
    assert hosts_day.curves["earned"][-1] == hosts_day.host.usd if hosts_day.host else False


def test_the_same_arguments_give_the_same_report(hosts_day: Report, folder: Path) -> None:
    again = backtest(file_of(CHEAPER), read(folder / "host"))
    assert msgspec.json.encode(again) == msgspec.json.encode(hosts_day)


def test_a_fleet_lives_through_the_loss_of_a_host(renters_day: Report) -> None:
    fleet = renters_day.fleets["train"]
    assert renters_day.host is None
    assert fleet.orders == 3
    assert "host_lost" in fleet.ended or "cancelled" in fleet.ended
    assert fleet.wanted_hours == 2 * 17 * EVERY / 3_600
    assert fleet.share is not None
    assert 0.8 < fleet.share <= 1
    # Two of three machines at 5 to 7 $ a day, and fees of 5 %.
    assert fleet.usd_per_machine_hour == pytest.approx(6.0 / 24 * 1.05, rel=0.25)
    assert fleet.usd == pytest.approx(sum(fleet.cost.values()))


def test_alerts_are_counted_and_told_to_nobody(renters_day: Report) -> None:
    assert renters_day.alerts.get("host_lost") == 1
    assert [message.kind for message in renters_day.messages] == ["host_lost"]


def test_what_the_file_does_not_look_at_is_left_out(renters_day: Report) -> None:
    assert (renters_day.servers, renters_day.left_out) == (3, 1)


class Reader(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str | None] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_needs_nothing_else(hosts_day: Report, renters_day: Report) -> None:
    for report in (hosts_day, renters_day):
        text = page(report)
        found = Reader(text)
        assert found.addresses == []
        assert not {"script", "link", "img", "iframe"} & set(found.tags)
        assert "url(" not in text
        assert found.tags.count("svg") == (3 if report.host else 2)
        assert "nan" not in text.lower().replace("nance", "")
    assert "2.00 $" in Reader(page(hosts_day)).words


def test_a_short_history_has_hours_under_its_plots_and_is_said_to_be_short(hosts_day: Report) -> None:
    assert hosts_day.until - hosts_day.start == 47 * EVERY
    found = Reader(page(hosts_day)).words
    assert "This history is short." in found
    assert found.count("09:00") == found.count("21:00") == 3, "under each plot"
    longer = msgspec.structs.replace(hosts_day, until=hosts_day.start + 86_400)
    assert "This history is short." not in Reader(page(longer)).words


def test_what_the_file_can_not_mean_is_a_note(folder: Path) -> None:
    text = CHEAPER.replace('"rig-*"', '"rig-*", "nobody-*"')
    report = backtest(file_of(text), history_of(folder / "notes", a_day_at(8.0)[:6], [rig(1)]))
    assert report.notes == {
        'pricing.rigs: no server is named "nobody-*"; there is rig-1': report.rounds,
    }
    assert "nobody-*" in Reader(page(report)).words


def test_what_a_history_says_is_text_on_the_page(hosts_day: Report) -> None:
    report = msgspec.structs.replace(hosts_day, history="<script>alert(1)</script>")
    found = Reader(page(report))
    assert "script" not in found.tags
    assert "<script>alert(1)</script>" in found.words


def test_the_history_that_comes_with_the_package_says_that_it_is_made_up() -> None:
    history = read(DEFAULT_HISTORY)
    assert history.header is not None
    assert history.header.market == "sandbox"
    assert "No real market was recorded" in history.header.note
    assert DEFAULT_HISTORY.stat().st_size < 300_000
    assert len(history.scenes) == 14 * 48 + 1
    assert len(history.scenes[0].offers) == 60
    assert len(history.scenes[0].servers) == 6


def test_servers_can_be_named_in_a_history_without_any(folder: Path) -> None:
    history = History(
        Header(market="http://market/v1"), history_of(folder / "bare", a_day_at(8.0)[:3]).scenes
    )
    report = backtest(file_of(CHEAPER), history, names={"rig-mine": 1})
    assert report.history == "recorded at http://market/v1"
    assert report.host is not None
    assert list(report.host.servers) == ["rig-mine"]


def test_the_sandbox_makes_such_a_history_the_same_each_time() -> None:
    tool = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "default_history.py"))
    made, again = (list(itertools.islice(tool["moments"](), 12)) for _ in range(2))
    assert made == again
    shipped = read(DEFAULT_HISTORY)
    assert shipped.header == tool["HEADER"]
    assert {str(server_id) for server_id in shipped.scenes[0].offers} == made[0][1]["offers"].keys()
