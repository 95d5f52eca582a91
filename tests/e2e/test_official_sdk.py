"""The official Python SDK, unchanged, against our market: what a program written with it can do here."""

import pytest

from .conftest import Installation


def test_the_official_sdk_reads_rents_and_cancels(installation: Installation) -> None:
    clore_ai = pytest.importorskip("clore_ai")
    world = installation
    world.settle_in("simulated")
    address = world.env["CLORE_BASE_URL"]
    with clore_ai.CloreAI(api_key=world.keys["renter"], base_url=address) as renter:
        (server,) = renter.marketplace()
        assert server.price_usd == 2
        order = renter.create_order(
            server_id=server.id,
            image="any/image:1",
            type="on-demand",
            currency="USD-Blockchain",
            ports={"22": "tcp"},
        )
        assert world.order(order.id)["si"] == server.id
        renter.cancel_order(order.id)
        assert world.order(order.id)["end_reason"] == "cancelled"
    with clore_ai.CloreAI(api_key=world.keys["host"], base_url=address) as host:
        assert [row.name for row in host.my_servers()] == ["rack-1"]
        assert host.server_config("rack-1").mrl == 168
