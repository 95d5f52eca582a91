"""openclore statistics: the market in figures, per GPU model."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from openclore.api.open.statistics import ModelFigures

from . import options
from .errors import guarded
from .marketplace import short_model
from .output import Column, percent, price, say, show_json, show_table

if TYPE_CHECKING:
    from openclore.client import Clore

HISTORY_HOURS = 24

COLUMNS = [
    Column("SERVERS", rank=1, justify="right"),
    Column("GPUS", rank=2, justify="right"),
    Column("RENTED", justify="right"),
    Column("P10 $/HOUR", rank=3, justify="right"),
    Column("MEDIAN $/HOUR", justify="right"),
    Column("P90 $/HOUR", rank=4, justify="right"),
]


@guarded
def statistics(
    gpu: Annotated[str | None, typer.Option(metavar="TEXT", help="GPU model contains TEXT.")] = None,
    history: Annotated[bool, typer.Option("--history", help="One model, hour by hour.")] = False,
    hours: Annotated[
        int, typer.Option(min=1, max=2_000, metavar="N", help="With --history: the last N hours.")
    ] = HISTORY_HOURS,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Show what each GPU model costs and how much of it is rented. Only OpenClore's markets tell.

    Prices are on demand, in dollars per hour and GPU: a tenth of the servers cost less than P10, a tenth more
    than P90. An API key is not needed.
    """
    if history and not gpu:
        raise typer.BadParameter("say whose history, with --gpu", param_hint="--history")
    with options.client(profile, base_url) as clore:
        found = clore.history(_model(clore, gpu), limit=hours) if history and gpu else clore.statistics(gpu)
    if json:
        show_json(found)
        return
    if history:
        empty = "The market has kept no figures of this model; it does at every full hour."
        show_table(
            [Column("HOUR (UTC)"), *COLUMNS], [[_hour(row.at), *_cells(row)] for row in found], empty=empty
        )
    else:
        empty = "No server on this market has such a GPU." if gpu else "The market lists no servers."
        rows = [[short_model(row.gpu), *_cells(row)] for row in found]
        show_table([Column("GPU", flexible=True), *COLUMNS], rows, empty=empty)
    if found:
        say("Prices are per hour and GPU.")


def _model(clore: "Clore", gpu: str) -> str:
    """The model whose name ends so, or the only one that has this in it; none may be listed just now."""
    names = [row.gpu for row in clore.statistics(gpu)]
    meant = [name for name in names if f" {name}".lower().endswith(f" {gpu.lower()}")] or names or [gpu]
    if len(meant) > 1:
        raise typer.BadParameter(f"{gpu!r} may be {' or '.join(meant)}", param_hint="--gpu")
    return meant[0]


def _cells(row: ModelFigures) -> list[object]:
    return [
        row.servers,
        row.gpus,
        percent(row.rented_share),
        price(row.price_p10, "usd"),
        price(row.price_p50, "usd"),
        price(row.price_p90, "usd"),
    ]


def _hour(at: int | None) -> str:
    return "-" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"
