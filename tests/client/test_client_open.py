"""The methods of /open/v1: what is sent, and what comes back."""

import itertools
import json
from typing import Any

import httpx2
import pytest

from openclore.api.dialects import DIALECT_HEADER
from openclore.api.open.endpoints import IDEMPOTENCY_HEADER
from openclore.client import InputError, NotFoundError, SetupError

from .fakes import KEY, reply

OPEN = {DIALECT_HEADER: "open"}
DETAIL = {"order": {"id": 7, "si": 3, "fresh": 1}, "charged": 0.5, "history": [], "key": "bot"}
WEBHOOK = {"id": 4, "url": "https://a.example/", "kinds": [], "created_at": 5, "secret": "whsec_x"}
DELIVERY = {"id": "msg_1", "event_id": None, "kind": "test", "state": "delivered", "attempts": 1, "at": 9}
LIMIT = {"id": 2, "currency": "bitcoin", "amount": 1, "period": "day", "spent": 0, "since": 9}
SERVER = {"server_id": 9, "name": "rack-1", "init_token": "t"}
FIGURES = {"gpu": "RTX 4090", "servers": 1, "gpus": 2, "rented": 1, "rented_share": 1.0, "price_p50": 0.2}


def sent(request: httpx2.Request) -> tuple[str, str, Any]:
    address = str(request.url).removeprefix("http://market.test")
    return request.method, address, json.loads(request.content or b"null")


@pytest.mark.parametrize(
    ("call", "content", "message"),
    [
        (lambda c: c.order(7), {"order": DETAIL}, ("GET", "/open/v1/orders/7", None)),
        (
            lambda c: c.renew_lease(7, 600),
            {"order": DETAIL},
            ("PUT", "/open/v1/orders/7/lease", {"lease_seconds": 600}),
        ),
        (
            lambda c: c.renew_lease(7, None),
            {"order": DETAIL},
            ("PUT", "/open/v1/orders/7/lease", {"lease_seconds": None}),
        ),
        (lambda c: c.add_server("rack-1"), SERVER, ("POST", "/open/v1/servers", {"name": "rack-1"})),
        (lambda c: c.remove_server(9), {}, ("DELETE", "/open/v1/servers/9", None)),
        (
            lambda c: c.set_gigaspot(9, 5.5, energy_price=0.1),
            {},
            ("PUT", "/open/v1/servers/9/gigaspot", {"min_bid": 5.5, "energy_price": 0.1}),
        ),
        (
            lambda c: c.set_gigaspot(9, None),
            {},
            ("PUT", "/open/v1/servers/9/gigaspot", {"min_bid": None}),
        ),
        (
            lambda c: c.set_background_job(9, "a/b:1", "run", {"A": "1"}),
            {},
            (
                "POST",
                "/open/v1/servers/9/background_job",
                {"image": "a/b:1", "command": "run", "env": {"A": "1"}},
            ),
        ),
        (
            lambda c: c.set_background_job(9, None),
            {},
            ("POST", "/open/v1/servers/9/background_job", {"image": None}),
        ),
        (
            lambda c: c.events(5, limit=10, kinds=["order_ended", "order_created"], order_id=7),
            {"events": [{"id": 6, "at": 1, "kind": "order_ended"}], "after": 6, "more": False},
            ("GET", "/open/v1/events?after=5&limit=10&kinds=order_ended%2Corder_created&order_id=7", None),
        ),
        (lambda c: c.events(), {}, ("GET", "/open/v1/events", None)),
        (
            lambda c: c.add_webhook("https://a.example/", kinds=["order_ended"]),
            {"webhook": WEBHOOK},
            ("POST", "/open/v1/webhooks", {"url": "https://a.example/", "kinds": ["order_ended"]}),
        ),
        (lambda c: c.webhooks(), {"webhooks": [WEBHOOK]}, ("GET", "/open/v1/webhooks", None)),
        (lambda c: c.webhook(4), {"webhook": WEBHOOK}, ("GET", "/open/v1/webhooks/4", None)),
        (lambda c: c.remove_webhook(4), {}, ("DELETE", "/open/v1/webhooks/4", None)),
        (lambda c: c.rotate_webhook(4), {"webhook": WEBHOOK}, ("POST", "/open/v1/webhooks/4/rotate", None)),
        (lambda c: c.test_webhook(4), {"delivery": DELIVERY}, ("POST", "/open/v1/webhooks/4/test", None)),
        (lambda c: c.spend_limits(), {"limits": [LIMIT]}, ("GET", "/open/v1/spend_limits", None)),
        (
            lambda c: c.set_spend_limit("bitcoin", 1, period="day", key="bot"),
            {"limit": LIMIT},
            (
                "PUT",
                "/open/v1/spend_limits",
                {"currency": "bitcoin", "amount": 1, "period": "day", "key": "bot"},
            ),
        ),
        (lambda c: c.remove_spend_limit(2), {}, ("DELETE", "/open/v1/spend_limits/2", None)),
        (
            lambda c: c.statement(currency="bitcoin", since=5, after=7, limit=10),
            {"lines": [], "wallets": [], "after": 7, "more": False},
            ("GET", "/open/v1/statement?currency=bitcoin&since=5&after=7&limit=10", None),
        ),
        (
            lambda c: c.statistics("4090"),
            {"models": [FIGURES]},
            ("GET", "/open/v1/statistics?gpu=4090", None),
        ),
        (
            lambda c: c.history("RTX 4090", since=5),
            {"history": [FIGURES]},
            ("GET", "/open/v1/statistics/history?gpu=RTX+4090&since=5", None),
        ),
        (
            lambda c: c.search_offers(gpu="4090", price_per_hour_max=0.5, rented=True, sort="-vram"),
            {"offers": [], "total": 0},
            ("GET", "/open/v1/offers?gpu=4090&price_per_hour_max=0.5&rented=true&sort=-vram", None),
        ),
    ],
)
def test_each_method_sends_its_request_next_to_v1(connect, call, content, message):
    clore, script = connect(reply({"code": 0, **content}, headers=OPEN))
    call(clore)
    (request,) = script.requests
    method, address, body = sent(request)
    assert (method, body) == (message[0], message[2])
    assert httpx2.URL(address) == httpx2.URL(message[1])
    assert request.headers["auth"] == KEY
    assert (IDEMPOTENCY_HEADER in request.headers) == (method != "GET")


