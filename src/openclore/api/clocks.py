"""What GPUs allow in power limits and clocks, and whether that covers what an order asks for.

The market asks before it takes an order, the agent before it touches a GPU.
"""

from typing import Any

import msgspec

from .base import Part
from .gigaspot import GpuClocks

CLOCK_WORDS = {
    "pl": ("power limit", "W"),
    "core_lock": ("core clock", "MHz"),
    "mem_lock": ("memory clock", "MHz"),
    "core_offset": ("core clock offset", "MHz"),
    "mem_offset": ("memory clock offset", "MHz"),
}
"""Members of `GpuClocks` in words, and their units."""

Range = tuple[float, float]
"""Least and most, both allowed."""


class GpuRanges(Part):
    """What may be chosen for a GPU: W, and MHz. None: that can't be set on this machine.

    The agent reports these as members of `specs.gpus[]`, named like the values in `GpuClocks`.
    """

    type: str | None = None
    pl: Range | None = None
    core_lock: Range | None = None
    mem_lock: Range | None = None
    core_offset: Range | None = None
    mem_offset: Range | None = None


def gpu_ranges(gpus: list[Any] | None) -> list[GpuRanges]:
    """Of each GPU in `specs.gpus`, in their order; without ranges where an entry can't be read."""
    return [_ranges(gpu) for gpu in gpus or []]


def clocks_refusal(gpus: list[Any] | None, clocks: list[GpuClocks]) -> str:
    """Why a machine with these `specs.gpus` can't run at `clocks`, as a sentence; empty: it can."""
    ranges = gpu_ranges(gpus)
    if len(clocks) != len(ranges):
        return f"clocks for {len(clocks)} GPUs were given, the machine has {len(ranges)}"
    refusals = (
        _refusal(f"GPU {number} ({gpu.type or 'unknown'})", gpu, asked)
        for number, (gpu, asked) in enumerate(zip(ranges, clocks, strict=True), start=1)
    )
    return next(filter(None, refusals), "")


def chosen(clocks: GpuClocks) -> dict[str, int]:
    """Member to value for what is really set: a clock locked at 0 is not locked."""
    values = {name: getattr(clocks, name) for name in CLOCK_WORDS}
    return {
        name: value
        for name, value in values.items()
        if value is not None and not (value == 0 and name.endswith("_lock"))
    }


def _ranges(gpu: Any) -> GpuRanges:
    try:
        return msgspec.convert(gpu, GpuRanges)
    except msgspec.ValidationError:
        return GpuRanges()


def _refusal(gpu: str, ranges: GpuRanges, clocks: GpuClocks) -> str:
    for name, value in chosen(clocks).items():
        what, unit = CLOCK_WORDS[name]
        allowed: Range | None = getattr(ranges, name)
        if allowed is None:
            return f"{gpu}: its {what} can't be set on this machine"
        least, most = allowed
        if not least <= value <= most:
            return f"{gpu}: a {what} of {value} {unit} is outside {least:g} to {most:g} {unit}"
    return ""
