"""What a whole round decides of a host's servers, and what it remembers of what was not done."""

from typing import Any

import pytest

from openclore.autopilot.actions import Outcome, SetSettings
from openclore.autopilot.file import Fixed, Span
from openclore.autopilot.memory import Memory, PriceChange, PriceMemory
from openclore.autopilot.plan import REFUSED_SECONDS, Plan, done, make_plan

from .hosting import NOW, USD, config, file_of, seen

PRICE = f"rig-1 on-demand {USD}"
FIXED = Fixed(servers=("rig-*",), floor=1, ceiling=10, price=5, step_per_hour=1, every=Span(6 * 3_600))


def a_round(memory: Memory, now: int) -> Plan:
    return make_plan(file_of(FIXED), seen([config()], at=now), memory, now)


def outcome(plan: Plan, now: int, **what: Any) -> Outcome:
    (action,) = plan.actions
    return Outcome(action=action, at=now, **{"done": False, **what})


@pytest.mark.parametrize("what", [{"detail": "not begun"}, {"detail": "no network"}])
def test_a_change_of_a_price_that_was_not_made_is_planned_in_the_next_round(what: dict[str, Any]) -> None:
    last = PriceMemory(changes=(PriceChange(at=NOW - 86_400, before=3.0, after=4.0),))
    memory = Memory(name="m", prices={PRICE: last})
    plan = a_round(memory, NOW)
    memory = done(plan.memory, outcome(plan, NOW + 7, **what))
    assert memory.prices == {PRICE: last}
    assert a_round(memory, NOW + 60).actions == plan.actions


@pytest.mark.parametrize("what", [{"done": True}, {"unknown": True}])
def test_one_that_was_or_may_have_been_made_waits(what: dict[str, Any]) -> None:
    plan = a_round(Memory(name="m"), NOW)
    memory = done(plan.memory, outcome(plan, NOW + 7, **what))
    assert memory == plan.memory
    assert a_round(memory, NOW + 60).actions == ()


def test_a_refused_price_is_tried_again_after_ten_minutes() -> None:
    plan = a_round(Memory(name="m"), NOW)
    memory = done(plan.memory, outcome(plan, NOW, refused=True, detail="no"))
    for later in range(60, REFUSED_SECONDS, 60):
        waiting = a_round(memory, NOW + later)
        memory = waiting.memory
        assert waiting.actions == ()
        assert not any(known.changes for known in memory.prices.values())
    assert a_round(memory, NOW + REFUSED_SECONDS).actions == plan.actions


def test_settings_that_were_not_set_leave_what_is_known_of_prices() -> None:
    known = {PRICE: PriceMemory(changes=(PriceChange(at=NOW - 60, before=3.0, after=4.0),))}
    action = SetSettings(for_="settings.rigs", reason="mrl_hours: 72 -> 24", server="rig-1", changes=())
    memory = done(Memory(name="m", prices=known), Outcome(action=action, at=NOW, done=False))
    assert memory.prices == known
