"""What `openclore conformance` prints, and how it ends."""

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from openclore.api.dialects import Dialect
from openclore.cli.main import app
from openclore.conformance import market as markets

from .conftest import Answer, Rehearsal, Spoil, unspoiled

Command = Callable[..., Result]


@pytest.fixture
def rehearsal(new_rehearsal: Callable[[Dialect], Rehearsal]) -> Rehearsal:
    return new_rehearsal(Dialect.OPEN)


@pytest.fixture
def command(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Command:
    """command("--json", spoil=...) against the rehearsal's market."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("CLORE_API_KEY", rehearsal.key)
    monkeypatch.setenv("CLORE_BASE_URL", "http://market.test/v1")

    def run(*words: str, spoil: Spoil = unspoiled, width: int = 80) -> Result:
        def market(base_url: str, key: str) -> markets.Market:
            assert (base_url, key) == ("http://market.test/v1", rehearsal.key)
            return rehearsal.market(spoil)

        with monkeypatch.context() as patch:
            patch.setattr(markets, "Market", market)
            patch.setattr("openclore.cli.conformance.terminal_width", lambda: width)
            return CliRunner().invoke(app, ["conformance", *words])

    return run


def bare(answer: Answer) -> None:
    if answer.name == "wallets" and answer.status == 401:
        answer.status, answer.content = 403, {"code": 3}


def test_a_market_that_holds_ends_well_in_eighty_columns(command: Command) -> None:
    done = command("--spend")
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "  a second bid                     holds        doc       200 you_already_have_…" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("http://market.test/v1 in its open dialect: 9")


def test_a_difference_is_told_in_full_and_ends_with_1(command: Command) -> None:
    done = command(spoil=bare)
    assert done.exit_code == 1
    assert (
        "\nevery endpoint: an unknown key\n"
        "  expected  HTTP 401, code 3\n"
        '  seen      HTTP 403 {"code": 3}\n' in done.stdout
    )


def test_programs_read_every_finding(command: Command) -> None:
    done = command("--json", spoil=bare)
    report = json.loads(done.stdout)
    assert (done.exit_code, report["dialect"], report["counts"]["differs"]) == (1, "open", 3)
    assert {"about", "check", "mark", "result", "seen"} <= set(report["findings"][0])


def test_without_a_key_nothing_is_asked(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLORE_API_KEY")
    assert command().exit_code == 3


def test_a_key_on_the_command_line_works_with_a_warning(
    command: Command, rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLORE_API_KEY")
    done = command("--key", rehearsal.key)
    assert done.exit_code == 0
    assert "CLORE_API_KEY is better" in done.stderr
    assert rehearsal.key not in done.output


def test_a_market_that_is_not_there_ends_with_10(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CLORE_API_KEY", "key")
    done = CliRunner().invoke(app, ["conformance", "--base-url", "http://127.0.0.1:9/v1"])
    assert done.exit_code == 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_once_what_was_rented_is_given_back(
    command: Command, rehearsal: Rehearsal, number: int
) -> None:
    kept = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}

    def impatient(answer: Answer) -> None:
        if answer.name in ("create_order", "cancel_order") and answer.content.get("code") == 0:
            os.kill(os.getpid(), number)

    try:
        done = command("--spend", spoil=impatient)
    finally:
        for each, handler in kept.items():
            signal.signal(each, handler)
    assert done.exit_code == 130
    assert [bool(order.expired) for order in rehearsal.world.orders().values()] == [True]
