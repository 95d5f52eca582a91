"""GET /offers: the market, searched on the server."""

from typing import Annotated, Literal

import msgspec

from ..base import NO_NUL, Part, Reply, Request
from ..currencies import Currency
from ..offers import Offer

PAGE_MAX = 500

Money = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000)]


class SearchOffers(Request):
    """Every filter narrows; none is required. Only servers that are online are found, and none on GigaSPOT:
    neither order type rents those.

    `gpu` is part of the model's name, `gpu_count` exact. `vram_gb_min` is in GB per GPU as its maker counts,
    so that 24 also finds what a market rounds down to 23; `ram_gb_min` is in GB as listed.
    `price_per_hour_max` is in dollars, or in `currency` where that is given: the on-demand price of an hour
    of the whole machine, or with `order_type=spot` the lowest bid. `country` is an ISO code.
    `rented=true` also shows what is rented on demand. `sort` with `-` in front is descending; what has no
    figure comes last either way. `after` is the `next` of the page before, with the same `sort`,
    `order_type` and `currency`.
    """

    gpu: Annotated[str, msgspec.Meta(max_length=128, pattern=NO_NUL)] | None = None
    gpu_count: Count | None = None
    gpu_count_min: Count | None = None
    vram_gb_min: Annotated[float, msgspec.Meta(ge=0, le=1e5)] | None = None
    ram_gb_min: Annotated[float, msgspec.Meta(ge=0, le=1e6)] | None = None
    price_per_hour_max: Money | None = None
    reliability_min: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    country: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z]{2}\Z")] | None = None
    currency: Currency | None = None
    order_type: Literal["on-demand", "spot"] = "on-demand"
    rented: bool = False
    sort: Literal[
        "price", "-price", "reliability", "-reliability", "vram", "-vram", "gpu_count", "-gpu_count", "id"
    ] = "price"
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 50
    after: Annotated[str, msgspec.Meta(max_length=256, pattern=NO_NUL)] | None = None


class FoundOffer(Part, omit_defaults=False):
    """A row of the marketplace with the price that the search compared, per **hour**.

    `price_currency` is "usd", or the currency that was asked for.
    """

    offer: Offer
    price_per_hour: float | None = None
    price_currency: str = "usd"


class OffersReply(Reply):
    """`total` matches on all pages; `next` is null on the last."""

    offers: list[FoundOffer] = []
    total: int = 0
    next: str | None = None
