"""openclore statement: what the wallets received and paid, and how each line was computed."""

import csv
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from openclore.api.open.statements import StatementLine, StatementReply

from . import options
from .errors import guarded
from .marketplace import UNITS
from .output import Column, local_time, say, show_json, show_table

if TYPE_CHECKING:
    from openclore.client import Clore

Format = Literal["text", "json", "csv"]

COLUMNS = [
    Column("TIME"),
    Column("KIND"),
    Column("ORDER", justify="right"),
    Column("AMOUNT", justify="right"),
    Column("BALANCE", justify="right"),
    Column("CURRENCY"),
    Column("HOW", rank=1, flexible=True),
]
CSV_COLUMNS = (
    "id",
    "at",
    "currency",
    "kind",
    "order_id",
    "reference",
    "amount",
    "balance",
    "how",
    "previous",
    "hash",
)

MOMENT_HELP = "A day (2026-11-01), a time (2026-11-01T12:00, UTC unless it says otherwise) or Unix seconds."


def moment(text: str) -> int:
    """Unix seconds of a day, a time or a number as people type them.

    Raises:
        typer.BadParameter: it is none of these.
    """
    if text.isdigit():
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time, write it like 2026-11-01") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


Since = Annotated[
    int | None, typer.Option("--from", parser=moment, metavar="TIME", help=f"First moment. {MOMENT_HELP}")
]
Until = Annotated[
    int | None, typer.Option("--to", parser=moment, metavar="TIME", help="Moment before which it ends.")
]


@guarded
def statement(
    since: Since = None,
    until: Until = None,
    currency: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"Only {options.CURRENCY_HELP}.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Show what your wallets received and paid, and how each line was computed.

    With --csv or --json, each line has all it takes to compute it anew, and a hash over all lines before:
    keep the last one, and no line can change unseen. What running orders cost since it was last posted is
    not on it yet. Only OpenClore's markets tell.
    """
    if as_csv and json:
        raise typer.BadParameter("say either --csv or --json", param_hint="--csv")
    with options.client(profile, base_url) as clore:
        wanted = options.currency(currency) if currency else None
        show(_pages(clore, wanted, since, until), "csv" if as_csv else "json" if json else "text")


def _pages(
    clore: "Clore", currency: str | None, since: int | None, until: int | None
) -> Iterator[StatementReply]:
    after, more = None, True
    while more:
        page = clore.statement(currency=currency, since=since, until=until, after=after, limit=1_000)
        yield page
        after, more = page.after, page.more


def show(pages: Iterable[StatementReply], form: Format) -> None:
    """Print a statement; as CSV a page at a time, however long it is."""
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for page in pages:
            for line in page.lines:
                writer.writerow(_given(getattr(line, name)) for name in CSV_COLUMNS)
        return
    read = list(pages)
    lines, wallets = [line for page in read for line in page.lines], read[-1].wallets
    if form == "json":
        show_json({"lines": msgspec.to_builtins(lines), "wallets": msgspec.to_builtins(wallets)})
        return
    show_table(COLUMNS, map(_row, lines), empty="Nothing was received or paid in this time.")
    for wallet in wallets:
        say(f"{wallet.currency}: {wallet.balance} posted; the last line's hash is {wallet.hash or '-'}")


def _given(value: object) -> object:
    return "" if value is None else value


def _row(line: StatementLine) -> list[object]:
    return [
        local_time(line.at),
        line.kind,
        line.order_id or "-",
        line.amount,
        line.balance,
        UNITS.get(line.currency, line.currency),
        line.how or "-",
    ]
