"""The sandbox as an object: a market of its own on a free port of this machine, until it is closed."""

import asyncio
import concurrent.futures
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast

import msgspec
from granian.constants import Interfaces
from granian.server.embed import Server
from sqlalchemy import event

from ..api.currencies import Currency
from ..api.dialects import Dialect
from ..api.orders import MyOrders, Order
from ..client import AsyncClore, Clore, Spacing
from ..rules.policy import Policy, Webhooks
from ..rules.refused import InvalidInput
from ..server.app import build
from ..server.run import free_port
from ..server.service import Service
from ..server.settings import Pace, Settings, SettingsError
from ..store.store import Store, database_url, open_store
from ..usecases import accounts, orders
from ..usecases.market import Market
from ..usecases.verify import verify
from .control import About, control
from .faults import Fault, MarketKind, ReplyKind
from .founding import HOST, PORTS_PER_SERVER, RENTER, RENTER_MONEY, found
from .layer import App, Layer
from .machines import RATES, made_up
from .ports import ADDRESS, Reserved
from .recorded import recorded
from .replay import Script
from .stage import Clock, Stage
from .world import World

T = TypeVar("T")
Who = Literal["renter", "host"]

START = 1_800_000_000
"""When a sandbox begins unless it is told otherwise: 2027-01-15, 08:00 UTC."""
SERVERS = 60
NO_PACE = Pace(spacing_seconds=0, create_order_seconds=0, open_spacing_seconds=0)
CLIENT_TIMEOUT_SECONDS = 5.0
POLICY = Policy(
    # Nobody's money depends on how often it is written down; a week passes faster with less writing.
    post_every_seconds=86_400,
    webhooks=Webhooks(allow_private_addresses=True, timeout_seconds=5.0),
)


