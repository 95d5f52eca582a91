"""The documents say what the code does."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from openclore.server.settings import Settings

ROOT = Path(__file__).parent.parent


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert [name for name in _settings(Settings, "") if f"`{name}`" not in page] == []


def _settings(struct: type[msgspec.Struct], prefix: str) -> Iterator[str]:
    for field in msgspec.structs.fields(struct):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _settings(field.type, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


@pytest.mark.parametrize("tool", ["api_docs.py --check", "unasync.py --check", "purity.py"])
def test_what_is_generated_or_promised_is_up_to_date(tool: str) -> None:
    words = [sys.executable, *f"{ROOT / 'tools'}/{tool}".split()]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        *(
            f"docs/{n}.md"
            for n in (
                "architecture",
                "autopilot",
                "command-line",
                "host-link",
                "money",
                "api",
                "operating",
                "sandbox",
            )
        ),
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    file = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text()):
        if "://" not in target:
            assert (file.parent / target).exists(), target
