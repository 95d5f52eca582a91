"""openclore marketplace."""

import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated

import typer

from openclore.api.offers import Offer
from openclore.api.specs import Specs

from . import options
from .errors import guarded
from .output import Column, amount, percent, price, say, show_json, show_table

LIMIT_AT_TERMINAL = 40
UNITS = {"usd": "$", "USD-Blockchain": "USD", "bitcoin": "BTC", "CLORE-Blockchain": "CLORE"}
MACHINE = [
    Column("CC", rank=4),
    Column("RELIABLE", rank=5, justify="right"),
    Column("RAM", rank=6, justify="right"),
    Column("CORES", rank=7, justify="right"),
    Column("DOWN", rank=8, justify="right"),
    Column("RATING", rank=9, justify="right"),
    Column("MAX", rank=10, justify="right"),
    Column("CUDA", rank=11, justify="right"),
    Column("PAY IN", rank=12),
]
"""What tables of offers end with, see `machine`."""

Gpu = Annotated[str | None, typer.Option(metavar="TEXT", help="GPU model contains TEXT.")]
Gpus = Annotated[int | None, typer.Option(metavar="N", help="At least N GPUs.")]
Vram = Annotated[float | None, typer.Option(metavar="GB", help="At least so much memory per GPU.")]
MaxPricePerHour = Annotated[
    float | None, typer.Option(metavar="AMOUNT", help="At most AMOUNT an hour, in --currency.")
]
PricesIn = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"Only offers payable in NAME, prices in it: {options.CURRENCY_HELP}. "
        "Without: the cheapest accepted currency, in dollars.",
    ),
]
Country = Annotated[str | None, typer.Option(metavar="CC", help="Country code, such as DE.")]
All = Annotated[bool, typer.Option("--all", help="Include rented servers.")]
Limit = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help=f"Show N offers, 0 for all. At a terminal {LIMIT_AT_TERMINAL}."),
]
SORT_HELP = "Cheapest or largest first."


class Sort(StrEnum):
    PRICE = "price"
    GPUS = "gpus"
    VRAM = "vram"
    RAM = "ram"
    RELIABILITY = "reliability"
    RATING = "rating"
    DOWN = "down"
    ID = "id"


