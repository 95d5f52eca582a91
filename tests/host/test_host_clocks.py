"""GPUs that run as an order asks, and as before once it is over."""

import sys

import msgspec
import pytest
from fake_nvml import FakeGpu, nvml

from openclore.api.gigaspot import GpuClocks
from openclore.host.clocks import NvmlTuner
from openclore.host.facts import gather_gpus
from openclore.host.runtime import ClocksRefused
from openclore.host.simulated import SIMULATED_GPUS, SimulatedTuner
from openclore.host.state import State

FULL = GpuClocks(pl=300, core_lock=2_400, mem_lock=10_251, core_offset=150, mem_offset=-500)


@pytest.fixture
def cards():
    return [FakeGpu(uuid="GPU-a", limit=400_500), FakeGpu(uuid="GPU-b", core_offset=50)]


@pytest.fixture
def library(cards, monkeypatch):
    library = nvml(cards)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setattr("openclore.host.facts.os.geteuid", lambda: 0)
    return library


@pytest.fixture
def state(tmp_path):
    state = State(tmp_path)
    yield state
    state.close()


def a_tuner(state) -> NvmlTuner:
    """As a starting agent makes it."""
    return NvmlTuner(gather_gpus().gpus, state.gpus_before(), state.save_gpus_before)


def everything(cards):
    return [card.settings for card in cards]


def test_each_gpu_runs_at_its_own_clocks(library, cards, state):
    a_tuner(state).hold([FULL, GpuClocks(pl=250)])
    assert cards[0].settings == {
        "limit": 300_000,
        "core_lock": (2_400, 2_400),
        "mem_lock": (10_251, 10_251),
        "core_offset": 150,
        "mem_offset": -500,
        "persistence": 1,
    }
    assert (cards[1].limit, cards[1].core_lock, cards[1].core_offset) == (250_000, None, 50)


def test_gpus_that_no_order_sets_are_never_touched(library, cards, state):
    library.nvmlInit = None  # not even the driver is asked
    NvmlTuner([], state.gpus_before(), state.save_gpus_before).hold([])
    assert [card.set for card in cards] == [[], []]


@pytest.mark.parametrize("restarted", [False, True])
def test_afterwards_gpus_run_as_they_did_before(library, cards, state, restarted):
    before = everything(cards)
    tuner = a_tuner(state)
    tuner.hold([FULL, FULL])
    if restarted:
        tuner = a_tuner(state)
    tuner.hold([])
    assert everything(cards) == before
    assert state.gpus_before() == {}


def test_what_gpus_ran_at_before_survives_any_number_of_changes_and_restarts(library, cards, state):
    before = everything(cards)
    for clocks in (FULL, GpuClocks(pl=250), GpuClocks(pl=350, core_offset=10), FULL):
        a_tuner(state).hold([clocks, clocks])
    a_tuner(state).hold([])
    assert everything(cards) == before


def test_what_new_clocks_leave_open_goes_back_to_what_it_was(library, cards, state):
    tuner = a_tuner(state)
    tuner.hold([FULL, FULL])
    tuner.hold([GpuClocks(pl=200), GpuClocks(pl=200, mem_lock=405)])
    assert (cards[0].core_lock, cards[0].mem_lock) == (None, None)
    assert (cards[1].core_lock, cards[1].mem_lock) == (None, (405, 405))
    assert [card.core_offset for card in cards] == [0, 50]
    assert [card.mem_offset for card in cards] == [0, 0]


def test_a_clock_locked_at_zero_is_not_locked(library, cards, state):
    tuner = a_tuner(state)
    tuner.hold([GpuClocks(pl=200, core_lock=0, mem_lock=0)] * 2)
    assert cards[0].set == [("persistence", 1), ("limit", 200_000)]


def test_holding_on_sets_nothing_anew(library, cards, state):
    tuner = a_tuner(state)
    tuner.hold([FULL, FULL])
    for card in cards:
        card.set.clear()
    tuner.hold([FULL, FULL])
    assert [card.set for card in cards] == [[], []]


def test_a_driver_that_forgot_is_told_again_locks_included(library, cards, state):
    tuner = a_tuner(state)
    tuner.hold([FULL, FULL])
    wanted = everything(cards)
    cards[0].__init__(uuid="GPU-a")
    tuner.hold([FULL, FULL])
    assert everything(cards) == wanted
    assert cards[1].set.count(("core_lock", (2_400, 2_400))) == 1


