"""Which offer a fleet takes next: the cheapest that fits, then the most reliable; and why none does."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from openclore.api.currencies import PRICE_BOUNDS, Currency
from openclore.api.offers import Offer
from openclore.api.orders import OrderType

from .budget import Tariff
from .file import Fleet

HOURS_PER_DAY = 24


class Choice(NamedTuple):
    """A machine that could be had. `price` is per day in the fleet's currency, dollars are with fees."""

    offer: Offer
    type: OrderType
    price: float
    usd_per_hour: float
    usd_at_once: float


class Choices(NamedTuple):
    """Those that could be had, the best first; `why_not` where there is none."""

    found: Sequence[Choice]
    why_not: str


def choices(
    fleet: Fleet,
    offers: Iterable[Offer],
    tariff: Tariff,
    ours: Collection[int],
    excluded: Collection[int],
    rental_seconds_min: int = 0,
) -> Choices:
    """
    Args:
        ours: servers on which we have an order already, or that are our own.
        excluded: servers that failed lately.
        rental_seconds_min: what must be rentable for so long.
    """
    free = [offer for offer in offers if _fits(fleet, offer, rental_seconds_min)]
    priced = {offer.id: found for offer in free if (found := _cheapest(fleet, offer, tariff))}
    within = [one for one in priced.values() if not _too_dear(fleet, one.price, tariff)]
    left = [one for one in within if one.offer.id not in ours and one.offer.id not in excluded]
    left.sort(key=lambda one: (one.usd_per_hour, -(one.offer.reliability or 0.0), one.offer.id))
    if left:
        return Choices(left, "")
    return Choices((), _why_not(fleet, free, [*priced.values()], within, excluded, tariff))


def place_of(fleet: Fleet, server_id: int, owner: int | None, country: str | None) -> str:
    """Where a machine counts for the fleet's spread; what is unknown is a place of its own."""
    known = owner if fleet.spread == "host" else country
    return f"server {server_id}" if known is None else f"{fleet.spread} {known}"


def place_of_offer(fleet: Fleet, offer: Offer) -> str:
    return place_of(fleet, offer.id, offer.owner, country_of(offer))


def country_of(offer: Offer) -> str | None:
    return offer.specs.net.cc if offer.specs and offer.specs.net else None


def best(fleet: Fleet, found: Sequence[Choice], places: Counter[str]) -> Choice | None:
    """The first that keeps the fleet spread."""
    for choice in found:
        if fleet.spread is None or places[place_of_offer(fleet, choice.offer)] < fleet.spread_max:
            return choice
    return None


def price_cap(fleet: Fleet, currency: str, tariff: Tariff) -> float | None:
    """The most that may be paid or bid per day in a currency; None where its rate is not known."""
    usd = tariff.usd(1.0, currency)
    return fleet.price_per_hour_max * HOURS_PER_DAY / usd if usd else None


def bid_of(price: float, currency: str) -> float:
    """A bid that is at least this, with as many decimals as prices of the currency have."""
    decimals = PRICE_BOUNDS[Currency(currency)].decimals if currency in list(Currency) else 8
    unit: int = 10**decimals
    return math.ceil(round(price * unit, 6)) / unit


def _fits(fleet: Fleet, offer: Offer, rental_seconds_min: int) -> bool:
    specs = offer.specs
    country = country_of(offer)
    return (
        not offer.rented
        and not offer.gigaspot
        and offer.id not in fleet.exclude_servers
        and fleet.currency in (offer.allowed_coins or ())
        and specs is not None
        and (fleet.gpu is None or fleet.gpu.lower() in (specs.gpu or "").lower())
        and (fleet.gpu_count is None or specs.gpu_count == fleet.gpu_count)
        and (fleet.gpu_count_min is None or specs.gpu_count >= fleet.gpu_count_min)
        and _at_least(specs.vram_gb, fleet.vram_gb_min)
        and _at_least(specs.ram, fleet.ram_gb_min)
        and _at_least(offer.reliability, fleet.reliability_min or None)
        and (not fleet.countries or (country or "").upper() in {each.upper() for each in fleet.countries})
        and (offer.mrl is None or offer.mrl * 3_600 >= rental_seconds_min)
    )


def _at_least(figure: float | None, least: float | None) -> bool:
    return least is None or (figure is not None and figure >= least)


def _cheapest(fleet: Fleet, offer: Offer, tariff: Tariff) -> Choice | None:
    kinds: tuple[OrderType, ...] = (
        ("on-demand", "spot") if fleet.order_type == "cheapest" else (fleet.order_type,)
    )
    found = [choice for kind in kinds if (choice := _choice(fleet, offer, kind, tariff))]
    return min(found, key=lambda choice: choice.usd_per_hour, default=None)


def _choice(fleet: Fleet, offer: Offer, kind: OrderType, tariff: Tariff) -> Choice | None:
    """On demand at its price, or a bid at its floor."""
    currency = str(fleet.currency)
    spot = kind == "spot"
    price = offer.floor_per_day(currency) if spot else offer.price_per_day(currency)
    if price is None or not math.isfinite(price) or price <= 0:
        return None
    if spot:
        price = bid_of(price, currency)
    usd_per_day = tariff.usd_with_fees(price, kind, currency)
    if usd_per_day is None:
        return None
    return Choice(offer, kind, price, usd_per_day / HOURS_PER_DAY, tariff.usd_at_once(kind, currency))


def _too_dear(fleet: Fleet, price: float, tariff: Tariff) -> bool:
    cap = price_cap(fleet, str(fleet.currency), tariff)
    return cap is None or price > cap * (1 + 1e-9)


def _why_not(
    fleet: Fleet,
    free: Sequence[Offer],
    priced: Sequence[Choice],
    within: Sequence[Choice],
    excluded: Collection[int],
    tariff: Tariff,
) -> str:
    currency = str(fleet.currency)
    usd = tariff.usd(1.0, currency)
    if usd is None:
        return f"what {currency} is worth in dollars is not known, so nothing is ordered in it"
    if not free:
        return f"no free offer that takes {currency} matches"
    if not within:
        figures = [one.price * usd / HOURS_PER_DAY for one in priced]
        cheapest = f" (cheapest {min(figures):.2f})" if figures else ""
        return f"no offer under {fleet.price_per_hour_max:.2f} $/h matches{cheapest}"
    failed = sum(one.offer.id in excluded for one in within)
    return (
        f"of the {len(within)} that match, {failed} failed lately and are left alone for a while, and"
        f" {len(within) - failed} are ours already"
    )
