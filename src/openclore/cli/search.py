"""openclore search: the market, searched by itself."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openclore.api.open.offers import PAGE_MAX, FoundOffer

from . import marketplace as offers
from . import options
from .errors import guarded
from .output import Column, price, show_json, show_table

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
    gpu: offers.Gpu = None,
    gpus: offers.Gpus = None,
    exact_gpus: Annotated[int | None, typer.Option(metavar="N", help="Exactly N GPUs.")] = None,
    vram: offers.Vram = None,
    ram: Annotated[float | None, typer.Option(metavar="GB", help="At least so much main memory.")] = None,
    max_price_per_hour: offers.MaxPricePerHour = None,
    reliability: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="There for at least this share of the last 14 days: 0.99."),
    ] = None,
    country: offers.Country = None,
    currency: offers.PricesIn = None,
    spot: Annotated[
        bool, typer.Option("--spot", help="Compare the lowest bids instead of the prices on demand.")
    ] = False,
    all: offers.All = False,  # noqa: A002
    sort: Annotated[Sort, typer.Option(help=offers.SORT_HELP)] = Sort.PRICE,
    limit: offers.Limit = None,
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
    with options.client(profile, base_url) as clore:
        found, total = _found(clore, filters, offers.rows_max(limit, as_json=json))
    if json:
        show_json(found)
        return
    show_table(
        _columns(coin or "usd", spot=spot, with_rented=all),
        [_row(hit, with_rented=all) for hit in found],
        empty="No server on this market fits. Loosen a filter, or add --all for rented ones.",
    )
    offers.explain([hit.offer for hit in found], total)


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
    shown = offers.UNITS.get(unit, unit)
    return [
        Column("ID", justify="right"),
        Column("GPU", flexible=True),
        Column("VRAM", rank=2, justify="right"),
        Column(f"LOWEST BID {shown}/HOUR" if spot else f"{shown}/HOUR", justify="right"),
        *([Column("RENTED", rank=3)] if with_rented else []),
        *offers.MACHINE,
    ]


def _row(hit: FoundOffer, *, with_rented: bool) -> list[object]:
    offer = hit.offer
    return [
        offer.id,
        offers.gpu_name(offer.specs),
        offers.gb(offer.specs.gpuram if offer.specs else None),
        price(hit.price_per_hour, hit.price_currency),
        *(["yes" if offer.rented else "no"] if with_rented else []),
        *offers.machine(offer),
    ]
