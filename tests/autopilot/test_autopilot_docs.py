"""The page about the autopilot says what the code does."""

import re
from pathlib import Path

import msgspec
import pytest

from openclore.autopilot import file
from openclore.autopilot.reading import read

PAGE = (Path(__file__).parent.parent.parent / "docs" / "autopilot.md").read_text()
TABLES = [
    kind
    for kind in vars(file).values()
    if isinstance(kind, type) and issubclass(kind, file.Table) and not kind.__name__.endswith("Base")
]


@pytest.mark.parametrize("text", re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
def test_every_example_can_be_followed(text: str) -> None:
    read(text, {"MAIL_PASSWORD": "x", "SSH_KEY": "ssh-ed25519 AAAA"})


@pytest.mark.parametrize("table", TABLES, ids=lambda kind: kind.__name__)
def test_every_member_is_on_the_page(table: type[msgspec.Struct]) -> None:
    names = [field.encode_name for field in msgspec.structs.fields(table)]
    assert [name for name in names if not re.search(rf"\b{name}\b", PAGE)] == []
