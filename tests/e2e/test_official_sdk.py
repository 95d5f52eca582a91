"""Programs written with the official Python SDK, unchanged, against our market in both of its dialects.

What they can't do here they can't do on the public service either; each such place says so.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from openclore.api.endpoints import CREATE_ORDER, SPACING_SECONDS

from ..processes import until
from .conftest import Installation, an_installation

clore_ai = pytest.importorskip("clore_ai")
pydantic = pytest.importorskip("pydantic")


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One market for all programs; besides "renter" and "host" there are their keys that speak live."""
    with an_installation(tmp_path_factory.mktemp("sdk")) as world:
        world.settle_in("simulated")
        for who in ("renter", "host"):
            words = ("admin", "key", "create", f"{who}@example.org", "--name", "live", "--dialect", "live")
            world.keys[f"live {who}"] = world.json(*words)["key"]
        world.json("admin", "server", "create", "host@example.org", "rack-2")
        yield world


def quick(client: Any) -> Any:
    """The market has no pace here, so the program needs none."""
    client.rate_limiter.min_interval = client.rate_limiter.create_order_delay = 0
    return client


class AsyncInSteps:
    """The asynchronous client, called like the other one."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._runner = asyncio.Runner()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return lambda *args, **kwargs: self._runner.run(method(*args, **kwargs))

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


Sdk = Callable[[str], Any]


@pytest.fixture(params=["sync", "async"])
def sdk(request: pytest.FixtureRequest, market: Installation) -> Iterator[Sdk]:
    """A client of the SDK for somebody's key."""
    made = []

    def client(who: str) -> Any:
        kind = clore_ai.CloreAI if request.param == "sync" else clore_ai.AsyncCloreAI
        client = quick(kind(api_key=market.keys[who], base_url=market.env["CLORE_BASE_URL"]))
        made.append(client if request.param == "sync" else AsyncInSteps(client))
        return made[-1]

    yield client
    for one in made:
        one.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK tries three times again on any HTTP status from 400, after 1, 2 and 4 seconds."""
    import clore_ai.client

    async def at_once(_: float) -> None: ...

    monkeypatch.setattr(clore_ai.client, "time", SimpleNamespace(time=time.time, sleep=lambda _: None))
    monkeypatch.setattr(clore_ai.client, "asyncio", SimpleNamespace(sleep=at_once))


def test_a_program_keeps_the_documented_pace_and_is_never_refused(paced_installation: Installation) -> None:
    world = paced_installation
    # Of two requests sent a second apart, a busy machine may hold up the first for longer.
    world.env |= {"OPENCLORE_PACE__SPACING_SECONDS": "0.5", "OPENCLORE_PACE__CREATE_ORDER_SECONDS": "4"}
    world.settle_in("simulated")
    with clore_ai.CloreAI(world.keys["renter"], world.env["CLORE_BASE_URL"], max_retries=0) as renter:
        pace = renter.rate_limiter
        assert (pace.min_interval, pace.create_order_delay) == (SPACING_SECONDS, CREATE_ORDER.spacing_seconds)
        (server,) = renter.marketplace()
        order = renter.create_order(server.id, "any/image:1", "on-demand", "USD-Blockchain")
        renter.cancel_order(order.id)
        again = renter.create_order(server.id, "any/image:1", "on-demand", "USD-Blockchain")
        renter.cancel_order(again.id)
    assert again.id > order.id


# Every method ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["", "live "])
def test_a_renter_reads(market: Installation, sdk: Sdk, dialect: str) -> None:
    renter = sdk(f"{dialect}renter")
    wallets = {wallet.name: wallet.balance for wallet in renter.wallets()}
    assert set(wallets) == {"bitcoin", "CLORE-Blockchain", "USD-Blockchain"}
    assert wallets["USD-Blockchain"] > 9
    (server,) = renter.marketplace()
    assert (server.price_usd, server.available, server.gpu_count) == (2, True, 2)
    assert server.gpu_model == "2x NVIDIA GeForce RTX 3090"
    assert [s.id for s in renter.marketplace(gpu="3090", min_gpu_count=2, min_ram_gb=0.1)] == [server.id]
    assert renter.marketplace(max_price_usd=1.99) == []
    spot = renter.spot_marketplace(server.id)
    assert (spot.offers, spot.server.online, spot.server.visibility) == ([], True, "public")
    assert spot.currency_rates_in_usd == {"USD-Blockchain": 1}


@pytest.mark.parametrize("dialect", ["", "live "])
def test_a_host_reads_and_sets(market: Installation, sdk: Sdk, dialect: str) -> None:
    host = sdk(f"{dialect}host")
    config = host.server_config("rack-1")
    assert (config.name, config.visibility, config.rental_status, config.online) == (
        "rack-1",
        "public",
        0,
        True,
    )
    done = host.set_server_settings("rack-2", availability=False, mrl=48, on_demand=0.0001, spot=0.00005)
    assert done["code"] == 0
    assert host.server_config("rack-2").mrl == 48
    assert host.server_config("rack-2").pricing["bitcoin"] == 0.0001


def test_a_host_lists_servers_that_have_an_id(market: Installation, sdk: Sdk) -> None:
    """On the public service a server that has never connected has none, and the SDK refuses the list."""
    assert [row.name for row in sdk("host").my_servers()] == ["rack-1", "rack-2"]
    with pytest.raises(pydantic.ValidationError, match="id"):
        sdk("live host").my_servers()


def test_an_order_is_made_with_everything_and_cancelled(market: Installation, sdk: Sdk) -> None:
    renter = sdk("renter")
    (server,) = renter.marketplace()
    order = renter.create_order(
        server_id=server.id,
        image="any/image:1",
        type="on-demand",
        currency="USD-Blockchain",
        ssh_password="Ex4mple",
        ssh_key="ssh-ed25519 AAAA me",
        ports={"22": "tcp", "8888": "http"},
        env={"MODE": "train"},
        jupyter_token="Ex4mpleToken",
        command="touch /root/started",
        required_price=2,
        autossh_entrypoint="true",
    )
    assert (order.image, order.currency, order.price) == ("any/image:1", "USD-Blockchain", 2)
    assert renter.marketplace() == []
    assert renter.cancel_order(order.id, issue="only a test")["code"] == 0
    assert market.order(order.id)["end_reason"] == "cancelled"


def test_a_bid_is_made_raised_and_seen(market: Installation, sdk: Sdk) -> None:
    """Of an offer the SDK knows neither id nor price: it looks for them under names that nobody sends."""
    renter = sdk("renter")
    (server,) = renter.marketplace()
    order = renter.create_order(server.id, "any/image:1", "spot", "USD-Blockchain", spot_price=1.2)
    assert renter.set_spot_price(order.id, 1.3)["code"] == 0
    (offer,) = renter.spot_marketplace(server.id).offers
    assert (offer.order_id, offer.price) == (None, None)
    assert (offer.offer_id, offer.bid, offer.my) == (order.id, 1.3, True)
    renter.cancel_order(order.id)


def test_orders_that_have_ports_are_a_list_the_sdk_refuses(market: Installation, sdk: Sdk) -> None:
    """It expects text and an object where the public service sends lists; so it was with ours, always."""
    for who in ("renter", "live renter"):
        renter = sdk(who)
        with an_order(sdk("renter")), pytest.raises(pydantic.ValidationError, match="pub_cluster"):
            until(renter.my_orders, what="the order to be listed")
        assert renter.my_orders() == []


def test_finished_orders_of_the_live_dialect_are_listed(market: Installation, sdk: Sdk) -> None:
    """They lack the network members, as on the public service, and so the SDK reads them."""
    with an_order(sdk("renter")) as order_id:
        pass
    live = sdk("live renter")

    def finished() -> Any:
        return next((o for o in live.my_orders(include_completed=True) if o.id == order_id), None)

    assert until(finished, what="the row to appear").expired is True


def test_in_live_an_order_is_made_and_the_sdk_fails_on_the_reply(market: Installation, sdk: Sdk) -> None:
    """As on the public service: the reply has no order, the SDK wants one, and the order costs money."""
    renter = sdk("live renter")
    (server,) = renter.marketplace()
    with pytest.raises(pydantic.ValidationError, match="id"):
        renter.create_order(server.id, "any/image:1", "on-demand", "USD-Blockchain")
    (order,) = market.json("orders", who="renter")
    assert order["si"] == server.id
    renter.cancel_order(order["id"])


def test_a_refusal_is_a_number_where_the_status_is_200(market: Installation, sdk: Sdk) -> None:
    """The SDK reads `message`, which nobody sends; what it was stands in the response it keeps."""
    with pytest.raises(clore_ai.exceptions.FieldError, match="API error code 6") as error:
        sdk("live renter").cancel_order(999)
    assert error.value.response == {"code": 6, "error": "you_dont_own_this_order"}


@pytest.mark.usefixtures("impatient")
def test_a_refusal_is_raw_text_after_four_attempts_where_it_is_not(market: Installation, sdk: Sdk) -> None:
    renter = sdk("live renter")
    (server,) = renter.marketplace()
    with pytest.raises(clore_ai.CloreAPIError, match=r'HTTP 500: .*"error":"currency-not-allowed"'):
        renter.create_order(server.id, "any/image:1", "on-demand", "bitcoin")
    with pytest.raises(clore_ai.exceptions.FieldError):
        sdk("renter").create_order(server.id, "any/image:1", "on-demand", "bitcoin")


@pytest.mark.usefixtures("impatient")
def test_a_wrong_key_is_told(market: Installation) -> None:
    with (
        quick(clore_ai.CloreAI("wrong", market.env["CLORE_BASE_URL"])) as stranger,
        pytest.raises(clore_ai.CloreAPIError, match=r'HTTP 401: .*"code":3'),
    ):
        stranger.wallets()


@contextmanager
def an_order(renter: Any) -> Iterator[int]:
    """An order with a port, cancelled at the end."""
    (server,) = renter.marketplace()
    order = renter.create_order(server.id, "any/image:1", "on-demand", "USD-Blockchain", ports={"22": "tcp"})
    try:
        yield order.id
    finally:
        renter.cancel_order(order.id)


# The command line -----------------------------------------------------------------------------------

RUNNER = """
import sys
import clore_ai
clore_ai.CloreAI.BASE_URL = sys.argv.pop(1)
from clore_ai.cli import main
main()
"""
"""Its address can't be given by an option, so a bot's author sets the constant before it starts."""


@pytest.fixture
def clore(market: Installation) -> Callable[..., str]:
    def run(*words: str, who: str = "renter", status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-c", RUNNER, market.env["CLORE_BASE_URL"], *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={
                "CLORE_API_KEY": market.keys[who],
                "HOME": str(market.folder),
                "PATH": os.environ["PATH"],
                "COLUMNS": "200",
            },
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.mark.parametrize("dialect", ["", "live "])
def test_its_command_line_reads(clore: Callable[..., str], dialect: str) -> None:
    renter, host = f"{dialect}renter", f"{dialect}host"
    assert "USD-Blockchain" in clore("wallets", who=renter)
    found = clore(
        "search", "--gpu", "3090", "--min-gpu", "2", "--max-price", "2", "--sort", "gpu", who=renter
    )
    assert "2x NVIDIA GeForce RTX 3090" in found
    assert "Showing 1 servers" in found
    assert "Total: 0 orders" in clore("orders", who=renter)
    assert "No active spot offers" in clore("spot", "1", who=renter)
    assert "Visibility: public" in clore("server-config", "rack-1", who=host)
    if not dialect:
        assert "rack-2" in clore("servers", who=host)


def test_its_command_line_rents_bids_and_cancels(market: Installation, clore: Callable[..., str]) -> None:
    words = ("--image", "any/image:1", "--currency", "USD-Blockchain")
    access = ("--ssh-password", "Ex4mple", "--port", "22:tcp", "--env", "MODE=train")
    assert "Order created!" in clore("deploy", "1", "--type", "on-demand", *words, *access)
    (order,) = market.json("orders", who="renter")
    assert f"Order {order['id']} cancelled" in clore("cancel", str(order["id"]), "--issue", "only a test")
    assert "Order created!" in clore("deploy", "1", "--type", "spot", "--spot-price", "1.2", *words)
    (order,) = market.json("orders", who="renter")
    assert "Spot price updated to 1.5" in clore("spot-price", str(order["id"]), "1.5")
    assert "Server Online: True" in clore("spot", "1")
    clore("cancel", str(order["id"]))


def test_its_command_line_is_refused_readably(clore: Callable[..., str]) -> None:
    assert "API error code 6" in clore("cancel", "999", status=1)
    assert "API error code 6" in clore("spot-price", "999", "2", status=1)


def test_its_command_line_fails_on_orders_with_ports_as_it_does_on_the_public_service(
    market: Installation, clore: Callable[..., str]
) -> None:
    """So nobody gets in by `clore ssh`, anywhere."""
    words = ("--image", "any/image:1", "--currency", "USD-Blockchain", "--port", "22:tcp")
    clore("deploy", "1", "--type", "on-demand", *words)
    (order,) = market.json("orders", who="renter")
    for command in (("orders",), ("ssh", str(order["id"]))):
        assert "pub_cluster" in clore(*command, status=1)
    clore("cancel", str(order["id"]))
