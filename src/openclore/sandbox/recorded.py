"""A market that somebody recorded: the reply of `marketplace`, taken in as far as it can be understood."""

from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import msgspec

from ..api.currencies import Currency
from ..api.gigaspot import BID_MIN
from ..api.offers import Offer, OfferPrice, PricePair
from ..api.servers import MRL_HOURS_MAX, MRL_HOURS_MIN
from ..api.specs import Specs
from ..client._lenient import Mismatch, lenient
from ..rules import money
from ..rules.servers import GigaspotTerms, Pegged, Pricing, Settings, Visibility
from .machines import RATES, Machine

AMOUNT_MAX, AMOUNT_MIN = 1e9, 1e-8
RATE_MAX = 1e7


class RecordingError(Exception):
    """The file is no reply of `marketplace`; the message says why."""


def recorded(file: Path, seed: int) -> tuple[list[Machine], dict[Currency, float]]:
    """The machines of a recording with the ids they had, and what the currencies were worth in dollars.

    A row that makes no sense is left out. What a recording does not tell, a seed decides.

    Raises:
        RecordingError: no row of the file can be used.
    """
    try:
        content = msgspec.json.decode(file.read_bytes())
    except OSError as error:
        raise RecordingError(f"can't read {file}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordingError(f"{file} is no JSON: {error}") from None
    rows = content.get("servers") if isinstance(content, dict) else content
    offers = _offers(rows if isinstance(rows, list) else [])
    rates = rates_told(offers)
    dice = Random(f"{seed}/recorded")
    machines = [machine for offer in offers if (machine := machine_of(dice, offer)) is not None]
    if not machines:
        raise RecordingError(
            f'{file} holds no servers: expected the reply of marketplace, {{"servers": [...]}}'
        )
    return machines, rates


def _offers(rows: list[Any]) -> list[Offer]:
    """Every row that is one, each id once."""
    found: dict[int, Offer] = {}
    for row in rows:
        try:
            offer = lenient(Offer, row)
        except Mismatch:
            continue
        found.setdefault(offer.id, offer)
    return [found[server_id] for server_id in sorted(found)]


def rates_told(offers: list[Offer]) -> dict[Currency, float]:
    """Dollars for one unit, as the hosts' dollar figures say; else by what they ask in several currencies."""
    rates = dict(RATES)
    members = {Currency.BITCOIN: "on_demand_btc", Currency.CLORE: "on_demand_clore"}
    for currency, member in members.items():
        asked = [
            (_asked(offer.price, currency), getattr(offer.price and offer.price.usd, member, None))
            for offer in offers
        ]
        figures = [usd / price for price, usd in asked if price and usd and 0 < usd / price < RATE_MAX]
        if figures:
            rates[currency] = median(figures)
        elif currency is Currency.CLORE:
            pairs = [
                (_asked(offer.price, Currency.BITCOIN), _asked(offer.price, currency)) for offer in offers
            ]
            ratios = [bitcoin / clore for bitcoin, clore in pairs if bitcoin and clore]
            if ratios and 0 < rates[Currency.BITCOIN] * median(ratios) < RATE_MAX:
                rates[currency] = rates[Currency.BITCOIN] * median(ratios)
    return rates


def _asked(price: OfferPrice | None, currency: Currency) -> float:
    """The on-demand price, 0 where there is none that could be one."""
    asked = ((price and price.on_demand) or {}).get(currency) or 0
    return asked if AMOUNT_MIN <= asked < AMOUNT_MAX else 0


def machine_of(dice: Random, offer: Offer) -> Machine | None:
    """The machine behind a row; None if it can't be rented for anything."""
    reliability, days = offer.reliability, dice.randint(20, 500)
    prices, pegged = prices_asked(offer)
    if not any(pricing.accepted for pricing in prices.values()):
        return None
    specs = offer.specs or Specs()
    return Machine(
        id=offer.id,
        owner=offer.owner if offer.owner and 0 < offer.owner < 2**40 else offer.id,
        settings=Settings(
            visibility=Visibility.PUBLIC,
            mrl_hours=min(max(offer.mrl or 168, MRL_HOURS_MIN), MRL_HOURS_MAX),
            prices=prices,
            pegged=pegged,
        ),
        specs=specs,
        gpu_array=[str(name) for name in offer.gpu_array or []] or [f" {specs.gpu_model}"] * specs.gpu_count,
        cuda_version=offer.cuda_version or "",
        reliability=min(max(reliability if reliability is not None else 1.0, 0.0), 1.0),
        days=days,
        rented=bool(offer.rented) and not offer.gigaspot,
        gigaspot=_gigaspot(prices) if offer.gigaspot else None,
    )


def _gigaspot(prices: dict[Currency, Pricing]) -> GigaspotTerms:
    """The lowest bid is not in the reply: what the host asks on spot, or next to nothing."""
    floor = prices[Currency.CLORE].spot if Currency.CLORE in prices else 0
    return GigaspotTerms(min_bid=max(floor, money.from_wire(BID_MIN)))


def prices_asked(offer: Offer) -> tuple[dict[Currency, Pricing], dict[Currency, Pegged]]:
    """What the row asks for, to the last digit. Where it does not say what is accepted, what is priced is."""
    prices: dict[Currency, Pricing] = {}
    pegged: dict[Currency, Pegged] = {}
    for currency in Currency:
        on_demand = _asked(offer.price, currency)
        if not on_demand:
            continue
        floor = ((offer.price and offer.price.spot) or {}).get(currency) or on_demand
        prices[currency] = Pricing(
            on_demand=money.from_wire(on_demand),
            spot=money.from_wire(floor if AMOUNT_MIN <= floor < AMOUNT_MAX else on_demand),
            accepted=currency in offer.allowed_coins if offer.allowed_coins is not None else True,
        )
        dollars = ((offer.price and offer.price.original_usd) or {}).get(currency) or PricePair()
        if dollars.on_demand and AMOUNT_MIN <= dollars.on_demand < AMOUNT_MAX:
            spot = dollars.spot if dollars.spot and AMOUNT_MIN <= dollars.spot < AMOUNT_MAX else None
            pegged[currency] = Pegged(
                on_demand=money.from_wire(dollars.on_demand),
                spot=money.from_wire(spot or dollars.on_demand),
            )
    return prices, pegged
