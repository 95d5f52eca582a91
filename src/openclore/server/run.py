"""Starting and stopping a server process."""

import asyncio
import errno
import fcntl
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import structlog
from granian.constants import Interfaces
from granian.server.embed import Server

from ..store.store import open_store
from ..usecases.market import Market
from .app import build
from .loops import Loop
from .service import Service, system_clock
from .settings import Settings, SettingsError

log = structlog.get_logger()


def serve(settings: Settings, *, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first.

    `ready` is called with the address once the market answers.

    Raises:
        SettingsError: the address can't be listened on.
        StoreError: the database can't be opened.
    """
    asyncio.run(_serve(settings, ready))


async def _serve(settings: Settings, ready: Callable[[str], None]) -> None:
    port = _free_port(settings.host, settings.port)
    with closing(open_store(settings.database)) as store, _alone_on(settings.database):
        service = Service(Market(store, settings.policy), system_clock)
        service.start()
        loop_turns, stop = Loop(service), asyncio.Event()
        await loop_turns.turn_safely()
        server = Server(
            build(service),
            address=settings.host,
            port=port,
            interface=Interfaces.ASGINL,
            websockets=True,
            log_enabled=False,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, server.stop)
        turning = asyncio.create_task(loop_turns.run(stop))
        announcing = asyncio.create_task(_announce(settings.host, port, ready))
        await server.serve()
        announcing.cancel()
        stop.set()
        await turning
        with suppress(asyncio.CancelledError):
            await announcing
        log.info("stopped")


@contextmanager
def _alone_on(database: str) -> Iterator[None]:
    """Hold a SQLite file for this process; let go by leaving, or by dying.

    Raises:
        SettingsError: another server has it.
    """
    if not database.startswith("sqlite:///"):
        yield
        return
    with Path(f"{database.removeprefix('sqlite:///')}.serving").open("wb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SettingsError(
                f"another server is running on {database}: stop it, or use PostgreSQL to run several"
            ) from None
        yield


async def _announce(host: str, port: int, ready: Callable[[str], None]) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        return


def _free_port(host: str, port: int) -> int:
    """The port, or a free one if it is 0; told early and readably when it can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError as error:
        reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise SettingsError(f"can't listen on {host}:{port}: {reason}") from None
