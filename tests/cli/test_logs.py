"""How long-running commands log: JSON for programs, lines for people, never a local variable."""

import json
import sys
from collections.abc import Iterator

import pytest
import structlog
from structlog.contextvars import bound_contextvars

from openclore.cli.logs import configure_logs


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def fail(password: str) -> None:
    if len(password) < 100:
        raise ValueError("too short")


def log_a_failure() -> None:
    with bound_contextvars(request_id="r-1"):
        try:
            fail("s3" + "cret")
        except ValueError as error:
            structlog.get_logger().error("request failed", orders=[7], exc_info=error)


@pytest.mark.parametrize("style", ["auto", "json"])
def test_lines_are_json_away_from_a_terminal(capsys: pytest.CaptureFixture[str], style: str) -> None:
    configure_logs(style)  # type: ignore[arg-type]
    log_a_failure()
    [line] = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert told.pop("timestamp").endswith("Z")
    assert "in fail" in told.pop("exception")
    assert told == {"event": "request failed", "level": "error", "orders": [7], "request_id": "r-1"}
    assert "s3cret" not in line


def test_lines_are_for_people_where_the_operator_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("text")
    log_a_failure()
    written = capsys.readouterr().err
    first, *traceback = written.splitlines()
    assert "request failed" in first
    assert "orders=[7]" in first
    assert "request_id=r-1" in first
    assert "\x1b" not in first
    assert any("in fail" in line for line in traceback)
    assert "s3cret" not in written


def test_lines_are_for_people_at_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    configure_logs()
    structlog.get_logger().info("stopped")
    written = capsys.readouterr().err
    assert "stopped" in written
    assert not written.startswith("{")
