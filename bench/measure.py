"""Two things measured in turn, and what comes of it: a ratio of medians."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is measured: servers on the market, and turns per side."""

    servers: int
    reply_turns: int
    decoding_turns: int
    start_turns: int
    command_turns: int


FULL = Scale(servers=10_000, reply_turns=41, decoding_turns=21, start_turns=9, command_turns=15)
QUICK = Scale(servers=500, reply_turns=3, decoding_turns=3, start_turns=1, command_turns=1)
"""Shows that the benchmark runs; its figures are not worth quoting."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of ours against another's; of every figure here, less is better."""

    what: str
    against: str
    unit: str
    ours: list[float]
    theirs: list[float]
    note: str

    @property
    def ratio(self) -> float:
        """Ours divided by theirs."""
        return median(self.ours) / median(self.theirs)

    @property
    def verdict(self) -> str:
        """The ratio in words: "8.1 times less"."""
        return f"{1 / self.ratio:.3g} times less" if self.ratio < 1 else f"{self.ratio:.3g} times as much"

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "what": self.what,
            "against": self.against,
            "unit": self.unit,
            "ours_median": median(self.ours),
            "theirs_median": median(self.theirs),
            "ours_divided_by_theirs": self.ratio,
            "ours": self.ours,
            "theirs": self.theirs,
            "note": self.note,
        }


@dataclass(frozen=True, kw_only=True)
class NotMeasured:
    """A row whose peer is not here."""

    what: str
    against: str
    reason: str

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {"what": self.what, "against": self.against, "not_measured": self.reason}


def in_turns(ours: Callable[[], T], theirs: Callable[[], T], turns: int) -> tuple[list[T], list[T]]:
    """What both return, taken ours, theirs, ours, theirs… after one turn each that does not count."""
    ours()
    theirs()
    taken = [(ours(), theirs()) for _ in range(turns)]
    return [mine for mine, _ in taken], [other for _, other in taken]


def milliseconds(work: Callable[[], object]) -> float:
    """How long it takes, begun without garbage of the turn before; its result outlives the clock."""
    gc.collect()
    start = time.perf_counter()
    result = work()
    taken = time.perf_counter() - start
    del result
    return taken * 1_000
