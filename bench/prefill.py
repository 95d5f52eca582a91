"""A market on disk that is full from the start."""

import time
from pathlib import Path

import msgspec

from openclore.api.currencies import Currency
from openclore.api.offers import Offer
from openclore.rules import money
from openclore.rules.servers import Pricing, Settings, Visibility
from openclore.store import accounts, rates, servers
from openclore.store.store import database_url, open_store

from .marketplace import offers

SILENCE_SECONDS = 86_400
SERVE_SETTINGS = {
    "OPENCLORE_POLICY__OFFLINE_AFTER_SECONDS": str(SILENCE_SECONDS),
    "OPENCLORE_POLICY__HOST_LOST_AFTER_SECONDS": str(SILENCE_SECONDS),
}
"""No agents beat for these servers; so they stay listed without."""
UP_SECONDS = 40_000


def fill(data_dir: Path, count: int) -> None:
    """Make a market with so many listed servers, all online now, in one transaction."""
    now = int(time.time())
    store = open_store(database_url(data_dir))
    try:
        with store.writing() as tx:
            rates.put(tx, Currency.BITCOIN, money.from_text("65000"), now)
            rates.put(tx, Currency.CLORE, money.from_text("0.06"), now)
            owners: dict[int | None, int] = {}
            heard: dict[int, tuple[int, int]] = {}
            for offer in offers(count):
                if offer.owner not in owners:
                    email = f"host-{offer.owner}@example.org"
                    owners[offer.owner] = accounts.add(tx, email, now).id
                added = servers.add(tx, owners[offer.owner], f"rack-{offer.id}", f"token-{offer.id}", now)
                heard[added.id] = (now - UP_SECONDS, now)
                servers.save_settings(tx, added.id, _settings(offer))
                servers.save_facts(
                    tx,
                    msgspec.structs.replace(
                        added,
                        init_token=None,
                        connected_at=now - 2 * UP_SECONDS,
                        specs=offer.specs,
                        gpu_array=_gpu_array(offer),
                        cuda_version=offer.cuda_version or "",
                    ),
                )
                servers.set_presence(tx, added.id, online=True, seen_until=now - 1)
            servers.heard(tx, heard)
    finally:
        store.close()


def _settings(offer: Offer) -> Settings:
    assert offer.price
    on_demand, spot = offer.price.on_demand or {}, offer.price.spot or {}
    return Settings(
        visibility=Visibility.PUBLIC,
        mrl_hours=offer.mrl or 24,
        prices={
            currency: Pricing(
                on_demand=money.from_wire(on_demand[currency] or 0),
                spot=money.from_wire(spot[currency] or 0),
                accepted=True,
            )
            for currency in (Currency.BITCOIN, Currency.CLORE)
        },
    )


def _gpu_array(offer: Offer) -> list[str]:
    return [offer.specs.gpu_model] * offer.specs.gpu_count if offer.specs else []
