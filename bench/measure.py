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
    """How much is measured: how large the market is, and turns per side.

    `load_seconds` is one turn of a load on a server. `billed_orders` run at once in the row about an hour of
    them, `links` hosts are connected at once. `pace_seconds` is how long four processes share a key.
    `pgbench_scale` is how large the database of PostgreSQL's own benchmark is.
    """

    servers: int
    decoding_turns: int
    start_turns: int
    command_turns: int
    load_turns: int
    load_seconds: float
    orders: int
    billed_orders: int
    links: int
    pace_seconds: int
    pgbench_scale: int


FULL = Scale(
    servers=10_000,
    decoding_turns=21,
    start_turns=9,
    command_turns=15,
    load_turns=5,
    load_seconds=2.0,
    orders=10_000,
    billed_orders=1_000_000,
    links=10_000,
    pace_seconds=60,
    pgbench_scale=10,
)
QUICK = Scale(
    servers=500,
    decoding_turns=3,
    start_turns=1,
    command_turns=1,
    load_turns=1,
    load_seconds=0.3,
    orders=100,
    billed_orders=320,
    links=20,
    pace_seconds=4,
    pgbench_scale=1,
)
"""Shows that the benchmark runs; its figures are not worth quoting."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of ours against another's. Of rates `more` is better, of all else less.

    `target` is the ratio that we want to reach: at least this where more is better, else at most. None: no
    target is set.
    """

    what: str
    against: str
    unit: str
    ours: list[float]
    theirs: list[float]
    note: str
    more: bool = False
    target: float | None = None

    @property
    def ratio(self) -> float:
        """Ours divided by theirs."""
        return median(self.ours) / median(self.theirs)

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return self.ratio >= self.target if self.more else self.ratio <= self.target

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "what": self.what,
            "against": self.against,
            "unit": self.unit,
            "ours_median": median(self.ours),
            "theirs_median": median(self.theirs),
            "ours_divided_by_theirs": self.ratio,
            "more_is_better": self.more,
            "target": self.target,
            "met": self.met,
            "ours": self.ours,
            "theirs": self.theirs,
            "note": self.note,
        }


@dataclass(frozen=True, kw_only=True)
class NotMeasured:
    """A row whose peer is not here, or one that `failed`."""

    what: str
    against: str
    reason: str
    failed: bool = False

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        told = {"what": self.what, "against": self.against, "not_measured": self.reason}
        return {**told, "failed": True} if self.failed else told


def in_turns(ours: Callable[[], T], theirs: Callable[[], T], turns: int) -> tuple[list[T], list[T]]:
    """What both return, taken ours, theirs, ours, theirs…

    Of several turns there is one more at first that does not count.
    """
    if turns > 1:
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
