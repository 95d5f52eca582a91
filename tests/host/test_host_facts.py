"""The machine report, with drivers in every condition."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_nvml import FakeGpu, NvmlError, nvml

from openclore.api.clocks import GpuRanges, gpu_ranges
from openclore.host.facts import Gpu, Gpus, gather_gpus, gather_specs, is_loopback, outgoing_address


def gathered(monkeypatch, library: SimpleNamespace, root: bool = True) -> Gpus:
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setattr("openclore.host.facts.os.geteuid", lambda: 0 if root else 1_000)
    return gather_gpus()


def test_gpus_are_reported_as_marketplaces_list_them(monkeypatch):
    gpus = gathered(monkeypatch, nvml([FakeGpu(), FakeGpu()]))
    specs = gather_specs("docker", Path("/"), gpus.gpus)
    assert specs.gpu == "2x NVIDIA GeForce RTX 4090"
    assert (specs.gpu_count, specs.gpu_model) == (2, "NVIDIA GeForce RTX 4090")
    assert specs.gpuram == 23
    assert [gpu.short_name for gpu in gpus.gpus] == [" RTX 4090", " RTX 4090"]
    assert gpus.cuda_version == "12.4"
    assert (specs.pl, specs.stock_pl) == ([450, 450], [480, 480])
    assert (specs.pcie_rev, specs.pcie_width) == (4, 16)
    assert specs.gpus[0] == {
        "type": "NVIDIA GeForce RTX 4090",
        "mem": 24_564,
        "pcie_gen": 4,
        "pcie_width": 16,
        "pl": (150, 600),
        "core_lock": (210, 3_105),
        "mem_lock": (405, 10_501),
        "core_offset": (-1_000, 1_000),
        "mem_offset": (-2_000, 6_000),
    }


def test_an_agent_that_may_not_set_clocks_offers_none(monkeypatch):
    gpus = gathered(monkeypatch, nvml([FakeGpu()]), root=False)
    assert gpu_ranges([gpus.gpus[0].report]) == [GpuRanges(type="NVIDIA GeForce RTX 4090")]


@pytest.mark.parametrize(
    ("architecture", "core_lock", "mem_lock"),
    [(4, None, None), (5, (210, 3_105), None), (6, (210, 3_105), None), (7, (210, 3_105), (405, 10_501))],
)
def test_only_cards_that_can_lock_clocks_offer_it(monkeypatch, architecture, core_lock, mem_lock):
    (gpu,) = gathered(monkeypatch, nvml([FakeGpu(architecture=architecture)])).gpus
    assert (gpu.ranges.core_lock, gpu.ranges.mem_lock) == (core_lock, mem_lock)


def test_a_driver_that_lists_no_clocks_tells_at_least_the_highest(monkeypatch):
    broken = {"nvmlDeviceGetSupportedMemoryClocks", "nvmlDeviceGetMemClkMinMaxVfOffset"}
    (gpu,) = gathered(monkeypatch, nvml([FakeGpu()], broken=broken)).gpus
    assert (gpu.ranges.core_lock, gpu.ranges.mem_lock) == ((1, 3_105), (1, 10_501))
    assert gpu.ranges.mem_offset is None


def test_different_gpus_are_called_mixed_and_the_smallest_memory_counts(monkeypatch):
    small = FakeGpu("NVIDIA GeForce RTX 3060", memory=12 * 2**30)
    specs = gather_specs("docker", Path("/"), gathered(monkeypatch, nvml([FakeGpu(), small])).gpus)
    assert (specs.gpu, specs.gpuram) == ("2x Mixed GPUs", 12)


@pytest.mark.parametrize(
    "library",
    [nvml([]), nvml([FakeGpu()], broken={"nvmlInit"}), nvml([FakeGpu()], broken={"nvmlDeviceGetCount"})],
    ids=["no devices", "no driver", "half a driver"],
)
def test_a_machine_without_usable_gpus_has_none(monkeypatch, library):
    gpus = gathered(monkeypatch, library)
    assert gpus == Gpus()
    specs = gather_specs("docker", Path("/"), gpus.gpus)
    assert (specs.gpu, specs.gpuram, specs.gpu_count) == ("0x no GPU", 0, 0)


def test_facts_that_a_driver_keeps_to_itself_are_left_out(monkeypatch):
    silent = {name for name in vars(nvml([])) if name.startswith("nvmlDeviceGet")}
    silent -= {"nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetName"}
    gpus = gathered(
        monkeypatch, nvml([FakeGpu()], broken=silent | {"nvmlSystemGetCudaDriverVersion_v2", "nvmlShutdown"})
    )
    assert gpus == Gpus([Gpu("NVIDIA GeForce RTX 4090")])
    specs = gather_specs("docker", Path("/"), gpus.gpus)
    assert (specs.gpuram, specs.pl, specs.pcie_rev) == (None, None, None)


def test_a_gpu_that_fell_off_the_bus_is_not_offered(monkeypatch):
    library = nvml([FakeGpu(), FakeGpu()])
    whole = library.nvmlDeviceGetHandleByIndex

    def second_is_lost(index):
        if index == 1:
            raise NvmlError("lost")
        return whole(index)

    library.nvmlDeviceGetHandleByIndex = second_is_lost
    assert len(gathered(monkeypatch, library).gpus) == 1


def test_the_real_library_without_a_driver_reports_none_or_names():
    assert all(gpu.name for gpu in gather_gpus().gpus)


def test_the_machine_is_reported_without_invented_values(tmp_path):
    specs = gather_specs("simulated", tmp_path, [])
    cores, threads = map(int, specs.cpus.split("/"))
    assert 1 <= cores <= threads
    assert specs.ram > 0.1
    assert specs.disk.endswith("GB")
    assert float(specs.disk.split()[-1].removesuffix("GB")) > 0
    assert specs.runtime == "simulated"
    assert (specs.net, specs.backend_version) == (None, None)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("NVIDIA GeForce RTX 4090", " RTX 4090"),
        ("NVIDIA A100-SXM4-80GB", " A100-SXM4-80GB"),
        ("Tesla V100-PCIE-16GB", " Tesla V100-PCIE-16GB"),
    ],
)
def test_short_names_drop_the_maker(name, short):
    assert Gpu(name).short_name == short


def test_the_outgoing_address_to_a_local_market_is_loopback():
    assert outgoing_address("http://127.0.0.1:8080") == "127.0.0.1"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_loopback_addresses_are_known(address, expected):
    assert is_loopback(address) is expected
