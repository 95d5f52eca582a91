"""A whole installation of real processes: a market, this machine as its host, a renter."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from openclore.cli import demo_image
from openclore.client import Spacing

from ..ports import free_port, free_row
from ..processes import Process, address_of, openclore, until

AT_ONCE = {
    "OPENCLORE_PACE__SPACING_SECONDS": "0",
    "OPENCLORE_PACE__CREATE_ORDER_SECONDS": "0",
    "OPENCLORE_PACE__OPEN_SPACING_SECONDS": "0",
}


@pytest.fixture(scope="session")
def image() -> str:
    """A small web server's image on the local Docker Engine."""
    try:
        return demo_image.prepare()
    except demo_image.NoImage as reason:
        pytest.skip(f"no real container is tested: {reason}")


@dataclass
class Installation:
    """Processes in one folder; `json` runs a command as somebody and decodes what it prints."""

    folder: Path
    port: int
    env: dict[str, str]
    keys: dict[str, str] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    init_token: str = ""
    paced: bool = False

    def json(self, *words: str, who: str = "", status: int = 0) -> Any:
        key = {"CLORE_API_KEY": self.keys[who]} if who else {}
        with pytest.MonkeyPatch.context() as patch:
            if not self.paced:
                patch.setattr(Spacing, "of", lambda *_: Spacing(0.0))
            return openclore(*words, env=self.env | key, status=status)

    def start_market(self) -> None:
        data = str(self.folder / "market")
        market = Process(
            self.folder / f"market-{len(self.processes)}.log",
            *("serve", "--data-dir", data, "--port", str(self.port)),
            env=self.env,
        )
        self.processes["market"] = market
        assert address_of(market) == f"http://127.0.0.1:{self.port}"

    def start_host(self, runtime: str) -> None:
        self.processes["host"] = Process(
            self.folder / f"host-{len(self.processes)}.log",
            *("host", "--market", f"http://127.0.0.1:{self.port}", "--state-dir", str(self.folder / "host")),
            *("--runtime", runtime, "--public-address", "127.0.0.1", "--port-range", port_range()),
            env=self.env | {"OPENCLORE_INIT_TOKEN": self.init_token},
        )
        until(self.host_is_online, what="the host to be online")

    def host_is_online(self) -> bool:
        assert self.processes["host"].running(), self.processes["host"].text()
        return any(server["online"] for server in self.json("servers", who="host"))

    def wallet(self) -> float:
        wallets = self.json("wallets", who="renter")
        return next(float(wallet["balance"]) for wallet in wallets if wallet["name"] == "USD-Blockchain")

    def order(self, order_id: int) -> dict[str, Any]:
        orders = self.json("orders", "--all", who="renter")
        return next(order for order in orders if order["id"] == order_id)

    def settle_in(self, runtime: str) -> None:
        """A market with a renter who has ten dollars, and this machine listed at two dollars a day."""
        self.start_market()
        for who in ("renter", "host"):
            self.json("admin", "account", "create", f"{who}@example.org")
            self.keys[who] = self.json("admin", "key", "create", f"{who}@example.org")["key"]
        self.json("admin", "credit", "renter@example.org", "USD-Blockchain", "10")
        self.init_token = self.json("admin", "server", "create", "host@example.org", "rack-1")["init_token"]
        self.start_host(runtime)
        prices = ("--price", "usd=2", "--spot", "usd=1", "--accept", "usd")
        self.json("set-server", "rack-1", "--public", *prices, who="host")


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with an_installation(tmp_path) as made:
        yield made


@pytest.fixture
def paced_installation(tmp_path: Path) -> Iterator[Installation]:
    with an_installation(tmp_path, paced=True) as made:
        yield made


@contextmanager
def an_installation(folder: Path, *, paced: bool = False) -> Iterator[Installation]:
    """An installation that is not started yet. Unless it is `paced`, nobody has to wait between calls."""
    port = free_port()
    env = {
        "OPENCLORE_DATA_DIR": str(folder / "market"),
        "CLORE_BASE_URL": f"http://127.0.0.1:{port}/v1",
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PATH": os.environ["PATH"],
        **({} if paced else AT_ONCE),
    }
    made = Installation(folder, port, env, paced=paced)
    yield made
    try:
        if "renter" in made.keys and made.processes["market"].running():
            for order in made.json("orders", who="renter"):
                made.json("cancel", str(order["id"]), who="renter")
                until(lambda order=order: not answers(order), what="the container to be gone")
    finally:
        for process in reversed(made.processes.values()):
            process.stop()


def answers(order: dict[str, Any]) -> bool:
    """Whether the order's HTTP port accepts connections."""
    host, _, port = order["http_pub"].rpartition(":")
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((host, int(port))) == 0


def port_range() -> str:
    """Ports for an agent's orders, as its option wants them."""
    row = free_row()
    return f"{row[0]}-{row[-1]}"
