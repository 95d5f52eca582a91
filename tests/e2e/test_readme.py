"""What a reader copies from the README works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Installation

pytest_plugins = ["pytester"]

README = Path(__file__).parent.parent.parent / "README.md"


def programs() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_rehearsal_of_the_readme_passes(pytester: pytest.Pytester) -> None:
    _, rehearsal = programs()
    pytester.makepyfile(rehearsal)
    pytester.runpytest_subprocess("-q", "-p", "no:schemathesis").assert_outcomes(passed=1)


def test_the_bot_of_the_readme_rents_and_cancels(installation: Installation) -> None:
    world = installation
    world.settle_in("simulated")
    profile = ("profile", "set", "ada", "--base-url", world.env["CLORE_BASE_URL"])
    subprocess.run(
        [sys.executable, "-m", "openclore", *profile],
        input=world.keys["renter"].encode(),
        env=world.env,
        check=True,
        capture_output=True,
    )
    bot, _ = programs()
    done = subprocess.run(
        [sys.executable, "-c", bot], env=world.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "order 1 on server 1 at 2.0 dollars a day\n"
    assert world.order(1)["end_reason"] == "cancelled"
