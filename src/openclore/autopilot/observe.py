"""Looking at the market through one client, in its pace: what the file needs, and no more.

What can't be read stays as it was last read, with the time of that, and the reason is told.
"""

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Protocol, TypeVar

from openclore.api.account import RenterFeesReply
from openclore.api.offers import Offer
from openclore.api.open.events import Event, EventsReply
from openclore.api.orders import Order
from openclore.api.servers import MyServer, ServerConfig
from openclore.api.spot import SpotMarket
from openclore.api.wallets import Wallet
from openclore.client.errors import CloreError, NetworkError, SetupError, SignInError

from .file import (
    Check,
    Comparing,
    File,
    Happened,
    HostLost,
    OrderFailed,
    Outbid,
    PriceAbove,
    PriceBelow,
    Scale,
    ServerFree,
    ServerOffline,
    ServerRented,
    WalletBelow,
    WalletHoursBelow,
)
from .memory import Memory
from .observation import (
    EVENTS,
    FEES,
    OFFERS,
    ORDERS,
    SERVERS,
    WALLETS,
    Failed,
    Observation,
    Probe,
    Reading,
    fresh,
    rates_of,
)

T = TypeVar("T")
K = TypeVar("K", int, str)

FEES_EVERY_SECONDS = 3_600
SINGLE_READS_MAX = 30
"""Of servers, and of markets of bids, in one round; more where else some would always be old."""
EMPTIED_ROUNDS = 3
"""An account that had servers and has none is believed after so many rounds."""
EVENTS_PAGE = 1_000
RATE_JUMP = 1.5
"""No coin does that from one round to the next; an answer that is nonsense does."""


class MarketReader(Protocol):
    """The part of `Clore` that looking needs."""

    @property
    def has_open(self) -> bool | None: ...
    def wallets(self) -> list[Wallet]: ...
    def marketplace(self) -> list[Offer]: ...
    def my_servers(self) -> list[MyServer]: ...
    def server_config(self, name: str) -> ServerConfig: ...
    def my_orders(self, return_completed: bool = False) -> list[Order]: ...
    def spot_marketplace(self, server_id: int) -> SpotMarket: ...
    def renter_fees(self) -> RenterFeesReply: ...
    def events(self, after: int = 0, *, limit: int | None = None) -> EventsReply: ...


class Prober(Protocol):
    """Who carries out checks of machines and asks for numbers; neither raises."""

    def check(self, machines: Mapping[int, tuple[Order, tuple[Check, ...]]]) -> Mapping[int, Probe]: ...
    def numbers(self, scales: Mapping[str, Scale]) -> Mapping[str, int | Failed]: ...


class Stopped(Exception):
    """Nobody waits for the rest."""


