"""One round's decision, put together from its parts.

Pure: the same file, observation, memory and `now` give the same plan. `runner.py` writes the memory down
first and carries the actions out afterwards.
"""

from typing import NamedTuple

from .actions import AnyAction, Note, Outcome
from .file import File
from .memory import Memory
from .observation import Observation


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
    return Plan((), memory, notes)


def done(memory: Memory, outcome: Outcome) -> Memory:
    """The memory after an action."""
    return memory
