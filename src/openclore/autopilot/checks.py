"""What makes no sense although every member by itself does: combinations, told with the member to change."""

from collections.abc import Iterable, Iterator
from zoneinfo import ZoneInfo

from .file import Budget, File, WalletBelow
from .fleets_problems import alike, budget_too_small, problems_of_fleet
from .pricing import overlaps, problems_of_pricing
from .settings import claimed_twice, problems_of_settings
from .templates import check_template

Path = tuple[str, ...]


def contradictions(file: File) -> list[tuple[Path, str]]:
    """Everything in a file that can't be meant, by the path of the member."""
    return [
        *_general(file),
        *_messages(file),
        *_alerts(file),
        *_hosting(file),
        *_renting(file),
        *_budget(("budget",), file.budget),
    ]


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

    for kind, text in messages.templates.items():
        try:
            check_template(kind, text)
        except ValueError as problem:
            yield ("messages", "templates", kind), str(problem)


def _alerts(file: File) -> Iterator[tuple[Path, str]]:
    for name, alert in file.alerts.items():
        for member in ("below", "hours", "level"):
            if not getattr(alert, member, 1) > 0:
                yield ("alerts", name, member), "must be above 0"
        if isinstance(alert, WalletBelow) and alert.back_above is not None and alert.back_above < alert.below:
            yield ("alerts", name, "back_above"), f"must not be less than below ({alert.below:g})"
        if getattr(alert, "gpu", None) == "":
            yield ("alerts", name, "gpu"), "is empty; name a part of the model, such as 4090"
        if getattr(alert, "kinds", None) == ():
            yield ("alerts", name, "kinds"), 'names none; such as ["order_ended"]'
        if getattr(alert, "servers", None) == ():
            yield ("alerts", name, "servers"), 'name at least one pattern, such as "rig-*"'


def _hosting(file: File) -> Iterator[tuple[Path, str]]:
    for name, group in file.pricing.items():
        yield from _within(("pricing", name), problems_of_pricing(name, group))
    for name, table in file.settings.items():
        yield from _within(("settings", name), problems_of_settings(name, table))
    # Without the servers at hand, their names are those that patterns spell out.
    tables = [*file.pricing.values(), *file.settings.values()]
    names = {pattern for table in tables for pattern in table.servers}
    for member, said in (*overlaps(file, names), *claimed_twice(file, names)):
        yield tuple(member.split(".")), said


def _renting(file: File) -> Iterator[tuple[Path, str]]:
    for name, fleet in file.fleets.items():
        yield from _within(("fleets", name), problems_of_fleet(name, fleet))
        yield from _budget(("fleets", name, "budget"), fleet.budget)
        yield from _within(("budget",), budget_too_small(file.budget, fleet))
    for member, said in alike(file):
        yield tuple(member.split(".")), said


def _within(path: Path, problems: Iterable[tuple[str, str]]) -> Iterator[tuple[Path, str]]:
    for member, said in problems:
        yield (*path, *member.split(".")), said


def _budget(path: Path, budget: Budget) -> Iterator[tuple[Path, str]]:
    for member in ("per_hour", "per_day", "total"):
        amount = getattr(budget, member)
        if amount is not None and not amount > 0:
            yield (*path, member), "must be above 0"
