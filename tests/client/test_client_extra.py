"""What a market says beyond the types stays within reach, exactly as it came."""

import copy
import gc
import json
import weakref
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openclore.api.endpoints import MARKETPLACE, MY_ORDERS, MY_SERVERS, SPOT_MARKETPLACE
from openclore.api.gigaspot import SnapshotServer
from openclore.api.offers import Offer
from openclore.client._extra import remember
from openclore.client._wire import Answer, decoded

from .fakes import reply

OFFER = {
    "id": 70123,
    "tier": {"name": "gold", "since": 1.50},
    "price": {
        "on_demand": {"bitcoin": 0.1},
        "floor": [1, None],
        "original_usd": {"bitcoin": {"on_demand": 2, "tax": 0.19}},
    },
    "specs": {"gpu": "1x A", "nvlink": True, "net": {"cc": "DE", "ipv6": "yes"}},
}


def offers(*rows: Any) -> list[Offer]:
    body = json.dumps({"code": 0, "servers": list(rows)}).encode()
    return decoded(MARKETPLACE, Answer(200, {}, body)).servers


def test_members_without_a_name_are_in_extra_of_the_part_they_came_in(connect):
    clore, _ = connect(reply({"code": 0, "servers": [{"id": 1}, OFFER]}))
    plain, rich = clore.marketplace()
    assert plain.extra == {}
    assert rich.extra == {"tier": {"name": "gold", "since": 1.5}}
    assert rich.price.extra == {"floor": [1, None]}
    assert rich.price.original_usd["bitcoin"].extra == {"tax": 0.19}
    assert (rich.specs.extra, rich.specs.net.extra) == ({"nvlink": True}, {"ipv6": "yes"})


@pytest.mark.parametrize(
    ("endpoint", "content", "find"),
    [
        (MY_ORDERS, {"orders": [{"id": 5, "new": 1}]}, lambda r: r.orders[0]),
        (MY_SERVERS, {"servers": [{"name": "a"}, {"new": 1}]}, lambda r: r.servers[1]),
        (SPOT_MARKETPLACE, {"market": {"offers": [{"bid": 2, "new": 1}]}}, lambda r: r.market.offers[0]),
        (SPOT_MARKETPLACE, {"market": {"new": 1}}, lambda r: r.market),
        (SPOT_MARKETPLACE, {"market": {"server": {"new": 1}}}, lambda r: r.market.server),
        (MY_ORDERS, {"orders": [], "new": 1}, lambda r: r),
    ],
)
def test_every_kind_of_row_has_it(endpoint, content, find):
    body = json.dumps({"code": 0, **content}).encode()
    assert find(decoded(endpoint, Answer(200, {}, body))).extra == {"new": 1}


def test_rows_that_had_to_be_read_one_by_one_have_it_too():
    crooked = {**OFFER, "mrl": "soon", "specs": {**OFFER["specs"], "ram": "much"}}
    first, second = offers({"id": None}, crooked, 7, OFFER)
    for offer in (first, second):
        assert offer.extra == {"tier": {"name": "gold", "since": 1.5}}
        assert offer.specs.extra == {"nvlink": True}
        assert offer.specs.net.extra == {"ipv6": "yes"}
        assert offer.price.original_usd["bitcoin"].extra == {"tax": 0.19}


def test_what_was_not_read_from_a_market_has_nothing_extra():
    assert Offer(id=1).extra == {}
    assert copy.copy(offers(OFFER)[0]) == offers(OFFER)[0]
    assert msgspec.to_builtins(offers(OFFER)[0])["specs"] == {"gpu": "1x A", "net": {"cc": "DE"}}


def test_nothing_is_read_twice_and_what_came_goes_with_the_last_row():
    class Source:
        asked = 0

        def __call__(self) -> Any:
            self.asked += 1
            return [{"min_bid": 1, "new": n} for n in range(3)]

    source = Source()
    rows = [SnapshotServer(min_bid=1) for _ in range(3)]
    remember(rows, source)
    assert source.asked == 0
    assert [row.extra for row in rows] == [{"new": 0}, {"new": 1}, {"new": 2}]
    assert source.asked == 1

    source = Source()
    gone = weakref.ref(source)
    remember(rows, source)
    del rows[1:], source
    assert gone()
    gc.disable()
    try:
        rows.clear()
        assert gone() is None
    finally:
        gc.enable()


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=4), st.booleans())
def test_whatever_comes_is_either_a_member_or_extra(members, crooked):
    names = {field.encode_name for field in msgspec.structs.fields(Offer)}
    row = {**members, "id": 1, **({"mrl": "soon"} if crooked else {})}
    (offer,) = offers(row)
    assert offer.extra == {name: value for name, value in row.items() if name not in names}
