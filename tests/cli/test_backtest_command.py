"""openclore autopilot backtest: from a file and a history to figures and a page."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
from typer.testing import Result

from openclore.api.offers import Offer
from openclore.api.servers import MyServer
from openclore.autopilot.history import Header, Recorder, document

from .renter_fakes import offer

OpenClore = Callable[..., Result]
FILE = """
[pricing.rigs]
servers = ["rig-*"]
strategy = "undercut"
share = 0.05
floor = 1.0
ceiling = 9.0
"""


def history_at(path: Path) -> Path:
    rig = MyServer(id=1, name="rig-1", online=True, visibility="public")
    note = "Two servers for a morning, told of in more words than fit into one line of eighty."
    with Recorder(path, Header(market="http://market.test/v1", note=note)) as recorder:
        for number in range(8):
            offers = [_offer(1, rented=False), _offer(2, rented=number >= 2)]
            recorder.append(1_800_000_000 + number * 1_800, document(offers, [rig]))
    return path


def _offer(server_id: int, *, rented: bool) -> Offer:
    return msgspec.convert(offer(server_id, rented=rented), Offer)


def test_a_rehearsal_from_the_command_line(openclore: OpenClore, tmp_path: Path) -> None:
    file = tmp_path / "autopilot.toml"
    file.write_text(FILE)
    words = ("autopilot", "backtest", str(file), "--history", str(history_at(tmp_path / "h")))
    page = tmp_path / "page.html"
    result = openclore(None, *words, "--html", str(page), width=80)
    assert result.exit_code == 0, result.stderr
    assert "Two servers for a morning, told of in" in result.stdout
    assert "Price changes  1 by the file" in result.stdout
    assert "says little about a week" in result.stderr
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert "rig-1" in page.read_text()
    report = json.loads(openclore(None, *words, "--json", "--every", "1h").stdout)
    assert report["every_seconds"] == 3_600
    assert report["host"]["servers"]["rig-1"]["occupancy"] > 0.5
    assert report["host"]["usd"] > 0


def test_what_can_not_be_rehearsed_is_said(openclore: OpenClore, tmp_path: Path) -> None:
    file = tmp_path / "autopilot.toml"
    file.write_text(FILE)
    words = ("autopilot", "backtest", str(file), "--history", str(tmp_path / "h"))
    missing = openclore(None, *words)
    assert (missing.exit_code, "can't be read" in missing.stderr) == (2, True)
    history_at(tmp_path / "h")
    nobody = openclore(None, *words, "--server", "rig-9=77")
    assert (nobody.exit_code, "never shows rig-9 (77)" in nobody.stderr) == (2, True)
    for pair in ("rig-9", "rig-9=x", "=7"):
        assert openclore(None, *words, "--server", pair).exit_code == 2
    file.write_text(FILE.replace("floor", "flor"))
    wrong = openclore(None, *words)
    assert (wrong.exit_code, "floor" in wrong.stderr) == (2, True)
