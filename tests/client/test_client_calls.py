"""What is sent for each call, and what comes back."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import httpx2
import msgspec
import pytest

import openclore
from openclore.api.endpoints import ENDPOINTS
from openclore.api.open.endpoints import OPEN_ENDPOINTS
from openclore.api.open.events import ReadEvents, StreamEvents
from openclore.api.open.limits import SetSpendLimit
from openclore.api.open.offers import SearchOffers
from openclore.api.open.orders import PlaceOrder, RenewLease
from openclore.api.open.servers import SetBackgroundJob, SetGigaspot
from openclore.api.open.statements import ReadStatement
from openclore.api.open.statistics import ReadHistory, ReadStatistics
from openclore.api.open.webhooks import AddWebhook
from openclore.api.servers import SetServerSettings
from openclore.client import AsyncClore, Clore, InputError, NotFoundError, SignInError, settings_of

from .fakes import KEY, reply

REPO = Path(__file__).parents[2]
OK = reply({"code": 0})


def test_the_synchronous_half_is_what_the_generator_writes():
    done = subprocess.run([sys.executable, REPO / "tools" / "unasync.py", "--check"], capture_output=True)
    assert done.returncode == 0, done.stdout


NAMED_OTHERWISE = {
    "get_gigaspot": "gigaspot",
    "place_order": "create_order",
    "read_order": "order",
    "read_events": "events",
    "list_webhooks": "webhooks",
    "read_webhook": "webhook",
    "list_spend_limits": "spend_limits",
    "read_statement": "statement",
    "read_statistics": "statistics",
    "read_history": "history",
}


def test_every_endpoint_of_both_tables_is_a_method_of_both_halves():
    for endpoint in (*ENDPOINTS, *OPEN_ENDPOINTS):
        name = NAMED_OTHERWISE.get(endpoint.name, endpoint.name)
        assert callable(getattr(Clore, name))
        method = getattr(AsyncClore, name)
        assert inspect.iscoroutinefunction(method) or name == "stream_events"


@pytest.mark.parametrize(
    ("method", "contract", "besides"),
    [
        (Clore.create_order, PlaceOrder, {"idempotency_key"}),
        (Clore.search_offers, SearchOffers, set()),
        (Clore.events, ReadEvents, set()),
        (Clore.stream_events, StreamEvents, set()),
        (Clore.history, ReadHistory, set()),
        (Clore.statement, ReadStatement, set()),
        (Clore.statistics, ReadStatistics, set()),
        (Clore.set_spend_limit, SetSpendLimit, set()),
        (Clore.add_webhook, AddWebhook, set()),
        (Clore.set_gigaspot, SetGigaspot, {"server_id"}),
        (Clore.set_background_job, SetBackgroundJob, {"server_id"}),
        (Clore.renew_lease, RenewLease, {"order_id"}),
    ],
)
def test_a_method_takes_exactly_the_members_of_the_contract(method, contract, besides):
    parameters = set(inspect.signature(method).parameters) - {"self"}
    assert parameters == {field.name for field in msgspec.structs.fields(contract)} | besides


def test_importing_the_package_loads_no_client():
    code = "import sys, openclore; print([m for m in sys.modules if m in ('httpx2', 'msgspec', 'asyncio')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_lends_exactly_the_names_of_the_client():
    from openclore import client

    assert openclore.__all__ == client.__all__
    assert all(getattr(openclore, name) is getattr(client, name) for name in client.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        openclore.nonsense  # noqa: B018


def test_calls_send_what_the_table_says(connect):
    clore, script = connect(OK)
    clore.wallets()
    clore.marketplace()
    clore.my_orders(return_completed=True)
    clore.my_orders()
    clore.cancel_order(7, "too slow")
    clore.spot_marketplace(70123)
    clore.set_spot_price(7, 0.0000312)
    clore.my_servers()
    clore.server_config("rack-a2")
    clore.set_server_settings(SetServerSettings(name="rack-a2", mrl=24, usd_enabled=False))
    clore.renter_fees()
    clore.poh_balance()
    sent = [
        (r.method, str(r.url).removeprefix("http://market.test/v1"), json.loads(r.content or b"null"))
        for r in script.requests
    ]
    assert sent == [
        ("GET", "/wallets", None),
        ("GET", "/marketplace", None),
        ("GET", "/my_orders?return_completed=true", None),
        ("GET", "/my_orders", None),
        ("POST", "/cancel_order", {"id": 7, "issue": "too slow"}),
        ("GET", "/spot_marketplace?market=70123", None),
        ("POST", "/set_spot_price", {"order_id": 7, "desired_price": 0.0000312}),
        ("GET", "/my_servers", None),
        ("GET", "/server_config", {"server_name": "rack-a2"}),
        ("POST", "/set_server_settings", {"name": "rack-a2", "mrl": 24, "enabled-USD-Blockchain": False}),
        ("GET", "/renter_fees", None),
        ("GET", "/poh_balance", None),
    ]
    for request in script.requests:
        assert request.headers["auth"] == KEY
        assert request.headers["user-agent"].startswith("openclore/")
        assert "authorization" not in request.headers
        assert ("content-type" in request.headers) == bool(request.content)
        assert ("idempotency-key" in request.headers) == (request.method == "POST")


def test_replies_become_typed_values(connect):
    clore, _ = connect(
        reply(
            {
                "wallets": [{"name": "bitcoin", "balance": 0.0004, "new": 1}, {"currency": "x", "amount": 2}],
                "code": 0,
            }
        )
    )
    wallets = clore.wallets()
    assert [(w.wire_name, w.available) for w in wallets] == [("bitcoin", 0.0004), ("x", 2)]


def test_an_anonymous_client_reads_the_marketplace_and_nothing_else(connect):
    clore, script = connect(reply({"servers": [{"id": 1}], "code": 0}), key=None)
    assert [offer.id for offer in clore.marketplace()] == [1]
    assert "auth" not in script.requests[0].headers
    with pytest.raises(SignInError, match="needs an API key"):
        clore.wallets()
    assert len(script.requests) == 1


def test_a_server_that_is_not_on_the_spot_market_is_not_found(connect):
    clore, _ = connect(reply({"market": {}, "exists": False, "code": 0}))
    with pytest.raises(NotFoundError, match="70123"):
        clore.spot_marketplace(70123)


ORDER = {"renting_server": 70123, "currency": "bitcoin", "image": "a/b:1"}


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        ({"image": "a b"}, "image", "at most 128 letters"),
        ({"image": "docker.io/a/b/c"}, "image", "two slashes"),
        ({"renting_server": 0}, "renting_server", ">= 1"),
        ({"renting_server": "x"}, "renting_server", "whole number"),
        ({"ports": {70000: "tcp"}}, "ports", "1 to 65535"),
        ({"ports": {"ssh": "tcp"}}, "ports", "1 to 65535"),
        ({"ports": {22: "udp"}}, "ports", 'each "tcp" or "http"'),
        ({"ports": dict.fromkeys(range(1, 7), "tcp")}, "ports", "at most 5"),
        ({"ports": {1: "http", 2: "http"}}, "ports", "one port can be http"),
        ({"env": {"A": "fine", "TOKEN": "a&b"}}, "env", "TOKEN: may hold only"),
        ({"env": {"A B": "x"}}, "env", "may hold only"),
        ({"env": {f"N{i}": "x" * 1500 for i in range(9)}}, "env", "shorter than 12288"),
        ({"ssh_password": "hunter2!" * 9}, "ssh_password", "32"),
        ({"spotprice": float("nan"), "type": "spot"}, "spotprice", "finite"),
        ({"type": "on-demand or spot"}, "type", "on-demand or spot"),
        ({"command": "\ud800"}, None, "Unicode"),
        ({"env": {"A": object()}}, "env", ""),
    ],
)
def test_an_order_that_cannot_be_right_is_refused_here_and_nothing_is_sent(connect, wrong, field, words):
    clore, script = connect(OK)
    with pytest.raises(InputError) as caught:
        clore.create_order(**{**ORDER, **wrong})
    assert words in str(caught.value)
    assert field is None or caught.value.field == field
    assert "a&b" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert script.requests == []


def test_settings_changed_by_the_caller_are_checked_before_they_are_sent(connect):
    clore, script = connect(OK)
    with pytest.raises(InputError, match="mrl"):
        clore.set_server_settings(SetServerSettings(name="a", mrl="soon"))
    assert script.requests == []


def test_settings_read_are_settings_written(connect):
    config = {
        "name": "rack-a2",
        "visibility": "public",
        "mrl": 168,
        "pricing": {"bitcoin": 0.00003, "CLORE-Blockchain": 400, "USD-Blockchain": 2},
        "spot_pricing": {"bitcoin": 0.00002, "CLORE-Blockchain": 250, "USD-Blockchain": 1.2},
        "allowed_coins": ["CLORE-Blockchain", "USD-Blockchain"],
        "autoprice": {"CLORE-Blockchain": "usd", "bitcoin": False},
        "usd_pricing": {"CLORE-Blockchain": {"on_demand": 2, "spot": 1.2}},
    }
    clore, script = connect(reply({"config": config, "code": 0}), OK)
    clore.set_server_settings(settings_of(clore.server_config("rack-a2")))
    assert script.body() == {
        "name": "rack-a2",
        "availability": True,
        "mrl": 168,
        "bitcoin_on_demand": 0.00003,
        "bitcoin_spot": 0.00002,
        "CLORE-Blockchain_on_demand": 400,
        "CLORE-Blockchain_spot": 250,
        "USD-Blockchain_on_demand": 2,
        "USD-Blockchain_spot": 1.2,
        "enabled-bitcoin": False,
        "enabled-CLORE-Blockchain": True,
        "enabled-USD-Blockchain": True,
        "autoprice": {"CLORE-Blockchain": "usd", "bitcoin": False},
        "usd_pricing": {"CLORE-Blockchain": {"on_demand": 2, "spot": 1.2}},
    }


def test_a_call_that_drips_is_given_up(connect, clock):
    def drip(request: httpx2.Request) -> httpx2.Response:
        clock.now += 1_000
        return reply({"code": 0})

    clore, _ = connect(drip, attempts=1)
    with pytest.raises(openclore.TimedOutError, match="not complete"):
        clore.wallets()
