"""What somebody earned and spent on a market, read from the market itself again and again."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from ..api.currencies import Currency
from ..autopilot.file import File, Fleet
from ..autopilot.outbox import local
from ..rules import billing, money
from ..rules import servers as server_rules
from ..rules.orders import Order, State
from ..rules.servers import Server
from ..store import orders as orders_store
from ..store import rates as rates_store
from ..store import servers as servers_store
from ..usecases.market import Market
from .replay import Script

HOUR_SECONDS = 3_600
DECIMALS = 6


@dataclass
class Entry:
    """An order, and what of its cost concerns us, 10⁻⁸ of its currency; in dollars as they were then."""

    order: Order
    amount: int = 0
    usd: float = 0.0
    active_seconds: int = 0


class Entries:
    """Orders as they were last seen. `part` of the cost: "to_host", or "charge" for what the renter pays."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._found: dict[int, Entry] = {}

    def put(self, order: Order, known: Mapping[Currency, int], now: int) -> None:
        entry = self._found.setdefault(order.id, Entry(order))
        amount: int = getattr(billing.cost(order, now), self._part)
        entry.usd += money.to_wire(amount - entry.amount) * money.to_wire(known[order.currency])
        entry.order, entry.amount = order, amount
        entry.active_seconds = billing.active_seconds(order, now)

    def orders(self) -> list[Order]:
        return [entry.order for entry in self._found.values()]

    def amounts(self, which: Callable[[Order], bool] = lambda order: True) -> dict[str, float]:
        """By currency."""
        found: Counter[str] = Counter()
        for entry in self._of(which):
            found[str(entry.order.currency)] += entry.amount
        return {name: money.to_wire(amount) for name, amount in sorted(found.items())}

    def usd(self, which: Callable[[Order], bool] = lambda order: True) -> float:
        return round(sum(entry.usd for entry in self._of(which)), DECIMALS)

    def active_seconds(self, which: Callable[[Order], bool] = lambda order: True) -> int:
        return sum(entry.active_seconds for entry in self._of(which))

    def _of(self, which: Callable[[Order], bool]) -> list[Entry]:
        return [entry for entry in self._found.values() if which(entry.order)]


class Book:
    """
    Attributes:
        hosted, rented: the orders on our servers, and our own.
        fleet_of: which fleet an order belongs to, by its id; whoever knows puts it here.
        wanted_seconds: how much machine time each fleet should have had.
        times, curves: figures at each look, by name.
    """

    def __init__(self, market: Market, script: Script, file: File) -> None:
        self._market = market
        self._script = script
        self._file = file
        self._at = script.start
        self._wanted: dict[str, int] = {}
        self.hosted = Entries("to_host")
        self.rented = Entries("charge")
        self.fleet_of: dict[int, str] = {}
        self.wanted_seconds: Counter[str] = Counter()
        self.times: list[int] = []
        self.curves: dict[str, list[float | None]] = {}

    def look(self, now: int) -> None:
        """Take in what is so now. The time since the last look counts as wanted then."""
        mine, since = self._script.host, self._at - 1  # what ended in the second of the last look, after it
        with self._market.store.reading() as tx:
            known = rates_store.every(tx)
            hosted = orders_store.of_host(tx, mine, ended_since=since)
            rented = orders_store.of_renter(tx, mine, with_ended=False, ended_since=since)
            prices = self._prices(tx, known)
        for order in hosted:
            self.hosted.put(order, known, now)
        for order in rented:
            self.rented.put(order, known, now)
        for name, wanted in self._wanted.items():
            self.wanted_seconds[name] += wanted * (now - self._at)
        self._wanted = {name: _wanted(self._file, fleet, now) for name, fleet in self._file.fleets.items()}
        self._at = now
        self.times.append(now)
        self._draw(hosted, rented, prices)

    def occupancy(self, server_ids: Collection[int]) -> float:
        """The share of time that these were rented."""
        seconds = self.hosted.active_seconds(lambda order: order.server_id in server_ids)
        return round(seconds / (len(server_ids) * (self._script.until - self._script.start)), DECIMALS)

    def _draw(
        self, hosted: Sequence[Order], rented: Sequence[Order], prices: Mapping[str, float | None]
    ) -> None:
        if prices:
            self._point("earned", self.hosted.usd())
            self._point("occupancy", len({o.server_id for o in hosted if o.holds}) / len(prices))
        for name, price in prices.items():
            self._point(f"price of {name}", price)
        if self._wanted:
            self._point("spent", self.rented.usd())
        for name, wanted in self._wanted.items():
            running = [o for o in rented if o.state is State.RUNNING and self.fleet_of.get(o.id) == name]
            self._point(f"machines of {name}", len(running))
            self._point(f"wanted by {name}", wanted)

    def _point(self, curve: str, value: float | None) -> None:
        self.curves.setdefault(curve, []).append(None if value is None else round(value, DECIMALS))

    def _prices(self, tx: Connection, known: Mapping[Currency, int]) -> dict[str, float | None]:
        """The lowest price of each of ours that it accepts, in dollars a day."""
        mine = servers_store.by_ids(tx, list(self._script.mine))
        pegged = rates_store.pegged(tx)
        return {
            server.name: _usd(server, pegged, known)
            for server in sorted(mine, key=lambda server: server.name)
        }


def _usd(server: Server, pegged: Mapping[Currency, int], known: Mapping[Currency, int]) -> float | None:
    prices = server_rules.in_force(server.settings, pegged).items()
    asked = [
        money.to_wire(pricing.on_demand) * money.to_wire(known[currency])
        for currency, pricing in prices
        if pricing.accepted and pricing.on_demand and currency in known
    ]
    return min(asked, default=None)


def _wanted(file: File, fleet: Fleet, now: int) -> int:
    """How many machines a fleet should have; one that scales has its largest size."""
    when = local(now, file.messages)
    until = fleet.until
    if until is not None and when >= (until if until.tzinfo else until.replace(tzinfo=when.tzinfo)):
        return 0
    if fleet.schedule and not any(hours.covers(when) for hours in fleet.schedule):
        return 0
    return fleet.scale.maximum if fleet.scale else fleet.machines or 0
