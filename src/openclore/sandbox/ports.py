"""Ports of this machine: a range for every sandbox, and the sockets of what runs in it."""

import asyncio
import fcntl
import os
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from ..api.hostlink import PortMap
from ..host.runtime import DeploymentFailed
from ..host.simulated import close, listen

ADDRESS = "127.0.0.1"
LOWEST, HIGHEST = 10_000, 31_999
"""Below the ports that outgoing connections come from."""
BLOCK = 500


class NoPorts(Exception):
    """There are not enough free ports here."""


class Reserved:
    """A range of ports that no other sandbox on this machine gives to its servers, until it is closed.

    The same one every time while there is only one sandbox, so that its story has the same ports too.
    """

    def __init__(self, count: int) -> None:
        """Raises `NoPorts` where there is no such range."""
        blocks = -(-count // BLOCK)
        for first in range(LOWEST, HIGHEST + 2 - blocks * BLOCK, BLOCK):
            stack = ExitStack()
            if all(_hold(stack, first + number * BLOCK) for number in range(blocks)) and not busy(
                range(first, first + count)
            ):
                self.first = first
                self._held = stack
                return
            stack.close()
        raise NoPorts(f"no {count} neighbouring ports from {LOWEST} to {HIGHEST} are free on this machine")

    def close(self) -> None:
        self._held.close()


def _hold(stack: ExitStack, block: int) -> bool:
    """Keep a block for this process; False if another sandbox has it."""
    folder = Path(tempfile.gettempdir()) / f"openclore-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = stack.enter_context((folder / str(block)).open("w"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def busy(ports: range) -> bool:
    """Whether somebody listens on one of them."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ADDRESS, port))
            except OSError:
                return True
    return False


class Sockets:
    """What listens, by order id."""

    def __init__(self) -> None:
        self._listening: dict[int, list[asyncio.Server]] = {}

    async def show(self, wanted: Mapping[int, Sequence[PortMap]], failed: Callable[[int, str], None]) -> None:
        """Listen for these orders and no others; `failed` hears of an order whose ports can't be had."""
        for order_id in self._listening.keys() - wanted.keys():
            await close(self._listening.pop(order_id))
        for order_id in wanted.keys() - self._listening.keys():
            self._listening[order_id] = []
            try:
                for port in wanted[order_id]:
                    self._listening[order_id].append(await listen(order_id, port, ADDRESS))
            except DeploymentFailed as reason:
                await close(self._listening.pop(order_id))
                failed(order_id, str(reason))

    async def close(self) -> None:
        await self.show({}, lambda order_id, reason: None)
