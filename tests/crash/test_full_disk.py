"""A market whose disk is really full: code 1 until there is room, nothing lost, and no restart."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from openclore.store.store import database_url, open_store
from openclore.usecases import accounts

from ..processes import Process, address_of, openclore, until
from ..world import World
from .load import NO_TLS

DISK_BYTES = 2_000_000
AT_ONCE = {"OPENCLORE_PACE__SPACING_SECONDS": "0", "OPENCLORE_PACE__CREATE_ORDER_SECONDS": "0"}
FULL = {"code": 1, "error": "the disk of the market's database is full: nothing was done, try again later"}


def test_a_market_goes_on_when_its_full_disk_has_room_again(tmp_path: Path) -> None:
    key, server = founded(tmp_path / "market")
    with on_a_small_disk(tmp_path) as (market, disk), caller(address_of(market), key) as http:

        def order(number: int) -> httpx2.Response:
            body = {"renting_server": server, "currency": "USD-Blockchain", "image": f"order/{number}"}
            body |= {"type": "on-demand", "command": "x" * 10_000}
            return http.post("/v1/create_order", json=body, headers={"Idempotency-Key": str(number)})

        def cancel(made: httpx2.Response) -> httpx2.Response:
            return http.post("/v1/cancel_order", json={"id": made.json()["order"]["id"]})

        first = order(1)
        assert cancel(first).status_code == 200
        fill(disk / "ballast")
        refused = [order(number) for number in (2, 3, 4)]
        assert [(reply.status_code, reply.json()) for reply in refused] == [(500, FULL)] * 3
        assert http.get("/v1/wallets").json()["code"] == 0
        again = order(1)
        assert (again.json(), again.headers["idempotency-replayed"]) == (first.json(), "true")

        (disk / "ballast").unlink()
        assert cancel(order(2)).status_code == 200
        assert (
            openclore("admin", "verify", "--data-dir", str(copy(market, disk, tmp_path)))["difference"]
            is None
        )
        assert "disk is full" in market.text()


def founded(folder: Path) -> tuple[str, int]:
    """A market with a renter who has money, his key, and the id of a server."""
    folder.mkdir()
    with closing(open_store(database_url(folder))) as store:
        world = World(store, now=int(time.time()))
        world.credit("10")
        _, key = accounts.create_key(world.market, "renter@example.org", "test", world.now)
        return key, world.server


@contextmanager
def on_a_small_disk(folder: Path) -> Iterator[tuple[Process, Path]]:
    """The market in a folder, on a disk that only its server sees, and a way for us to that disk."""
    inside = ("unshare", "--map-root-user", "--mount")
    if not shutil.which("unshare") or subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    disk = folder / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size={DISK_BYTES} disk {disk} && cp {folder}/market/* {disk} && exec "$@"'
    words = ("serve", "--data-dir", str(disk), "--port", "0")
    env = AT_ONCE | {"OPENCLORE_POLICY__OFFLINE_AFTER_SECONDS": "7200"}
    market = Process(folder / "log", *words, env=env, within=(*inside, "sh", "-c", mount, "sh"))
    try:
        yield market, Path(f"/proc/{market.pid}/root{disk}")
    finally:
        market.stop()


def caller(address: str, key: str) -> httpx2.Client:
    return httpx2.Client(base_url=address, headers={"auth": key}, timeout=30, trust_env=False, verify=NO_TLS)


def fill(file: Path) -> None:
    """Take all the room there is."""
    with file.open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(bytes(4_096))


def copy(market: Process, disk: Path, folder: Path) -> Path:
    """The market as its disk has it at one moment."""
    market.kill(signal.SIGSTOP)
    status = Path(f"/proc/{market.pid}/status")
    until(lambda: "T (stopped)" in status.read_text(), what="the market to stand still")
    made = shutil.copytree(disk, folder / "copy", copy_function=shutil.copyfile)
    market.kill(signal.SIGCONT)
    return Path(made)
