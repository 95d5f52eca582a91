"""What a machine's GPUs allow against what an order asks, for market and agent alike."""

import msgspec
import pytest

from openclore.api.clocks import GpuRanges, clocks_refusal, gpu_ranges
from openclore.api.gigaspot import GpuClocks
from openclore.api.specs import Specs

CARD = {
    "type": "RTX 4090",
    "mem": 24_564,
    "pl": [150, 600],
    "core_lock": [210, 3_105],
    "mem_lock": [405, 10_501],
    "core_offset": [-1_000, 1_000],
    "mem_offset": [-2_000, 6_000],
}
POWER_ONLY = {"type": "H100", "pl": [200.0, 700.0], "core_lock": None}


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        ({"pl": 150}, ""),
        ({"pl": 600, "core_lock": 3_105, "mem_lock": 405, "core_offset": -1_000, "mem_offset": 6_000}, ""),
        ({"pl": 601}, "GPU 1 (RTX 4090): a power limit of 601 W is outside 150 to 600 W"),
        ({"pl": 149}, "GPU 1 (RTX 4090): a power limit of 149 W is outside 150 to 600 W"),
        (
            {"pl": 300, "core_lock": 9_999},
            "GPU 1 (RTX 4090): a core clock of 9999 MHz is outside 210 to 3105 MHz",
        ),
        (
            {"pl": 300, "mem_offset": -2_001},
            "GPU 1 (RTX 4090): a memory clock offset of -2001 MHz is outside -2000 to 6000 MHz",
        ),
        ({"pl": 300, "core_lock": 0, "mem_lock": 0}, ""),
    ],
)
def test_clocks_must_lie_within_what_the_card_allows(asked, refusal):
    assert clocks_refusal([CARD], [GpuClocks(**asked)]) == refusal


def test_the_refusal_names_the_gpu_it_is_about():
    asked = [GpuClocks(pl=300), GpuClocks(pl=300, core_lock=1_000)]
    assert clocks_refusal([CARD, POWER_ONLY], asked) == (
        "GPU 2 (H100): its core clock can't be set on this machine"
    )


@pytest.mark.parametrize("gpus", [None, [], [CARD], [CARD] * 3])
def test_there_must_be_clocks_for_each_gpu(gpus):
    refusal = clocks_refusal(gpus, [GpuClocks(pl=300)] * 2)
    assert refusal == f"clocks for 2 GPUs were given, the machine has {len(gpus or [])}"


@pytest.mark.parametrize(
    "entry", ["RTX 4090", None, {"pl": 300}, {"pl": [1]}, {"pl": ["a", "b"]}, {"type": 7}]
)
def test_an_entry_that_cannot_be_read_allows_nothing(entry):
    assert gpu_ranges([entry]) == [GpuRanges()]
    assert "can't be set on this machine" in clocks_refusal([entry], [GpuClocks(pl=300)])


def test_ranges_survive_the_wire():
    specs = msgspec.json.decode(msgspec.json.encode(Specs(gpus=[CARD, POWER_ONLY])), type=Specs)
    assert [gpu.pl for gpu in gpu_ranges(specs.gpus)] == [(150, 600), (200, 700)]