class Sandbox:
    """The real market with a clock to turn, rivals, machines whose ports answer, and faults on demand.

        with Sandbox(seed=7) as sandbox:
            with sandbox.client() as clore:
                order = clore.create_order(...)
                sandbox.clock.turn(hours=5)
                assert sandbox.orders()[order.id].state == "running"

    Its clock stands still, but for `request_seconds` at each request, until it is turned. The same arguments
    and the same calls give the same story, ids included.

    Args:
        seed: chooses the machines, the rivals, their whims.
        servers: how many machines there are.
        marketplace: a file with a recorded reply of `marketplace`: its servers instead of made-up ones.
        history: what happens, as it was recorded, see `replay`; it begins when that did. The host also has
            the renter's money.
        dialect: "open" or "live".
        port: where to listen on 127.0.0.1; 0: a free one.
        start: the time it is at first, Unix s.
        speed: seconds that pass in one of ours; 0: the clock stands still.
        request_seconds: by how much each request moves the clock on.
        pace: how often a key may call; by default as often as it likes.
        policy: the market's settings.
        money: what the renter has, by currency.

    Attributes:
        address: "http://127.0.0.1:PORT"; `base_url` is the address of /v1.
        servers: how many there are; `my_servers` are the ids of the host's.
        keys: API keys by "renter" (with money in every currency) and "host" (with some servers).
        clock, faults: what moves time, and what makes things go wrong.

    Raises:
        ValueError: no servers, or a currency that is none.
        RecordingError: the file is no such reply.
        NoPorts: this machine has no ports left for so many servers.
        SettingsError: the port can't be had.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        servers: int = SERVERS,
        marketplace: Path | str | None = None,
        history: Script | None = None,
        dialect: Literal["open", "live"] = "open",
        port: int = 0,
        start: int = START,
        speed: float = 0.0,
        request_seconds: float = 1.0,
        pace: Pace = NO_PACE,
        policy: Policy = POLICY,
        money: Mapping[str, float] = RENTER_MONEY,
    ) -> None:
        purse: dict[str, float] = {Currency(name): amount for name, amount in money.items()}
        if servers < 1:
            raise ValueError(f"servers: at least 1, got {servers}")
        machines, usd = made_up(seed, servers), dict(RATES)
        if marketplace is not None:
            machines, usd = recorded(Path(marketplace), seed)
        if history is not None:
            machines, usd, start = history.machines, dict(history.usd), history.start
        with ExitStack() as stack:
            ports = stack.enter_context(closing(Reserved(len(machines) * PORTS_PER_SERVER)))
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="openclore-", dir=_quick()))
            store = stack.enter_context(closing(_careless(open_store(database_url(Path(folder))))))
            self.market = Market(store, policy)
            host, host_money = (history.host, purse) if history else (None, None)
            founded = found(self.market, machines, usd, seed, start, ports.first, purse, host, host_money)
            self._world = World(self.market, founded, machines, usd, seed, start, history)
            settings = Settings(
                port=free_port(ADDRESS, port), dialect=Dialect(dialect), pace=pace, policy=policy
            )
            service = Service(self.market, lambda: self._world.now, settings)
            service.start()
            self.address = f"http://{ADDRESS}:{settings.port}"
            self.base_url = f"{self.address}/v1"
            self.keys: Mapping[str, str] = founded.keys
            self.servers = len(machines)
            self.my_servers = [machine.id for machine in machines if machine.owner == founded.host]
            self._account_ids = {"renter": founded.renter, "host": founded.host}
            about = About(
                seed=seed,
                dialect=dialect,
                servers=self.servers,
                keys=founded.keys,
                accounts={"renter": RENTER, "host": HOST},
                my_servers=self.my_servers,
            )
            self._house = _House(self._world, service, Clock(start, speed), request_seconds, about)
            self._stack = stack.pop_all()
        self._house.open()
        self.clock = TurnableClock(self._house)
        self.faults = FaultBox(self._house)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it: nothing listens any more, and nothing of it is left on disk."""
        self._house.close()
        self._stack.close()

    # Clients ----------------------------------------------------------------------------------------

    def client(self, who: Who = "renter", **options: Any) -> Clore:
        """Our client as somebody, whose waiting turns the clock instead; `options` are those of `Clore`."""
        return Clore(self.keys[who], **self._wired(options), _sleep=self.sleep, _clock=self.clock.time)

    def async_client(self, who: Who = "renter", **options: Any) -> AsyncClore:
        """The same, asynchronous."""
        return AsyncClore(
            self.keys[who], **self._wired(options), _sleep=self.async_sleep, _clock=self.clock.time
        )

    def sleep(self, seconds: float) -> None:
        """Let so much of the sandbox's time pass."""
        self.clock.sleep(seconds)

    async def async_sleep(self, seconds: float) -> None:
        """The same, for tasks."""
        await asyncio.to_thread(self.clock.sleep, seconds)

    def _wired(self, options: dict[str, Any]) -> dict[str, Any]:
        free = {"spacing": Spacing(0.0)} if self._house.paceless else {}
        return {"base_url": self.base_url, "timeout": CLIENT_TIMEOUT_SECONDS, **free, **options}

    # What is true -----------------------------------------------------------------------------------

    def orders(self, who: Who = "renter") -> dict[int, Order]:
        """All orders that somebody ever made, by id, as they are: no dialect or fault is in between."""
        request = MyOrders(return_completed=True)
        reply = orders.my_orders(self.market, self._account_ids[who], request, self._world.now)
        return {order.id: order for order in reply.orders}

    def wallets(self, who: Who = "renter") -> dict[str, float]:
        """Currency to what somebody can spend now."""
        reply = accounts.wallets(self.market, self._account_ids[who], self._world.now)
        return {str(wallet.name): wallet.available or 0.0 for wallet in reply.wallets}

    def ledger_difference(self) -> str | None:
        """Recompute the whole ledger: the first thing that does not add up, None if all does."""
        found = verify(self.market).difference
        return None if found is None else str(found)

    def credit(self, who: Who, currency: Currency | str, amount: float) -> None:
        """Give somebody money."""
        email = {"renter": RENTER, "host": HOST}[who]
        self._house.call(self._house.stage.credit(email, Currency(currency), amount))


