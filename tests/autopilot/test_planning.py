"""What a whole round decides of a host's servers, and what it remembers of what was not done."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from openclore.api.servers import ServerConfig
from openclore.autopilot.actions import Outcome, SetSettings
from openclore.autopilot.file import File, Fixed, Occupancy, Percentile, ServerOffline, Settings, Span
from openclore.autopilot.memory import Memory, PriceChange, PriceMemory, Refusal
from openclore.autopilot.observation import Observation, Reading
from openclore.autopilot.plan import REFUSED_SECONDS, Plan, done, make_plan

from .hosting import GPU, NOW, USD, config, file_of, seen
from .seeing import messages_of

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


# Notes ----------------------------------------------------------------------------------------------


def titles_and_notes(file: File, *looks: Observation) -> tuple[list[str], list[str]]:
    """Titles of the messages of so many rounds a minute apart, and the notes of the last one."""
    memory = Memory(name="m")
    for number, look in enumerate(looks):
        plan = make_plan(file, look, memory, NOW + number * 60)
        memory = plan.memory
    said = [message.title for message in messages_of(memory.alerts)]
    return said, [f"{note.for_}: {note.text}" for note in plan.notes]


def rigs(count: int) -> list[ServerConfig]:
    return [config(f"rig-{number}") for number in range(1, count + 1)]


SETTINGS = Settings(servers=("rgi-*", "rig-1"), mrl_hours=72)
OFFLINE = ServerOffline(servers=("rgi-*",))


def test_a_pattern_that_no_server_is_named_like_is_told_once_a_table() -> None:
    group = Fixed(servers=("rgi-*", "lab-*"), floor=1, ceiling=10, price=5)
    file = file_of(group, settings={"rigs": SETTINGS}, alerts={"off": OFFLINE})
    looks = [seen(rigs(5), at=NOW + number * 60) for number in range(3)]
    said, notes = titles_and_notes(file, *looks)
    there = "there is rig-1, rig-2, rig-3 and 2 more"
    assert notes == [
        f'alerts.off: no server is named "rgi-*"; {there}',
        f'pricing.group-1: no server is named "rgi-*" or "lab-*"; {there}',
        f'settings.rigs: no server is named "rgi-*"; {there}',
    ]
    assert said == [
        "alerts.off needs a look",
        "pricing.group-1 needs a look",
        "settings.rigs needs a look",
    ]


def test_an_account_without_servers_is_told() -> None:
    file = file_of(settings={"rigs": Settings(servers=("*",), public=True)})
    assert titles_and_notes(file, seen([]))[1] == [
        'settings.rigs: no server is named "*"; the account has none'
    ]


def test_what_is_to_say_of_many_servers_is_said_once_with_three_names() -> None:
    file = file_of(Percentile(servers=("rig-*",), floor=1, ceiling=10))
    (text,) = titles_and_notes(file, seen(rigs(12)))[1]
    assert text == (
        "pricing.group-1: rig-1, rig-2, rig-3 and 9 more: there are no comparable offers"
        f" ({GPU}); the price stays"
    )


def test_of_many_different_things_the_first_are_said() -> None:
    many = [config(f"rig-{number}", mrl=number) for number in range(100, 150)]
    file = file_of(settings={"rigs": Settings(servers=("rig-*",), mrl_hours=72, drift="report")})
    said, notes = titles_and_notes(file, seen(many))
    assert said == ["settings.rigs differs"] * 11
    assert notes[-1] == (
        "settings.rigs: rig-110, rig-111, rig-112 and 37 more: 40 more things are to say, such as:"
        " differs from the file, mrl_hours: 110 -> 72"
    )


def with_read(all_: list[ServerConfig], at: Mapping[str, int], now: int, **changes: Any) -> Observation:
    configs = {str(one.name): Reading(one, at[str(one.name)]) for one in all_ if one.name in at}
    return msgspec.structs.replace(seen(all_, at=now), configs=configs, **changes)


def test_servers_whose_turn_to_be_read_is_yet_to_come_are_no_news() -> None:
    group = Occupancy(servers=("rig-*",), floor=1, ceiling=10)
    file = file_of(group, settings={"rigs": Settings(servers=("*",), mrl_hours=72)})
    read = {f"rig-{number}": NOW for number in range(1, 31)}
    assert titles_and_notes(file, with_read(rigs(40), read, NOW)) == ([], [])


def test_servers_that_are_read_too_seldom_are_told_together() -> None:
    group = Occupancy(servers=("rig-*",), floor=1, ceiling=10)
    file = file_of(group, stale_after=Span(60))
    read: dict[str, int] = {}
    looks = []
    for number in range(60):
        now = NOW + number * 60
        read |= {f"rig-{(number * 30 + turn) % 200}": now for turn in range(30)}
        looks.append(with_read([config(f"rig-{n}") for n in range(200)], read, now))
    said, notes = titles_and_notes(file, *looks)
    assert said == ["pricing.group-1 needs a look"]
    assert notes == [
        "pricing.group-1: the settings of 140 of 200 servers can't be read just now; prices stay"
    ]


def test_refused_settings_need_a_look() -> None:
    refused = {f"rig-{number}": Refusal(NOW + 600, "no such job") for number in range(1, 6)}
    plan = make_plan(File(), seen(rigs(5)), Memory(name="m", refused=refused), NOW)
    (message,) = messages_of(plan.memory.alerts)
    assert (message.kind, message.title) == ("strange", "hosting needs a look")
    assert message.body == (
        "rig-1, rig-2, rig-3 and 2 more: the market does not take the settings: no such job"
    )
