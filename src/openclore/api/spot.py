"""GET /spot_marketplace, POST /set_spot_price."""

import msgspec

from .base import Id, Part, Reply, Request


class SpotOffer(Part):
    """A bid per day in `currency`; `active` if it is the one that runs, `my` if it is the caller's."""

    offer_id: int | None = None
    bid: float | None = None
    active: bool | None = None
    my: bool | None = None
    currency: str | None = None


class SpotServer(Part):
    """`min_pricing` is the floor per day by currency; `mrl` in hours."""

    min_pricing: dict[str, float | None] | None = None
    mrl: int | None = None
    online: bool | None = None
    visibility: str | None = None


class SpotMarket(Part):
    """`currency_rates_in_usd` compares bids across currencies."""

    offers: list[SpotOffer] | None = None
    server: SpotServer | None = None
    currency_rates_in_usd: dict[str, float | None] | None = None


class SpotMarketplace(Request):
    """`market` is a server id."""

    market: Id


class SpotMarketplaceReply(Reply):
    """`exists` says whether the server is on the market."""

    market: SpotMarket = msgspec.field(default_factory=SpotMarket)
    exists: bool | None = None


class SetSpotPrice(Request):
    """`desired_price` is the new bid per day in the order's currency."""

    order_id: Id
    desired_price: float
