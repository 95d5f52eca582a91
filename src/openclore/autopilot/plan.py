"""One round's decision, put together from its parts.

Pure: the same file, observation, memory and `now` give the same plan. `runner.py` writes the memory down
first and carries the actions out afterwards.
"""

from typing import NamedTuple

import msgspec

from . import fleets
from .actions import AnyAction, Note, Outcome
from .alerts import plan_alerts
from .file import File
from .memory import Memory
from .observation import Observation
from .pricing import plan_prices
from .servers import merged
from .settings import plan_settings


class Plan(NamedTuple):
    """What to do in this order, what to remember before it is done, and what to say about the rest."""

    actions: tuple[AnyAction, ...]
    memory: Memory
    notes: tuple[Note, ...]


def make_plan(file: File, seen: Observation, memory: Memory, now: int, notes: tuple[Note, ...] = ()) -> Plan:
    """Everything that a round does.

    Args:
        notes: what is to be told beside what the planners find.
        now: Unix s.
    """
    prices = plan_prices(file, seen, memory.prices, now)
    settings = plan_settings(file, seen, now)
    machines = fleets.plan_fleets(file, seen, memory, now)
    notes = (*notes, *prices.notes, *settings.notes, *machines.notes)
    after = msgspec.structs.replace(
        machines.memory,
        events_after=seen.events_after,
        alerts=plan_alerts(file, seen, memory.alerts, notes, now),
        prices=prices.memory,
    )
    return Plan((*merged((*settings.actions, *prices.actions)), *machines.actions), after, notes)


def done(memory: Memory, outcome: Outcome) -> Memory:
    """The memory after an action."""
    return fleets.done(memory, outcome)
