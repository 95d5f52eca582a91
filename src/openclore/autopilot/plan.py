"""One round's decision, put together from its parts.

Pure: the same file, observation, memory and `now` give the same plan. `runner.py` writes the memory down
first and carries the actions out afterwards.
"""

from typing import Generic, NamedTuple, TypeVar

from .actions import AnyAction, Note

M = TypeVar("M")


class Part(NamedTuple, Generic[M]):
    """What one of the planners decided; `memory` is its own part as it is to be from now on."""

    actions: tuple[AnyAction, ...]
    memory: M
    notes: tuple[Note, ...] = ()
