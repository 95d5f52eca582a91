"""`openclore demo`: a market on this machine, the tour of the API, and a container rented from it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from .errors import DeployError, guarded
from .output import amount

if TYPE_CHECKING:
    from http.server import ThreadingHTTPServer

    from ..sandbox.ports import Reserved

T = TypeVar("T")

RENTER, HOST = "renter@example.org", "host@example.org"
WALLET = "USD-Blockchain"
SERVER = "this-machine"
PRICE_PER_DAY = 2.0
PATIENCE_SECONDS = 60.0
PORTS = 10
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@guarded
def demo() -> None:
    """Start a market here, attach this machine, take the tour, rent a container from it.

    Everything lives in a temporary folder and goes away with the demo. At a terminal the market keeps
    serving until Ctrl-C; elsewhere the demo ends after the tour.
    """
    for number in ENDINGS:
        signal.signal(number, _end)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="openclore-demo-")))
        tour = Tour(folder, stack)
        try:
            tour.take()
            if sys.stdout.isatty():
                tour.stay()
        finally:
            _hear_no_more()
            tour.leave()


def _end(*_: object) -> None:
    _hear_no_more()
    raise KeyboardInterrupt


def _hear_no_more() -> None:
    """Whoever is impatient would have what was started stay."""
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)


class Tour:
    """The demo's processes and what it knows of them. Commands run as a person would run them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._processes: list[subprocess.Popen[bytes]] = []
        others = ("CLORE_", "OPENCLORE_DATABASE_URL")  # the person's own markets
        self._env = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        self._env |= {
            "OPENCLORE_DATA_DIR": str(folder / "market"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        self._address = ""
        self._keys: dict[str, str] = {}
        self._order: dict[str, Any] = {}

    def take(self) -> None:
        """All stops, in order.

        Raises:
            DeployError: a stop did not come out as it must; the message says which and how.
        """
        image, runtime = self._choose_runtime()
        self._start_market()
        self._open_accounts()
        self._attach_machine(runtime)
        self._read_everything()
        self._meet_every_code()
        alerts = self._watch_wallet()
        self._rent(image)
        self._check_charge()
        self._wait_for_alert(alerts)
        self._cancel()
        self._verify()
        self._title("Done")
        typer.echo("Every stop came out as it must.")

    def stay(self) -> None:
        """Serve until Ctrl-C."""
        self._title("The market keeps serving; Ctrl-C ends it")
        typer.echo("In another terminal, as the renter:\n")
        typer.echo(f"  export CLORE_BASE_URL={self._address}/v1 CLORE_API_KEY={self._keys['renter']}")
        typer.echo(f"  {Path(sys.executable).parent / 'openclore'} marketplace\n")
        try:
            signal.pause()
        except KeyboardInterrupt:
            typer.echo("\nEnding ...")

    def leave(self) -> None:
        """End orders that still run, then the processes, the last first."""
        if "renter" in self._keys:
            for order in self._quiet("renter", "orders") or []:
                self._quiet("renter", "cancel", str(order["id"]))
                self._until(lambda: not _answers(self._port()), "the container to go", strict=False)
        for process in reversed(self._processes):
            process.terminate()
            process.wait(timeout=30)

    # Stops ------------------------------------------------------------------------------------------

    def _choose_runtime(self) -> tuple[str, str]:
        from .demo_image import IMAGE, NoImage, prepare

        try:
            return prepare(), "docker"
        except NoImage as reason:
            typer.echo(
                f"Note: {reason}\nSo the demo simulates this machine's containers: their ports answer, "
                "but nothing runs behind them.\n"
            )
            return IMAGE, "simulated"

    def _start_market(self) -> None:
        self._title("A market on one SQLite file")
        log = self._start("serve", "--data-dir", str(self._folder / "market"), "--port", "0")
        self._address = self._until(
            lambda: next(iter(re.findall(r"ready at (\S+)/v1", log.read_text())), ""), "the market to start"
        )
        self._env["CLORE_BASE_URL"] = f"{self._address}/v1"
        typer.echo(f"It answers at {self._address}/v1")

    def _open_accounts(self) -> None:
        self._title("Two accounts, their API keys, and one dollar")
        for who, email in (("renter", RENTER), ("host", HOST)):
            self._run("admin", "account", "create", email)
            self._keys[who] = self._json("admin", "key", "create", email)["key"]
            typer.echo(f"$ openclore admin key create {email}\n{self._keys[who][:6]}... (shown once)")
        self._keys["alert"] = self._json("admin", "key", "create", RENTER, "--name", "alert")["key"]
        self._run("admin", "credit", RENTER, WALLET, "1")
        self._run("admin", "rates", "set", "CLORE-Blockchain", "0.005")

    def _attach_machine(self, runtime: str) -> None:
        self._title("This machine becomes a server")
        made = self._json("admin", "server", "create", HOST, SERVER, "--market", self._address)
        typer.echo(
            f"$ openclore admin server create {HOST} {SERVER}\ninit token: {made['init_token'][:6]}..."
        )
        first_port = self._stack.enter_context(closing(_reserved_ports())).first
        port_range = f"{first_port}-{first_port + PORTS - 1}"
        self._start(
            *("host", "--market", self._address, "--state-dir", str(self._folder / "host")),
            *("--runtime", runtime, "--public-address", "127.0.0.1", "--port-range", port_range),
            env={"OPENCLORE_INIT_TOKEN": made["init_token"]},
        )
        self._until(
            lambda: any(row["online"] for row in self._json("servers", who="host")), "the machine to connect"
        )
        prices = ("--price", f"usd={PRICE_PER_DAY:g}", "--spot", "usd=1", "--accept", "usd")
        self._run("set-server", SERVER, "--public", *prices, who="host")

    def _read_everything(self) -> None:
        self._title("Wallets, marketplace, a server's configuration")
        self._run("wallets", who="renter")
        self._run("marketplace", who="renter")
        self._run("server-config", SERVER, who="host")

    def _meet_every_code(self) -> None:
        self._title("The seven status codes")
        renter = {"auth": self._keys["renter"]}
        order = {"renting_server": 10**6, "type": "on-demand", "currency": WALLET, "image": "x"}
        meetings: list[tuple[int, str, Callable[[], tuple[int, bytes]]]] = [
            (0, "read wallets", lambda: self._call("wallets", renter)),
            (1, "while a table is missing", self._with_a_table_hidden),
            (2, "a server id that is text", lambda: self._call("spot_marketplace?market=one", renter)),
            (3, "a key nobody has", lambda: self._call("wallets", {"auth": "nobody"})),
            (4, "a path nobody serves", lambda: self._call("everything", renter)),
            (5, "twice in a second", lambda: self._call("wallets", renter, again=True)),
            (6, "rent a server that is not there", lambda: self._call("create_order", renter, order)),
        ]
        typer.echo(f"{'CODE':5}{'HTTP':6}{'HOW':34}REPLY")
        for code, how, meet in meetings:
            time.sleep(1.05)
            status, body = meet()
            shown = body.decode()
            typer.echo(f"{code:<5}{status:<6}{how:34}{shown if len(shown) < 60 else shown[:57] + '...'}")
            self._check(json.loads(body)["code"] == code, f"code {code} was expected, got {shown}")

    def _watch_wallet(self) -> list[str]:
        self._title("An alert for when less than a dollar is left")
        received: list[str] = []
        receiver = _receiver(received)
        self._stack.callback(receiver.shutdown)
        url = f"json://127.0.0.1:{receiver.server_port}/"
        words = ("watch", "--wallet", WALLET, "--below", "1", "--every", "2")
        state = ("--state-dir", str(self._folder / "watch"))
        self._start(*words, *state, env={"OPENCLORE_NOTIFY": url}, who="alert")
        typer.echo(f"$ openclore {' '.join(words)} --notify {url}")
        return received

    def _rent(self, image: str) -> None:
        self._title("Renting this machine")
        (server,) = self._json("marketplace", who="renter")
        port = ("--port", f"{_demo_port()}:http")
        self._run("rent", str(server["id"]), "--image", image, "--currency", "usd", *port, who="renter")
        (self._order,) = self._json("orders", who="renter")
        page = self._until(lambda: _fetch(self._port()), "the port to answer")
        typer.echo(f"$ curl http://{self._order['http_pub']}/\n{page.strip()}")

    def _check_charge(self) -> None:
        self._title("The charge, to the minute")
        (order,) = self._json("orders", who="renter")
        now = time.time()
        minutes = {int(now - order["ct"] - late) // 60 + 1 for late in (0, 3)}
        formula = {minute: int(PRICE_PER_DAY * 1e8) * minute // 1_440 for minute in minutes}
        spent = round(order["spend"] * 1e8)
        self._check(spent in formula.values(), f"spend {order['spend']} is none of {formula}")
        started = next(minute for minute, spend in formula.items() if spend == spent)
        typer.echo(
            f"{started} started of 1440 minutes at {PRICE_PER_DAY:g} dollars: {amount(order['spend'])}.\n"
            "The wallet pays that and the renter's fee, 5 %."
        )
        self._run("wallets", who="renter")

    def _wait_for_alert(self, alerts: list[str]) -> None:
        self._title("The alert arrived")
        self._until(lambda: alerts, "the alert")
        typer.echo(alerts[0])

    def _cancel(self) -> None:
        self._title("Ending the rental")
        port = self._port()
        self._run("cancel", str(self._order["id"]), who="renter")
        self._until(lambda: not _answers(port), "the container to be gone")
        typer.echo("The container is gone.")
        (order,) = self._json("orders", "--all", who="renter")
        self._check(order["end_reason"] == "cancelled", f"the order ended as {order['end_reason']}")

    def _verify(self) -> None:
        self._title("The ledger, recomputed")
        self._run("admin", "verify")

    # Tools ------------------------------------------------------------------------------------------

    def _title(self, text: str) -> None:
        typer.secho(f"\n── {text} ", bold=True)

    def _check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise DeployError(otherwise)

    def _port(self) -> int:
        return int(self._order["http_pub"].rpartition(":")[2]) if self._order else 0

    def _until(self, check: Callable[[], T], what: str, *, strict: bool = True) -> T:
        end = time.monotonic() + PATIENCE_SECONDS
        while not (found := check()) and time.monotonic() < end:
            time.sleep(0.1)
            ended = [process.args for process in self._processes if process.poll() is not None]
            self._check(not (ended and strict), f"while waiting for {what}, a process ended: {ended}")
        self._check(bool(found) or not strict, f"waited {PATIENCE_SECONDS:.0f} s in vain for {what}")
        return found

    def _start(self, *words: str, env: dict[str, str] | None = None, who: str = "") -> Path:
        """Start a command in the background; the file with what it says."""
        log = self._folder / f"{words[0]}.log"
        with log.open("wb") as output:
            self._processes.append(
                subprocess.Popen(
                    _command(*words),
                    env=self._as(who) | (env or {}),
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            )
        return log

    def _run(self, *words: str, who: str = "") -> None:
        """Run a command and show it; what it prints fits the terminal, if there is one."""
        typer.echo(f"$ openclore {' '.join(words)}")
        sys.stdout.flush()
        done = subprocess.run(
            _command(*words),
            env=self._as(who),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            check=False,
        )
        self._check(done.returncode == 0, f"openclore {words[0]} ended with status {done.returncode}")

    def _json(self, *words: str, who: str = "") -> Any:
        """What a command prints for programs."""
        done = subprocess.run(
            _command(*words, "--json"),
            env=self._as(who),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        self._check(done.returncode == 0, f"openclore {words[0]}: {done.stderr.decode().strip()}")
        return json.loads(done.stdout)

    def _quiet(self, who: str, *words: str) -> Any:
        try:
            return self._json(*words, who=who)
        except (DeployError, ValueError):
            return None

    def _as(self, who: str) -> dict[str, str]:
        return self._env | ({"CLORE_API_KEY": self._keys[who]} if who else {})

    def _call(
        self, path: str, headers: dict[str, str], body: Any = None, *, again: bool = False
    ) -> tuple[int, bytes]:
        """HTTP status and body of a bare call, as any program could make it."""
        import urllib.error
        import urllib.request

        request = urllib.request.Request(  # noqa: S310 - our own market
            f"{self._address}/v1/{path}",
            headers=headers | {"content-type": "application/json"},
            data=None if body is None else json.dumps(body).encode(),
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310
                answer = (reply.status, reply.read())
        except urllib.error.HTTPError as refused:
            answer = (refused.code, refused.read())
        return self._call(path, headers, body) if again else answer

    def _with_a_table_hidden(self) -> tuple[int, bytes]:
        """A database error, made by taking a table away for one request."""
        import sqlite3

        database = sqlite3.connect(self._folder / "market" / "openclore.db", timeout=10)
        try:
            database.execute("ALTER TABLE rates RENAME TO hidden")
            return self._call("spot_marketplace?market=1", {"auth": self._keys["renter"]})
        finally:
            database.execute("ALTER TABLE hidden RENAME TO rates")
            database.close()


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "openclore", *words]


def _demo_port() -> int:
    from .demo_image import PORT

    return PORT


def _reserved_ports() -> "Reserved":
    """For orders; two demos at once, or a sandbox beside one, have others."""
    from ..sandbox.ports import NoPorts, Reserved

    try:
        return Reserved(PORTS)
    except NoPorts as reason:
        raise DeployError(str(reason)) from None


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _fetch(port: int) -> str:
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as page:
            return str(page.read().decode())
    except OSError:
        return ""


def _receiver(received: list[str]) -> "ThreadingHTTPServer":
    """A local HTTP server that keeps the messages posted to it."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted = json.loads(self.rfile.read(int(self.headers["content-length"])))
            received.append(f"{posted['title']}\n{posted['message']}")
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
