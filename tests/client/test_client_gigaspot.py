"""The GigaSPOT auction: one value from a reply and the snapshot it points to."""

import json

import httpx2
import pytest

from openclore.api.gigaspot import CreateGigaspotOrder, GpuClocks
from openclore.client import InputError, ReplyError, ServiceError

from .fakes import reply

IMAGE = "a3f9c4d7e5b088d8a0bff880"
SNAPSHOT = {
    "70123": {
        "bids": [{"owner": 901, "id": 5, "active": True, "price": 12.5, "rank": 1}],
        "gpus": [{"model": "RTX 4090", "pl": [150, 450]}],
        "min_bid": 10,
        "max_rental_length": 86_400,
        "cooling": "water",
    },
    "70124": {"min_bid": "cheap", "online": True},
}


def auction(url: str = "https://cdn.example/snapshot_1783700000.json", **more: object) -> httpx2.Response:
    return reply({"my_user_id": 901, "v1_snapshot_url": url, "clore_price": 0.005, "code": 0, **more})


def test_the_auction_is_what_the_market_says_and_the_snapshot_it_points_to(connect):
    clore, script = connect(auction(), reply(SNAPSHOT))
    seen = clore.gigaspot()
    assert (seen.my_user_id, seen.clore_price, seen.taken_at) == (901, 0.005, 1_783_700_000)
    first, second = seen.servers[70123], seen.servers[70124]
    assert (first.bids[0].owner, first.bids[0].price, first.gpus[0].pl) == (901, 12.5, [150.0, 450.0])
    assert (second.min_bid, second.online) == (None, True)
    assert (first.extra, first.bids[0].extra) == ({"cooling": "water"}, {"rank": 1})
    assert [str(r.url) for r in script.requests] == [
        "http://market.test/v1/get_gigaspot",
        "https://cdn.example/snapshot_1783700000.json",
    ]


def test_the_key_is_shown_to_the_market_only(connect):
    clore, script = connect(auction(), reply({}))
    clore.gigaspot()
    assert ["auth" in request.headers for request in script.requests] == [True, False]


def test_a_snapshot_is_fetched_when_its_address_changed(connect):
    later = auction("https://cdn.example/snapshot_1783700060.json", clore_price=0.006)
    clore, script = connect(auction(), reply({"1": {}}), auction(clore_price=0.007), later, reply({"2": {}}))
    seen = [clore.gigaspot() for _ in range(3)]
    assert [list(auction.servers) for auction in seen] == [[1], [1], [2]]
    assert [auction.clore_price for auction in seen] == [0.005, 0.007, 0.006]
    assert seen[2].taken_at == 1_783_700_060
    assert len(script.requests) == 5


def test_a_snapshot_that_fails_is_fetched_the_next_time(connect):
    clore, script = connect(auction(), reply(b"<html>", 500), auction(), reply({"1": {}}))
    with pytest.raises(ServiceError):
        clore.gigaspot()
    assert list(clore.gigaspot().servers) == [1]
    clore, script = connect(auction(), httpx2.ReadTimeout("slow"), reply(b"", 503), reply({"1": {}}))
    assert list(clore.gigaspot().servers) == [1]
    assert len(script.requests) == 4


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "ftp://cdn.example/a.json", None])
def test_an_address_that_is_none_is_not_followed(connect, url):
    clore, script = connect(auction(url))
    with pytest.raises(ReplyError, match="names no snapshot"):
        clore.gigaspot()
    assert len(script.requests) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_snapshot_is_told_so(connect, body):
    clore, _ = connect(auction(), reply(body))
    with pytest.raises(ReplyError, match="no snapshot"):
        clore.gigaspot()


def test_rows_that_are_no_servers_are_left_out(connect):
    clore, _ = connect(auction(), reply({"1": {}, "x": {}, "2": 7, "３": {}, "4": {"bids": [7, {"id": 3}]}}))
    servers = clore.gigaspot().servers
    assert list(servers) == [1, 4]
    assert [bid.id for bid in servers[4].bids] == [3]


def test_bids_are_made_changed_and_ended_in_batches(connect):
    outcome = {"status": "ok", "too_low_bids_servers": [70124], "code": 0}
    clore, script = connect(reply(outcome))
    typed = CreateGigaspotOrder(renting_server=70123, image=IMAGE, price=12.5, oc=[GpuClocks(pl=300)])
    plain = {"renting_server": 70124, "image": IMAGE, "price": 1, "oc": [{"pl": 250, "mem_lock": 9000}]}
    assert clore.create_gigaspot_orders([typed, plain]).too_low_bids_servers == [70124]
    first = {"renting_server": 70123, "image": IMAGE, "price": 12.5, "oc": [{"pl": 300}]}
    assert json.loads(script.requests[-1].content) == [first, plain]

    clore, script = connect(reply({"success_to_update_ids": [5], "failed_to_update_ids": [6], "code": 0}))
    changed = clore.edit_gigaspot_orders([{"order_id": 5, "price": 13}, {"order_id": 6, "price": 1}])
    assert (changed.success_to_update_ids, changed.failed_to_update_ids) == ([5], [6])
    assert script.body() == [{"order_id": 5, "price": 13}, {"order_id": 6, "price": 1}]

    clore, script = connect(reply({"failed_to_cancel": [6], "code": 0}))
    assert clore.cancel_orders(iter((5, 6))) == [6]
    assert script.body() == {"order_ids": [5, 6]}


@pytest.mark.parametrize(
    ("orders", "words"),
    [
        ([], "length >= 1"),
        ([{"renting_server": 1, "image": "ubuntu", "price": 1, "oc": [{"pl": 1}]}], "hexadecimal"),
        ([{"renting_server": 1, "image": IMAGE, "price": 0, "oc": [{"pl": 1}]}], "price"),
        ([{"renting_server": 1, "image": IMAGE, "price": float("nan"), "oc": [{"pl": 1}]}], "price"),
        ([{"renting_server": 1, "image": IMAGE, "price": 1, "oc": []}], "oc"),
        ([object()], "object"),
    ],
)
def test_bids_that_cannot_be_right_are_refused_here(connect, orders, words):
    clore, script = connect(reply({"code": 0}))
    with pytest.raises(InputError, match=words):
        clore.create_gigaspot_orders(orders)
    assert script.requests == []
