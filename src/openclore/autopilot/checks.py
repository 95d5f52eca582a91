"""What makes no sense although every member by itself does: combinations, told with the member to change."""

from collections.abc import Iterator
from zoneinfo import ZoneInfo

from .file import Budget, File

Path = tuple[str, ...]


def contradictions(file: File) -> list[tuple[Path, str]]:
    """Everything in a file that can't be meant, by the path of the member."""
    return [*_general(file), *_messages(file), *_budget(("budget",), file.budget)]


def _general(file: File) -> Iterator[tuple[Path, str]]:
    if file.every < 1:
        yield ("every",), "must be at least 1s"
    if file.stale_after < file.every:
        yield ("stale_after",), f"must not be shorter than every ({file.every})"


def _messages(file: File) -> Iterator[tuple[Path, str]]:
    messages = file.messages
    try:
        ZoneInfo(messages.timezone)
    except (ValueError, OSError, KeyError):
        yield ("messages", "timezone"), "is no timezone; write it like Europe/Berlin"
    if messages.remind_growth < 1:
        yield ("messages", "remind_growth"), "must be at least 1: gaps between reminders grow"
    if messages.fallback and not file.notify:
        yield ("messages", "fallback"), "needs an address in notify that could fail"
    if file.alerts and not file.notify:
        yield ("alerts",), "nobody would hear of them: name addresses in notify"


def _budget(path: Path, budget: Budget) -> Iterator[tuple[Path, str]]:
    for member in ("per_hour", "per_day", "total"):
        amount = getattr(budget, member)
        if amount is not None and not amount > 0:
            yield (*path, member), "must be above 0"
