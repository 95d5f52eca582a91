"""openclore autopilot backtest: what a file would have done."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openclore.api.durations import words_of

from . import options
from .errors import guarded
from .marketplace import short_model
from .output import Column, busy, percent, price, say, show_facts, show_json, show_table, wrapped_fact

if TYPE_CHECKING:
    from openclore.sandbox.backtest import Report

SERVERS = [
    Column("SERVER", flexible=True),
    Column("GPU", rank=4, flexible=True),
    Column("EARNED $", justify="right"),
    Column("BEFORE $", rank=1, justify="right"),
    Column("RENTED", rank=2, justify="right"),
    Column("BEFORE", rank=3, justify="right"),
    Column("$/DAY", rank=5, justify="right"),
    Column("CHANGES", rank=6, justify="right"),
]
FLEETS = [
    Column("FLEET", flexible=True),
    Column("COST $", justify="right"),
    Column("$/HOUR", rank=2, justify="right"),
    Column("MACHINE TIME", rank=1, justify="right"),
    Column("OF HOURS", rank=3, justify="right"),
    Column("ORDERS", rank=4, justify="right"),
    Column("ENDED", rank=5, flexible=True),
]
NOTES_MAX = 5


@guarded
def backtest(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What is wanted, as TOML.")],
    history: Annotated[
        Path | None,
        typer.Option(
            metavar="H",
            help="What openclore market record wrote. (default: a made-up one that comes with OpenClore)",
        ),
    ] = None,
    server: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=ID", help="A server of the history that is to be yours, by its id."),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(
            parser=options.duration,
            metavar="DURATION",
            help="Time between two rounds. (default: as in FILE, but no less than between two observations)",
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="PATH", help="Write a page with plots.")] = None,
    json: options.Json = False,
) -> None:
    """Rehearse a file on a market that follows a history, and show what comes of it.

    The history's prices, rentals and absences happen again, but for what the file changes: somebody who came
    takes your server instead where it is the cheapest of those alike. Nothing is asked of any real market and
    nobody is told. Machines pass all checks; a fleet that scales has its largest size.
    """
    from openclore.autopilot.history import read
    from openclore.autopilot.reading import load
    from openclore.client.errors import InputError, SetupError
    from openclore.sandbox.backtest import DEFAULT_HISTORY
    from openclore.sandbox.backtest import backtest as rehearse
    from openclore.sandbox.ports import NoPorts
    from openclore.sandbox.recorded import RecordingError

    if every is not None and every < 1:
        raise InputError("--every must be at least 1s")
    wanted = load(file)
    past = read(history or DEFAULT_HISTORY)
    if past.torn_bytes:
        say(f"The last {past.torn_bytes} bytes of {history} were not written to their end and are left out.")
    try:
        with busy("Rehearsing; two weeks of a market take about half a minute ..."):
            report = rehearse(wanted, past, names=_names(server or []), every=every)
    except (RecordingError, NoPorts) as error:
        raise SetupError(str(error)) from None
    if html is not None:
        _write_page(html, report)
    if json:
        show_json(report)
    else:
        _show(report)


def _names(pairs: list[str]) -> dict[str, int]:
    """
    Raises:
        BadParameter: not NAME=ID.
    """
    found = {}
    for text in pairs:
        name, number = options.pair(text, "--server", "NAME=ID")
        if not (number.isascii() and number.isdecimal() and len(number) < 19):
            raise typer.BadParameter(f"{number!r} is no id of a server", param_hint="--server")
        found[name] = int(number)
    return found


def _write_page(path: Path, report: "Report") -> None:
    from openclore.client.errors import SetupError
    from openclore.sandbox.report import page

    try:
        path.write_text(page(report), encoding="utf-8")
    except OSError as problem:
        raise SetupError(f"{path} can't be written: {problem.strerror}") from None


def _show(report: "Report") -> None:
    from openclore.sandbox.report import date

    host = report.host
    left_out = f"; {report.left_out} left out, at which nothing in the file looks" if report.left_out else ""
    show_facts(
        [
            *wrapped_fact("History", report.history),
            ("Time", f"{date(report.start)} to {date(report.until)}"),
            ("Rounds", f"{report.rounds}, one every {words_of(report.every_seconds)}"),
            ("Machines", f"{report.servers}{left_out}"),
            *(
                [
                    ("Earned", f"{_usd(host.usd)} $; {_usd(host.recorded_usd)} $ at the prices before"),
                    ("", ", ".join(f"{price(paid, name)} {name}" for name, paid in host.earned.items())),
                    ("Rented", f"{percent(host.occupancy)}; {percent(host.recorded_occupancy)} before"),
                    ("Price changes", f"{host.price_changes} by the file"),
                ]
                if host
                else []
            ),
            (
                "Spent",
                f"{_usd(sum(fleet.usd for fleet in report.fleets.values()))} $" if report.fleets else "",
            ),
            ("Alerts", _counts(report.alerts) or "none"),
            ("Not done", _counts(report.not_done)),
        ]
    )
    sys.stdout.write("\n")
    if host:
        rows = [
            (
                name,
                short_model(one.gpu),
                _usd(one.usd),
                _usd(one.recorded_usd),
                percent(one.occupancy),
                percent(one.recorded_occupancy),
                f"{price(one.price_first, 'usd')} -> {price(one.price_last, 'usd')}",
                one.price_changes,
            )
            for name, one in host.servers.items()
        ]
        show_table(SERVERS, rows, empty="")
        say("Before: the same market at the prices that the history has for your servers.")
        if any(not one.price_changes and one.price_first != one.price_last for one in host.servers.values()):
            say("A price that moved without a change is one in coins: it follows the rates.")
    if report.fleets:
        show_table(
            FLEETS,
            [
                (
                    name,
                    _usd(fleet.usd),
                    price(fleet.usd_per_machine_hour, "usd"),
                    percent(fleet.share),
                    f"{fleet.wanted_hours:.1f}",
                    fleet.orders,
                    _counts(fleet.ended) or "-",
                )
                for name, fleet in report.fleets.items()
            ],
            empty="",
        )
    _show_notes(report)


def _show_notes(report: "Report") -> None:
    from openclore.sandbox.report import SHORT_SECONDS

    for text, count in list(report.notes.items())[:NOTES_MAX]:
        rounds = "every round" if count == report.rounds else f"{count} of {report.rounds} rounds"
        say(f"{text} ({rounds})")
    if len(report.notes) > NOTES_MAX:
        say(f"{len(report.notes) - NOTES_MAX} more notes are in --html and --json.")
    span = report.until - report.start
    if span < SHORT_SECONDS:
        say(f"The history spans {words_of(span)}: what comes of less than a day says little about a week.")


def _usd(earned: float) -> str:
    """A sum of dollars, to the cent."""
    return price(round(earned, 2), "usd")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items())