@guarded
def marketplace(
    gpu: Gpu = None,
    gpus: Gpus = None,
    max_gpus: Annotated[int | None, typer.Option(metavar="N", help="At most N GPUs.")] = None,
    vram: Vram = None,
    max_price_per_hour: MaxPricePerHour = None,
    currency: PricesIn = None,
    country: Country = None,
    all: All = False,  # noqa: A002
    sort: Annotated[Sort, typer.Option(help=SORT_HELP)] = Sort.PRICE,
    limit: Limit = None,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Show what can be rented.

    An API key is not needed. Markets price whole machines per day; the price per hour is that divided by 24.
    """
    coin = options.currency(currency) if currency else None
    with options.client(profile, base_url) as clore:
        listed = clore.marketplace()
    found = [offer for offer in listed if all or not offer.rented]
    for keep in _filters(gpu, gpus, max_gpus, vram, max_price_per_hour, coin, country):
        found = [offer for offer in found if keep(offer)]
    found.sort(key=lambda offer: _sort_key(offer, sort, coin))
    shown = found[: rows_max(limit, as_json=json) or None]
    if json:
        show_json(shown)
        return
    show_table(_columns(coin, all), [_row(offer, coin, all) for offer in shown], empty=_nothing(listed))
    if shown and coin is None and all_unpriced(shown):
        say("These have no price in dollars; --currency btc or clore shows prices in coins.")
    explain(shown, len(found))


def _filters(
    gpu: str | None,
    gpus: int | None,
    max_gpus: int | None,
    vram: float | None,
    max_price_per_hour: float | None,
    coin: str | None,
    country: str | None,
) -> list[Callable[[Offer], bool]]:
    """One test per option that was given."""
    tests: list[Callable[[Offer], bool]] = []
    if gpu is not None:
        tests.append(lambda o: gpu.lower() in (_specs(o).gpu or "").lower())
    if gpus is not None:
        tests.append(lambda o: _specs(o).gpu_count >= gpus)
    if max_gpus is not None:
        tests.append(lambda o: _specs(o).gpu_count <= max_gpus)
    if vram is not None:
        tests.append(lambda o: (_specs(o).vram_gb or 0) >= vram)
    if coin is not None:
        tests.append(lambda o: per_day(o, coin) is not None)
    if max_price_per_hour is not None:
        tests.append(lambda o: (p := per_day(o, coin)) is not None and p / 24 <= max_price_per_hour)
    if country is not None:
        tests.append(lambda o: _country(o).lower() == country.lower())
    return tests


def per_day(offer: Offer, coin: str | None) -> float | None:
    """The on-demand price in a currency, or in dollars for the cheapest one."""
    return offer.price_per_day(coin) if coin else offer.usd_per_day


def all_unpriced(offers: Sequence[Offer]) -> bool:
    return all(offer.usd_per_day is None for offer in offers)


def _specs(offer: Offer) -> Specs:
    return offer.specs or Specs()


def _country(offer: Offer) -> str:
    net = _specs(offer).net
    return (net and net.cc) or ""


def _sort_key(offer: Offer, sort: Sort, coin: str | None) -> tuple[float, float, int]:
    specs, rating = _specs(offer), offer.rating
    day = per_day(offer, coin)
    expensive = float("inf") if day is None else day
    largest: dict[Sort, float | None] = {
        Sort.GPUS: specs.gpu_count,
        Sort.VRAM: specs.gpuram,
        Sort.RAM: specs.ram,
        Sort.RELIABILITY: offer.reliability,
        Sort.RATING: rating.avg if rating and rating.cnt else 0,
        Sort.DOWN: specs.net.down if specs.net else 0,
    }
    return (-(largest.get(sort) or 0), 0.0 if sort == Sort.ID else expensive, offer.id)


def _columns(coin: str | None, with_rented: bool) -> list[Column]:
    unit = UNITS.get(coin or "usd", coin)
    return [
        Column("ID", justify="right"),
        Column("GPU", flexible=True),
        Column("VRAM", rank=2, justify="right"),
        Column(f"{unit}/HOUR", justify="right"),
        Column(f"{unit}/DAY", rank=1, justify="right"),
        *([Column("RENTED", rank=3)] if with_rented else []),
        *MACHINE,
    ]


def _row(offer: Offer, coin: str | None, with_rented: bool) -> Sequence[object]:
    unit = coin or "usd"
    day = per_day(offer, coin)
    return [
        offer.id,
        gpu_name(offer.specs),
        gb(_specs(offer).gpuram),
        price(None if day is None else day / 24, unit),
        price(day, unit),
        *(["yes" if offer.rented else "no"] if with_rented else []),
        *machine(offer),
    ]


def machine(offer: Offer) -> list[object]:
    """The cells of MACHINE."""
    specs, rating = _specs(offer), offer.rating
    return [
        _country(offer) or "-",
        percent(offer.reliability),
        gb(specs.ram),
        specs.cpus or "-",
        f"{specs.net.down:.0f} Mbit" if specs.net and specs.net.down is not None else "-",
        f"{amount(rating.avg, 1)} ({rating.cnt})" if rating and rating.cnt else "-",
        f"{offer.mrl} h" if offer.mrl is not None else "-",
        offer.cuda_version or "-",
        " ".join(_SHORT.get(c, c) for c in offer.allowed_coins or ()) or "-",
    ]


_SHORT = {"bitcoin": "btc", "CLORE-Blockchain": "clore", "USD-Blockchain": "usd"}


def gpu_name(specs: Specs | None) -> str:
    """ "2x RTX 4090", and "sim" before it where no container engine runs the orders."""
    return f"sim {gpu_model(specs)}" if specs and specs.runtime == "simulated" else gpu_model(specs)


def rows_max(limit: int | None, *, as_json: bool) -> int:
    """How many offers to show; 0: all."""
    at_terminal = sys.stdout.isatty() and not as_json
    return (LIMIT_AT_TERMINAL if at_terminal else 0) if limit is None else limit


def explain(offers: Sequence[Offer], total: int) -> None:
    """Say what the table of these does not: that there are more, and what "sim" means if any of them is."""
    if len(offers) < total:
        say(f"{len(offers)} of {total} offers; --limit 0 shows all.")
    if any(offer.specs and offer.specs.runtime == "simulated" for offer in offers):
        say("sim: simulated; no container runs there.")


def gpu_model(specs: Specs | None) -> str:
    """ "2x RTX 4090": the maker goes without saying."""
    return short_model((specs and specs.gpu) or "-")


def short_model(name: str) -> str:
    return name.replace("NVIDIA GeForce ", "").replace("NVIDIA ", "")


def gb(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} GB"


def _nothing(listed: Sequence[Offer]) -> str:
    if not listed:
        return "The market lists no servers."
    return f"None of the servers listed ({len(listed)}) fits. Loosen a filter, or add --all for rented ones."
