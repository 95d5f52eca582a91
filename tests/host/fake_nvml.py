"""The driver's library, with GPUs that remember what they were set to. Takes the place of `pynvml`."""

import re
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


class NvmlError(Exception):
    pass


class NoPermission(NvmlError):
    pass


class NotFound(NvmlError):
    pass


@dataclass
class FakeGpu:
    """Power in mW, clocks in MHz; `set` is what was set, in the order it was."""

    name: str | bytes = "NVIDIA GeForce RTX 4090"
    uuid: str = "GPU-1"
    memory: int = 24_564 * 2**20
    limit: int = 450_000
    architecture: int = 8
    persistence: int = 0
    core_lock: tuple[int, int] | None = None
    mem_lock: tuple[int, int] | None = None
    core_offset: int = 0
    mem_offset: int = 0
    set: list[tuple[str, Any]] = field(default_factory=list)

    def put(self, what: str, value: Any) -> None:
        setattr(self, what, value)
        self.set.append((what, value))

    @property
    def settings(self) -> dict[str, Any]:
        names = ("limit", "core_lock", "mem_lock", "core_offset", "mem_offset", "persistence")
        return {name: getattr(self, name) for name in names}


def nvml(
    gpus: list[FakeGpu], broken: set[str] = frozenset(), cuda: int = 12_040, root: bool = True
) -> SimpleNamespace:
    """A driver's library with these GPUs, where the functions named in `broken` fail; it may be changed."""

    def answering(function_name, answer):
        def function(*arguments):
            if function_name in broken:
                raise NvmlError(function_name)
            if re.search("Set|Reset", function_name) and not library.root:
                raise NoPermission(function_name)
            return answer(*arguments)

        return function

    def by_uuid(uuid):
        for gpu in gpus:
            if gpu.uuid == uuid:
                return gpu
        raise NotFound(uuid)

    answers = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: len(gpus),
        "nvmlSystemGetCudaDriverVersion_v2": lambda: cuda,
        "nvmlDeviceGetHandleByIndex": lambda index: gpus[index],
        "nvmlDeviceGetHandleByUUID": by_uuid,
        "nvmlDeviceGetName": lambda gpu: gpu.name,
        "nvmlDeviceGetUUID": lambda gpu: gpu.uuid,
        "nvmlDeviceGetArchitecture": lambda gpu: gpu.architecture,
        "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(total=gpu.memory),
        "nvmlDeviceGetMaxPcieLinkGeneration": lambda gpu: 4,
        "nvmlDeviceGetMaxPcieLinkWidth": lambda gpu: 16,
        "nvmlDeviceGetPowerManagementLimit": lambda gpu: gpu.limit,
        "nvmlDeviceGetPowerManagementDefaultLimit": lambda gpu: 480_000,
        "nvmlDeviceGetPowerManagementLimitConstraints": lambda gpu: [150_000, 600_000],
        "nvmlDeviceGetSupportedMemoryClocks": lambda gpu: [10_501, 10_251, 5_001, 810, 405],
        "nvmlDeviceGetSupportedGraphicsClocks": lambda gpu, memory: [3_105, 3_090, 225, 210],
        "nvmlDeviceGetMaxClockInfo": lambda gpu, clock: 10_501 if clock == 2 else 3_105,
        "nvmlDeviceGetGpcClkMinMaxVfOffset": lambda gpu: (-1_000, 1_000),
        "nvmlDeviceGetMemClkMinMaxVfOffset": lambda gpu: (-2_000, 6_000),
        "nvmlDeviceGetGpcClkVfOffset": lambda gpu: gpu.core_offset,
        "nvmlDeviceGetMemClkVfOffset": lambda gpu: gpu.mem_offset,
        "nvmlDeviceGetPersistenceMode": lambda gpu: gpu.persistence,
        "nvmlDeviceSetPowerManagementLimit": lambda gpu, limit: gpu.put("limit", limit),
        "nvmlDeviceSetGpuLockedClocks": lambda gpu, least, most: gpu.put("core_lock", (least, most)),
        "nvmlDeviceResetGpuLockedClocks": lambda gpu: gpu.put("core_lock", None),
        "nvmlDeviceSetMemoryLockedClocks": lambda gpu, least, most: gpu.put("mem_lock", (least, most)),
        "nvmlDeviceResetMemoryLockedClocks": lambda gpu: gpu.put("mem_lock", None),
        "nvmlDeviceSetGpcClkVfOffset": lambda gpu, offset: gpu.put("core_offset", offset),
        "nvmlDeviceSetMemClkVfOffset": lambda gpu, offset: gpu.put("mem_offset", offset),
        "nvmlDeviceSetPersistenceMode": lambda gpu, mode: gpu.put("persistence", mode),
    }
    functions = {name: answering(name, answer) for name, answer in answers.items()}
    library = SimpleNamespace(
        root=root,
        NVMLError=NvmlError,
        NVMLError_NoPermission=NoPermission,
        NVMLError_NotFound=NotFound,
        NVML_CLOCK_GRAPHICS=0,
        NVML_CLOCK_MEM=2,
        NVML_DEVICE_ARCH_VOLTA=5,
        NVML_DEVICE_ARCH_AMPERE=7,
        **functions,
    )
    return library
