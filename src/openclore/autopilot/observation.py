"""What was seen of the market: the first input of every plan.

Each part says when it was read, and stays as it was when reading fails: plans ask `fresh` and do nothing on
the strength of something old.
"""

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

import msgspec

from openclore.api.account import RenterFeesReply
from openclore.api.currencies import Currency
from openclore.api.offers import Offer
from openclore.api.open.events import Event
from openclore.api.orders import Order
from openclore.api.servers import MyServer, ServerConfig
from openclore.api.spot import SpotMarket

T = TypeVar("T")

WALLETS, OFFERS, SERVERS, ORDERS, FEES, EVENTS = "wallets", "offers", "servers", "orders", "fees", "events"


class Reading(msgspec.Struct, Generic[T], frozen=True):
    """A value, and when it was asked for (Unix s)."""

    value: T
    at: int


class Failed(msgspec.Struct, frozen=True):
    """Why something could not be read just now. `final`: trying again won't help."""

    reason: str
    final: bool = False


class Probe(msgspec.Struct, frozen=True):
    """What the checks of a machine said; `detail` names the one that failed."""

    passed: bool
    detail: str = ""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything seen; a part that was never read, or that the file does not need, is None or missing.

    Attributes:
        wallets: wire name to what can be spent; a wallet without a balance is left out.
        offers: the whole marketplace.
        servers: the account's servers by name, and `configs` their settings, as far as the file names them.
        orders: the account's active orders by id; `ended` those that are over (read when one is gone).
        spot: bids by server id, for servers on which fleets have or consider bids.
        rates: dollars for one unit, by currency, as far as the market tells.
        doubted: rates that jumped and were seen once only; `rates` has what they were before.
        events: those after the memory's cursor, oldest first; `events_after` is the next cursor.
        probes: what checks of machines said, by order id.
        scale: the number a fleet's command or address gave.
        has_open: whether the market has /open/v1: leases, spend limits of orders, events.
        failed: part to why it could not be read just now: "wallets", "scale of train", "server rig-1".
    """

    wallets: Reading[dict[str, float]] | None = None
    offers: Reading[list[Offer]] | None = None
    servers: Reading[dict[str, MyServer]] | None = None
    configs: Mapping[str, Reading[ServerConfig]] = {}
    orders: Reading[dict[int, Order]] | None = None
    ended: Reading[dict[int, Order]] | None = None
    spot: Mapping[int, Reading[SpotMarket]] = {}
    fees: Reading[RenterFeesReply] | None = None
    rates: Mapping[str, float] = {}
    doubted: Mapping[str, float] = {}
    events: tuple[Event, ...] = ()
    events_after: int = 0
    probes: Mapping[int, Reading[Probe]] = {}
    scale: Mapping[str, Reading[int]] = {}
    has_open: bool = False
    failed: Mapping[str, Failed] = {}


def fresh(reading: Reading[T] | None, now: int, stale_after: int) -> T | None:
    """The value, unless it was read longer ago than that, never, or by a clock that was set back since."""
    return reading.value if reading is not None and 0 <= now - reading.at <= stale_after else None


def rates_of(offers: Iterable[Offer], markets: Iterable[SpotMarket] = ()) -> dict[str, float]:
    """Dollars for one unit of each currency, as far as the market tells.

    A bid's market says it outright; offers say it by stating the same price in the coin and in dollars. The
    middle one of all counts, as some are stated by the host and not by the market.
    """
    told: dict[str, list[float]] = {Currency.BITCOIN.value: [], Currency.CLORE.value: []}
    for offer in offers:
        price = offer.price
        if price is None or price.on_demand is None or price.usd is None:
            continue
        restated = {Currency.BITCOIN: price.usd.on_demand_btc, Currency.CLORE: price.usd.on_demand_clore}
        for currency, usd in restated.items():
            amount = price.on_demand.get(currency)
            if amount and usd and math.isfinite(usd / amount):
                told[currency].append(usd / amount)
    for market in markets:
        for name, rate in (market.currency_rates_in_usd or {}).items():
            if rate and rate > 0 and math.isfinite(rate):
                told.setdefault(name, []).append(rate)
    rates = {str(currency): statistics.median(values) for currency, values in told.items() if values}
    return rates | {Currency.USD.value: 1.0}
