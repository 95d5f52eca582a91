"""Every method of the client that has no other way to a real market: asked once, over real sockets."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from openclore.client import Clore, NotFoundError, Spacing, WaitError
from openclore.store.store import Store, database_url, open_store
from openclore.usecases import accounts

from ..processes import a_server
from ..world import World

QUICK = {
    "OPENCLORE_PACE__SPACING_SECONDS": "0",
    "OPENCLORE_PACE__CREATE_ORDER_SECONDS": "0",
    "OPENCLORE_PACE__OPEN_SPACING_SECONDS": "0",
    "OPENCLORE_POLICY__OFFLINE_AFTER_SECONDS": "7200",
    "OPENCLORE_POLICY__WEBHOOKS__ALLOW_PRIVATE_ADDRESSES": "true",
}


@pytest.fixture
def parties(quick_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Clore, Clore, int]]:
    """A renter with a hundred dollars, a host, and the host's server."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(quick_dir / "cache"))
    store: Store = open_store(database_url(quick_dir))
    world = World(store, now=int(time.time()))
    world.credit("100")
    keys = [
        accounts.create_key(world.market, f"{who}@example.org", "test", world.now)[1]
        for who in ("renter", "host")
    ]
    store.close()
    with a_server(quick_dir / "log", "--data-dir", str(quick_dir), "--port", "0", env=QUICK) as (_, address):
        renter, host = (Clore(key, base_url=f"{address}/v1", spacing=Spacing(0.0)) for key in keys)
        with renter, host:
            yield renter, host, world.server


def test_a_renter_searches_orders_with_a_lease_and_follows_what_happens(parties):
    renter, _, server = parties
    (found,) = renter.iter_offers(order_type="on-demand", currency="USD-Blockchain")
    assert found.offer.id == server
    stream = renter.stream_events(after=renter.events().after, kinds=["order_created", "order_ended"])
    order = renter.create_order(
        renting_server=server,
        currency="USD-Blockchain",
        image="busybox",
        lease_seconds=600,
        spend_max=5,
        idempotency_key="once",
    )
    again = renter.create_order(
        renting_server=server,
        currency="USD-Blockchain",
        image="busybox",
        lease_seconds=600,
        spend_max=5,
        idempotency_key="once",
    )
    assert again.id == order.id
    detail = renter.renew_lease(order.id, None)
    assert (detail.lease_until, detail.spend_max, detail.order.si) == (None, 5.0, server)
    renter.cancel_order(order.id)
    told = list(itertools.islice(stream, 2))
    stream.close()
    assert [(event.kind, event.order_id) for event in told] == [
        ("order_created", order.id),
        ("order_ended", order.id),
    ]
    ended = renter.order(order.id)
    assert ended.order.end_reason == "cancelled"
    assert {step.kind for step in ended.history} >= {"order_created", "order_ended"}
    with pytest.raises(NotFoundError):
        renter.order(order.id + 1)
    assert renter.renter_fees().renter_fees.on_demand.base["USD-Blockchain"] == 5
    assert renter.poh_balance().balance.total == 0
    assert [figures.servers for figures in renter.statistics()] == [1]


def test_an_account_limits_its_spending_and_has_events_sent(parties):
    renter, _, _ = parties
    limit = renter.set_spend_limit("USD-Blockchain", 10, period="day")
    assert [(each.id, each.amount) for each in renter.spend_limits()] == [(limit.id, 10.0)]
    renter.remove_spend_limit(limit.id)
    assert renter.spend_limits() == []
    webhook = renter.add_webhook("http://127.0.0.1:9/", kinds=["order_ended"])
    assert webhook.secret.startswith("whsec_")
    assert renter.test_webhook(webhook.id).state == "failed"
    assert renter.rotate_webhook(webhook.id).secret != webhook.secret
    assert [each.kind for each in renter.webhook(webhook.id).deliveries] == ["test"]
    renter.remove_webhook(webhook.id)
    assert renter.webhooks() == []


def test_a_host_adds_and_removes_servers(parties):
    _, host, server = parties
    made = host.add_server("rack-2")
    assert made.init_token
    with pytest.raises(WaitError):
        host.remove_server(server)
    host.remove_server(made.server_id)
    assert [each.id for each in host.my_servers()] == [server]


def test_a_machine_is_bid_on_at_gigaspot(parties):
    renter, host, server = parties
    host.set_gigaspot(server, 10, energy_price=0.2)
    seen = renter.gigaspot()
    assert (seen.servers[server].min_bid, seen.servers[server].energy_price) == (10, 0.2)
    assert seen.servers[server].extra == {}
    assert seen.taken_at is not None
    bid = {"renting_server": server, "image": "a3f9c4d7e5b088d8a0bff880", "price": 1, "oc": [{"pl": 300}]}
    assert renter.create_gigaspot_orders([bid]).too_low_bids_servers == [server]
    assert renter.edit_gigaspot_orders([{"order_id": 99, "price": 12}]).failed_to_update_ids == [99]
    assert renter.cancel_orders([99]) == [99]
    host.set_gigaspot(server, None)
    assert server not in renter.gigaspot().servers
