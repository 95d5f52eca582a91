"""The machine report, with drivers in every condition."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from openclore.host.facts import Gpu, Gpus, gather_gpus, gather_specs, is_loopback, outgoing_address

RTX = {"name": "NVIDIA GeForce RTX 4090", "memory": 24_564 * 2**20, "limit": 450_000}


class NvmlError(Exception):
    pass


def nvml(gpus: list[dict], broken: set[str] = frozenset(), cuda: int = 12_040) -> SimpleNamespace:
    """A driver's library with these GPUs, where the functions named in `broken` fail."""

    def answering(function_name, answer):
        def function(*arguments):
            if function_name in broken:
                raise NvmlError(function_name)
            return answer(*arguments)

        return function

    answers = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: len(gpus),
        "nvmlSystemGetCudaDriverVersion_v2": lambda: cuda,
        "nvmlDeviceGetHandleByIndex": lambda index: gpus[index],
        "nvmlDeviceGetName": lambda gpu: gpu["name"],
        "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(total=gpu["memory"]),
        "nvmlDeviceGetPowerManagementLimit": lambda gpu: gpu["limit"],
        "nvmlDeviceGetPowerManagementDefaultLimit": lambda gpu: 480_000,
        "nvmlDeviceGetMaxPcieLinkGeneration": lambda gpu: 4,
        "nvmlDeviceGetMaxPcieLinkWidth": lambda gpu: 16,
    }
    functions = {name: answering(name, answer) for name, answer in answers.items()}
    return SimpleNamespace(NVMLError=NvmlError, **functions)


def gathered(monkeypatch, library: SimpleNamespace) -> Gpus:
    monkeypatch.setitem(sys.modules, "pynvml", library)
    return gather_gpus()


def test_gpus_are_reported_as_marketplaces_list_them(monkeypatch):
    gpus = gathered(monkeypatch, nvml([RTX, RTX]))
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
    }


def test_different_gpus_are_called_mixed_and_the_smallest_memory_counts(monkeypatch):
    small = {"name": "NVIDIA GeForce RTX 3060", "memory": 12 * 2**30, "limit": 170_000}
    specs = gather_specs("docker", Path("/"), gathered(monkeypatch, nvml([RTX, small])).gpus)
    assert (specs.gpu, specs.gpuram) == ("2x Mixed GPUs", 12)


@pytest.mark.parametrize(
    "library",
    [nvml([]), nvml([RTX], broken={"nvmlInit"}), nvml([RTX], broken={"nvmlDeviceGetCount"})],
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
        monkeypatch, nvml([RTX], broken=silent | {"nvmlSystemGetCudaDriverVersion_v2", "nvmlShutdown"})
    )
    assert gpus == Gpus([Gpu("NVIDIA GeForce RTX 4090")])
    specs = gather_specs("docker", Path("/"), gpus.gpus)
    assert (specs.gpuram, specs.pl, specs.pcie_rev) == (None, None, None)


def test_a_gpu_that_fell_off_the_bus_is_not_offered(monkeypatch):
    library = nvml([RTX, RTX])
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
