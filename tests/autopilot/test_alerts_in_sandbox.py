"""Alerts of a renter and of a host on a whole market, in both dialects, heard by a real receiver."""

import json
from collections.abc import Iterator

import pytest

from openclore.autopilot.file import (
    Alert,
    Coin,
    File,
    Happened,
    HostLost,
    Messages,
    OrderFailed,
    Outbid,
    PriceAbove,
    ServerFree,
    ServerOffline,
    ServerRented,
    Span,
    WalletBelow,
    WalletHoursBelow,
)
from openclore.autopilot.notify import Postman
from openclore.autopilot.probes import Prober
from openclore.autopilot.reading import Given
from openclore.autopilot.remember import Keeper
from openclore.autopilot.runner import Runner
from openclore.client import Clore
from openclore.sandbox import Sandbox

from ..receivers import Receiver, a_receiver

# Apprise imports a module that Python 3.13 dropped.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

USD = "USD-Blockchain"


@pytest.fixture(params=["open", "live"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(seed=3, servers=30, dialect=request.param) as sandbox:
        yield sandbox


class Story:
    """An autopilot with alerts, round by round, and what the receiver hears of each."""

    def __init__(
        self, sandbox: Sandbox, clore: Clore, keeper: Keeper, receiver: Receiver, alerts: dict[str, Alert]
    ):
        self._sandbox = sandbox
        self._receiver = receiver
        address = receiver.url("ok", scheme="json")
        file = File(notify=(address,), messages=Messages(digest=Span(0)), alerts=alerts)
        date = sandbox.clock.time
        self._runner = Runner(
            clore, Given(file), keeper, prober=Prober(), postman=Postman(date=date), date=date
        )

    def hears(self, minutes: float = 1) -> str:
        self._sandbox.clock.turn(minutes=minutes)
        self._receiver.messages.clear()
        self._runner.once()
        return "\n".join(
            json.loads(one.body)["title"] + "\n" + json.loads(one.body)["message"]
            for one in self._receiver.messages
        )


def free(clore: Clore, *taken: int) -> list[int]:
    return [
        offer.id
        for offer in clore.marketplace()
        if not offer.rented
        and offer.price_per_day(USD)
        and offer.floor_per_day(USD)
        and offer.id not in taken
    ]


def test_a_renter_hears_of_what_befalls_its_orders_and_wallet(sandbox, tmp_path):
    alerts: dict[str, Alert] = {
        "low": WalletBelow(wallet=Coin(USD), below=1_000_000),
        "burn": WalletHoursBelow(wallet=Coin(USD), hours=1_000_000),
        "failed": OrderFailed(),
        "outbid": Outbid(),
        "lost": HostLost(),
        "dear": PriceAbove(gpu="RTX", level=0.000001),
        "events": Happened(kinds=("order_created",)),
    }
    with a_receiver() as receiver, sandbox.client() as clore, Keeper(tmp_path / "m", ("x", "y")) as keeper:
        story = Story(sandbox, clore, keeper, receiver, alerts)
        first = story.hears()
        assert "USD-Blockchain is low: " in first
        assert "RTX, on-demand: " in first
        running, failing, bidding = free(clore)[:3]
        offers = {offer.id: offer for offer in clore.marketplace()}
        kept = clore.create_order(renting_server=running, currency=USD, image="ubuntu")
        sandbox.faults.add("failing_image", server_id=failing, reason="no such image")
        broken = clore.create_order(renting_server=failing, currency=USD, image="nonsense")
        floor = offers[bidding].floor_per_day(USD)
        bid = clore.create_order(
            renting_server=bidding, currency=USD, image="ubuntu", type="spot", spotprice=floor
        )
        heard = story.hears()
        assert "USD-Blockchain lasts for " in heard
        assert f"order_created: order {kept.id}, server {running}" in heard
        assert f"Order {broken.id} failed" in heard  # it came and went between two rounds
        sandbox.faults.add("host_lost", server_id=running, seconds=1_800)
        sandbox.faults.add("outbid", server_id=bidding)
        heard = story.hears(10)
        assert f"Order {kept.id} lost its host" in heard
        assert f"Order {bid.id} is outbid" in heard
        assert story.hears() == ""
        assert f"Order {kept.id} has its host back" in story.hears(60)


def test_a_host_hears_of_its_servers(sandbox, tmp_path):
    alerts: dict[str, Alert] = {"off": ServerOffline(), "rented": ServerRented(), "free": ServerFree()}
    with (
        a_receiver() as receiver,
        sandbox.client("host") as host,
        sandbox.client() as renter,
        Keeper(tmp_path / "m", ("x", "y")) as keeper,
    ):
        story = Story(sandbox, host, keeper, receiver, alerts)
        assert story.hears() == ""
        names = {server.id: server.name for server in host.my_servers()}
        ours = next(number for number in free(renter) if number in names)
        order = renter.create_order(renting_server=ours, currency=USD, image="ubuntu")
        assert f"{names[ours]} is rented" in story.hears()
        sandbox.faults.add("host_lost", server_id=ours, seconds=1_200)
        assert f"{names[ours]} is offline" in story.hears(10)
        assert f"{names[ours]} is online again" in story.hears(30)
        renter.cancel_order(order.id)
        assert f"{names[ours]} is free" in story.hears()
