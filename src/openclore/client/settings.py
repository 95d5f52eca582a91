"""A server's settings, read to be changed and written back."""

from openclore.api.currencies import Currency
from openclore.api.servers import ServerConfig, SetServerSettings


def settings_of(config: ServerConfig) -> SetServerSettings:
    """The present settings in the form `set_server_settings` takes, which replaces them as a whole."""
    prices, floors = config.pricing or {}, config.spot_pricing or {}
    coins = config.allowed_coins
    return SetServerSettings(
        name=config.name,
        availability=None if config.visibility is None else config.visibility == "public",
        mrl=config.mrl,
        bitcoin_on_demand=prices.get(Currency.BITCOIN),
        bitcoin_spot=floors.get(Currency.BITCOIN),
        bitcoin_enabled=None if coins is None else Currency.BITCOIN in coins,
        clore_on_demand=prices.get(Currency.CLORE),
        clore_spot=floors.get(Currency.CLORE),
        clore_enabled=None if coins is None else Currency.CLORE in coins,
        usd_on_demand=prices.get(Currency.USD),
        usd_spot=floors.get(Currency.USD),
        usd_enabled=None if coins is None else Currency.USD in coins,
        autoprice=config.autoprice if isinstance(config.autoprice, dict) else None,
        usd_pricing=config.usd_pricing,
    )
