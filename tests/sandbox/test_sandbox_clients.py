"""Programs on the sandbox: our client on its clock, and one that was written for the public service."""

import asyncio
from typing import Any

import pytest

from openclore.client import NotFoundError, RateError, Spacing, UnavailableError
from openclore.sandbox import Sandbox
from openclore.sandbox.sandbox import START
from openclore.server.settings import Pace

from .conftest import Caller

pytestmark = pytest.mark.clore_sandbox(seed=5, servers=16)
live = pytest.mark.clore_sandbox(seed=5, servers=16, dialect="live")


def cheapest(offers: list[Any]) -> int:
    free = [
        offer
        for offer in offers
        if not (offer.rented or offer.gigaspot) and "USD-Blockchain" in offer.allowed_coins
    ]
    return int(min(free, key=lambda offer: offer.usd_per_day).id)


def test_our_client_rents_waits_and_cancels_in_no_time(clore_sandbox: Sandbox) -> None:
    with clore_sandbox.client() as clore:
        order = clore.create_order(
            renting_server=cheapest(clore.marketplace()),
            currency="USD-Blockchain",
            image="pytorch/pytorch:latest",
            ports={22: "tcp"},
        )
        while clore_sandbox.orders()[order.id].state != "running":
            clore_sandbox.sleep(10)
        clore.cancel_order(order.id)
        with pytest.raises(NotFoundError):
            clore.cancel_order(order.id)
    assert clore_sandbox.clock.now > START + 60
    assert clore_sandbox.orders()[order.id].end_reason == "cancelled"


@pytest.mark.parametrize("kind", ["error_after", "cut_off", "timeout_after", "error_before", "bad_gateway"])
@pytest.mark.parametrize("dialect", ["open", pytest.param("live", marks=live)])
def test_our_client_makes_one_order_through_faults(clore_sandbox: Sandbox, dialect: str, kind: Any) -> None:
    with clore_sandbox.client(timeout=2) as clore:
        server_id = cheapest(clore.marketplace())
        clore_sandbox.faults.add(kind, endpoint="create_order")
        try:
            order = clore.create_order(renting_server=server_id, currency="USD-Blockchain", image="busybox")
            assert list(clore_sandbox.orders()) == [order.id]
        except UnavailableError:
            raise
        except Exception:
            assert clore_sandbox.orders() == {}
            assert kind in ("error_before", "bad_gateway")


def test_waiting_out_a_burst_of_429_takes_the_sandboxs_time(clore_sandbox: Sandbox) -> None:
    clore_sandbox.faults.add("too_many_requests", count=3)
    with clore_sandbox.client(attempts=4) as clore:
        assert len(clore.wallets()) == 3
    assert clore_sandbox.clock.now >= START + 12
    clore_sandbox.faults.add("too_many_requests", count=3)
    with clore_sandbox.client(attempts=2) as clore, pytest.raises(RateError):
        clore.wallets()


def test_the_asynchronous_client_shares_the_clock(clore_sandbox: Sandbox) -> None:
    async def scenario() -> int:
        async with clore_sandbox.async_client() as clore:
            server_id = cheapest(await clore.marketplace())
            order = await clore.create_order(
                renting_server=server_id, currency="USD-Blockchain", image="busybox"
            )
            await clore_sandbox.async_sleep(3_600)
            (row,) = await clore.my_orders()
            assert row.spend == pytest.approx((row.price or 0) * 61 / 1_440, rel=0.02)
            return order.id

    order_id = asyncio.run(scenario())
    assert list(clore_sandbox.orders()) == [order_id]


@live
def test_in_the_live_dialect_a_row_appears_after_its_delay(caller: Caller) -> None:
    assert caller.rent().json() == {"code": 0}
    assert caller.orders() == {}
    assert len(caller.orders()) == 1


@pytest.mark.clore_sandbox(servers=4, pace=Pace())
def test_with_a_pace_who_calls_too_often_is_refused(caller: Caller) -> None:
    statuses = [caller.get("wallets").status_code for _ in range(2)]
    assert statuses == [200, 429]


@pytest.mark.clore_sandbox(servers=4)
def test_a_client_with_a_spacing_of_its_own_keeps_it_in_the_sandboxs_time(clore_sandbox: Sandbox) -> None:
    with clore_sandbox.client(spacing=Spacing(30.0)) as clore:
        for _ in range(3):
            clore.wallets()
    assert clore_sandbox.clock.now == START + 63


def test_the_official_sdk_rents_on_a_clock_that_stands_in_for_its_own(
    clore_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    clore_ai = pytest.importorskip("clore_ai")
    monkeypatch.setattr("clore_ai.client.time", clore_sandbox.clock)
    with clore_ai.CloreAI(api_key=clore_sandbox.keys["renter"], base_url=clore_sandbox.base_url) as renter:
        free = [s for s in renter.marketplace() if not (s.rented or s.gigaspot) and s.price_usd]
        server = min(free, key=lambda s: float(s.price_usd))
        order = renter.create_order(
            server_id=server.id, image="busybox", type="on-demand", currency="USD-Blockchain"
        )
        clore_sandbox.clock.turn(minutes=5)
        assert clore_sandbox.orders()[order.id].state == "running"
        renter.cancel_order(order.id)
    assert clore_sandbox.orders()[order.id].end_reason == "cancelled"
    with clore_ai.CloreAI(api_key=clore_sandbox.keys["host"], base_url=clore_sandbox.base_url) as host:
        assert len(host.my_servers()) == len(clore_sandbox.my_servers)


def test_the_host_changes_its_prices_and_earns(clore_sandbox: Sandbox) -> None:
    with clore_sandbox.client("host") as clore:
        servers = clore.my_servers()
        assert [server.id for server in servers] == clore_sandbox.my_servers
        config = clore.server_config(servers[0].name or "")
        assert config.online
    clore_sandbox.clock.turn(days=5)
    earned = clore_sandbox.wallets("host")
    assert sum(earned.values()) > 0
    assert clore_sandbox.ledger_difference() is None
