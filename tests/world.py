"""A small market to act on: a renter, a host with a listed server, and a clock turned by hand."""

from dataclasses import dataclass, field
from typing import Any

from openclore.api.currencies import Currency
from openclore.api.hostlink import Container, Hello
from openclore.api.orders import CancelOrder, CreateOrder, MyOrders, Order
from openclore.api.servers import SetServerSettings
from openclore.api.specs import Specs
from openclore.rules import money
from openclore.rules.policy import Policy
from openclore.store.store import Store
from openclore.usecases import accounts, hosts, orders, servers, settlement, verify
from openclore.usecases.market import Market

START = 1_800_000_000
USD = Currency.USD
SETTINGS: dict[str, Any] = {
    "availability": True,
    "mrl": 24,
    "bitcoin_on_demand": 0,
    "bitcoin_spot": 0,
    "bitcoin_enabled": False,
    "usd_on_demand": 2,
    "usd_spot": 1,
    "usd_enabled": True,
}


def hello(**changes: Any) -> Hello:
    known: dict[str, Any] = {
        "protocol": 1,
        "agent_version": "test",
        "specs": Specs(cpu="Example CPU", cpus="8/16", ram=64, gpu="0x no GPU", runtime="docker"),
        "gpu_array": [],
        "cuda_version": "",
        "public_address": "127.0.0.1",
        "port_low": 30_000,
        "port_high": 30_099,
    }
    return Hello(**(known | changes))


@dataclass
class World:
    """Everything happens at `now`; the methods are what people and machines do."""

    store: Store
    policy: Policy = field(default_factory=Policy)
    now: int = START

    def __post_init__(self) -> None:
        self.market = Market(self.store, self.policy)
        self.renter = accounts.create_account(self.market, "renter@example.org", self.now).id
        self.host = accounts.create_account(self.market, "host@example.org", self.now).id
        self.server = self.add_server("rack-1")

    def add_server(self, name: str, **settings: Any) -> int:
        """A registered, connected and listed server of the host."""
        server = servers.create_server(self.market, "host@example.org", name, self.now)
        hosts.connect(self.market, server.id, hello(), self.now)
        self.set_server(name, **settings)
        return server.id

    def set_server(self, name: str, **settings: Any) -> None:
        request = SetServerSettings(name=name, **(SETTINGS | settings))
        servers.set_server_settings(self.market, self.host, request, self.now)

    def credit(self, amount: str, email: str = "renter@example.org", key: str = "") -> int:
        return accounts.credit(
            self.market, email, USD, money.from_text(amount), self.now, key or f"{self.now}:{amount}"
        )

    def rent(self, server: int | None = None, account: int | None = None, **changes: Any) -> Order:
        request: dict[str, Any] = {
            "renting_server": server or self.server,
            "type": "on-demand",
            "currency": "USD-Blockchain",
            "image": "busybox",
            "ports": {"80": "tcp"},
        }
        reply = orders.create_order(
            self.market, account or self.renter, CreateOrder(**(request | changes)), self.now
        )
        assert isinstance(reply.order, Order)
        return reply.order

    def cancel(self, order_id: int, account: int | None = None) -> None:
        orders.cancel_order(self.market, account or self.renter, CancelOrder(id=order_id), self.now)

    def orders(self, account: int | None = None) -> dict[int, Order]:
        """All orders of the renter, ended ones too."""
        request = MyOrders(return_completed=True)
        reply = orders.my_orders(self.market, account or self.renter, request, self.now)
        return {order.id: order for order in reply.orders}

    def balance(self, account: int | None = None) -> int:
        """What `wallets` says of dollars."""
        reply = accounts.wallets(self.market, account or self.renter, self.now)
        return next(money.from_wire(w.balance or 0) for w in reply.wallets if w.name == USD)

    def report(self, state: Any, order_id: int, server: int | None = None, detail: str = "") -> None:
        container = Container(order_id=order_id, state=state, detail=detail)
        hosts.report(self.market, server or self.server, [container], self.now)

    def beat(self, *server_ids: int) -> None:
        """Evidence that these servers (all, if none are named) are there now."""
        for server_id in server_ids or servers.listings(self.market, None, self.now):
            hosts.report(self.market, server_id, [], self.now)

    def wait(self, seconds: int, *, beating: bool = True) -> None:
        """Let time pass with the market's loop turning now and then: evidence kept, due wallets settled."""
        end = self.now + seconds
        step_seconds = 60 if beating else self.policy.offline_after_seconds
        while self.now < end:
            self.jump(min(end - self.now, step_seconds), beating=beating)
            self.turn()

    def jump(self, seconds: int, *, beating: bool = True) -> None:
        """Let time pass in one step during which the loop did not turn, though every host was there."""
        self.now += seconds
        if beating:
            every = servers.listings(self.market, None, self.now)
            hosts.keep_evidence(self.market, dict.fromkeys(every, (self.now, self.now)))

    def turn(self) -> None:
        hosts.sweep(self.market, self.now)
        settlement.settle_due(self.market, self.now)

    def difference(self) -> str | None:
        found = verify.verify(self.market).difference
        return None if found is None else str(found)