def test_replies_are_typed_down_to_what_has_no_name(connect):
    clore, _ = connect(reply({"code": 0, "order": {**DETAIL, "new": 2}}, headers=OPEN))
    detail = clore.order(7)
    assert (detail.order.id, detail.charged, detail.key) == (7, 0.5, "bot")
    assert (detail.extra, detail.order.extra) == ({"new": 2}, {"fresh": 1})
    clore, _ = connect(reply({"code": 0, "webhook": {**WEBHOOK, "deliveries": [DELIVERY]}}, headers=OPEN))
    assert clore.webhook(4).deliveries[0].state == "delivered"


def test_all_pages_of_a_search_are_walked(connect):
    pages = [
        {
            "offers": [{"offer": {"id": n}, "price_per_hour": n / 10} for n in (1, 2)],
            "total": 3,
            "next": "p2",
        },
        {"offers": [{"offer": {"id": 3}}], "total": 3},
    ]
    clore, script = connect(*[reply({"code": 0, **page}, headers=OPEN) for page in pages])
    assert [found.offer.id for found in clore.walk("iter_offers", gpu="4090")] == [1, 2, 3]
    assert [r.url.params.get("after") for r in script.requests] == [None, "p2"]
    assert all(r.url.params["gpu"] == "4090" for r in script.requests)


def test_all_pages_of_a_statement_are_walked(connect):
    line = {"at": 1, "currency": "bitcoin", "kind": "credit", "amount": "1", "balance": "1"}
    line |= {"reference": "account:1", "how": "", "previous": "", "hash": "00"}
    pages = [
        {"lines": [{**line, "id": 1}, {**line, "id": 2}], "after": 2, "more": True},
        {"lines": [{**line, "id": 3}], "after": 3, "more": False},
    ]
    clore, script = connect(*[reply({"code": 0, **page}, headers=OPEN) for page in pages])
    assert [found.id for found in clore.walk("iter_statement", currency="bitcoin")] == [1, 2, 3]
    assert [r.url.params.get("after") for r in script.requests] == [None, "2"]


@pytest.mark.parametrize(
    "answer",
    [
        reply({"code": 4}, 404),
        reply(b"<html>Not found</html>", 404),
        reply(b"", 405),
        reply({"code": 4, "error": "?"}),
    ],
)
def test_a_market_without_open_v1_says_so(connect, answer):
    clore, _ = connect(answer)
    with pytest.raises(SetupError, match="no /open/v1"):
        clore.order(7)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"code": 4, "error": "you have no order 7"}, "read_order: you have no order 7 (code 4)."),
        ({"code": 4}, "read_order: you have no order with this id (code 4)."),
    ],
)
def test_what_does_not_exist_on_a_market_of_ours_is_not_found(connect, body, said):
    clore, _ = connect(reply(body, 404, headers=OPEN))
    with pytest.raises(NotFoundError) as caught:
        clore.order(7)
    assert str(caught.value) == said


def test_the_address_must_end_in_v1(connect):
    clore, script = connect(reply({"code": 0}), base_url="http://market.test/api")
    with pytest.raises(SetupError, match="ends in /v1"):
        clore.spend_limits()
    assert script.requests == []


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda c: c.order(0), "order_id"),
        (lambda c: c.order("7/../8"), "order_id"),
        (lambda c: c.renew_lease(7, 1), "lease_seconds"),
        (lambda c: c.add_server("a/b"), "name"),
        (lambda c: c.search_offers(country="Germany"), "country"),
        (lambda c: c.set_spend_limit("euro", 1), "currency"),
        (lambda c: c.set_spend_limit("bitcoin", -1), "amount"),
        (lambda c: c.events(-1), "after"),
        (lambda c: c.add_webhook(""), "url"),
    ],
)
def test_what_cannot_be_right_is_refused_here(connect, call, field):
    clore, script = connect(reply({"code": 0}))
    with pytest.raises(InputError) as caught:
        call(clore)
    assert caught.value.field == field
    assert script.requests == []


def test_a_removal_whose_answer_was_lost_takes_gone_for_done(connect):
    gone = reply({"code": 4, "error": "webhook_id: none of yours"}, 404, headers={DIALECT_HEADER: "live"})
    clore, script = connect(httpx2.ReadTimeout("slow"), gone)
    clore.remove_webhook(4)
    assert len(script.requests) == 2
    clore, _ = connect(gone)
    with pytest.raises(NotFoundError):
        clore.remove_webhook(4)


def test_open_v1_has_a_pace_of_its_own(connect, clock):
    clore, script = connect(reply({"code": 0}, headers=OPEN))
    for _ in range(3):
        clore.wallets()
        clore.webhooks()
        clore.webhooks()
    quick = [at for at, path in zip(script.times, script.paths, strict=True) if path != "wallets"]
    slow = [at for at, path in zip(script.times, script.paths, strict=True) if path == "wallets"]
    assert all(1.0 <= b - a < 1.1 for a, b in itertools.pairwise(slow))
    assert all(b - a >= 0.1 for a, b in itertools.pairwise(quick))
    assert clock.now - 1_000 < 2.5
