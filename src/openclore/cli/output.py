"""What commands print: tables that fit the terminal, JSON for programs, numbers people can read.

Data goes to stdout, everything said to a person to stderr.
"""

import json
import math
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

GAP = 2
UNBOUNDED_WIDTH = 100_000
FLEXIBLE_WIDTH_MIN = 16
FACT_NAME_WIDTH = 15
FOLD_INDENT = "    "
SILENT_SECONDS_MAX = 60


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. The highest `rank` goes first when the terminal is too narrow; 0 always stays.

    A `flexible` column may be cut short before others are dropped. One that `folds` has its text under the
    row, over as many lines as it needs, where it has no room beside the others.
    """

    title: str
    rank: int = 0
    justify: Literal["left", "right"] = "left"
    flexible: bool = False
    folds: bool = False


# Numbers --------------------------------------------------------------------------------------------

_DECIMALS = {"bitcoin": 8, "CLORE-Blockchain": 4, "USD-Blockchain": 4, "usd": 4}


def amount(value: float | None, decimals: int = 8) -> str:
    """A number without exponent and noise: 0.0000312, 410.5, 0.0014; "-" for none."""
    if value is None or not math.isfinite(value):
        return "-"
    text = f"{Decimal(repr(value)):.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def price(value: float | None, currency: str) -> str:
    """Money with the decimals people use for the currency; dollars always show cents."""
    text = amount(value, _DECIMALS.get(currency, 8))
    if currency in ("usd", "USD-Blockchain") and text != "-":
        whole, _, cents = text.partition(".")
        return f"{whole}.{cents.ljust(2, '0')}"
    return text


def percent(share: float | None, decimals: int = 1) -> str:
    """ "99.5%" of a share of 1; "-" for none."""
    return "-" if share is None or not math.isfinite(share) else f"{share:.{decimals}%}"


def local_time(seconds: int) -> str:
    """Unix seconds as a time of this machine's zone."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clean(value: object) -> str:
    """Text from elsewhere in one line, without control characters: it can't steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in str(value)).strip()


# JSON -----------------------------------------------------------------------------------------------


def show_json(value: Any) -> None:
    """Print a value as JSON; members the market did not send are left out."""
    import msgspec

    sys.stdout.write(json_text(msgspec.to_builtins(value)) + "\n")


def json_text(value: Any, indent: str = "") -> str:
    """JSON with numbers as people write them: 0.0000312, not 3.12e-05."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        members = [f"{inner}{json.dumps(str(k))}: {json_text(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(members) + "\n" + indent + "}"
    if isinstance(value, list | tuple) and value:
        elements = [inner + json_text(element, inner) for element in value]
        return "[\n" + ",\n".join(elements) + "\n" + indent + "]"
    if isinstance(value, float):
        return f"{Decimal(repr(value)):f}" if math.isfinite(value) else "null"
    return json.dumps(value)


# Tables ---------------------------------------------------------------------------------------------


def show_table(columns: Sequence[Column], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows under their titles, in as many columns as fit; `empty` is said if there are none."""
    cells = _aligned(columns, [[clean(cell) for cell in row] for row in rows])
    if not cells:
        say(empty)
        return
    widths = fitting(columns, cells, terminal_width())
    left_out = [i for i in range(len(columns)) if i not in widths]
    titles = "  ".join(_padded(columns[i], columns[i].title, width) for i, width in widths.items())
    lines = []
    for row in cells:
        lines.append("  ".join(_padded(columns[i], row[i], width) for i, width in widths.items()).rstrip())
        lines += [line for i in left_out if columns[i].folds and row[i] != "-" for line in _folded(row[i])]
    sys.stdout.write("\n".join([_bold(titles.rstrip()), *lines]) + "\n")
    said = [i for i in left_out if any(row[i] not in ("-", "") for row in cells)]
    hidden = ", ".join(columns[i].title for i in said if not columns[i].folds)
    if hidden:
        say(f"No room for: {hidden}. A wider terminal or --json shows all.")


def fitting(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> dict[int, int]:
    """Which columns to show, and how wide each: as long as there is room, those of low rank first.

    A column that says nothing in any row comes last.
    """
    empty = [all(row[i] in ("-", "") for row in rows) for i in range(len(columns))]
    natural = [max(len(c.title), *(len(row[i]) for row in rows)) for i, c in enumerate(columns)]
    least = [min(n, FLEXIBLE_WIDTH_MIN) if c.flexible else n for c, n in zip(columns, natural, strict=True)]
    room = width + GAP
    shown = set()
    for i in sorted(range(len(columns)), key=lambda i: (empty[i] and columns[i].rank > 0, columns[i].rank)):
        if least[i] + GAP <= room or columns[i].rank == 0:
            shown.add(i)
            room -= least[i] + GAP
    widths = {}
    for i in sorted(shown):
        more = max(0, min(natural[i] - least[i], room))
        widths[i] = least[i] + more
        room -= more
    return widths


_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def _aligned(columns: Sequence[Column], rows: list[list[str]]) -> list[list[str]]:
    """With numbers padded so that in each column the decimal points stand one below the other."""
    for i in (i for i, column in enumerate(columns) if column.justify == "right"):
        numbers = [match for row in rows if (match := _NUMBER.fullmatch(row[i]))]
        longest = max((len(match[1] or "") for match in numbers), default=0)
        for row in rows:
            if match := _NUMBER.fullmatch(row[i]):
                row[i] += " " * (longest - len(match[1] or ""))
    return rows


def _padded(column: Column, text: str, width: int) -> str:
    text = text if len(text) <= width else text[: width - 1] + "…"
    return text.rjust(width) if column.justify == "right" else text.ljust(width)


def _folded(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        max(40, terminal_width()),
        initial_indent=FOLD_INDENT,
        subsequent_indent=FOLD_INDENT,
        break_on_hyphens=False,
    )


def _bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text


def show_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print pairs one under the other; those without a value are left out."""
    pairs = [(name, clean(value)) for name, value in facts if value not in (None, "", "-")]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        sys.stdout.write(f"{name.ljust(width)}  {value}\n")


def wrapped_fact(name: str, text: str) -> list[tuple[str, str]]:
    """A long text as several facts that fit the terminal."""
    lines = textwrap.wrap(text, max(40, terminal_width() - FACT_NAME_WIDTH))
    return [("" if number else name, line) for number, line in enumerate(lines)]


def terminal_width() -> int:
    """Columns of the terminal, or of COLUMNS; what goes elsewhere is as wide as it has to be."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else UNBOUNDED_WIDTH


def say(text: str) -> None:
    """Tell the person something, on stderr."""
    lines = ["".join(c if c.isprintable() else " " for c in line) for line in text.split("\n")]
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()


@contextmanager
def busy(text: str) -> Iterator[Callable[[str], None]]:
    """A spinner at a terminal; elsewhere a line when the text is new, and again after a long silence."""
    from rich.console import Console
    from rich.text import Text

    out = Console(stderr=True)
    if out.is_terminal:
        with out.status(Text(text)) as spinner:
            yield lambda new: spinner.update(Text(new))
        return
    said, said_at = {text}, time.monotonic()

    def tell(new: str) -> None:
        nonlocal said_at
        if new not in said or time.monotonic() - said_at >= SILENT_SECONDS_MAX:
            said.add(new)
            said_at = time.monotonic()
            say(new)

    yield tell


def log_text(text: str) -> None:
    """Something that happened, with the time, on stderr; for commands that run on."""
    say(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {text}")


def log_json(text: str) -> None:
    """The same for a program: a line of JSON on stdout."""
    sys.stdout.write(json.dumps({"at": int(time.time()), "said": text}) + "\n")
    sys.stdout.flush()


def interactive() -> bool:
    """Whether a person sits here and can answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()
