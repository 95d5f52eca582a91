import string
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openclore.api.offers import Offer, OfferPrice, UsdPrice
from openclore.api.open.offers import FoundOffer, OffersReply, SearchOffers
from openclore.api.specs import Net, Specs
from openclore.rules.listings import listed
from openclore.rules.refused import InvalidInput
from openclore.rules.search import search

SORTS = ["price", "-price", "reliability", "-reliability", "vram", "-vram", "gpu_count", "-gpu_count", "id"]


def an_offer(id: int, **changes: Any) -> Offer:  # noqa: A002
    """Two 24 GB GPUs for 4.80 dollars a day, in dollars or bitcoin."""
    return msgspec.structs.replace(
        Offer(
            id=id,
            rented=False,
            reliability=0.99,
            allowed_coins=["USD-Blockchain", "bitcoin"],
            price=OfferPrice(
                on_demand={"USD-Blockchain": 4.8, "bitcoin": 0.0001, "CLORE-Blockchain": 20},
                spot={"USD-Blockchain": 2.4, "bitcoin": 0.00006, "CLORE-Blockchain": 10},
                usd=UsdPrice(on_demand_usd=4.8, on_demand_btc=6.0, on_demand_clore=1.2, spot=2.4),
            ),
            specs=Specs(gpu="2x NVIDIA GeForce RTX 4090", gpuram=23, ram=64, net=Net(cc="DE")),
        ),
        **changes,
    )


def found(offers: list[Offer], **asked: Any) -> OffersReply:
    return search([listed(offer, False) for offer in offers], SearchOffers(**asked))


def ids(reply: OffersReply) -> list[int]:
    return [each.offer.id for each in reply.offers]


def walked(offers: list[Offer], **asked: Any) -> list[FoundOffer]:
    """All pages, one after the other."""
    page = found(offers, **asked)
    hits = list(page.offers)
    while page.next is not None:
        page = found(offers, **asked, after=page.next)
        assert page.offers, "a page that was announced is not empty"
        hits += page.offers
    return hits


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ({"gpu": "rtx 4090"}, True),
        ({"gpu": "3090"}, False),
        ({"gpu_count": 2}, True),
        ({"gpu_count": 1}, False),
        ({"gpu_count_min": 2}, True),
        ({"gpu_count_min": 3}, False),
        ({"vram_gb_min": 24}, True),
        ({"vram_gb_min": 25}, False),
        ({"ram_gb_min": 64}, True),
        ({"ram_gb_min": 64.1}, False),
        ({"price_per_hour_max": 0.2}, True),
        ({"price_per_hour_max": 0.19}, False),
        ({"price_per_hour_max": 0.1, "order_type": "spot"}, True),
        ({"price_per_hour_max": 0.09, "order_type": "spot"}, False),
        ({"price_per_hour_max": 0.0000042, "currency": "bitcoin"}, True),
        ({"price_per_hour_max": 0.0000041, "currency": "bitcoin"}, False),
        ({"reliability_min": 0.99}, True),
        ({"reliability_min": 0.995}, False),
        ({"country": "de"}, True),
        ({"country": "FR"}, False),
        ({"currency": "bitcoin"}, True),
        ({"currency": "CLORE-Blockchain"}, False),
        ({"rented": True}, True),
    ],
)
def test_each_filter_narrows(asked: dict[str, Any], fits: bool) -> None:
    assert ids(found([an_offer(7)], **asked)) == ([7] if fits else [])


def test_rented_machines_show_only_when_asked_for() -> None:
    offers = [an_offer(1, rented=True), an_offer(2), an_offer(3, rented=None)]
    assert ids(found(offers)) == [2, 3]
    assert ids(found(offers, rented=True)) == [1, 2, 3]


def test_machines_on_gigaspot_are_not_found() -> None:
    assert ids(found([an_offer(1, gigaspot=True), an_offer(2, gigaspot=False)], rented=True)) == [2]


@pytest.mark.parametrize(
    ("asked", "price", "unit"),
    [
        ({}, 0.2, "usd"),
        ({"currency": "USD-Blockchain"}, 0.2, "USD-Blockchain"),
        ({"currency": "bitcoin"}, 0.000004166667, "bitcoin"),
        ({"order_type": "spot"}, 0.1, "usd"),
        ({"order_type": "spot", "currency": "bitcoin"}, 0.0000025, "bitcoin"),
    ],
)
def test_the_price_compared_is_shown_per_hour(asked: dict[str, Any], price: float, unit: str) -> None:
    (hit,) = found([an_offer(1)], **asked).offers
    assert (hit.price_per_hour, hit.price_currency) == (price, unit)


def test_nothing_is_known_of_a_bare_row_and_it_comes_last_in_either_direction() -> None:
    bare, priced = Offer(id=1), an_offer(2)
    for sort in SORTS:
        if sort not in ("id", "gpu_count"):
            assert ids(found([bare, priced], sort=sort)) == [2, 1], sort
    for filtered in (
        {"price_per_hour_max": 99},
        {"vram_gb_min": 1},
        {"ram_gb_min": 1},
        {"reliability_min": 0.1},
    ):
        assert ids(found([bare, priced], **filtered)) == [2]


