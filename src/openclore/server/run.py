"""Starting and stopping a server process."""

import asyncio
import errno
import os
import random
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import structlog
from granian.constants import Interfaces
from granian.server.embed import Server

from ..store.serving import Served, alone_on
from ..store.store import Store, migrate, open_database
from ..usecases.market import Market
from .app import build
from .loops import Loop, follow
from .service import Service, system_clock
from .settings import Settings, SettingsError
from .webhooks import Sender

BACKLOG = 1_024
CONNECTIONS_MAX = 20_000
"""Idle keep-alive connections count; hosts' links do not."""

QUIET_PORTS = range(32_000, 32_768)
"""Below those that outgoing connections come from, so that what is free now is free in a moment."""

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
    port = free_port(settings.host, settings.port)
    with closing(open_database(settings.database)) as store, _alone_on(store):
        migrate(store)
        service, news = Service(Market(store, settings.policy), system_clock, settings), asyncio.Event()
        service.start()
        if settings.valkey_url:
            _share(service, settings, news)
        loop_turns, stop = Loop(service), asyncio.Event()
        await loop_turns.turn_safely()
        server = Server(
            build(service),
            address=settings.host,
            port=port,
            interface=Interfaces.ASGINL,
            websockets=True,
            backlog=BACKLOG,
            backpressure=CONNECTIONS_MAX,
            log_enabled=False,
        )
        turning = asyncio.create_task(loop_turns.run(stop))
        sending = asyncio.create_task(Sender(service).run())
        following = [asyncio.create_task(follow(service, news))]
        if service.wakeups is not None:
            following.append(asyncio.create_task(service.wakeups.run()))
        announcing = asyncio.create_task(_announce(settings.host, port, ready))
        drained = await _until_drained(server, settings.drain_seconds, leave=service.watchers.close)
        announcing.cancel()
        stop.set()
        service.watchers.close()
        await asyncio.gather(turning, sending, announcing, return_exceptions=True)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        if service.shared_limits is not None:
            await service.shared_limits.close()
        log.info("stopped" if drained else "stopped, though requests were under way")
    if not drained:
        # The HTTP server's own threads would wait for their clients for ever.
        os._exit(1)


def _share(service: Service, settings: Settings, news: asyncio.Event) -> None:
    """Share limits and wake-ups with the other processes. Only who does loads the client."""
    from .shared_limits import SharedLimits
    from .wakeups import Wakeups

    service.shared_limits = SharedLimits(settings.valkey_url, settings.pace, service.limits)
    service.wakeups = Wakeups(settings.valkey_url, heard=news.set)


async def _until_drained(server: Server, drain_seconds: float, leave: Callable[[], None]) -> bool:
    """Serve until a signal, then until all requests are answered; False if they took too long.

    `leave` tells those that would stay for ever. A second signal waits for nobody.
    """
    stopping, hurry = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            hurry.set()
        stopping.set()
        leave()
        server.stop()  # type: ignore[no-untyped-call]

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    serving = asyncio.create_task(server.serve())
    await asyncio.wait({serving, asyncio.create_task(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED)
    waiting = {serving, asyncio.create_task(hurry.wait())}
    await asyncio.wait(waiting, timeout=drain_seconds, return_when=asyncio.FIRST_COMPLETED)
    return serving.done()


@contextmanager
def _alone_on(store: Store) -> Iterator[None]:
    """
    Raises:
        SettingsError: another server has the SQLite file.
    """
    if store.shared:
        yield
        return
    try:
        with alone_on(store):
            yield
    except Served as error:
        raise SettingsError(f"{error}, or use PostgreSQL to run several") from None


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


def free_port(host: str, port: int) -> int:
    """The port, or a free one if it is 0; told early and readably when it can't be had."""
    for chosen in random.sample(QUIET_PORTS, 20) if port == 0 else ():
        with suppress(OSError):
            return _bound(host, chosen)
    try:
        return _bound(host, port)
    except OSError as error:
        reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise SettingsError(f"can't listen on {host}:{port}: {reason}") from None


def _bound(host: str, port: int) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])