class Observer:
    """
    Args:
        date: Unix seconds.
        stopped: asked before each request.
    """

    def __init__(
        self,
        clore: MarketReader,
        prober: Prober,
        date: Callable[[], float],
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._clore = clore
        self._prober = prober
        self._date = date
        self._stopped = stopped
        self._seen = Observation()
        self._failed: dict[str, Failed] = {}
        self._unreachable: Failed | None = None
        self._tried_at: dict[str, int] = {}
        self._emptied: dict[str, int] = {}
        self._rates_at = 0
        self._doubted: dict[str, float] = {}

    def observe(self, file: File, memory: Memory) -> Observation:
        """What there is now, as far as the file needs to know. The orders, which cost money, are read last.

        Raises:
            Stopped: it was told to.
        """
        before, self._failed, self._unreachable = self._seen, {}, None
        needs = _Needs(file)
        wallets = self._read(WALLETS, self._wallets, needs.wallets, before.wallets)
        servers = self._read(SERVERS, self._servers, needs.servers, before.servers)
        fees = before.fees
        if fees is None or self._now() - fees.at >= FEES_EVERY_SECONDS:
            fees = self._read(FEES, self._clore.renter_fees, needs.fees, before.fees)
        events, events_after = self._events(needs.events, memory.events_after)
        configs = self._configs(file, servers, needs, before.configs)
        spot = self._spot(file, memory, before) if needs.spot else {}
        offers = self._read(OFFERS, self._clore.marketplace, needs.offers, before.offers)
        orders, ended = self._orders(needs, memory, before)
        offers = self._ours(offers, orders, servers, before.offers)
        rates, doubted = self._rates(file, offers, spot, before.rates)
        self._seen = Observation(
            wallets=wallets,
            offers=offers,
            servers=servers,
            configs=configs,
            orders=orders,
            ended=ended,
            spot=spot,
            fees=fees,
            rates=rates,
            doubted=doubted,
            events=events,
            events_after=events_after,
            probes=self._probes(file, memory, orders),
            scale=self._scale(file, before.scale),
            has_open=bool(self._clore.has_open),
            failed=self._failed,
        )
        return self._seen

    def _now(self) -> int:
        return int(self._date())

    def _read(
        self, part: str, call: Callable[[], T], needed: bool, before: Reading[T] | None
    ) -> Reading[T] | None:
        """What it says now, or what it said last if it can't be read, or lost everything at once.

        A market that can't be reached is not asked for anything else in this round.
        """
        if not needed:
            return None
        if self._unreachable is not None:
            self._failed[part] = self._unreachable
            return before
        self._go_on()
        at = self._now()
        try:
            value = call()
        except CloreError as error:
            self._failed[part] = _why(error)
            if isinstance(error, NetworkError) and not error.ambiguous:
                self._unreachable = self._failed[part]
            return before
        emptied = isinstance(value, list | dict) and not value and before is not None and bool(before.value)
        self._emptied[part] = self._emptied.get(part, 0) + 1 if emptied else 0
        if 0 < self._emptied[part] < EMPTIED_ROUNDS and part in (WALLETS, SERVERS, OFFERS):
            self._failed[part] = Failed("the answer is empty, where there was something a moment ago")
            return before
        return Reading(value, at)

    def _each(
        self,
        part: str,
        names: Iterable[K],
        before: Mapping[K, Reading[T]],
        call: Callable[[K], T],
        file: File,
    ) -> dict[K, Reading[T]]:
        """A reading of each, those asked for longest ago first, as many as there is time for in a round.

        When nobody answers, the rest waits for the next round.
        """
        wanted = list(dict.fromkeys(names))
        kept = {name: before[name] for name in wanted if name in before}
        if self._unreachable is not None:
            return kept
        until = self._date() + file.stale_after / 2
        rounds = max(1, file.stale_after // max(1, file.every))
        first = sorted(wanted, key=lambda name: self._tried_at.get(f"{part} {name}", 0))
        for name in first[: max(SINGLE_READS_MAX, -(-len(wanted) // rounds))]:
            self._go_on()
            at = self._tried_at[f"{part} {name}"] = self._now()
            if at > until:
                break
            try:
                kept[name] = Reading(call(name), at)
            except CloreError as error:
                self._failed[f"{part} {name}"] = _why(error)
                if isinstance(error, NetworkError):
                    break
        return kept

    def _go_on(self) -> None:
        if self._stopped():
            raise Stopped

    def _wallets(self) -> dict[str, float]:
        found = self._clore.wallets()
        return {wallet.wire_name: wallet.available for wallet in found if wallet.available is not None}

    def _servers(self) -> dict[str, MyServer]:
        return {server.name: server for server in self._clore.my_servers() if server.name}

    def _configs(
        self,
        file: File,
        servers: Reading[dict[str, MyServer]] | None,
        needs: "_Needs",
        before: Mapping[str, Reading[ServerConfig]],
    ) -> dict[str, Reading[ServerConfig]]:
        names = [name for name in (servers.value if servers else ()) if needs.config_of(name)]
        return self._each("server", names, before, self._clore.server_config, file)

    def _orders(
        self, needs: "_Needs", memory: Memory, before: Observation
    ) -> tuple[Reading[dict[int, Order]] | None, Reading[dict[int, Order]] | None]:
        """The active ones; and those that are over, when some are gone or may have come and gone unseen."""
        orders = self._read(ORDERS, lambda: _by_id(self._clore.my_orders()), needs.orders, before.orders)
        if orders is None or ORDERS in self._failed:
            return before.orders, before.ended
        swapped = [
            machine
            for fleet in memory.fleets.values()
            for machine in fleet.machines.values()
            if (order := orders.value.get(machine.order_id)) and order.si not in (None, machine.server_id)
        ]
        if swapped:
            self._failed[ORDERS] = Failed(
                f"order {swapped[0].order_id} is said to be on server"
                f" {orders.value[swapped[0].order_id].si}, but was made on {swapped[0].server_id}: this looks"
                " like the orders of another account or market"
            )
            return before.orders, before.ended
        known = set(before.orders.value if before.orders else ()) | _remembered(memory)
        new = not needs.fleets <= memory.fleets.keys()
        unclear = new or any(fleet.intents for fleet in memory.fleets.values())
        if known <= orders.value.keys() and not (unclear or needs.ended):
            return orders, before.ended
        whole = self._read(ORDERS, lambda: self._clore.my_orders(return_completed=True), True, None)
        if whole is None:
            return before.orders, before.ended
        over = [order for order in whole.value if order.expired]
        active = [order for order in whole.value if not order.expired]
        return Reading(_by_id(active), whole.at), Reading(_by_id(over), whole.at)

    def _spot(self, file: File, memory: Memory, before: Observation) -> dict[int, Reading[SpotMarket]]:
        """The bids on servers on which we bid, as far as is known before the orders are read."""
        orders = before.orders.value.values() if before.orders else ()
        servers = [order.si for order in orders if order.spot and order.si is not None]
        machines = (machine for fleet in memory.fleets.values() for machine in fleet.machines.values())
        servers += [machine.server_id for machine in machines if machine.type == "spot"]
        return self._each("bids on server", servers, before.spot, self._clore.spot_marketplace, file)

    def _ours(
        self,
        offers: Reading[list[Offer]] | None,
        orders: Reading[dict[int, Order]] | None,
        servers: Reading[dict[str, MyServer]] | None,
        before: Reading[list[Offer]] | None,
    ) -> Reading[list[Offer]] | None:
        """The offers, unless a machine of ours is another one there."""
        if offers is None or OFFERS in self._failed:
            return offers
        models = {order.si: order.specs for order in (orders.value.values() if orders else ())}
        models |= {server.id: server.specs for server in (servers.value.values() if servers else ())}
        for offer in offers.value:
            ours, listed = models.get(offer.id), offer.specs
            if ours and listed and ours.gpu_model and listed.gpu_model and ours.gpu != listed.gpu:
                self._failed[OFFERS] = Failed(
                    f"server {offer.id} is listed with {listed.gpu}, but ours of that id has {ours.gpu}: this"
                    " looks like another market's list"
                )
                return before
        return offers

    def _rates(
        self,
        file: File,
        offers: Reading[list[Offer]] | None,
        spot: Mapping[int, Reading[SpotMarket]],
        before: Mapping[str, float],
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Dollars for a unit, and the rates that jumped, which count once they are seen twice."""
        now = self._now()
        markets = [market.value for market in spot.values() if fresh(market, now, file.stale_after)]
        listed = fresh(offers, now, file.stale_after)
        told = rates_of(listed or (), markets)
        if listed is not None or markets:
            self._rates_at = now
        old = now - self._rates_at > file.stale_after
        rates = told if old else {**before, **told}
        doubted = {}
        for currency, rate in told.items():
            usual = before.get(currency, rate)
            if not _near(rate, usual) and not _near(rate, self._doubted.get(currency, 0.0)):
                doubted[currency] = rate
                rates[currency] = usual
                self._failed[f"the rate of {currency}"] = Failed(
                    f"it jumped from {usual:g} to {rate:g} dollars"
                )
        self._doubted = doubted
        return rates, doubted

    def _events(self, needed: bool, after: int | None) -> tuple[tuple[Event, ...], int]:
        """What happened since; without a cursor only where the log ends now."""
        if not needed:
            return (), after or 0
        if self._clore.has_open is False:
            self._failed[EVENTS] = Failed("this market has no event log; only OpenClore's have", final=True)
            return (), after or 0
        found: list[Event] = []
        cursor = after or 0
        while True:
            page = self._read(EVENTS, lambda at=cursor: self._clore.events(at, limit=EVENTS_PAGE), True, None)  # type: ignore[misc]
            if page is None:
                return tuple(found), cursor
            found += page.value.events if after is not None else ()
            cursor = page.value.after
            if not page.value.more:
                return tuple(found), cursor

    def _probes(
        self, file: File, memory: Memory, orders: Reading[dict[int, Order]] | None
    ) -> Mapping[int, Reading[Probe]]:
        at = self._now()
        due = {}
        for name, fleet in file.fleets.items():
            remembered = memory.fleets.get(name)
            for machine in remembered.machines.values() if remembered and fleet.ready else ():
                order = orders.value.get(machine.order_id) if orders else None
                resting = machine.ready_at and at - (machine.checked_at or 0) < fleet.check_every
                if order is not None and (order.mon_container or 0) >= 2 and not resting:
                    due[order.id] = (order, fleet.ready)
        results = self._prober.check(due) if due else {}
        return {order_id: Reading(probe, at) for order_id, probe in results.items()}

    def _scale(self, file: File, before: Mapping[str, Reading[int]]) -> Mapping[str, Reading[int]]:
        scales = {name: fleet.scale for name, fleet in file.fleets.items() if fleet.scale}
        at = self._now()
        found = {name: before[name] for name in scales if name in before}
        for name, number in (self._prober.numbers(scales) if scales else {}).items():
            if isinstance(number, Failed):
                self._failed[f"scale of {name}"] = number
            else:
                found[name] = Reading(number, at)
        return found


class _Needs:
    """What a file needs to be read."""

    def __init__(self, file: File) -> None:
        def alert(*kinds: Any) -> bool:
            return any(isinstance(one, kinds) for one in file.alerts.values())

        hours = alert(WalletHoursBelow)
        comparing = any(isinstance(group, Comparing) for group in file.pricing.values())
        hosting = bool(file.pricing or file.settings)
        self.wallets = alert(WalletBelow) or hours or bool(file.fleets)
        self.offers = alert(PriceAbove, PriceBelow) or comparing or bool(file.pricing or file.fleets)
        self.servers = alert(ServerOffline, ServerRented, ServerFree) or hosting
        self.orders = alert(OrderFailed, Outbid, HostLost) or hours or bool(file.fleets)
        self.ended = alert(OrderFailed)
        self.spot = alert(Outbid) or bool(file.fleets)
        self.fees = hours or bool(file.fleets)
        self.fleets = file.fleets.keys()
        self.events = alert(Happened)
        rented = [one for one in file.alerts.values() if isinstance(one, ServerRented | ServerFree)]
        named = [*file.pricing.values(), *file.settings.values(), *rented]
        self._config_patterns = [pattern for one in named for pattern in one.servers]

    def config_of(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._config_patterns)


def _near(rate: float, other: float) -> bool:
    return other / RATE_JUMP <= rate <= other * RATE_JUMP


def _why(error: CloreError) -> Failed:
    """The reason without the name of the call, which the part tells."""
    reason = str(error).removeprefix(f"{error.endpoint}: ")
    return Failed(reason, final=isinstance(error, SignInError | SetupError))


def _by_id(orders: Iterable[Order]) -> dict[int, Order]:
    return {order.id: order for order in orders}


def _remembered(memory: Memory) -> set[int]:
    return {order_id for fleet in memory.fleets.values() for order_id in fleet.machines}
