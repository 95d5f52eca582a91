"""The stand-in where no container engine answers: no containers, but ports that really listen.

Where the machine has no GPUs either, it stands in with some that take clocks.
"""

import asyncio
import errno
from collections.abc import Iterable
from contextlib import suppress

from openclore.api.clocks import GpuRanges, clocks_refusal
from openclore.api.gigaspot import GpuClocks
from openclore.api.hostlink import Assignment, BackgroundJob, Container, PortMap

from .facts import Gpu, Gpus
from .runtime import ClocksRefused, DeploymentFailed, Found, FoundBackground, Progress

PULL_SECONDS = 0.5
REQUEST_SECONDS_MAX = 10.0
REQUEST_BYTES_MAX = 65_536
SSH_PORT = 22
SSH_BANNER = b"SSH-2.0-OpenClore_simulated\r\n"
METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ")

SIMULATED_GPUS = Gpus(
    gpus=[
        Gpu(
            name="NVIDIA GeForce RTX 3090",
            uuid=f"GPU-simulated-{number}",
            memory_bytes=24 * 2**30,
            power_limit_watts=350,
            power_limit_default_watts=350,
            pcie_generation=4,
            pcie_width=16,
            ranges=GpuRanges(
                pl=(100, 366),
                core_lock=(210, 2_100),
                mem_lock=(405, 9_751),
                core_offset=(-1_000, 1_000),
                mem_offset=(-2_000, 6_000),
            ),
        )
        for number in range(2)
    ],
    cuda_version="12.4",
)


class SimulatedTuner:
    """Takes the clocks that these GPUs allow, and sets nothing."""

    def __init__(self, gpus: list[Gpu]) -> None:
        self.held: list[GpuClocks] = []
        self._gpus = gpus

    def hold(self, clocks: list[GpuClocks]) -> None:
        if clocks and (refusal := clocks_refusal([gpu.report for gpu in self._gpus], clocks)):
            raise ClocksRefused(refusal)
        self.held = clocks


class SimulatedRuntime:
    """Answers on every public port, says what it is, and forgets everything with the process.

    `missing_images` are the images whose pull fails, so that a renter's failure path can be rehearsed.
    """

    name = "simulated"

    def __init__(
        self,
        bind_address: str = "0.0.0.0",  # noqa: S104 - renters come from anywhere
        pull_seconds: float = PULL_SECONDS,
        missing_images: frozenset[str] = frozenset(),
    ) -> None:
        self._bind_address = bind_address
        self._pull_seconds = pull_seconds
        self._missing_images = missing_images
        self._listeners: dict[int, list[asyncio.Server]] = {}
        self._background = FoundBackground()

    async def look(self) -> dict[int, Found]:
        return {
            order_id: Found(Container(order_id=order_id, state="running", detail="simulated"))
            for order_id in self._listeners
        }

    async def deploy(self, order: Assignment, progress: Progress) -> str:
        if order.order_id in self._listeners:
            return ""
        progress("pulling")
        await asyncio.sleep(self._pull_seconds)
        if order.image in self._missing_images:
            raise DeploymentFailed(f"image '{order.image}' was not found locally nor in its registry")
        progress("creating")
        listeners: list[asyncio.Server] = []
        try:
            for port in order.ports:
                listeners.append(await listen(order.order_id, port, self._bind_address))
        except BaseException:
            await close(listeners)
            raise
        self._listeners[order.order_id] = listeners
        return ""

    async def remove(self, order_id: int) -> None:
        await close(self._listeners.pop(order_id, []))

    async def look_background(self) -> FoundBackground:
        return self._background

    async def run_background(self, job: BackgroundJob) -> None:
        self._background = FoundBackground("running", job.revision)

    async def stop_background(self) -> None:
        if self._background.state == "running":
            self._background = FoundBackground("stopped", self._background.revision)

    async def remove_background(self) -> None:
        self._background = FoundBackground()

    async def close(self) -> None:
        for order_id in list(self._listeners):
            await self.remove(order_id)


async def listen(order_id: int, port: PortMap, bind_address: str) -> asyncio.Server:
    """Answer on a public port: like an SSH server where the container's is 22, else with a page over HTTP.

    Raises:
        DeploymentFailed: the port can't be had.
    """

    visits: set[asyncio.Task[None]] = set()

    def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A visit that is cancelled before it began has to be closed too.
        visit = asyncio.create_task(answer(reader, writer))
        visits.add(visit)
        visit.add_done_callback(visits.discard)
        visit.add_done_callback(lambda _: writer.close())

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError):
            if port.container == SSH_PORT:
                writer.write(SSH_BANNER)
                await writer.drain()
            await _answer(order_id, reader, writer)

    try:
        return await asyncio.start_server(visited, bind_address, port.public)
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"can't be used ({error.strerror})"
        raise DeploymentFailed(f"port {port.public} {reason} on the machine") from error


async def close(listeners: Iterable[asyncio.Server]) -> None:
    """Stop listening. Who came at this very moment is let in first: asyncio would forget them half-way."""
    listeners = list(listeners)
    for listener in listeners:
        for socket in listener.sockets:
            asyncio.get_running_loop().remove_reader(socket.fileno())
    await asyncio.sleep(0)
    for listener in listeners:
        listener.close()


async def _answer(order_id: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(REQUEST_SECONDS_MAX):
        request = await reader.read(REQUEST_BYTES_MAX)
        if not request.startswith(METHODS):
            return
        while b"\r\n\r\n" not in request and len(request) < REQUEST_BYTES_MAX:
            more = await reader.read(REQUEST_BYTES_MAX)
            if not more:
                return
            request += more
        writer.write(_response(order_id, with_body=not request.startswith(b"HEAD ")))
        await writer.drain()


def _response(order_id: int, with_body: bool) -> bytes:
    body = f"This is a simulated container of order {order_id}. Nothing runs here.\n".encode()
    head = [
        "HTTP/1.1 200 OK",
        "Content-Type: text/plain",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + (body if with_body else b"")
