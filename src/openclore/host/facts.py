"""What this machine is: processor, memory, disk, GPUs, address. A fact that can't be had is left out."""

import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psutil

from openclore.api.clocks import GpuRanges, Range
from openclore.api.specs import Specs

GIB = 2**30
MIB = 2**20


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU. Memory in bytes, power limits in W. `ranges`: what this process may set."""

    name: str
    uuid: str = ""
    memory_bytes: int | None = None
    power_limit_watts: float | None = None
    power_limit_default_watts: float | None = None
    pcie_generation: int | None = None
    pcie_width: int | None = None
    ranges: GpuRanges = field(default_factory=GpuRanges)

    @property
    def report(self) -> dict[str, Any]:
        """The entry in `specs.gpus`."""
        return {
            "type": self.name,
            "mem": self.memory_bytes // MIB if self.memory_bytes else None,
            "pcie_gen": self.pcie_generation,
            "pcie_width": self.pcie_width,
            **msgspec.to_builtins(self.ranges),
        }

    @property
    def short_name(self) -> str:
        """As marketplaces list it, with the leading space they have: " RTX 4090"."""
        return " " + re.sub(r"^NVIDIA (GeForce )?", "", self.name).strip()


@dataclass(frozen=True)
class Gpus:
    """All of them, and the newest CUDA version their driver supports ("12.4"; empty without one)."""

    gpus: list[Gpu] = field(default_factory=list)
    cuda_version: str = ""


def gather_specs(runtime: str, disk_path: Path, gpus: list[Gpu]) -> Specs:
    """The machine report. `disk_path` lies on the disk that holds the containers."""
    return Specs(
        mb=_mainboard(),
        cpu=_processor(),
        cpus=f"{psutil.cpu_count(logical=False) or os.cpu_count() or 1}/{os.cpu_count() or 1}",
        ram=round(psutil.virtual_memory().total / GIB, 2),
        disk=_disk(disk_path),
        xfs=1 if _is_xfs(disk_path) else None,
        runtime=runtime,
        **_gpu_specs(gpus),
    )


def gather_gpus() -> Gpus:
    """The NVIDIA GPUs by NVML: none where the driver is missing, broken, or has none."""
    import pynvml  # the driver's library is looked for only when a machine is reported

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return Gpus()
    try:
        count = _ask(pynvml.nvmlDeviceGetCount) or 0
        gpus = [gpu for index in range(count) if (gpu := _gpu(pynvml, index))]
        return Gpus(gpus, _cuda_version(_ask(pynvml.nvmlSystemGetCudaDriverVersion_v2)) if gpus else "")
    finally:
        _ask(pynvml.nvmlShutdown)


def outgoing_address(url: str) -> str:
    """This machine's address as seen on the way to `url`. Raises OSError where there is no way."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    family, _, _, _, address = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(address)  # sends nothing: the kernel only picks the route
        return str(probe.getsockname()[0])


def is_loopback(address: str) -> bool:
    return address in ("localhost", "::1") or bool(re.fullmatch(r"127(\.\d{1,3}){3}", address))


