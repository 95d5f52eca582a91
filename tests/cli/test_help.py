"""What `--help` shows in a terminal of eighty columns."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from openclore.cli.main import app


def commands(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """The words of each command, and its long options."""
    yield words, [name for each in command.params for name in each.opts if name.startswith("--")]
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, *words, name)


@pytest.mark.parametrize(
    ("words", "options"),
    [pytest.param(*found, id=" ".join(found[0])) for found in commands(typer.main.get_command(app))],
)
def test_every_option_is_shown_in_full(words: tuple[str, ...], options: list[str]) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80", "TERM": "dumb"}).stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert [option for option in options if option not in shown.split()] == []
