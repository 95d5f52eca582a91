"""A small market for the command line: canned replies per endpoint, requests remembered."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner, Result

from openclore.cli import options
from openclore.cli.main import app
from openclore.client import Clore, Spacing

OFFER = {
    "id": 70123,
    "owner": 901,
    "mrl": 168,
    "rented": False,
    "price": {
        "on_demand": {"bitcoin": 0.0000312, "CLORE-Blockchain": 410.5, "USD-Blockchain": 2.6},
        "spot": {"bitcoin": 0.00002, "CLORE-Blockchain": 262, "USD-Blockchain": 1.7},
        "usd": {"on_demand_btc": 2.59, "on_demand_clore": 2.61, "on_demand_usd": 2.6, "spot": 0},
    },
    "specs": {
        "cpus": "16/32",
        "ram": 62.7,
        "gpu": "2x NVIDIA GeForce RTX 4090",
        "gpuram": 23,
        "net": {"cc": "DE", "up": 640.2, "down": 911.4},
    },
    "reliability": 0.9971,
    "allowed_coins": ["bitcoin", "USD-Blockchain"],
    "rating": {"avg": 4.8, "cnt": 12},
    "cuda_version": "12.8",
}


def offer(server_id: int, **changes: Any) -> dict[str, Any]:
    """An offer like OFFER; `specs` and `price` are merged."""
    merged = {key: {**OFFER[key], **changes.pop(key, {})} for key in ("specs", "price")}
    return {**OFFER, "id": server_id, **merged, **changes}


class Market:
    """Endpoint name to a reply, a list of them one after the other, or a function of the request's body."""

    def __init__(self, **replies: Any) -> None:
        self.replies = replies
        self.requests: list[tuple[str, Any]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        name = request.url.path.rsplit("/", 1)[-1]
        content = json.loads(request.content) if request.content else dict(request.url.params) or None
        self.requests.append((name, content))
        answer = self.replies.get(name, {"code": 4})
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, BaseException):
            raise answer
        if callable(answer):
            answer = answer(content)
        return httpx2.Response(200, content=json.dumps({"code": 0, **answer}).encode())

    def sent(self, name: str) -> list[Any]:
        return [content for called, content in self.requests if called == name]


@pytest.fixture
def openclore(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[..., Result]:
    """openclore(market, "wallets", "--json") -> result, without a network and without waiting."""
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("CLORE_API_KEY", "CLORE_BASE_URL", "OPENCLORE_PROFILE", "OPENCLORE_NOTIFY", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("openclore.cli.waiting.POLL_SECONDS", 0.0)

    def run(market: Market | None, *words: str, stdin: str | None = None, width: int = 200) -> Result:
        def client(profile: str | None, base_url: str | None) -> Clore:
            return Clore(
                "k",
                base_url=base_url or "http://market.test/v1",
                attempts=1,
                spacing=Spacing(0),
                transport=httpx2.MockTransport(market),
            )

        if market is not None:
            monkeypatch.setattr(options, "client", client)
        monkeypatch.setattr("openclore.cli.output.terminal_width", lambda: width)
        return CliRunner().invoke(app, words, input=stdin, env={"COLUMNS": str(width)})

    return run
