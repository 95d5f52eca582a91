"""Hosts changing their prices."""

from typing import Any

from ..api.codes import Refusal
from ..api.currencies import Currency
from ..api.offers import PricePair
from ..api.servers import SetServerSettings
from ..rules import money
from ..rules.refused import Refused
from ..rules.servers import Server, Visibility
from ..store import servers as servers_store
from ..usecases import servers
from ..usecases.market import Market
from .machines import bounded


def reprice(market: Market, server_id: int, on_demand: float, spot: float, now: int) -> None:
    """A host multiplies its prices and its floors.

    Raises:
        Refused: the market does not take them, or has no such server.
    """
    with market.store.reading() as tx:
        server = servers_store.by_id(tx, server_id)
    if server is None:
        raise Refused(Refusal.SERVER_DONT_EXIST)
    request = _settings_request(server, on_demand, spot)
    servers.set_server_settings(market, server.account_id, request, now)


def _settings_request(server: Server, on_demand: float, spot: float) -> SetServerSettings:
    """What the host would send to keep everything but its prices."""
    settings = server.settings
    members: dict[str, Any] = {
        "bitcoin_on_demand": 0.0,
        "bitcoin_spot": 0.0,
        "bitcoin_enabled": False,
    }
    names = {Currency.BITCOIN: "bitcoin", Currency.CLORE: "clore", Currency.USD: "usd"}
    for currency, pricing in settings.prices.items():
        members[f"{names[currency]}_on_demand"] = _times(currency, pricing.on_demand, on_demand)
        members[f"{names[currency]}_spot"] = _times(currency, pricing.spot, spot)
        members[f"{names[currency]}_enabled"] = pricing.accepted
    return SetServerSettings(
        name=server.name,
        availability=settings.visibility is Visibility.PUBLIC,
        mrl=settings.mrl_hours,
        autoprice=dict.fromkeys(settings.pegged, "usd"),
        usd_pricing={
            currency: PricePair(
                on_demand=_times(Currency.USD, pegged.on_demand, on_demand),
                spot=_times(Currency.USD, pegged.spot, spot),
            )
            for currency, pegged in settings.pegged.items()
        },
        **members,
    )


def _times(currency: Currency, amount: int, factor: float) -> float:
    return money.to_wire(bounded(currency, money.to_wire(amount) * factor))
