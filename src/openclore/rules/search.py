"""Searching the market: which offers fit, in which order, and which page of them.

A page ends with a cursor: the place of its last offer in the order. The next page begins right after that
place, whatever came to the market or went from it meanwhile.
"""

import base64
import heapq
import math
from collections.abc import Callable, Iterable
from operator import attrgetter, itemgetter

import msgspec

from ..api.open.offers import FoundOffer, OffersReply, SearchOffers
from .listings import Listed, per_hour
from .refused import InvalidInput

_Place = tuple[bool, float, int]
"""Where an offer stands in an order: without a figure or with, by figure, by id."""
_Pricing = Callable[[Listed], float | None]
_BEGINNING: _Place = (False, -math.inf, 0)


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
    after = _BEGINNING if request.after is None else _place_in(request)
    price = _pricing(request)
    found = [one for one in market if _fits(one, request, price)]
    # Places are made one at a time: thousands at once would have the collector look through the whole market.
    ahead = ((place, one) for one in found if (place := _place(one, request, price)) > after)
    first = heapq.nsmallest(request.limit + 1, ahead, key=itemgetter(0))
    page = first[: request.limit]
    unit = request.currency or "usd"
    return OffersReply(
        code=0,
        offers=[FoundOffer(one.offer, price(one), unit) for _, one in page],
        total=len(found),
        next=_cursor(request, page[-1][0]) if len(page) < len(first) else None,
    )


def _pricing(request: SearchOffers) -> _Pricing:
    """What the search compares; None where the host names no price."""
    spot = request.order_type == "spot"
    if request.currency is None:
        return attrgetter("usd_floor" if spot else "usd")
    currency = str(request.currency)  # a member of an enum is slow to look up
    if spot:
        return lambda one: per_hour(one.offer.floor_per_day(currency))
    return lambda one: per_hour(one.offer.price_per_day(currency))


def _fits(one: Listed, request: SearchOffers, price: _Pricing) -> bool:
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
        and (request.price_per_hour_max is None or _at_most(price(one), request.price_per_hour_max))
    )


def _at_least(figure: float | None, least: float | None) -> bool:
    return least is None or (figure is not None and figure >= least)


def _at_most(figure: float | None, most: float) -> bool:
    return figure is not None and figure <= most


def _place(one: Listed, request: SearchOffers, price: _Pricing) -> _Place:
    by = request.sort.removeprefix("-")
    figure: float | None
    if by == "price":
        figure = price(one)
    elif by == "reliability":
        figure = one.offer.reliability
    elif by == "vram":
        figure = one.vram_gb
    else:
        figure = one.gpu_count if by == "gpu_count" else 0
    if figure is None:
        return True, 0, one.offer.id
    return False, figure if by == request.sort else -figure, one.offer.id


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
