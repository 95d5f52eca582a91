"""The documents say what the code does."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from openclore.rules.policy import Fees, Policy
from openclore.server.settings import Settings

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("struct", "prefix"), [(Settings, ""), (Policy, "policy."), (Fees, "policy.fees.")], ids=str
)
def test_every_setting_is_documented(struct: type[msgspec.Struct], prefix: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    for field in msgspec.structs.fields(struct):
        if not (isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)):
            assert f"`{prefix}{field.name}`" in page, field.name


@pytest.mark.parametrize("tool", ["api_docs.py --check", "unasync.py --check", "purity.py"])
def test_what_is_generated_or_promised_is_up_to_date(tool: str) -> None:
    words = [sys.executable, *f"{ROOT / 'tools'}/{tool}".split()]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{n}.md" for n in ("architecture", "host-link", "api"))]
)
def test_links_lead_somewhere(page: str) -> None:
    file = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text()):
        if "://" not in target:
            assert (file.parent / target).exists(), target
