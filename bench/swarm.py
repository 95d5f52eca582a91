"""So many hosts' links in one process, for as long as its standard input is open.

`python -m bench.swarm PORT COUNT` connects as the servers 1 to COUNT, with the credentials that `bench.hosts`
gave them; each beats every five seconds, as agents do. It prints a line when all are there, then, for each
assignment with an order that comes: the server's id and the time (Unix s).
"""

import asyncio
import random
import sys
import time
from collections.abc import Callable

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from openclore.api.hostlink import BEAT_SECONDS, LINK_PATH, PROTOCOL, Assignments, Beat, FromMarket, Hello
from openclore.api.specs import Specs

AT_ONCE = 32
_FROM_MARKET: msgspec.json.Decoder[FromMarket] = msgspec.json.Decoder(FromMarket)


def credential(server_id: int) -> str:
    return f"bench-credential-{server_id}"


async def swarm(port: int, count: int) -> None:
    turns, linked = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as links:
        tasks = [links.create_task(_link(port, i, turns, linked)) for i in range(1, count + 1)]
        for _ in range(count):
            await linked.acquire()
        print("linked", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        for task in tasks:
            task.cancel()


async def _link(port: int, server_id: int, turns: asyncio.Semaphore, linked: asyncio.Semaphore) -> None:
    async with turns:
        socket = await connect(
            f"ws://127.0.0.1:{port}{LINK_PATH}",
            additional_headers={"Authorization": f"Bearer {credential(server_id)}"},
            compression=None,
            ping_interval=None,
            open_timeout=120,
            proxy=None,
        )
        await socket.send(msgspec.json.encode(_hello()).decode())
        generation = await _take(socket, server_id)
    linked.release()
    beating = asyncio.create_task(_beat(socket, lambda: generation))
    try:
        while True:
            generation = await _take(socket, server_id) or generation
    finally:
        beating.cancel()


async def _take(socket: ClientConnection, server_id: int) -> int:
    """One message; the generation of the assignments it brings, or 0."""
    message = _FROM_MARKET.decode(await socket.recv())
    if not isinstance(message, Assignments):
        return 0
    if message.orders:
        print(server_id, time.time(), flush=True)
    return message.generation


async def _beat(socket: ClientConnection, generation: Callable[[], int]) -> None:
    await asyncio.sleep(random.uniform(0, BEAT_SECONDS))
    while True:
        await socket.send(msgspec.json.encode(Beat(generation=generation())).decode())
        await asyncio.sleep(BEAT_SECONDS)


def _hello() -> Hello:
    return Hello(
        protocol=PROTOCOL,
        agent_version="bench",
        specs=Specs(gpu="1x NVIDIA GeForce RTX 4090", gpuram=24),
        gpu_array=["NVIDIA GeForce RTX 4090"],
        cuda_version="12.4",
        public_address="192.0.2.1",
        port_low=20_000,
        port_high=30_000,
    )


if __name__ == "__main__":
    asyncio.run(swarm(int(sys.argv[1]), int(sys.argv[2])))