def _gpu_specs(gpus: list[Gpu]) -> dict[str, Any]:
    if not gpus:
        return {"gpu": "0x no GPU", "gpuram": 0}
    names = {gpu.name for gpu in gpus}
    name = names.pop() if len(names) == 1 else "Mixed GPUs"
    return {
        "gpu": f"{len(gpus)}x {name}",
        "gpuram": _smallest(gpu.memory_bytes // GIB for gpu in gpus if gpu.memory_bytes),
        "pl": _of_all(gpus, lambda gpu: gpu.power_limit_watts),
        "stock_pl": _of_all(gpus, lambda gpu: gpu.power_limit_default_watts),
        "pcie_rev": _smallest(gpu.pcie_generation for gpu in gpus if gpu.pcie_generation),
        "pcie_width": _smallest(gpu.pcie_width for gpu in gpus if gpu.pcie_width),
        "gpus": [gpu.report for gpu in gpus],
    }


def _smallest(values: Any) -> int | None:
    return min(values, default=None)


def _of_all(gpus: list[Gpu], value: Callable[[Gpu], float | None]) -> list[float] | None:
    """One value per GPU, or None where one GPU doesn't tell: a shorter list would be about other GPUs."""
    values = [known for gpu in gpus if (known := value(gpu)) is not None]
    return values if len(values) == len(gpus) else None


def _gpu(pynvml: Any, index: int) -> Gpu | None:
    handle = _ask(pynvml.nvmlDeviceGetHandleByIndex, index)
    name = _ask(pynvml.nvmlDeviceGetName, handle) if handle is not None else None
    if name is None:
        return None
    memory = _ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
    return Gpu(
        name=_text(name),
        uuid=_text(_ask(pynvml.nvmlDeviceGetUUID, handle) or ""),
        memory_bytes=memory.total if memory is not None else None,
        power_limit_watts=_watts(_ask(pynvml.nvmlDeviceGetPowerManagementLimit, handle)),
        power_limit_default_watts=_watts(_ask(pynvml.nvmlDeviceGetPowerManagementDefaultLimit, handle)),
        pcie_generation=_ask(pynvml.nvmlDeviceGetMaxPcieLinkGeneration, handle),
        pcie_width=_ask(pynvml.nvmlDeviceGetMaxPcieLinkWidth, handle),
        ranges=_ranges(pynvml, handle),
    )


def _ranges(pynvml: Any, handle: Any) -> GpuRanges:
    """What may be set. The driver takes settings only from root, and clock locks only on newer cards."""
    if os.geteuid() != 0:
        return GpuRanges()
    architecture = _ask(pynvml.nvmlDeviceGetArchitecture, handle) or 0
    memory = _ask(pynvml.nvmlDeviceGetSupportedMemoryClocks, handle) or []
    core = _ask(pynvml.nvmlDeviceGetSupportedGraphicsClocks, handle, max(memory)) if memory else []
    core_max = _ask(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_GRAPHICS)
    memory_max = _ask(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_MEM)
    locks_core = architecture >= pynvml.NVML_DEVICE_ARCH_VOLTA
    locks_memory = architecture >= pynvml.NVML_DEVICE_ARCH_AMPERE
    return GpuRanges(
        pl=_power_range(_ask(pynvml.nvmlDeviceGetPowerManagementLimitConstraints, handle)),
        core_lock=_clock_range(core, core_max) if locks_core else None,
        mem_lock=_clock_range(memory, memory_max) if locks_memory else None,
        core_offset=_ask(pynvml.nvmlDeviceGetGpcClkMinMaxVfOffset, handle),
        mem_offset=_ask(pynvml.nvmlDeviceGetMemClkMinMaxVfOffset, handle),
    )


def _power_range(milliwatts: list[int] | None) -> Range | None:
    return (milliwatts[0] / 1_000, milliwatts[1] / 1_000) if milliwatts else None


def _clock_range(supported: list[int] | None, most: int | None) -> Range | None:
    if supported:
        return min(supported), max(supported)
    return (1, most) if most else None


def _ask(function: Callable[..., Any], *arguments: Any) -> Any:
    """NVML's answer, or None where this driver or GPU has none."""
    import pynvml

    try:
        return function(*arguments)
    except pynvml.NVMLError:
        return None


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1_000


def _cuda_version(number: int | None) -> str:
    return f"{number // 1_000}.{number % 1_000 // 10}" if number else ""


def _mainboard() -> str | None:
    parts = (_read(f"/sys/class/dmi/id/{name}") for name in ("board_vendor", "board_name"))
    return " ".join(part for part in parts if part) or None


def _processor() -> str | None:
    model = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return " ".join(model[1].split()) if model else None


def _disk(path: Path) -> str:
    return f"{_disk_model(path)} {psutil.disk_usage(str(path)).total / GIB:.2f}GB"


def _disk_model(path: Path) -> str:
    number = path.stat().st_dev
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    below = sorted(device.glob("slaves/*"))
    while below:  # LVM, RAID and encryption lie on other devices
        device = below[0].resolve()
        below = sorted(device.glob("slaves/*"))
    model = _read(device / "device/model") or _read(device.parent / "device/model")
    return model.replace(" ", "-") or "disk"


def _is_xfs(path: Path) -> bool:
    mounts = [
        mount for mount in psutil.disk_partitions(all=True) if path.resolve().is_relative_to(mount.mountpoint)
    ]
    return bool(mounts) and max(mounts, key=lambda mount: len(mount.mountpoint)).fstype == "xfs"


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
