"""Whatever is asked for twice under one idempotency key happens once: every write of both APIs."""

from typing import Any

import pytest
from sqlalchemy import func, select

from openclore.api.endpoints import ENDPOINTS, Endpoint
from openclore.api.open.endpoints import OPEN_ENDPOINTS
from openclore.store.tables import events
from openclore.usecases.webhooks import Message, Outcome

from .conftest import Door

ORDER = {"renting_server": 2, "type": "on-demand", "currency": "USD-Blockchain", "image": "busybox"}
URL = "https://hooks.example/"
LIMIT = {"currency": "USD-Blockchain", "amount": 5, "period": "total"}

ASKED: dict[str, tuple[str, Any]] = {
    "create_order": ("renter", ORDER),
    "cancel_order": ("renter", {"id": 1}),
    "set_spot_price": ("renter", {"order_id": 1, "desired_price": 1.6}),
    "set_server_settings": (
        "host",
        {"name": "rack-1", "availability": False, "mrl": 48, "on_demand": 0, "spot": 0},
    ),
    "create_gigaspot_orders": (
        "renter",
        [{"renting_server": 1, "image": "a3f9c4d7e5b088d8a0bff880", "price": 12.5, "oc": [{"pl": 250}]}],
    ),
    "edit_gigaspot_orders": ("renter", [{"order_id": 1, "price": 12}]),
    "cancel_orders": ("renter", {"order_ids": [1]}),
    "place_order": ("renter", ORDER | {"lease_seconds": 900}),
    "renew_lease": ("renter", {"lease_seconds": 900}),
    "add_server": ("host", {"name": "rack-9"}),
    "remove_server": ("host", None),
    "set_gigaspot": ("host", {"min_bid": 5}),
    "set_background_job": ("host", {"image": "busybox"}),
    "add_webhook": ("renter", {"url": URL}),
    "remove_webhook": ("renter", None),
    "rotate_webhook": ("renter", None),
    "test_webhook": ("renter", None),
    "set_spend_limit": ("renter", LIMIT),
    "remove_spend_limit": ("renter", None),
}
"""Endpoint to whose key, and what is sent."""


@pytest.fixture
def busy(door: Door, monkeypatch: pytest.MonkeyPatch) -> Door:
    """Order 1 is a bid on server 1; server 2 is free, server 3 never connected; a webhook and a limit."""

    async def deliver(message: Message, timeout_seconds: float) -> Outcome:
        return Outcome(204, None)

    monkeypatch.setattr(door.service.courier, "deliver", deliver)
    world = door.world
    world.credit("10")
    world.add_server("rack-2")
    world.rent(type="spot", spotprice=1.5)
    for name, body, method, who in (
        ("servers", {"name": "rack-3"}, "POST", "host"),
        ("webhooks", {"url": URL}, "POST", "renter"),
        ("spend_limits", LIMIT | {"amount": 9}, "PUT", "renter"),
    ):
        status, reply = door.call(name, body, method=method, key=who, open=True)
        assert (status, reply["code"]) == (200, 0)
    return door


@pytest.mark.parametrize(
    "endpoint",
    [each for each in (*ENDPOINTS, *OPEN_ENDPOINTS) if each.writes],
    ids=lambda endpoint: endpoint.name,
)
def test_a_write_that_is_repeated_happens_once(busy: Door, endpoint: Endpoint[Any, Any]) -> None:
    first = ask(busy, endpoint)
    assert (first.status_code, first.json()["code"]) == (200, 0)
    assert "idempotency-replayed" not in first.headers
    happened = events_of(busy)
    again = ask(busy, endpoint)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert events_of(busy) == happened


def ask(door: Door, endpoint: Endpoint[Any, Any]) -> Any:
    who, body = ASKED[endpoint.name]
    ids = {"order_id": 1, "webhook_id": 1, "limit_id": 1, "server_id": 3}
    door.service.limits.__init__(door.service.settings.pace)  # type: ignore[misc]
    return door.http.request(
        endpoint.method,
        endpoint.below + endpoint.path.format_map(ids),
        json=body,
        headers={"auth": door.keys[who], "Idempotency-Key": "once"},
    )


def events_of(door: Door) -> int:
    with door.world.store.reading() as tx:
        return int(tx.execute(select(func.count()).select_from(events)).scalar_one())
