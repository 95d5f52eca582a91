"""`openclore admin account set` and `openclore admin key create --dialect`."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from openclore.cli.main import app


class Operator:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, *words: str, status: int = 0) -> str:
        done = CliRunner().invoke(app, ["admin", *words, "--data-dir", str(self._folder)])
        assert done.exit_code == status, done.output
        return done.output

    def json(self, *words: str) -> Any:
        return json.loads(CliRunner().invoke(app, self._words(words)).stdout)

    def _words(self, words: tuple[str, ...]) -> list[str]:
        return ["admin", *words, "--data-dir", str(self._folder), "--json"]


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    operator = Operator(tmp_path / "market")
    operator.run("account", "create", "ada@example.org")
    return operator


def test_an_account_gets_a_stake_and_limits_of_its_own(operator: Operator) -> None:
    shown = operator.json("account", "set", "ada@example.org", "--poh-stake", "1000.5")
    assert shown == {"email": "ada@example.org", "poh_stake": 1000.5, "orders_max": 32, "servers_max": 16}
    words = operator.run("account", "set", "ada@example.org", "--orders-max", "2000", "--servers-max", "3")
    assert "1000.5 CLORE" in words
    assert "2000 orders at once and 3 servers" in words


def test_what_is_wrong_is_one_readable_line(operator: Operator) -> None:
    for words, sentence in (
        (["ada@example.org", "--orders-max", "-1"], "orders_max must be 0 to"),
        (["ada@example.org", "--poh-stake", "lots"], "'lots' is not a number"),
        (["bob@example.org", "--orders-max", "1"], "there is no account bob@example.org"),
    ):
        assert sentence in operator.run("account", "set", *words, status=2)


def test_a_key_is_pinned_to_a_dialect(operator: Operator) -> None:
    made = operator.json("key", "create", "ada@example.org", "--name", "bot", "--dialect", "live")
    assert (made["name"], made["dialect"]) == ("bot", "live")
    operator.run("key", "create", "ada@example.org")
    keys = operator.json("key", "list", "ada@example.org")
    assert [(key["name"], key["dialect"]) for key in keys] == [("bot", "live"), ("default", None)]
    assert made["key"] not in json.dumps(keys)
    operator.run("key", "create", "ada@example.org", "--name", "x", "--dialect", "loud", status=2)
