"""What a reader copies from the README works."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from openclore.autopilot.reading import read
from openclore.sandbox import Sandbox

from ..processes import until
from ..receivers import a_receiver
from .conftest import Installation

pytest_plugins = ["pytester"]

README = Path(__file__).parent.parent.parent / "README.md"


def programs() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def files() -> list[str]:
    return re.findall(r"```toml\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_rehearsal_of_the_readme_passes(pytester: pytest.Pytester) -> None:
    rehearsal = programs()[2]
    pytester.makepyfile(rehearsal)
    pytester.runpytest_subprocess("-q", "-p", "no:schemathesis").assert_outcomes(passed=1)


@pytest.mark.parametrize("how", ["file", "program"])
def test_both_balance_monitors_of_the_readme_tell_a_real_receiver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    with Sandbox(servers=5, money={"USD-Blockchain": 4.0}) as sandbox, a_receiver() as receiver:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        profile = f'[profiles.ada]\nbase_url = "{sandbox.base_url}"\nkey = "{sandbox.keys["renter"]}"\n'
        (tmp_path / "openclore").mkdir()
        (tmp_path / "openclore" / "config.toml").write_text(profile)
        (tmp_path / "openclore" / "config.toml").chmod(0o600)
        text = programs()[0] if how == "program" else files()[0]
        text = re.sub(r"mailtos://[^\"]*", receiver.url("ok", scheme="json"), text)
        (tmp_path / how).write_text(text)
        words = [str(tmp_path / how)]
        if how == "file":
            words = ["-m", "openclore", "autopilot", "run", *words, "--profile", "ada"]
        with subprocess.Popen([sys.executable, *words]) as process:
            until(lambda: receiver.messages, what="the message")
            process.terminate()
    assert "low" in json.loads(receiver.messages[0].body)["title"]
    lines = [line for line in text.splitlines() if line]
    assert len(lines) == (10 if how == "program" else 5)


def test_every_file_of_the_readme_can_be_followed() -> None:
    for text in files():
        read(text, {"MAIL_PASSWORD": "x"})


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
    bot = programs()[1]
    done = subprocess.run(
        [sys.executable, "-c", bot], env=world.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stderr, world.order(1))
    assert done.stdout == "order 1 on server 1 at 2.0 dollars a day\n"
    assert world.order(1)["end_reason"] == "cancelled"