def test_a_price_of_zero_is_no_price() -> None:
    free = an_offer(1, price=OfferPrice(on_demand={"bitcoin": 0}, usd=UsdPrice(on_demand_btc=0, spot=0)))
    assert found([free]).offers[0].price_per_hour is None
    assert found([free], currency="bitcoin").offers[0].price_per_hour is None
    assert found([free], price_per_hour_max=9).total == 0


def test_ties_are_in_the_order_of_ids() -> None:
    offers = [an_offer(n) for n in (3, 1, 2)]
    assert all(ids(found(offers, sort=sort)) == [1, 2, 3] for sort in SORTS)


@st.composite
def markets(draw: st.DrawFn) -> list[Offer]:
    figures = st.none() | st.sampled_from([0.0, 0.1, 0.3, 1.0, 24.0])
    numbers = draw(st.lists(st.integers(1, 2**63 - 1), unique=True, max_size=30))
    return [
        Offer(
            id=number,
            reliability=draw(figures),
            allowed_coins=draw(st.sampled_from([None, [], ["bitcoin"], ["bitcoin", "USD-Blockchain"]])),
            price=OfferPrice(
                on_demand={"bitcoin": draw(figures), "USD-Blockchain": draw(figures)},
                spot={"bitcoin": draw(figures)},
                usd=UsdPrice(on_demand_btc=draw(figures), on_demand_usd=draw(figures), spot=draw(figures)),
            ),
            specs=Specs(gpu=draw(st.sampled_from([None, "1x A", "2x A", "3x B"])), gpuram=draw(figures)),
        )
        for number in numbers
    ]


requests = st.fixed_dictionaries(
    {
        "sort": st.sampled_from(SORTS),
        "order_type": st.sampled_from(["on-demand", "spot"]),
        "currency": st.sampled_from([None, "bitcoin", "USD-Blockchain"]),
        "gpu": st.sampled_from([None, "", "a", "A", "c"]),
        "limit": st.integers(1, 12),
    }
)


@given(markets(), requests)
def test_all_pages_together_are_the_matches_in_order(offers: list[Offer], asked: dict[str, Any]) -> None:
    everything = found(offers, **{**asked, "limit": 500})
    assert everything.next is None
    assert everything.total == len(everything.offers)
    hits = walked(offers, **asked)
    assert hits == everything.offers
    figures = {
        "price": lambda hit: hit.price_per_hour,
        "reliability": lambda hit: hit.offer.reliability,
        "vram": lambda hit: hit.offer.specs.vram_gb,
        "gpu_count": lambda hit: hit.offer.specs.gpu_count,
        "id": lambda hit: hit.offer.id,
    }
    sort = asked["sort"]
    shown = [figures[sort.removeprefix("-")](hit) for hit in hits]
    known = [figure for figure in shown if figure is not None]
    assert shown == sorted(known, reverse=sort.startswith("-")) + [None] * (len(shown) - len(known))


@given(markets(), markets(), requests, st.data())
def test_what_did_not_change_is_found_once_though_the_market_moves_between_pages(
    before: list[Offer], newcomers: list[Offer], asked: dict[str, Any], data: st.DataObject
) -> None:
    first = found(before, **asked)
    if first.next is None:
        return
    known = {offer.id for offer in before}
    gone = data.draw(st.sets(st.sampled_from(sorted(known))))
    after = [o for o in before if o.id not in gone] + [o for o in newcomers if o.id not in known]
    rest = walked_from(after, first.next, asked)
    stayed = {hit.offer.id for hit in found(before, **{**asked, "limit": 500}).offers} - gone
    assert sorted(stayed) == sorted({*ids(first), *rest} & stayed)
    assert not set(ids(first)) & set(rest)
    assert len(rest) == len(set(rest))


def walked_from(offers: list[Offer], after: str | None, asked: dict[str, Any]) -> list[int]:
    seen: list[int] = []
    while after is not None:
        page = found(offers, **asked, after=after)
        seen += ids(page)
        after = page.next
    return seen


@given(st.text(max_size=128) | st.text(string.ascii_letters + string.digits + "-_", max_size=128))
def test_what_is_no_cursor_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^after: "):
        found([an_offer(1)], after=text)


def test_a_cursor_of_another_order_is_refused_by_name() -> None:
    offers = [an_offer(1), an_offer(2)]
    cursor = found(offers, limit=1).next
    for other in ({"sort": "-price"}, {"sort": "vram"}, {"order_type": "spot"}, {"currency": "bitcoin"}):
        with pytest.raises(InvalidInput, match=r"^after: comes from a search with another"):
            found(offers, **other, after=cursor)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_longest_cursor_is_taken_back(reliability: float) -> None:
    offers = [
        an_offer(2**63 - n, reliability=reliability, allowed_coins=["CLORE-Blockchain"]) for n in (1, 2, 3)
    ]
    asked = {"sort": "-reliability", "order_type": "on-demand", "currency": "CLORE-Blockchain", "limit": 2}
    cursor = found(offers, **asked).next
    assert cursor
    request = msgspec.convert({**asked, "after": cursor}, SearchOffers)
    assert [hit.offer.id for hit in search([listed(offer, False) for offer in offers], request).offers] == [
        2**63 - 1
    ]
