"""Puts the agent together and runs it."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiodocker import Docker

import openclore
from openclore.api.hostlink import PROTOCOL, Hello

from .clocks import NvmlTuner
from .docker import DockerRuntime, connect_engine, engine_info
from .facts import Gpus, gather_gpus, gather_specs, is_loopback, outgoing_address
from .keeper import Keeper
from .link import Link, register
from .logs import get_logger
from .recipe import Machine, Owner
from .runtime import CredentialRefused, HostError, Runtime, RuntimeMissing, RuntimeName, RuntimeTrouble, Tuner
from .sentences import left_behind
from .simulated import SIMULATED_GPUS, SimulatedRuntime, SimulatedTuner
from .state import Identity, State

LAST_WORDS = {
    "docker": "the agent stops; its containers keep running, and the next start adopts them",
    "simulated": "the agent stops, and its simulated containers with it",
}
EVERYWHERE = "0.0.0.0"  # noqa: S104 - renters come from anywhere


@dataclass(frozen=True)
class Settings:
    """What the command line says. `market` without a trailing slash or version; ports inclusive."""

    market: str
    state_dir: Path
    init_token: str | None = None
    public_address: str | None = None
    port_low: int = 30_000
    port_high: int = 30_999
    runtime: RuntimeName = "docker"


async def run(settings: Settings) -> None:
    """
    Serve the market until SIGTERM or SIGINT; containers go on without us.

    Raises:
        HostError: The agent can't start or go on, and waiting would not help.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await _until(stop, _serve(settings))
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from group


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` until it fails or `stop` is set."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
    with suppress(asyncio.CancelledError):
        await working


async def _serve(settings: Settings) -> None:
    with closing(State(settings.state_dir)) as state:
        engine = await _engine(settings.runtime)
        try:
            identity = await _identify(settings, state)
            gpus = await asyncio.to_thread(_gpus, simulated=engine is None)
            runtime, disk_path = await _runtime(settings, state, engine, identity, bool(gpus.gpus))
        except BaseException:
            if engine:
                await engine.close()
            raise
        try:
            await _keep(settings, state, identity, runtime, disk_path, gpus)
        finally:
            await runtime.close()


async def _engine(runtime: RuntimeName) -> Docker | None:
    """The engine, or None where orders are to be simulated."""
    if runtime == "simulated":
        return None
    try:
        return await connect_engine()
    except RuntimeMissing:
        if runtime == "docker":
            raise
        return None


async def _identify(settings: Settings, state: State) -> Identity:
    """The identity of an earlier run, else the one that the init token brings."""
    log = get_logger()
    identity = state.identity()
    if identity is None:
        if not settings.init_token:
            raise HostError(
                f"{settings.state_dir} holds no credential yet: give the server's init token by --init-token "
                "or OPENCLORE_INIT_TOKEN"
            )
        registered = await register(settings.market, settings.init_token)
        identity = Identity(
            market=settings.market,
            server_id=registered.server_id,
            server_name=registered.server_name,
            credential=registered.credential,
        )
        state.save_identity(identity)
        log.info("registered", server=identity.server_id, name=identity.server_name)
    elif identity.market != settings.market:
        log.warning("registered at another address", registered_at=identity.market, now=settings.market)
    return identity


def _gpus(simulated: bool) -> Gpus:
    found = gather_gpus()
    return SIMULATED_GPUS if simulated and not found.gpus else found


async def _runtime(
    settings: Settings, state: State, engine: Docker | None, identity: Identity, has_gpus: bool
) -> tuple[Runtime, Path]:
    """What runs the orders, and a path on the disk where they are."""
    bind_address = await asyncio.to_thread(_bind_address, settings)
    if engine is None:
        get_logger().warning("no containers run here: orders are simulated, and the market is told so")
        return SimulatedRuntime(bind_address), settings.state_dir
    info = await engine_info(engine)
    machine = Machine(memory_bytes=info["MemTotal"], cpu_threads=info["NCPU"], has_gpus=has_gpus)
    owner = Owner(identity.market, identity.server_id)
    runtime = DockerRuntime(
        engine, owner, machine, bind_address, state.private_images(), state.save_private_images
    )
    return runtime, _disk_path(info, settings.state_dir)


def _disk_path(info: dict[str, Any], state_dir: Path) -> Path:
    """The engine's data directory; an engine elsewhere has none here."""
    data_path = Path(info["DockerRootDir"])
    return data_path if data_path.exists() else state_dir


def _bind_address(settings: Settings) -> str:
    """Loopback where renters, too, come by loopback; else every interface."""
    try:
        address = settings.public_address or outgoing_address(settings.market)
    except OSError:  # no network yet
        return EVERYWHERE
    if address == "localhost":
        return "127.0.0.1"
    return address if is_loopback(address) else EVERYWHERE


async def _keep(
    settings: Settings, state: State, identity: Identity, runtime: Runtime, disk_path: Path, gpus: Gpus
) -> None:
    def hello() -> Hello:
        return Hello(
            protocol=PROTOCOL,
            agent_version=openclore.__version__,
            specs=gather_specs(runtime.name, disk_path, gpus.gpus),
            gpu_array=[gpu.short_name for gpu in gpus.gpus],
            cuda_version=gpus.cuda_version,
            public_address=settings.public_address or outgoing_address(settings.market),
            port_low=settings.port_low,
            port_high=settings.port_high,
        )

    if gpus.gpus and os.geteuid() != 0:
        get_logger().warning("GPU clocks can't be set, and the market is told so: the agent is not root")
    tuner: Tuner = (
        NvmlTuner(gpus.gpus, state.gpus_before(), state.save_gpus_before)
        if runtime.name == "docker"
        else SimulatedTuner(gpus.gpus)
    )
    keeper = Keeper(runtime, tuner, known=state.last_word(), remember=state.save_last_word)
    link = Link(settings.market, identity.credential, hello, keeper)
    get_logger().info(
        "the agent starts", market=settings.market, server=identity.server_id, runtime=runtime.name
    )
    await keeper.look()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keeper.run())
            tasks.create_task(link.run())
    except* CredentialRefused as refused:
        raise CredentialRefused(
            f"{refused.exceptions[0]}{await _left_behind(runtime, identity)}"
        ) from refused
    finally:
        get_logger().info(LAST_WORDS[runtime.name])


async def _left_behind(runtime: Runtime, identity: Identity) -> str:
    """What the owner must know of containers that no agent will ever remove; empty where there are none."""
    if runtime.name != "docker":
        return ""
    with suppress(RuntimeTrouble):
        states: list[str] = [found.container.state for found in (await runtime.look()).values()]
        background = (await runtime.look_background()).state
        states += [] if background == "absent" else [background]
        if states:
            owner = Owner(identity.market, identity.server_id)
            return "\n" + left_behind(len(states), states.count("running"), owner.labels)
    return ""
