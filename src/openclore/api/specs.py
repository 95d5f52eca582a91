"""What a machine is made of."""

from typing import Any

from .base import Part


class Net(Part):
    """`cc` is an ISO country; `down` and `up` in Mbit/s; a test is "S|<unix s>|<down>|<up>"."""

    cc: str | None = None
    down: float | None = None
    up: float | None = None
    test_history: list[str] | None = None


class Specs(Part):
    """RAM and VRAM in GB, disk speed in MB/s, power limits in W. A machine that never connected has none.

    `cpus` is "cores/threads", `disk` ends in its size ("NVME-X1 456.03GB"), `gpu` begins with the count
    ("2x NVIDIA GeForce RTX 4090"; "0x no GPU" on a machine without), `gpuram` is per GPU, rounded down.
    `runtime` is OpenClore's own: "docker", or "simulated" where no container engine runs the orders.
    """

    mb: str | None = None
    cpu: str | None = None
    cpus: str | None = None
    ram: float | None = None
    disk: str | None = None
    disk_speed: float | None = None
    gpu: str | None = None
    gpuram: float | None = None
    net: Net | None = None
    backend_version: int | None = None
    pcie_rev: int | None = None
    pcie_width: int | None = None
    xfs: int | None = None
    pl: list[float] | None = None
    stock_pl: list[float] | None = None
    stock_oc: Any = None
    stock_oc_override: Any = None
    gpus: list[Any] | None = None
    runtime: str | None = None

    @property
    def gpu_count(self) -> int:
        """The number in front of the `x` in `gpu`, at most four digits; 0 where there is none."""
        count, _, _ = (self.gpu or "").partition("x")
        return int(count) if count.isascii() and count.strip().isdigit() and len(count) <= 4 else 0

    @property
    def vram_gb(self) -> float | None:
        """GB per GPU as its maker counts: markets round down, so that 24 GB may show as 23."""
        shown = self.gpuram
        return shown + 1 if shown and shown % 2 == 1 and shown > 11 else shown

    @property
    def gpu_model(self) -> str:
        """`gpu` without the count: "NVIDIA GeForce RTX 4090"."""
        count, x, model = (self.gpu or "").partition("x ")
        return model.strip() if x and count.strip().isdigit() else (self.gpu or "").strip()
