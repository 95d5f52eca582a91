"""What /metrics says is what was done, and what the market holds."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import text

from openclore.api.dialects import Dialect
from openclore.server import metrics
from openclore.server.loops import Loop
from openclore.server.settings import Settings
from openclore.store.store import Store

from .conftest import Door, a_door
from .scrapes import Samples, scrape

TOKEN = "a-token-for-tests"
ORDER = {"renting_server": 1, "type": "on-demand", "currency": "USD-Blockchain", "image": "busybox"}


@pytest.fixture(autouse=True)
def looked_at_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "FRESH_SECONDS", 0)
    monkeypatch.setattr(metrics, "SHARE_MAX", 1e9)


@pytest.fixture
def watched(new_sqlite_store: Callable[[], Store]) -> Iterator[Door]:
    with a_door(new_sqlite_store(), Settings(metrics_token=TOKEN)) as door:
        yield door


@pytest.fixture
def watched_anywhere(store: Store) -> Iterator[Door]:
    with a_door(store, Settings(metrics_token=TOKEN)) as door:
        yield door


def figures(door: Door) -> Samples:
    return scrape(door.http, TOKEN)


def asked(door: Door) -> dict[tuple[str, ...], float]:
    """(code, endpoint, status) to how often, without the scrapes."""
    counted = figures(door).get("openclore_requests_total", {})
    return {labels: count for labels, count in counted.items() if labels[1] != metrics.PATH}


def test_requests_are_counted_by_endpoint_code_and_status(watched: Door) -> None:
    watched.call("wallets")
    watched.call("wallets")
    watched.call("wallets", key=None)
    watched.call("create_order", ORDER)
    watched.call("create_order", {"renting_server": "one"})
    watched.call("orders/7", open=True)
    watched.call("orders/seven", open=True)
    watched.http.get("/healthz")
    assert asked(watched) == {
        ("0", "wallets", "200"): 2,
        ("3", "wallets", "401"): 1,
        ("6", "create_order", "200"): 1,
        ("2", "create_order", "400"): 1,
        ("4", "read_order", "404"): 1,
        ("2", "read_order", "400"): 1,
        ("", "/healthz", "200"): 1,
    }
    seconds = figures(watched)
    assert seconds["openclore_request_seconds_count"]["create_order",] == 2
    assert 0 < seconds["openclore_request_seconds_sum"]["create_order",] < 20


def test_callers_make_up_no_names(watched: Door) -> None:
    for path in ("/v1/secret-of-mine", "/v1/other", "/nowhere", "/v1/wallets/7", "/metrics/x"):
        watched.http.get(path)
    watched.call("wallets", method="DELETE")
    assert asked(watched) == {("4", "unknown", "404"): 5, ("4", "/v1/wallets", "404"): 1}


def test_a_refusal_of_the_live_dialect_is_counted_for_what_it_is(
    new_sqlite_store: Callable[[], Store],
) -> None:
    """The public service calls forbidden characters a database error; nobody is to be woken for that."""
    settings = Settings(metrics_token=TOKEN, dialect=Dialect.LIVE)
    with a_door(new_sqlite_store(), settings) as door:
        assert door.call("create_order", ORDER | {"env": {"A": "x&y"}}) == (500, {"code": 1})
        assert asked(door) == {("2", "create_order", "500"): 1}


def test_the_market_is_what_is_counted(watched_anywhere: Door) -> None:
    door, world = watched_anywhere, watched_anywhere.world
    world.credit("10")
    world.add_server("rack-2")
    assert door.call("create_order", ORDER)[1]["code"] == 0
    door.service.catch_up()
    world.now += 90
    found = figures(door)
    assert found["openclore_orders"] == {
        ("placed",): 1,
        ("deploying",): 0,
        ("running",): 0,
        ("waiting",): 0,
    }
    assert found["openclore_servers"] == {("online",): 2, ("offline",): 0, ("new",): 0}
    balances = found["openclore_ledger_balance"]
    assert balances["USD-Blockchain", "outside"] == -10
    assert 9.9 < balances["USD-Blockchain", "wallet"] < 10
    assert found["openclore_ledger_imbalance"] == {("USD-Blockchain",): 0}
    assert found["openclore_ledger_unposted_seconds"] == {(): 90}
    assert found["openclore_settlement_late_seconds"] == {(): 0}
    assert found["openclore_events_total"]["order_created",] == 1
    assert found["openclore_database_answers"] == {(): 1}


def test_a_ledger_that_does_not_add_up_shows(watched: Door) -> None:
    watched.world.credit("10")
    with watched.world.store.writing() as tx:
        tx.execute(text("UPDATE ledger_accounts SET balance = balance + 1 WHERE kind = 'wallet'"))
    assert figures(watched)["openclore_ledger_imbalance"] == {("USD-Blockchain",): 1}


def test_settling_that_is_late_shows_until_it_is_done(watched: Door) -> None:
    watched.world.credit("10")
    watched.call("create_order", ORDER)
    watched.world.now += 3_700
    assert figures(watched)["openclore_settlement_late_seconds"] == {(): 100}
    Loop(watched.service).turn()
    assert figures(watched)["openclore_settlement_late_seconds"] == {(): 0}
    assert figures(watched)["openclore_ledger_unposted_seconds"] == {(): 0}


def test_messages_that_wait_are_counted(watched: Door) -> None:
    watched.call("webhooks", {"url": "https://example.org/"}, open=True)
    with watched.world.store.writing() as tx:
        tx.execute(
            text(
                "INSERT INTO deliveries (id, webhook_id, kind, body, state, attempts, at, next_at)"
                " VALUES ('m-1', 1, 'test', '{}', 'waiting', 0, :at, :at), "
                " ('m-2', 1, 'test', '{}', 'waiting', 0, :at, :at + 500)"
            ),
            {"at": watched.world.now - 60},
        )
    found = figures(watched)
    assert found["openclore_webhook_messages_due"] == {(): 1}
    assert found["openclore_webhook_messages_late_seconds"] == {(): 60}


def test_ages_begin_anew_when_a_turn_went_well(watched: Door) -> None:
    service = watched.service
    service.metrics._finished_at["market"] -= 100
    service.metrics._current_at -= 100
    found = figures(watched)
    assert found["openclore_loop_age_seconds"]["market",] > 100
    assert found["openclore_snapshot_age_seconds"][()] > 100
    asyncio.run(Loop(service).turn_safely())
    found = figures(watched)
    assert found["openclore_loop_age_seconds"]["market",] < 100
    assert found["openclore_snapshot_age_seconds"][()] < 100


def test_a_database_that_does_not_answer_takes_only_its_own_figures(watched: Door) -> None:
    watched.call("wallets")
    with watched.world.store.writing() as tx:
        tx.execute(text("ALTER TABLE deliveries RENAME TO elsewhere"))
    found = figures(watched)
    assert found["openclore_database_answers"] == {(): 0}
    assert "openclore_orders" not in found
    assert found["openclore_requests_total"]["0", "wallets", "200"] == 1


def test_the_market_is_not_looked_at_for_every_scrape(watched: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "FRESH_SECONDS", 3_600)
    before = figures(watched)
    watched.world.add_server("rack-2")
    assert figures(watched)["openclore_servers"] == before["openclore_servers"]


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("::ffff:127.0.0.1", {}, 200),
        ("192.0.2.1", {}, 403),
        ("::ffff:192.0.2.1", {}, 403),
        ("not an address", {}, 403),
        ("127.0.0.1", {"x-forwarded-for": "192.0.2.1"}, 403),
        ("127.0.0.1", {"forwarded": "for=192.0.2.1"}, 403),
        ("127.0.0.1", {"x-real-ip": "192.0.2.1"}, 403),
        ("127.0.0.1", {"via": "1.1 proxy"}, 403),
        ("127.0.0.1", {"x-forwarded-proto": "https"}, 403),
        ("127.0.0.1", {"host": "localhost"}, 200),
        ("::1", {"host": "[::1]:8080"}, 200),
        ("127.0.0.1", {"host": "market.example.org"}, 403),
        ("127.0.0.1", {"host": "market.example.org", "authorization": f"Bearer {TOKEN}"}, 200),
        ("192.0.2.1", {"authorization": "Bearer wrong"}, 403),
        ("192.0.2.1", {"authorization": f"Bearer {TOKEN}"}, 200),
        ("127.0.0.1", {"x-real-ip": "192.0.2.1", "authorization": f"Bearer {TOKEN}"}, 200),
    ],
)
def test_metrics_are_for_neighbours_and_for_who_has_the_token(
    watched: Door, client: str, headers: dict[str, str], status: int
) -> None:
    app = watched.http.app

    async def from_there(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "client": (client, 50_000)}, receive, send)

    watched.http.app = from_there
    sent = {"host": "127.0.0.1:8080", **headers}
    assert watched.http.get("/metrics", headers=sent).status_code == status


def test_without_a_token_no_token_opens_them(door: Door) -> None:
    for sent in ("Bearer ", "Bearer", ""):
        assert door.http.get("/metrics", headers={"authorization": sent}).status_code == 403
