"""The bot of `examples/` lives through its weeks, as it does for whoever copies it."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.timeout(300)
def test_the_template_bot_survives_its_weeks(pytester: pytest.Pytester) -> None:
    for file in ("bot.py", "test_bot.py"):
        pytester.path.joinpath(file).write_text((EXAMPLES / file).read_text())
    result = pytester.runpytest_subprocess("-q", "-W", "error", "-p", "no:schemathesis")
    result.assert_outcomes(passed=4)
