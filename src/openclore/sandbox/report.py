"""A rehearsal's report as one page that needs nothing else: tables, and plots as SVG."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import jinja2

from .backtest import Report

WIDTH, HEIGHT = 760, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 26
POINTS_MAX = 800
COLOURS = 8
DAY_SECONDS = 86_400
SHORT_SECONDS = DAY_SECONDS
"""A history that spans less says little about what a file does day by day."""
LABELS_MAX = 8
LABEL_STEPS_SECONDS = (60, 300, 900, 3_600, 3 * 3_600, 6 * 3_600, 12 * 3_600, DAY_SECONDS)


class Line(NamedTuple):
    """`path` in the coordinates of the plot, `colour` counts from 1; `last` is its last figure as text."""

    name: str
    path: str
    colour: int
    last: str


class Tick(NamedTuple):
    at: float
    label: str


class Plot(NamedTuple):
    title: str
    summary: str
    lines: Sequence[Line]
    across: Sequence[Tick]
    up: Sequence[Tick]


def page(report: Report) -> str:
    """HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("openclore.sandbox", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    short = report.until - report.start < SHORT_SECONDS
    environment.filters |= {"usd": usd, "percent": percent, "date": date}
    frame = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT}
    frame |= {"top": TOP, "bottom": HEIGHT - BOTTOM}
    return environment.get_template("report.html").render(
        report=report, plots=list(plots(report)), short=short, **frame
    )


def usd(value: float | None) -> str:
    """Dollars and cents."""
    return "-" if value is None else f"{value:,.2f}"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def date(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def plots(report: Report) -> Iterator[Plot]:
    """Those of which there is something to show."""
    curves = report.curves
    if report.host is not None:
        earned = {
            "with the file": curves["earned"],
            "at recorded prices": curves["earned at recorded prices"],
        }
        yield _plot("Earned so far, $", report.times, earned)
        yield _plot("Share of own servers rented, mean of a day", report.times, _daily(report, "occupancy"))
        prices = {
            name.removeprefix("price of "): curves[name] for name in curves if name.startswith("price of ")
        }
        yield _plot("Prices of own servers, $ a day", report.times, prices)
    if report.fleets:
        yield _plot("Spent so far, $", report.times, {"spent": curves["spent"]})
    for fleet in report.fleets:
        machines = {"wanted": curves[f"wanted by {fleet}"], "running": curves[f"machines of {fleet}"]}
        yield _plot(f"Machines of {fleet}", report.times, machines)


def _daily(report: Report, name: str) -> dict[str, list[float | None]]:
    """The mean of the day that a moment lies in; the very last one belongs to the day before it."""
    last = max(0, report.until - report.start - 1) // DAY_SECONDS
    day_of = [min(last, (at - report.start) // DAY_SECONDS) for at in report.times]
    days: dict[int, list[float]] = {}
    for day, value in zip(day_of, report.curves[name], strict=True):
        days.setdefault(day, []).append(value or 0.0)
    return {name: [sum(days[day]) / len(days[day]) for day in day_of]}


def _plot(title: str, times: Sequence[int], curves: Mapping[str, Sequence[float | None]]) -> Plot:
    known = [value for values in curves.values() for value in values if value is not None]
    steps = _steps(min([0.0, *known]), max(known, default=0.0))
    low, high = steps[0], steps[-1]
    first, span = times[0], max(1, times[-1] - times[0])

    def x(at: int) -> float:
        return LEFT + (at - first) / span * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    lines = [
        Line(
            name,
            _path([(x(at), None if value is None else y(value)) for at, value in _thinned(times, values)]),
            number % COLOURS + 1,
            _figure(next((value for value in reversed(values) if value is not None), None)),
        )
        for number, (name, values) in enumerate(curves.items())
    ]
    summary = "; ".join(f"{line.name}: {line.last} at the end" for line in lines)
    return Plot(
        title,
        summary,
        lines,
        [Tick(round(x(at), 1), label) for at, label in _moments(times)],
        [Tick(round(y(step), 1), _figure(step)) for step in steps],
    )


def _thinned(times: Sequence[int], values: Sequence[float | None]) -> list[tuple[int, float | None]]:
    every = -(-len(times) // POINTS_MAX)
    pairs = list(zip(times, values, strict=True))
    return pairs if every == 1 else [*pairs[::every], pairs[-1]]


def _path(points: Sequence[tuple[float, float | None]]) -> str:
    """Level until the next point; nothing where nothing is known."""
    parts: list[str] = []
    drawn: float | None = None
    for at, value in points:
        if value is None:
            drawn = None
        elif drawn is None:
            parts.append(f"M{at:.1f} {value:.1f}")
            drawn = value
        else:
            parts.append(f"H{at:.1f}" + (f"V{value:.1f}" if value != drawn else ""))
            drawn = value
    return "".join(parts)


def _steps(low: float, high: float) -> list[float]:
    """Four or so round figures from below `low` to above `high`."""
    span = (high - low) or 1.0
    size = 10 ** math.floor(math.log10(span / 4))
    size = next((size * factor for factor in (1, 2, 2.5, 5) if span / (size * factor) <= 5), size * 10)
    start, end = math.floor(low / size + 1e-9), math.ceil(high / size - 1e-9)
    return [round(number * size, 10) for number in range(start, max(end, start + 1) + 1)]


def _moments(times: Sequence[int]) -> list[tuple[int, str]]:
    """Some round moments (UTC) and how they are written: full hours or minutes, of longer times midnights."""
    span = times[-1] - times[0]
    step = next((step for step in LABEL_STEPS_SECONDS if span / step <= LABELS_MAX), DAY_SECONDS)
    form = "%d %b" if step == DAY_SECONDS else "%H:%M" if span < DAY_SECONDS else "%d %b %H:%M"
    first = -(-times[0] // step) * step
    found = list(range(first, times[-1] + 1, step))
    found = found[:: -(-len(found) // LABELS_MAX) or 1]
    return [(at, f"{datetime.fromtimestamp(at, UTC):{form}}") for at in found]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.10g}" if value == round(value, 2) else f"{value:,.2f}"