class TurnableClock:
    """The sandbox's time.

    It has `time`, `monotonic` and `sleep`, so it can stand in for the module `time` of a program under test:
    `monkeypatch.setattr("mybot.main.time", sandbox.clock)`.
    """

    def __init__(self, house: "_House") -> None:
        self._house = house

    def time(self) -> float:
        """Unix s, with parts of a second."""
        return self._house.stage.now

    monotonic = time

    def sleep(self, seconds: float) -> None:
        """Let so much of the sandbox's time pass."""
        speed = self._house.stage.speed
        if speed:
            time.sleep(seconds / speed)
        else:
            self._house.call(self._house.stage.turn(seconds))

    @property
    def now(self) -> int:
        """Unix s."""
        return int(self._house.stage.now)

    def turn(
        self, seconds: float = 0, *, minutes: float = 0, hours: float = 0, days: float = 0, weeks: float = 0
    ) -> int:
        """Move it on by the sum, living through everything that happens until then; the time afterwards."""
        total = seconds + 60 * (minutes + 60 * (hours + 24 * (days + 7 * weeks)))
        return self._house.call(self._house.stage.turn(total))


class FaultBox:
    """What goes wrong, and when."""

    def __init__(self, house: "_House") -> None:
        self._house = house

    def add(self, kind: ReplyKind | MarketKind, **members: Any) -> None:
        """Let something go wrong; the kinds and their members are those of `openclore.sandbox.faults`.

            sandbox.faults.add("too_many_requests", count=3)
            sandbox.faults.add("error_after", endpoint="create_order")
            sandbox.faults.add("host_lost", server_id=70_012, seconds=600)

        Raises:
            ValueError: no such kind or member, or nothing there to do it to.
        """
        fault = msgspec.convert({"kind": kind, **members}, Fault)
        self._house.call(self._house.stage.put(fault))

    @property
    def waiting(self) -> list[Fault]:
        """Those that still wait for requests."""
        return list(self._house.stage.faults.waiting)

    def clear(self) -> None:
        """Nothing goes wrong any more; what happened already stays."""
        self._house.stage.clear_faults()


class _House:
    """The thread in which the market is served."""

    def __init__(
        self, world: World, service: Service, clock: Clock, request_seconds: float, about: About
    ) -> None:
        self._service = service
        self._make_stage: Callable[[], Stage] = lambda: Stage(world, service, clock, request_seconds)
        self._about = about
        self._thread = threading.Thread(target=self._serve, name="openclore-sandbox", daemon=True)
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self.paceless = not service.settings.pace.spacing_seconds

    def open(self) -> None:
        self._thread.start()
        self._ready.result()

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it where the market is served, and wait for its result.

        Raises:
            ValueError: it makes no sense; the message says why.
        """
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
        except InvalidInput as error:
            raise ValueError(str(error)) from None

    def _serve(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.stage = self._make_stage()
        port = self._service.settings.port
        server = Server(
            Layer(cast("App", build(self._service)), control(self.stage, self._about), self.stage),
            address=ADDRESS,
            port=port,
            interface=Interfaces.ASGINL,
            log_enabled=False,
        )
        serving = asyncio.create_task(server.serve())
        passing = asyncio.create_task(self.stage.run())
        answering = asyncio.create_task(_answers(port))
        await asyncio.wait({serving, answering}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            self._ready.set_result(None)
            await self._stop.wait()
        await self.stage.close()
        passing.cancel()
        answering.cancel()
        server.stop()  # type: ignore[no-untyped-call]
        await asyncio.gather(serving, passing, answering, return_exceptions=True)
        if not self._ready.done():
            raise SettingsError(f"can't listen on {ADDRESS}:{port}")


async def _answers(port: int) -> None:
    """Wait until somebody listens."""
    while True:
        try:
            _, writer = await asyncio.open_connection(ADDRESS, port)
        except OSError:
            await asyncio.sleep(0.002)
            continue
        writer.close()
        return


def _quick() -> str | None:
    """A folder in memory, where there is one."""
    memory = Path("/dev/shm")  # noqa: S108 -- made there is a folder of our own
    return str(memory) if memory.is_dir() and os.access(memory, os.W_OK) else None


def _careless(store: Store) -> Store:
    """The store, waiting for no disk: nothing of it outlives the process."""

    @event.listens_for(store.engine, "connect")
    def prepare(connection: sqlite3.Connection, _: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    store.engine.dispose()
    return store
