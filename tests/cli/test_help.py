"""What `--help` shows in a terminal of eighty columns."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from openclore.cli.main import COMMANDS, app, load

LINES = {place: line for listed in COMMANDS.values() for place, line in listed.items()}


def commands(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """The words of each command, and its long options."""
    yield words, [name for each in command.params for name in each.opts if name.startswith("--")]
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, *words, name)


def all_commands() -> Iterator[tuple[tuple[str, ...], list[str]]]:
    yield (), ["--version", "--help"]
    for place in LINES:
        command = load(place)
        yield from commands(command, command.name)


@pytest.mark.parametrize(
    ("words", "options"), [pytest.param(*found, id=" ".join(found[0])) for found in all_commands()]
)
def test_every_option_is_shown_in_full(words: tuple[str, ...], options: list[str]) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80", "TERM": "dumb"}).stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert [option for option in options if option not in shown.split()] == []


def test_the_listing_says_what_the_commands_say_of_themselves() -> None:
    own = {place: " ".join(load(place).help.split("\n\n")[0].split()) for place in LINES}
    assert own == LINES


@pytest.mark.parametrize(
    ("typed", "completed"), [("wal", "wallets"), ("webhook ro", "rotate"), ("rent --no-w", "--no-wait")]
)
def test_the_shell_completes_commands_and_options(typed: str, completed: str) -> None:
    words = f"openclore {typed}"
    asked = {
        "_OPENCLORE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(typed.split())),
    }
    assert completed in CliRunner().invoke(app, [], env=asked, prog_name="openclore").stdout.split()


def test_the_listing_loads_no_command() -> None:
    program = (
        "import sys; from openclore.cli.main import app; app(['--help'], standalone_mode=False);"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = {f"openclore.cli.{place.partition('.')[0]}" for place in LINES} | {
        "openclore.client",
        "msgspec",
    }
    assert modules & set(done.stderr.split()) == set()
