"""GET /marketplace: every listed server."""

from typing import Any

from .base import Id, Part, Reply
from .specs import Specs


class UsdPrice(Part):
    """The on-demand prices restated in dollars per day.

    `spot` is the lowest bid over the accepted currencies in dollars per day; 0 means no value.
    """

    on_demand_btc: float | None = None
    on_demand_clore: float | None = None
    on_demand_usd: float | None = None
    spot: float | None = None


class PricePair(Part):
    """Dollars per day."""

    on_demand: float | None = None
    spot: float | None = None


class OfferPrice(Part):
    """Per day for the whole machine, by currency. `spot` is the lowest bid; a price is not yet acceptance."""

    on_demand: dict[str, float | None] | None = None
    spot: dict[str, float | None] | None = None
    usd: UsdPrice | None = None
    original_usd: dict[str, PricePair] | None = None


class Rating(Part):
    """Mean of 0 to 5, and the number of ratings; `cnt` 0 is unrated."""

    avg: float | None = None
    cnt: int | None = None


class Offer(Part):
    """A server on the market. `mrl` in hours; `reliability` is the uptime share of the last 14 days, 0 to 1.

    `rented` is about on-demand renters only. `allowed_coins` alone says which currencies are accepted.
    """

    id: Id
    owner: int | None = None
    mrl: int | None = None
    price: OfferPrice | None = None
    rented: bool | None = None
    specs: Specs | None = None
    reliability: float | None = None
    allowed_coins: list[str] | None = None
    rating: Rating | None = None
    gpu_array: list[Any] | None = None
    cuda_version: str | None = None
    autoprice: Any = None
    gigaspot: Any = None
    oc: bool | None = None
    partial_gpu_rental: Any = None
    verification: Any = None

    def price_per_day(self, currency: str) -> float | None:
        """The on-demand price in a currency the host accepts; None where it is not accepted or not priced."""
        return self._accepted(self.price.on_demand if self.price else None, currency)

    def floor_per_day(self, currency: str) -> float | None:
        """The lowest bid in a currency the host accepts; None where it is not accepted or not priced."""
        return self._accepted(self.price.spot if self.price else None, currency)

    def _accepted(self, prices: dict[str, float | None] | None, currency: str) -> float | None:
        return prices.get(currency) if prices and currency in (self.allowed_coins or ()) else None

    @property
    def usd_per_day(self) -> float | None:
        """The lowest on-demand price in dollars over the accepted currencies that have a dollar figure."""
        usd = (self.price and self.price.usd) or UsdPrice()
        figures = {
            "bitcoin": usd.on_demand_btc,
            "CLORE-Blockchain": usd.on_demand_clore,
            "USD-Blockchain": self.price_per_day("USD-Blockchain") or usd.on_demand_usd,
        }
        accepted = [figures[c] for c in self.allowed_coins or () if figures.get(c)]
        return min((f for f in accepted if f is not None), default=None)

    @property
    def usd_floor_per_day(self) -> float | None:
        """The lowest bid in dollars, in whichever accepted currency that is; None where nothing says it."""
        return (self.price and self.price.usd and self.price.usd.spot) or None


class MarketplaceReply(Reply):
    servers: list[Offer] = []
    my_servers: list[int] | None = None
