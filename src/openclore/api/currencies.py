"""The currencies of the market: wire names, decimals in prices, bounds of prices per day."""

from enum import StrEnum
from typing import NamedTuple


class Currency(StrEnum):
    """Wire names, case sensitive."""

    BITCOIN = "bitcoin"
    CLORE = "CLORE-Blockchain"
    USD = "USD-Blockchain"


class PriceBounds(NamedTuple):
    """What the host settings form accepts, per day, as decimal strings in the currency."""

    lowest: str
    highest: str
    decimals: int


PRICE_BOUNDS: dict[Currency, PriceBounds] = {
    Currency.BITCOIN: PriceBounds("0.000001", "0.005", 8),
    Currency.CLORE: PriceBounds("0.1", "5000", 2),
    Currency.USD: PriceBounds("0.2", "200", 2),
}


_SHORT = {"btc": Currency.BITCOIN, "clore": Currency.CLORE, "usd": Currency.USD}


def wire_name(text: str) -> str:
    """A currency as the wire writes it: "clore" is "CLORE-Blockchain"; an unknown name is left as it is."""
    plain = text.strip().lower()
    full = {currency.lower(): currency for currency in Currency}
    return str(_SHORT.get(plain) or full.get(plain) or text)
