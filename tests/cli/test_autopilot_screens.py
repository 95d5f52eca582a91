"""What the autopilot's commands show."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from typer.testing import Result

from openclore.autopilot.memory import AlertsMemory, FleetMemory, Memory, Spent, Standing
from openclore.autopilot.remember import Keeper, Known
from openclore.cli.output import local_time
from openclore.client import Clore

from .renter_fakes import Market

OpenClore = Callable[..., Result]
NOW = int(time.time())

ALERT = """
notify = ["json://127.0.0.1:1/"]

[alerts.cash]
when = "wallet_below"
wallet = "usd"
below = 5
"""
PRICING = """
[pricing.all]
servers = ["*"]
strategy = "undercut"
floor = 1
ceiling = 9
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "autopilot.toml"
    path.write_text(ALERT + PRICING)
    return path


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_a_file_is_in_order_though_somebody_can_not_be_reached(openclore: OpenClore, file: Path) -> None:
    file.write_text(ALERT)
    result = openclore(None, "autopilot", "check", str(file))
    assert result.exit_code == 1
    assert "autopilot.toml is in order: 1 alert." in result.stderr
    assert "Now json (1) can't be reached: Connection refused" in result.stderr
    file.write_text(ALERT.replace("json://127.0.0.1:1/", "nonsense://x"))
    wrong = openclore(None, "autopilot", "check", str(file))
    assert (wrong.exit_code, "is in order" in wrong.stderr) == (2, False)


def test_a_plan_without_a_market_tells_the_reason_once_and_where_the_address_is_from(
    openclore: OpenClore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLORE_BASE_URL", "http://nobody.test/v1")
    nobody = Market(wallets=httpx2.ConnectError("refused"))
    result = openclore(nobody, "autopilot", "plan", str(file))
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "Looking at http://nobody.test/v1 (address from CLORE_BASE_URL; no key) ...",
        "Can't read wallets, servers, offers: http://market.test/v1 can't be reached: refused.",
    ]
    assert "refused" not in result.stdout
    assert [name for name, _ in nobody.requests] == ["wallets"]


def test_a_plan_with_a_key_that_nobody_knows_says_so_once(openclore: OpenClore, file: Path) -> None:
    stranger = Market(wallets={"code": 3}, my_servers={"code": 3}, marketplace={"code": 3})
    result = openclore(stranger, "autopilot", "plan", str(file))
    assert result.exit_code == 1
    assert result.output.count("does not know this API key") == 1


def test_a_command_that_is_not_let_in_says_where_its_key_was_found(
    openclore: OpenClore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLORE_API_KEY", "secret")
    words = ("wallets", "--base-url", "http://market.test/v1")
    result = openclore(Market(wallets={"code": 3}), *words)
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1] == (
        "Asked: http://market.test/v1 (address from --base-url; key from CLORE_API_KEY)."
    )
    assert "Asked" not in openclore(Market(wallets={"code": 3}), *words, "--json").stderr


def test_a_plan_tells_at_once_of_a_wallet_that_there_is_none_like(openclore: OpenClore, file: Path) -> None:
    file.write_text(ALERT.replace("usd", "eur"))
    market = Market(wallets={"wallets": [{"name": "bitcoin", "balance": 1}]})
    result = openclore(market, "autopilot", "plan", str(file))
    assert result.exit_code == 1
    assert "Can't read wallet eur: there is no wallet 'eur' with a balance here; there is: bitcoin" in (
        result.stderr
    )
    assert "Would tell: Can't read wallet eur" in result.stdout


def test_a_plan_names_a_server_once_and_says_what_it_would_set(openclore: OpenClore, file: Path) -> None:
    file.write_text('[settings.rack-6]\nservers = ["rack-6"]\nmrl_hours = 77\n')
    market = Market(
        my_servers={"servers": [{"name": "rack-6", "id": 6, "online": True}]},
        server_config={"config": {"name": "rack-6", "id": 6, "mrl": 48}},
    )
    result = openclore(market, "autopilot", "plan", str(file))
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "settings.rack-6: Set rack-6: longest rental in hours 48 -> 77",
        "    mrl_hours: 48 -> 77",
    ]


def status_of(openclore: OpenClore, file: Path, memory: Memory, known: Known) -> Result:
    path = file.with_suffix(".sqlite")
    with Clore("k", base_url="http://market.test/v1") as clore:
        market = clore.base_url, clore.key_digest
    with Keeper(path, market) as keeper:
        keeper.keep(memory, known=known)
    return openclore(Market(), "autopilot", "status", str(file), "--memory", str(path))


def test_the_status_of_alerts_says_which_were_checked_when_and_what_holds(
    openclore: OpenClore, file: Path
) -> None:
    alerts = AlertsMemory(
        seen={"wallet_below cash": {}, "server_offline rigs": {}},
        standings={"wallet_below cash": {"USD-Blockchain": Standing(since=NOW - 60, said=1)}},
    )
    result = status_of(openclore, file, Memory(name="m", alerts=alerts), Known(at=NOW))
    assert result.stdout.splitlines() == [
        f"Last round      {local_time(NOW)}",
        "Alerts checked  rigs, cash",
        f"alerts.cash: wallet_below of USD-Blockchain since {local_time(NOW - 60)}, told",
    ]
    assert result.stderr.splitlines() == ["No action was needed yet."]


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (0, "0.00 $ this hour, 0.00 $ today (UTC), 3.00 $ in all"),
        (48 * 3_600, "1.00 $ in the hour of the last round, 2.00 $ on the day of the last round (UTC), 3.00"),
    ],
)
def test_what_was_spent_in_a_past_hour_is_not_said_to_be_of_this_one(
    openclore: OpenClore, file: Path, ago: int, said: str
) -> None:
    now = int(time.time())
    then = now - 48 * 3_600
    fleet = FleetMemory(over=Spent(then // 3_600, 1.0, then // 86_400, 2.0, 3.0))
    memory = Memory(name="m", fleets={"train": fleet})
    assert said in status_of(openclore, file, memory, Known(at=now - ago)).stderr
