"""Ports for what tests start, from a block that no other process of ours on this machine gives away."""

import functools
import itertools
from collections.abc import Iterator

from openclore.sandbox.ports import BLOCK, Reserved, busy

ROW = 10


def free_port() -> int:
    return free_row()[0]


def free_row() -> range:
    """Ten neighbouring ports that nobody listens on. They come round again after the whole block."""
    return next(row for row in _rows() if not busy(row))


@functools.cache
def _rows() -> Iterator[range]:
    block = Reserved(BLOCK)
    firsts = range(block.first, block.first + BLOCK, ROW)
    yield from itertools.cycle(range(first, first + ROW) for first in firsts)
