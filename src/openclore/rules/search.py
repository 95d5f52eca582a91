"""Searching the market: which offers fit, in which order, and which page of them.

A page ends with a cursor: the place of its last offer in the order. The next page begins right after that
place, whatever came to the market or went from it meanwhile.
"""

import base64
import heapq
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from ..api.open.offers import FoundOffer, OffersReply, SearchOffers
from .listings import Listed, per_hour
from .refused import InvalidInput


class _Place(NamedTuple):
    """Where an offer stands in an order: those without a figure last, ties by id."""

    last: bool
    figure: float
    id: int


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    sort: str
    order_type: str
    currency: str | None
    place: _Place


def search(market: Iterable[Listed], request: SearchOffers) -> OffersReply:
    """The page that a request asks for.

    Raises:
        InvalidInput: `after` is no cursor of this order.
    """
    after = None if request.after is None else _place_in(request)
    found = [
        (_place(one, price, request.sort), price, one.offer)
        for one in market
        if _fits(one, price := _price(one, request), request)
    ]
    ahead = found if after is None else [hit for hit in found if hit[0] > after]
    page = heapq.nsmallest(request.limit, ahead, key=lambda hit: hit[0])
    return OffersReply(
        code=0,
        offers=[FoundOffer(offer, price, request.currency or "usd") for _, price, offer in page],
        total=len(found),
        next=_cursor(request, page[-1][0]) if len(page) < len(ahead) else None,
    )


def _price(one: Listed, request: SearchOffers) -> float | None:
    """What the search compares; None where the host names none."""
    spot = request.order_type == "spot"
    if request.currency is None:
        return one.usd_floor if spot else one.usd
    price_in = one.offer.floor_per_day if spot else one.offer.price_per_day
    return per_hour(price_in(request.currency))


def _fits(one: Listed, price: float | None, request: SearchOffers) -> bool:
    offer = one.offer
    return (
        not offer.gigaspot
        and (request.rented or not offer.rented)
        and (request.currency is None or request.currency in (offer.allowed_coins or ()))
        and (request.gpu is None or request.gpu.lower() in one.gpu)
        and (request.gpu_count is None or one.gpu_count == request.gpu_count)
        and (request.country is None or request.country.lower() == one.country)
        and _at_least(one.gpu_count, request.gpu_count_min)
        and _at_least(one.vram_gb, request.vram_gb_min)
        and _at_least(one.ram_gb, request.ram_gb_min)
        and _at_least(offer.reliability, request.reliability_min)
        and (
            request.price_per_hour_max is None or (price is not None and price <= request.price_per_hour_max)
        )
    )


def _at_least(figure: float | None, least: float | None) -> bool:
    return least is None or (figure is not None and figure >= least)


def _place(one: Listed, price: float | None, sort: str) -> _Place:
    by = sort.removeprefix("-")
    figure: float | None
    if by == "price":
        figure = price
    elif by == "reliability":
        figure = one.offer.reliability
    elif by == "vram":
        figure = one.vram_gb
    else:
        figure = one.gpu_count if by == "gpu_count" else 0
    if figure is None:
        return _Place(True, 0, one.offer.id)
    return _Place(False, figure if by == sort else -figure, one.offer.id)


def _cursor(request: SearchOffers, place: _Place) -> str:
    cursor = _Cursor(request.sort, request.order_type, request.currency, place)
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def _place_in(request: SearchOffers) -> _Place:
    """The place that `after` names.

    Raises:
        InvalidInput: it is no cursor, or one of another order.
    """
    text = request.after or ""
    asked = (request.sort, request.order_type, request.currency)
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = msgspec.json.decode(packed, type=_Cursor)
    except (ValueError, msgspec.DecodeError, RecursionError):
        raise InvalidInput("after: must be the `next` of the page before, unchanged") from None
    if (cursor.sort, cursor.order_type, cursor.currency) != asked:
        raise InvalidInput("after: comes from a search with another sort, order_type or currency")
    return cursor.place
