"""Power limits and clocks of the GPUs: as an order asks while it runs, as before once it is over.

What a GPU ran at is noted on disk before it is touched, so that an agent that died can give it back.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from openclore.api.clocks import CLOCK_WORDS, chosen, clocks_refusal
from openclore.api.gigaspot import GpuClocks

from .facts import Gpu
from .runtime import ClocksRefused
from .state import Before, GpuSettings

PERSISTENCE = "persistence"
"""1: the driver keeps its settings while no program uses the GPU; else it forgets them then."""
LOCKS = {"core_lock", "mem_lock"}
"""Settings that the driver takes but never tells."""
UNKNOWN = -1


class NvmlTuner:
    """Sets the GPUs of this machine; orders address them by their place in `gpus`.

    `before` is what an earlier agent noted of GPUs it had set and not given back; `note` keeps such notes.
    """

    def __init__(self, gpus: list[Gpu], before: Before, note: Callable[[Before], None]) -> None:
        self._gpus = gpus
        self._before = before
        self._note = note
        self._held: list[GpuClocks] = []
        self._locks: dict[tuple[str, str], int | None] = {}
        self._one_at_a_time = threading.Lock()

    def hold(self, clocks: list[GpuClocks]) -> None:
        with self._one_at_a_time:
            if not clocks and not self._before:
                return
            if clocks and (refusal := clocks_refusal([gpu.report for gpu in self._gpus], clocks)):
                raise ClocksRefused(refusal)
            with _nvml() as nvml:
                try:
                    self._set(nvml, clocks)
                except ClocksRefused:
                    with suppress(ClocksRefused):
                        self._set(nvml, self._held)
                    raise
            self._held = clocks

    def _set(self, nvml: Any, clocks: list[GpuClocks]) -> None:
        asked = {gpu.uuid: _asked(one) for gpu, one in zip(self._gpus, clocks, strict=False)}
        for uuid in sorted(asked.keys() | self._before.keys()):
            try:
                self._set_one(nvml, uuid, asked.get(uuid, {}))
            except nvml.NVMLError as error:
                raise ClocksRefused(f"{self._name(uuid)} does not answer: {error}") from error

    def _set_one(self, nvml: Any, uuid: str, asked: GpuSettings) -> None:
        """What is asked for no more goes back to what it was, and its note goes."""
        try:
            handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        except nvml.NVMLError_NotFound:
            if asked:
                raise
            self._remember(uuid, {})  # it was taken out of the machine
            return
        before = {name: _read(nvml, handle, name) for name in asked} | self._before.get(uuid, {})
        self._remember(uuid, before)
        target = before | asked
        wrong = {name for name in target.keys() - LOCKS if _read(nvml, handle, name) != target[name]}
        for name, value in target.items():
            is_right = self._locks.get((uuid, name), UNKNOWN) == value and not wrong
            if name in wrong or (name in LOCKS and not is_right):
                self._write(nvml, handle, uuid, name, value)
        self._remember(uuid, {name: was for name, was in before.items() if name in asked})

    def _write(self, nvml: Any, handle: Any, uuid: str, name: str, value: int | None) -> None:
        try:
            _write(nvml, handle, name, value)
        except nvml.NVMLError_NoPermission as error:
            raise ClocksRefused("this machine does not let its agent set GPU clocks") from error
        except nvml.NVMLError as error:
            if name == PERSISTENCE:
                return
            what, _ = CLOCK_WORDS[name]
            raise ClocksRefused(f"{self._name(uuid)}: its {what} could not be set: {error}") from error
        if name in LOCKS:
            self._locks[uuid, name] = value

    def _remember(self, uuid: str, before: GpuSettings) -> None:
        others = {other: values for other, values in self._before.items() if other != uuid}
        noted = others | ({uuid: before} if before else {})
        if noted != self._before:
            self._note(noted)
            self._before = noted

    def _name(self, uuid: str) -> str:
        names = {gpu.uuid: f"GPU {number} ({gpu.name})" for number, gpu in enumerate(self._gpus, start=1)}
        return names.get(uuid, uuid)


def _asked(clocks: GpuClocks) -> GpuSettings:
    return {PERSISTENCE: 1, **chosen(clocks), "pl": clocks.pl * 1_000}


@contextmanager
def _nvml() -> Iterator[Any]:
    import pynvml  # the driver's library is looked for only where clocks are set

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise ClocksRefused(f"the GPUs' driver does not answer: {error}") from error
    try:
        yield pynvml
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _read(nvml: Any, handle: Any, name: str) -> int | None:
    match name:
        case "pl":
            return int(nvml.nvmlDeviceGetPowerManagementLimit(handle))
        case "core_offset":
            return int(nvml.nvmlDeviceGetGpcClkVfOffset(handle))
        case "mem_offset":
            return int(nvml.nvmlDeviceGetMemClkVfOffset(handle))
        case "persistence":
            return int(nvml.nvmlDeviceGetPersistenceMode(handle))
    return None


def _write(nvml: Any, handle: Any, name: str, value: int | None) -> None:
    match name:
        case "pl":
            nvml.nvmlDeviceSetPowerManagementLimit(handle, value)
        case "core_lock" if value is None:
            nvml.nvmlDeviceResetGpuLockedClocks(handle)
        case "core_lock":
            nvml.nvmlDeviceSetGpuLockedClocks(handle, value, value)
        case "mem_lock" if value is None:
            nvml.nvmlDeviceResetMemoryLockedClocks(handle)
        case "mem_lock":
            nvml.nvmlDeviceSetMemoryLockedClocks(handle, value, value)
        case "core_offset":
            nvml.nvmlDeviceSetGpcClkVfOffset(handle, value)
        case "mem_offset":
            nvml.nvmlDeviceSetMemClkVfOffset(handle, value)
        case "persistence":
            nvml.nvmlDeviceSetPersistenceMode(handle, value)
