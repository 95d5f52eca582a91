"""openclore statement: what the wallets received and paid, and how each line was computed."""

import csv
import io
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from openclore.api.open.statements import MOMENT_MAX, StatementLine, StatementReply, StatementWallet

from . import options
from .errors import guarded
from .marketplace import UNITS
from .output import Column, local_time, say, show_json, show_table

if TYPE_CHECKING:
    from openclore.client import Clore

COLUMNS = [
    Column("TIME"),
    Column("KIND"),
    Column("ORDER", justify="right"),
    Column("AMOUNT", justify="right"),
    Column("BALANCE", justify="right"),
    Column("CURRENCY"),
    Column("HOW", rank=1, folds=True),
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
        typer.BadParameter: it is none of these, or none that a market knows.
    """
    try:
        at = int(text) if text.isascii() and text.isdigit() else _unix(datetime.fromisoformat(text))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time, write it like 2026-11-01") from None
    if not 0 <= at <= MOMENT_MAX:
        raise typer.BadParameter(f"{text!r} is before 1970 or too far away, write it like 2026-11-01")
    return at


def _unix(at: datetime) -> int:
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def check_span(since: int | None, until: int | None) -> None:
    """
    Raises:
        typer.BadParameter: it ends before it begins.
    """
    if since is not None and until is not None and until < since:
        raise typer.BadParameter("must not be before --from", param_hint="--to")


Since = Annotated[
    int | None, typer.Option("--from", parser=moment, metavar="TIME", help=f"First moment. {MOMENT_HELP}")
]
Until = Annotated[
    int | None, typer.Option("--to", parser=moment, metavar="TIME", help="Moment before which it ends.")
]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]


@guarded
def statement(
    since: Since = None,
    until: Until = None,
    currency: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"Only {options.CURRENCY_HELP}.")
    ] = None,
    as_csv: Csv = False,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Compute a saved statement anew, CSV or JSON, instead; asks no market.",
        ),
    ] = None,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Show what your wallets received and paid, and how each line was computed.

    With --csv or --json, each line has all it takes to compute it anew, and a hash over all lines before:
    keep the last one, and no line can change unseen. --check computes a saved one anew, and ends with status
    1 at the first line that is wrong. What running orders cost since it was last posted is not on it yet.
    Only OpenClore's markets tell.
    """
    if check is not None:
        _check(check, as_json=json)
        return
    check_span(since, until)
    with options.client(profile, base_url) as clore:
        wanted = options.currency(currency) if currency else None
        show(_pages(clore, wanted, since, until), as_csv=as_csv, as_json=json)


def _pages(
    clore: "Clore", currency: str | None, since: int | None, until: int | None
) -> Iterator[StatementReply]:
    after, more = None, True
    while more:
        page = clore.statement(currency=currency, since=since, until=until, after=after, limit=1_000)
        yield page
        after, more = page.after, page.more


def show(pages: Iterable[StatementReply], *, as_csv: bool, as_json: bool) -> None:
    """Print a statement; as CSV a page at a time, however long it is."""
    if as_csv and as_json:
        raise typer.BadParameter("say either --csv or --json", param_hint="--csv")
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for page in pages:
            for line in page.lines:
                writer.writerow(_given(getattr(line, name)) for name in CSV_COLUMNS)
        return
    read = list(pages)
    lines, wallets = [line for page in read for line in page.lines], read[-1].wallets
    if as_json:
        show_json({"lines": msgspec.to_builtins(lines), "wallets": msgspec.to_builtins(wallets)})
        return
    show_table(COLUMNS, map(_row, lines), empty="Nothing was received or paid in this time.")
    for wallet in wallets:
        say(f"{wallet.currency}: {wallet.balance} posted; the wallet's last hash is {wallet.hash or '-'}")


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


# Checking -------------------------------------------------------------------------------------------


class _Saved(msgspec.Struct):
    lines: list[StatementLine]
    wallets: list[StatementWallet] = []


def _check(file: Path, *, as_json: bool) -> None:
    from ..rules import money
    from ..rules.statement_check import WrongLine, check_statement, check_wallets

    saved = _saved(file)
    found = check_statement(saved.lines)
    wrong = found if isinstance(found, WrongLine) else check_wallets(found, saved.wallets)
    wallets = [] if isinstance(found, WrongLine) else found
    told = {wallet.currency: wallet for wallet in saved.wallets}
    if as_json:
        said = [
            {
                "currency": wallet.currency,
                "whole": wallet.whole,
                "lines": wallet.lines,
                "balance": money.to_text(wallet.balance),
                "hash": wallet.hash,
            }
            for wallet in wallets
        ]
        show_json({"lines": len(saved.lines), "wrong": wrong, "wallets": said})
    elif wrong is not None:
        typer.echo(str(wrong))
    else:
        typer.echo(f"Everything adds up (lines: {len(saved.lines)}).")
        for wallet in wallets:
            start = "from its first line" if wallet.whole else "from the middle"
            typer.echo(
                f"{wallet.currency}, {start}: {money.to_text(wallet.balance)} in the end;"
                f" the last line's hash is {wallet.hash}"
            )
            now = told.get(wallet.currency)
            if now is not None and now.hash != wallet.hash:
                typer.echo(f"  The wallet went on from there, to {now.balance}: that is not in the file.")
    if wrong is not None:
        raise typer.Exit(1)


def _saved(file: Path) -> _Saved:
    """A statement that was printed as JSON, or as CSV, which does not tell of wallets.

    Raises:
        InputError: it is neither.
    """
    from openclore.client.errors import InputError

    try:
        text = file.read_text(encoding="utf-8-sig")
        if text.lstrip().startswith("{"):
            return msgspec.json.decode(text, type=_Saved)
        table = csv.DictReader(io.StringIO(text))
        if tuple(table.fieldnames or ()) != CSV_COLUMNS:
            raise csv.Error(f"its first line must be {','.join(CSV_COLUMNS)}")
        rows = [
            {name: value for name, value in row.items() if (name, value) != ("order_id", "")} for row in table
        ]
        return _Saved(msgspec.convert(rows, list[StatementLine], strict=False))
    except (OSError, UnicodeDecodeError, csv.Error, msgspec.DecodeError) as problem:
        raise InputError(f"{file} is no statement, as --csv or --json prints it: {problem}") from None
