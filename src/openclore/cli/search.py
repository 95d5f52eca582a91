"""openclore search: the market, searched by itself."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openclore.api.open.offers import PAGE_MAX, FoundOffer

from . import options
from .errors import guarded
from .marketplace import LIMIT_AT_TERMINAL, MACHINE, UNITS, explain_simulated, gb, gpu_name, machine
from .output import Column, price, say, show_json, show_table

if TYPE_CHECKING:
    from openclore.client import Clore


class Sort(StrEnum):
    PRICE = "price"
    GPUS = "gpus"
    VRAM = "vram"
    RELIABILITY = "reliability"
    ID = "id"


_ON_THE_WIRE = {Sort.GPUS: "-gpu_count", Sort.VRAM: "-vram", Sort.RELIABILITY: "-reliability"}


@guarded
def search(
    gpu: Annotated[str | None, typer.Option(metavar="TEXT", help="GPU model contains TEXT.")] = None,
    gpus: Annotated[int | None, typer.Option(metavar="N", help="At least N GPUs.")] = None,
    exact_gpus: Annotated[int | None, typer.Option(metavar="N", help="Exactly N GPUs.")] = None,
    vram: Annotated[float | None, typer.Option(metavar="GB", help="At least so much memory per GPU.")] = None,
    ram: Annotated[float | None, typer.Option(metavar="GB", help="At least so much main memory.")] = None,
    max_price_per_hour: Annotated[
        float | None, typer.Option(metavar="AMOUNT", help="At most AMOUNT an hour, in --currency.")
    ] = None,
    reliability: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="There for at least this share of the last 14 days: 0.99."),
    ] = None,
    country: Annotated[str | None, typer.Option(metavar="CC", help="Country code, such as DE.")] = None,
    currency: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"Only offers payable in NAME, prices in it: {options.CURRENCY_HELP}. "
            "Without: the cheapest accepted currency, in dollars.",
        ),
    ] = None,
    spot: Annotated[
        bool, typer.Option("--spot", help="Compare the lowest bids instead of the prices on demand.")
    ] = False,
    all: Annotated[bool, typer.Option("--all", help="Include rented servers.")] = False,  # noqa: A002
    sort: Annotated[Sort, typer.Option(help="Cheapest or largest first.")] = Sort.PRICE,
    limit: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help=f"Show N offers, 0 for all. At a terminal {LIMIT_AT_TERMINAL}."
        ),
    ] = None,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Have the market search its offers. Only OpenClore's markets can.

    Finds what openclore marketplace finds, without fetching the whole market. An API key is not needed.
    """
    coin = options.currency(currency) if currency else None
    filters = {
        "gpu": gpu,
        "gpu_count": exact_gpus,
        "gpu_count_min": gpus,
        "vram_gb_min": vram,
        "ram_gb_min": ram,
        "price_per_hour_max": max_price_per_hour,
        "reliability_min": reliability,
        "country": country,
        "currency": coin,
        "order_type": "spot" if spot else None,
        "rented": all or None,
        "sort": _ON_THE_WIRE.get(sort, sort.value),
    }
    if limit is None:
        limit = LIMIT_AT_TERMINAL if sys.stdout.isatty() and not json else 0
    with options.client(profile, base_url) as clore:
        found, total = _found(clore, filters, limit)
    if json:
        show_json(found)
        return
    show_table(
        _columns(coin or "usd", spot=spot, with_rented=all),
        [_row(hit, with_rented=all) for hit in found],
        empty="No server on this market fits. Loosen a filter, or add --all for rented ones.",
    )
    if len(found) < total:
        say(f"{len(found)} of {total} offers; --limit 0 shows all.")
    explain_simulated(hit.offer for hit in found)


def _found(clore: "Clore", filters: dict[str, Any], limit: int) -> tuple[list[FoundOffer], int]:
    """So many matches (0: all of them), and how many there are."""
    found: list[FoundOffer] = []
    after = None
    while True:
        rows = min(limit - len(found), PAGE_MAX) if limit else PAGE_MAX
        page = clore.search_offers(**filters, limit=rows, after=after)
        found += page.offers
        after = page.next
        if after is None or len(found) == limit:
            return found, page.total


def _columns(unit: str, *, spot: bool, with_rented: bool) -> list[Column]:
    shown = UNITS.get(unit, unit)
    return [
        Column("ID", justify="right"),
        Column("GPU", flexible=True),
        Column("VRAM", rank=2, justify="right"),
        Column(f"LOWEST BID {shown}/HOUR" if spot else f"{shown}/HOUR", justify="right"),
        *([Column("RENTED", rank=3)] if with_rented else []),
        *MACHINE,
    ]


def _row(hit: FoundOffer, *, with_rented: bool) -> list[object]:
    offer = hit.offer
    return [
        offer.id,
        gpu_name(offer.specs),
        gb(offer.specs.gpuram if offer.specs else None),
        price(hit.price_per_hour, hit.price_currency),
        *(["yes" if offer.rented else "no"] if with_rented else []),
        *machine(offer),
    ]
