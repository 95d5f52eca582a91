"""What a check found."""

from dataclasses import dataclass
from enum import StrEnum

from .market import Seen


class Mark(StrEnum):
    """How sure the protocol is of a fact."""

    DOC = "doc"  # the vendor's public documentation says so
    SEEN = "seen"  # recorded from the public service
    INFERRED = "inferred"  # deduced, may be otherwise elsewhere
    OPEN = "open"  # OpenClore's own dialect promises it


class Result(StrEnum):
    HOLDS = "holds"
    DIFFERS = "differs"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """One check: about which endpoint, what must hold, and what was seen.

    Attributes:
        expected, answer: what the protocol says, and the whole answer, for the reader of a difference.
        notes: what is remarkable without being wrong.
    """

    about: str
    check: str
    mark: Mark
    result: Result
    seen: str
    expected: str = ""
    answer: str = ""
    notes: tuple[str, ...] = ()


def judged(
    about: str, check: str, mark: Mark, holds: bool, seen: object, expected: str, notes: tuple[str, ...] = ()
) -> Finding:
    result = Result.HOLDS if holds else Result.DIFFERS
    answer = seen.in_full() if isinstance(seen, Seen) else ""
    return Finding(about, check, mark, result, str(seen), expected, answer, notes)


def not_checked(about: str, check: str, mark: Mark, why: str) -> Finding:
    return Finding(about, check, mark, Result.NOT_CHECKED, why)
