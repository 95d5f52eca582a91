"""`python -m bench`: one table, each row ours against a peer or a floor in the same run."""

import argparse
import json
import os
import platform
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from . import billing, commands, decoding, growth, hosts, orders, pace, reply, startup, wallets
from .measure import FULL, QUICK, NotMeasured, Row, Scale

STORIES = {
    "reply": reply,
    "wallets": wallets,
    "orders": orders,
    "billing": billing,
    "hosts": hosts,
    "decoding": decoding,
    "pace": pace,
    "startup": startup,
    "commands": commands,
}
OWN_ACCESS = ("CLORE_API_KEY", "CLORE_BASE_URL", "OPENCLORE_PROFILE")
"""Whoever measures may have set these for clients; here they play no part."""


def main() -> None:
    asked = _arguments()
    scale = QUICK if asked.quick else FULL
    for name in OWN_ACCESS:
        os.environ.pop(name, None)
    results: list[Row | NotMeasured] = []
    if asked.growth:
        growth.draw(_machine(), quick=asked.quick, folder=asked.growth)
        return
    for name in asked.rows or STORIES:
        print(f"measuring {name} ...", file=sys.stderr)
        results += _measured(name, scale)
    if asked.json:
        plain = [result.plain() for result in results]
        print(json.dumps({"machine": _machine(), "quick": asked.quick, "rows": plain}, indent=2))
    else:
        _show(results, quick=asked.quick)
    if any(isinstance(result, NotMeasured) and result.failed for result in results):
        sys.exit(1)


def _measured(name: str, scale: Scale) -> Sequence[Row | NotMeasured]:
    """The rows of a story; one that fails ends only itself."""
    try:
        return STORIES[name].measure(scale)
    except Exception as error:
        traceback.print_exc()
        reason = f"failed: {type(error).__name__}: {error}"
        return [NotMeasured(what=name, against="-", reason=reason, failed=True)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller: shows that it runs, no more")
    parser.add_argument("--rows", nargs="+", choices=STORIES, metavar="NAME", help=", ".join(STORIES))
    parser.add_argument(
        "--growth",
        nargs="?",
        type=Path,
        const=growth.FOLDER,
        metavar="FOLDER",
        help="draw how cost grows with the market instead, into docs/bench",
    )
    parser.add_argument("--json", action="store_true", help="for programs, with every sample")
    return parser.parse_args()


def _machine() -> dict[str, str | int | float]:
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 1),
    }


def _processor() -> str:
    """Its name, as Linux has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")


def _show(results: list[Row | NotMeasured], *, quick: bool) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(title="Ours against a peer or a floor, medians of turns in the same run", show_lines=True)
    for column in ("what", "ours", "theirs", "ratio", "target", "against"):
        table.add_column(column, justify="right" if column in ("ours", "theirs", "ratio") else "left")
    for result in results:
        table.add_row(*_cells(result, quick=quick))
    console.print(table)
    console.print("{cores} cores, {processor}, Python {python}, {system}, load {load}".format(**_machine()))
    if quick:
        console.print(
            "[bold]--quick: these figures only show that the benchmark runs; no target is judged by them[/]"
        )
    for result in results:
        if isinstance(result, NotMeasured):
            console.print(f"NOT MEASURED: {result.what}: {result.reason}", style="bold red", markup=False)


def _cells(result: Row | NotMeasured, *, quick: bool) -> list[str]:
    if isinstance(result, NotMeasured):
        return [
            result.what,
            "-",
            "-",
            "-",
            f"[bold red]NOT MEASURED: {escape(result.reason)}[/]",
            result.against,
        ]
    turns = len(result.ours)
    return [
        f"{result.what}\n[dim]{result.note}[/]",
        _figure(result.ours, result.unit),
        _figure(result.theirs, result.unit),
        f"[bold]{result.ratio:.3g}[/]\n[dim]{turns} turn{'s' if turns > 1 else ''}[/]",
        _target(result, judged=not quick),
        result.against,
    ]


def _target(row: Row, *, judged: bool) -> str:
    if row.target is None:
        return "-"
    met = "[green]met[/]" if row.met else "[bold red]NOT met[/]"
    return f"{'≥' if row.more else '≤'} {row.target:.3g}" + (f"\n{met}" if judged else "")


def _figure(samples: list[float], unit: str) -> str:
    """The median, and from where to where the samples go if there are several."""
    middle = f"{_number(median(samples))} {unit}"
    return f"{middle}\n[dim]{_number(min(samples))} – {_number(max(samples))}[/]" if samples[1:] else middle


def _number(value: float) -> str:
    """Four digits that count: 0.04312, 18,620."""
    return f"{float(f'{value:.4g}'):,.10g}"


main()
