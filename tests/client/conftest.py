"""Clients on canned answers, both halves by one parameter."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .fakes import Answerer, Clock, Script, make


@pytest.fixture(autouse=True)
def private_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or leaves anything outside its own directory."""
    for name in ("CLORE_API_KEY", "CLORE_BASE_URL", "OPENCLORE_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Callable[..., tuple[Any, Script]]]:
    """connect(answer, ...) -> (client, script); every test that takes it runs on both halves."""
    opened = []

    def open_client(*answers: Answerer, takes: float = 0.0, **options: Any) -> tuple[Any, Script]:
        script = Script(answers, clock, takes)
        client = make(request.param, script, clock, **options)
        opened.append(client)
        return client, script

    yield open_client
    for client in opened:
        client.close()
