"""Observations of a host's servers, made by hand; and plans applied to them."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from openclore.api.currencies import Currency
from openclore.api.offers import Offer, OfferPrice, PricePair
from openclore.api.servers import MyServer, ServerConfig, SetServerSettings
from openclore.api.specs import Specs
from openclore.autopilot.actions import AnyAction, Part, SetSettings
from openclore.autopilot.file import File, Pricing
from openclore.autopilot.memory import PriceMemory
from openclore.autopilot.observation import Observation, Reading
from openclore.autopilot.pricing import plan_prices
from openclore.client.settings import settings_of

NOW = 1_800_000_000
USD, CLORE, BITCOIN = "USD-Blockchain", "CLORE-Blockchain", "bitcoin"
RATES = {CLORE: 0.02, BITCOIN: 65_000.0, USD: 1.0}
GPU = "1x NVIDIA GeForce RTX 4090"
PRICE_MEMBERS = {CLORE: "clore", BITCOIN: "bitcoin", USD: "usd"}


def config(name: str = "rig-1", **changes: Any) -> ServerConfig:
    """A free server that asks 4 $ a day, 2 $ on spot, and takes dollars."""
    members: dict[str, Any] = {
        "name": name,
        "id": 100 + int(name.rpartition("-")[2]),
        "online": True,
        "visibility": "public",
        "mrl": 72,
        "rental_status": 0,
        "allowed_coins": [USD],
        "pricing": {BITCOIN: 0.0, USD: 4.0},
        "spot_pricing": {BITCOIN: 0.0, USD: 2.0},
        "autoprice": {},
        "specs": Specs(gpu=GPU),
    }
    return ServerConfig(**(members | changes))


def offer(usd: float, id_: int = 1, **changes: Any) -> Offer:
    """Somebody else's, on demand for so much; the lowest bid is half of it."""
    members: dict[str, Any] = {
        "id": id_,
        "owner": 9,
        "price": OfferPrice(on_demand={USD: usd}, spot={USD: usd / 2}),
        "rented": False,
        "specs": Specs(gpu=GPU),
        "reliability": 0.99,
        "allowed_coins": [USD],
    }
    return Offer(**(members | changes))


def offers(*usd: float) -> list[Offer]:
    return [offer(price, number) for number, price in enumerate(usd, 1)]


def seen(
    configs: Iterable[ServerConfig],
    market: Iterable[Offer] = (),
    *,
    at: int = NOW,
    rates: Mapping[str, float] = RATES,
    **changes: Any,
) -> Observation:
    found = {str(one.name): one for one in configs}
    members: dict[str, Any] = {
        "servers": Reading(
            {
                name: MyServer(
                    name=name, id=one.id, visibility=one.visibility, online=one.online, specs=one.specs
                )
                for name, one in found.items()
            },
            at,
        ),
        "configs": {name: Reading(one, at) for name, one in found.items()},
        "offers": Reading(list(market), at),
        "rates": rates,
        "has_open": True,
    }
    return Observation(**(members | changes))


def file_of(*groups: Pricing, **changes: Any) -> File:
    return File(pricing={f"group-{number}": group for number, group in enumerate(groups, 1)}, **changes)


def plan(
    file: File,
    observation: Observation,
    memory: Mapping[str, PriceMemory] | None = None,
    now: int = NOW,
) -> Part[Mapping[str, PriceMemory]]:
    return plan_prices(file, observation, memory or {}, now)


def new_price(part: Part[Any], member: str = "usd_on_demand", server: str = "rig-1") -> Any:
    """What a plan sets, None if it leaves it alone."""
    return next(
        (
            change.after
            for action in part.actions
            if isinstance(action, SetSettings) and action.server == server
            for change in action.changes
            if change.member == member
        ),
        None,
    )


def applied(one: ServerConfig, actions: Iterable[AnyAction]) -> ServerConfig:
    """A server's settings after a plan, as the market would keep them."""
    settings = settings_of(one)
    for action in actions:
        if isinstance(action, SetSettings) and action.server == one.name:
            changes = {change.member: change.after for change in action.changes}
            settings = msgspec.structs.replace(settings, **changes)
    return kept(one, settings)


def kept(one: ServerConfig, settings: SetServerSettings) -> ServerConfig:
    accepted = {USD: settings.usd_enabled, CLORE: settings.clore_enabled, BITCOIN: settings.bitcoin_enabled}
    return msgspec.structs.replace(
        one,
        visibility="public" if settings.availability else "hidden",
        mrl=settings.mrl,
        pricing={c: getattr(settings, f"{m}_on_demand") for c, m in PRICE_MEMBERS.items()},
        spot_pricing={c: getattr(settings, f"{m}_spot") for c, m in PRICE_MEMBERS.items()},
        allowed_coins=[str(currency) for currency in Currency if accepted[currency]],
        autoprice=settings.autoprice,
        usd_pricing=msgspec.convert(settings.usd_pricing, dict[str, PricePair] | None),
    )
