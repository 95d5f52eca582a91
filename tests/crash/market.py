"""A market to kill: renters with money, and hosts whose servers are on the market or on GigaSPOT."""

from dataclasses import dataclass

from openclore.api.currencies import Currency
from openclore.api.hostlink import Hello
from openclore.api.open.servers import SetGigaspot
from openclore.api.servers import SetServerSettings
from openclore.api.specs import Net, Specs
from openclore.rules import money
from openclore.usecases import accounts, gigaspot, hosts, rates, servers
from openclore.usecases.market import Market

from ..world import SETTINGS, hello
from .databases import Database, opened
from .serving import POLICY, Clock

RENTERS = 10
SERVERS = 10
RIGS = 3
"""Servers on GigaSPOT."""

PRICE = 40.0
"""Dollars per day of a server on demand: a wallet lasts for some seconds of ours."""
FLOOR = 5.0
MIN_BID = 100.0
"""CLORE per day."""

GPU = {"type": "NVIDIA GeForce RTX 3090", "pl": [100, 366], "core_lock": [210, 2_100]}
RIG = Specs(
    cpu="Example CPU", cpus="8/16", ram=64, gpu="1x RTX 3090", net=Net(cc="DE"), gpus=[GPU], runtime="docker"
)


@dataclass(frozen=True)
class Renter:
    id: int
    email: str
    key: str


@dataclass(frozen=True)
class Host:
    """A server's agent."""

    server_id: int
    credential: str
    hello: Hello


@dataclass(frozen=True)
class Populated:
    renters: list[Renter]
    servers: list[Host]
    rigs: list[Host]


def populate(database: Database, clock: Clock) -> Populated:
    """Everybody and everything that the load needs, in a new database."""
    with opened(database) as store, store.writing():
        market, now = Market(store, POLICY), clock()
        rates.set_rate(market, Currency.CLORE, money.from_text("0.01"), now)
        host = accounts.create_account(market, "host@example.org", now)
        listed = [_server(market, host.id, f"rack-{number}", hello(), now) for number in range(SERVERS)]
        rigged = hello(specs=RIG, gpu_array=["RTX 3090"], cuda_version="12.4")
        rigs = [_server(market, host.id, f"rig-{number}", rigged, now) for number in range(RIGS)]
        for rig in rigs:
            gigaspot.set_gigaspot(market, host.id, rig.server_id, SetGigaspot(min_bid=MIN_BID), now)
        return Populated([_renter(market, number, now) for number in range(RENTERS)], listed, rigs)


def _server(market: Market, host_id: int, name: str, said: Hello, now: int) -> Host:
    server = servers.create_server(market, "host@example.org", name, now)
    registered = hosts.register(market, server.init_token or "")
    assert registered is not None
    hosts.connect(market, server.id, said, now)
    prices = SETTINGS | {"usd_on_demand": PRICE, "usd_spot": FLOOR}
    servers.set_server_settings(market, host_id, SetServerSettings(name=name, **prices), now)
    return Host(server.id, registered.credential, said)


def _renter(market: Market, number: int, now: int) -> Renter:
    email = f"renter-{number}@example.org"
    account = accounts.create_account(market, email, now)
    _, key = accounts.create_key(market, email, "load", now)
    accounts.credit(market, email, Currency.USD, money.from_text("1"), now, f"{email}:first")
    accounts.credit(market, email, Currency.CLORE, money.from_text("20"), now, f"{email}:first-clore")
    return Renter(account.id, email, key)
