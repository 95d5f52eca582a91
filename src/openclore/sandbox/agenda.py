"""What is going to happen, in the order of its time; at the same second in the order it was put down."""

import heapq
from collections.abc import Callable
from itertools import count

Happening = Callable[[int], None]
"""Told the time (Unix s) at which it happens."""


LIVELY_MAX = 600
"""A larger market is as lively as one of so many machines, so that its weeks pass as fast."""


def liveliness(machines: int) -> float:
    """How much of what would happen to so many machines does happen, 0 to 1."""
    return min(1.0, LIVELY_MAX / machines)


class Agenda:
    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Happening]] = []
        self._turn = count()

    def put(self, at: float, happening: Happening) -> None:
        """Times are whole seconds; a part of one rounds up."""
        heapq.heappush(self._heap, (-int(-at // 1), next(self._turn), happening))

    @property
    def next_at(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    def due(self, now: int) -> list[Happening]:
        """Take what is due, oldest first."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            found.append(heapq.heappop(self._heap)[2])
        return found