@pytest.mark.parametrize(
    ("clocks", "sentence"),
    [
        ([FULL], "clocks for 1 GPUs were given, the machine has 2"),
        (
            [FULL, GpuClocks(pl=601)],
            "GPU 2 (NVIDIA GeForce RTX 4090): a power limit of 601 W is outside 150 to 600 W",
        ),
    ],
)
def test_clocks_outside_the_cards_range_are_refused_before_anything_is_set(
    library, cards, state, clocks, sentence
):
    with pytest.raises(ClocksRefused) as refused:
        a_tuner(state).hold(clocks)
    assert str(refused.value) == sentence
    assert [card.set for card in cards] == [[], []]


def test_an_agent_without_the_right_to_set_clocks_says_so(library, cards, state):
    library.root = False
    with pytest.raises(ClocksRefused, match="does not let its agent set GPU clocks"):
        a_tuner(state).hold([FULL, FULL])
    assert [card.set for card in cards] == [[], []]
    library.root = True
    a_tuner(state).hold([])
    assert state.gpus_before() == {}


def test_a_card_that_refuses_halfway_leaves_all_cards_as_they_were(library, cards, state):
    def refuse(gpu, offset):
        if gpu is cards[1]:
            raise library.NVMLError("Not Supported")
        gpu.put("mem_offset", offset)

    before = everything(cards)
    library.nvmlDeviceSetMemClkVfOffset = refuse
    with pytest.raises(ClocksRefused) as refused:
        a_tuner(state).hold([FULL, FULL])
    assert str(refused.value) == (
        "GPU 2 (NVIDIA GeForce RTX 4090): its memory clock offset could not be set: Not Supported"
    )
    assert everything(cards)[0] == before[0]


def test_new_clocks_that_are_refused_leave_the_old_ones(library, cards, state):
    tuner = a_tuner(state)
    tuner.hold([FULL, FULL])
    wanted = everything(cards)
    with pytest.raises(ClocksRefused):
        tuner.hold([GpuClocks(pl=9_000)] * 2)
    assert everything(cards) == wanted
    tuner.hold([])
    assert cards[0].limit == 400_500


def test_a_driver_that_does_not_answer_is_a_refusal(library, cards, state, monkeypatch):
    tuner = a_tuner(state)
    monkeypatch.setitem(sys.modules, "pynvml", nvml(cards, broken={"nvmlInit"}))
    with pytest.raises(ClocksRefused, match="driver does not answer"):
        tuner.hold([FULL, FULL])
    monkeypatch.setitem(sys.modules, "pynvml", nvml(cards, broken={"nvmlDeviceGetPowerManagementLimit"}))
    with pytest.raises(ClocksRefused, match=r"^GPU 1 \(NVIDIA GeForce RTX 4090\) does not answer"):
        tuner.hold([FULL, FULL])


def test_a_gpu_that_was_taken_out_of_the_machine_is_forgotten(library, cards, state):
    a_tuner(state).hold([FULL, FULL])
    taken = cards.pop()
    a_tuner(state).hold([])
    assert state.gpus_before() == {}
    assert cards[0].limit == 400_500
    assert taken.limit == 300_000


def test_what_is_noted_names_the_gpu_and_its_settings(library, cards, state):
    a_tuner(state).hold([FULL, GpuClocks(pl=250)])
    assert state.gpus_before() == {
        "GPU-a": {
            "persistence": 0,
            "pl": 400_500,
            "core_lock": None,
            "mem_lock": None,
            "core_offset": 0,
            "mem_offset": 0,
        },
        "GPU-b": {"persistence": 0, "pl": 450_000},
    }


def test_simulated_gpus_take_what_such_cards_allow():
    tuner = SimulatedTuner(SIMULATED_GPUS.gpus)
    clocks = [GpuClocks(pl=220, core_lock=1_400, mem_lock=9_501)] * 2
    tuner.hold(clocks)
    assert tuner.held == clocks
    with pytest.raises(ClocksRefused, match="is outside 100 to 366 W"):
        tuner.hold([msgspec.structs.replace(one, pl=400) for one in clocks])
    assert tuner.held == clocks
    tuner.hold([])
    assert tuner.held == []
