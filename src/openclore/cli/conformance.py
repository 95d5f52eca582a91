"""openclore conformance."""

import contextlib
import os
import signal
import sys
import textwrap
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .errors import guarded
from .output import clean, say, show_json, terminal_width

if TYPE_CHECKING:
    from openclore.conformance.findings import Finding

DIFFERS = 1
CHECK_WIDTH, RESULT_WIDTH, MARK_WIDTH = 31, 11, 8
_COLOURS = {"holds": "32", "differs": "1;31", "not checked": "2"}


@guarded
def conformance(
    base_url: options.BaseUrl = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="KEY",
            help="A key to throw away: others on this machine can see it. Else CLORE_API_KEY or a profile.",
        ),
    ] = None,
    profile: options.Profile = None,
    spend: Annotated[
        bool, typer.Option("--spend", help="Also rent a server for a few minutes, and give it back.")
    ] = False,
    max_price_per_day: Annotated[
        float, typer.Option("--max-price-per-day", metavar="USD", min=0, help="The dearest server to rent.")
    ] = 5.0,
    json: options.Json = False,
) -> None:
    """Check a market against the protocol of the API: what holds, and what differs.

    Nothing is rented and nothing changed, unless --spend. Marks say how sure the protocol is of a fact: doc
    is documented, seen was recorded from the public service, inferred is deduced, open is OpenClore's own.
    Ends with 0 if all holds, 1 if something differs.
    """
    from openclore.client.errors import SignInError
    from openclore.client.profiles import access
    from openclore.conformance.market import Market
    from openclore.conformance.run import run

    found = access(key, base_url, profile)
    if key:
        say("Warning: others on this machine can see a key on the command line; CLORE_API_KEY is better.")
    if not found.key:
        raise SignInError("Checking a market takes an API key: set CLORE_API_KEY or use --profile.")
    if spend:
        _interrupt_once()
    findings: list[Finding] = []
    with Market(found.base_url, found.key) as market:
        checks = run(market, spend=spend, max_price_per_day=max_price_per_day, tell=say)
        with contextlib.closing(checks):
            for finding in checks:
                if not json:
                    _show_line(finding, findings[-1].about if findings else None)
                findings.append(finding)
    counts = {
        result: sum(f.result == result for f in findings) for result in ("holds", "differs", "not checked")
    }
    if json:
        facts: dict[str, Any] = {"base_url": found.base_url, "dialect": market.dialect, "counts": counts}
        show_json(facts | {"findings": findings})
    else:
        _show_differences(findings)
        told = "{holds} hold, {differs} differ, {not checked} not checked".format_map(counts)
        _print(f"\n{found.base_url} in its {market.dialect} dialect: {told}.")
    if counts["differs"]:
        raise typer.Exit(DIFFERS)


def _interrupt_once() -> None:
    """The first signal to stop interrupts; no other disturbs the cancelling of what was rented."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, interrupt)


def _show_line(finding: "Finding", about_before: str | None) -> None:
    """A line of the table, at once: the next one may take a while."""
    if about_before is None:
        titles = f"{'RESULT':{RESULT_WIDTH}}  {'MARK':{MARK_WIDTH}}  SEEN"
        _print(f"{'':{CHECK_WIDTH + 2}}  {titles}")
    if finding.about != about_before:
        _print(_coloured(finding.about, "1"))
    result = _coloured(f"{finding.result:{RESULT_WIDTH}}", _COLOURS[finding.result])
    room = max(16, terminal_width() - CHECK_WIDTH - RESULT_WIDTH - MARK_WIDTH - 8)
    seen = clean(finding.seen)
    seen = seen if len(seen) <= room else seen[: room - 1] + "…"
    _print(f"  {finding.check:{CHECK_WIDTH}}  {result}  {finding.mark:{MARK_WIDTH}}  {seen}".rstrip())


def _show_differences(findings: list["Finding"]) -> None:
    for finding in findings:
        if finding.result == "differs":
            _print(f"\n{_coloured(f'{finding.about}: {finding.check}', '1')}")
            _wrapped("expected", finding.expected)
            _wrapped("seen", finding.answer or finding.seen)
    notes = [(finding.about, note) for finding in findings for note in finding.notes]
    if notes:
        _print(f"\n{_coloured('Notes', '1')}")
    for about, note in notes:
        _wrapped(about, note)


def _wrapped(title: str, text: str) -> None:
    margin = f"  {title}: " if title not in ("expected", "seen") else f"  {title:8}  "
    width = max(40, terminal_width())
    indent = " " * min(len(margin), 12)
    _print("\n".join(textwrap.wrap(clean(text), width, initial_indent=margin, subsequent_indent=indent)))


def _coloured(text: str, colour: str) -> str:
    shown = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return f"\x1b[{colour}m{text}\x1b[0m" if shown else text


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
