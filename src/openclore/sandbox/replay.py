"""A market that follows a history: what others asked, rented and took away, but for what we change in it.

Prices and presence of other hosts' machines, and the exchange rates, are as recorded. Every recorded rental
is somebody who came when the machine was first seen rented, paid at most what it cost then, and left when it
was seen free again. Where he goes, in this order:

1. to one of ours, if that is the cheapest free machine like the one he took, and not dearer than that was;
2. to the machine he took, if it is free; to one of ours only if it is not dearer than it was;
3. to the cheapest free machine like it that is not dearer; else nowhere.

Alike are machines of the same GPU model and count whose reliability is not much lower. So a history in which
nothing is ours happens again as it was; and what prices of ours are worth shows against the same rules at the
prices that they had.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from random import Random
from statistics import median
from typing import Any, NamedTuple

import msgspec

from ..api.currencies import Currency
from ..api.offers import Offer, OfferPrice
from ..api.servers import MyServer
from ..autopilot.history import History, Scene
from ..rules import money
from ..rules import servers as server_rules
from ..rules.servers import Pricing, Visibility
from ..store import events
from ..store import rates as rates_store
from ..store import servers as servers_store
from ..usecases import rates
from ..usecases.market import Market
from ..usecases.servers import listings
from .agenda import Agenda
from .founding import Founded
from .hosts import Hosts
from .machines import Machine
from .recorded import RecordingError, machine_of, prices_asked, rates_told
from .rivals import Rivals

RELIABILITY_SLACK = 0.05
NOT_DEARER = 1.001
"""Prices in dollars are compared up to the rounding of rates."""
SERVERS_MAX = 300
PURSE_DAYS = 60
"""For how long somebody who comes has money, as nobody leaves for want of it."""


class Rental(NamedTuple):
    """Somebody who rented `server_id` on demand when that cost `usd` a day."""

    number: int
    server_id: int
    usd: float
    gpu: str
    reliability: float


@dataclass
class Step:
    """What was different when the market was looked at again, at `at`."""

    at: int
    rates: dict[Currency, float] = field(default_factory=dict)
    back: list[int] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    prices: dict[int, dict[Currency, Pricing]] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    begun: list[Rental] = field(default_factory=list)


@dataclass(frozen=True)
class Script:
    """What a history says will happen.

    Attributes:
        machines: all that were ever there, as they were first seen.
        host: the owner of those that are ours.
        usd: dollars for one unit of each currency at the beginning.
        steps: the first holds the rentals that there were already.
        left_out: how many machines of the history are not among `machines`.
        wallets: what we had at the beginning, if it was recorded.
    """

    machines: list[Machine]
    host: int
    usd: dict[Currency, float]
    steps: list[Step]
    left_out: int
    wallets: Mapping[str, float]

    @property
    def start(self) -> int:
        return self.steps[0].at

    @property
    def until(self) -> int:
        return self.steps[-1].at

    @property
    def spacing(self) -> int:
        """Seconds between two observations, usually."""
        return int(median(after.at - before.at for before, after in pairwise(self.steps)))

    @property
    def mine(self) -> dict[int, str]:
        """Id to name of our machines."""
        return {machine.id: machine.name for machine in self.machines if machine.owner == self.host}


# From a history -------------------------------------------------------------------------------------


def script_of(
    history: History,
    *,
    names: Mapping[str, int] | None = None,
    own: bool = True,
    wanted: Callable[[Offer], bool] = lambda offer: True,
    servers_max: int = SERVERS_MAX,
    as_recorded: bool = False,
) -> Script:
    """
    Args:
        names: ids of further machines that are to be ours, by the names they get.
        own: whether those are ours that the recording account had.
        wanted: which machines of others to take in; of too many, some of every price.
        as_recorded: let our machines' prices change as they did, instead of staying as they were at first.

    Raises:
        RecordingError: there are not two observations, or no machine to take in.
    """
    scenes = history.scenes
    if len(scenes) < 2:
        seen = {0: "no observation", 1: "one observation"}[len(scenes)]
        raise RecordingError(f"the history has {seen}, and needs two: let openclore market record go on")
    first = _first_seen(scenes)
    mine = (_mine(scenes) if own else {}) | {server_id: name for name, server_id in (names or {}).items()}
    for scene in scenes:
        for server in scene.servers.values():
            if server.id is not None:
                first.setdefault(server.id, _as_offer(server))
    missing = [f"{name} ({server_id})" for server_id, name in mine.items() if server_id not in first]
    if missing:
        raise RecordingError(f"the history never shows {', '.join(missing)}")
    usd = _rates(scenes[0], rates_told(list(scenes[0].offers.values())))
    others = [offer for server_id, offer in first.items() if server_id not in mine and wanted(offer)]
    chosen = [*(first[server_id] for server_id in mine), *_spread(others, usd, servers_max - len(mine))]
    host = max((offer.owner or offer.id for offer in first.values()), default=0) + 1
    dice = Random("replay")
    machines = [
        _at_first(made, scenes[0], host, mine, as_recorded)
        for offer in sorted(chosen, key=lambda offer: offer.id)
        if (made := machine_of(dice, offer)) is not None
    ]
    if not machines:
        raise RecordingError("the history has no machine that can be rented and that the file can see")
    narrator = _Narrator(scenes[0], machines, mine, usd, as_recorded)
    steps = [narrator.step(scene) for scene in scenes]
    wallets = next((scene.wallets for scene in scenes if scene.wallets), {})
    return Script(machines, host, usd, steps, len(first) - len(machines), wallets)


def _first_seen(scenes: Sequence[Scene]) -> dict[int, Offer]:
    found: dict[int, Offer] = {}
    for scene in scenes:
        for server_id in scene.changed:
            if server_id not in found and server_id in scene.offers:
                found[server_id] = scene.offers[server_id]
    return found


def _mine(scenes: Sequence[Scene]) -> dict[int, str]:
    """Id to name of the servers that the recording account had."""
    return {
        server.id: name for scene in scenes for name, server in scene.servers.items() if server.id is not None
    }


def _as_offer(server: MyServer) -> Offer:
    """One of ours that was never listed, as if it had been."""
    return Offer(
        id=server.id or 1,
        price=OfferPrice(
            on_demand=server.pricing, spot=server.min_spot_pricing, original_usd=server.usd_pricing
        ),
        specs=server.specs,
        allowed_coins=server.allowed_currencies,
    )


def _rates(scene: Scene, before: Mapping[Currency, float]) -> dict[Currency, float]:
    return {currency: scene.rates.get(currency, rate) for currency, rate in before.items()}


def _spread(offers: list[Offer], usd: Mapping[Currency, float], most: int) -> list[Offer]:
    """At most so many, evenly over what they cost, the cheapest among them."""
    ordered = sorted(offers, key=lambda offer: (usd_per_day(offer, usd) or 0.0, offer.id))
    if len(ordered) <= most:
        return ordered
    return [ordered[number * len(ordered) // most] for number in range(max(0, most))]


def usd_per_day(offer: Offer, usd: Mapping[Currency, float]) -> float | None:
    """The lowest on-demand price over the accepted currencies, in dollars."""
    return min((price for price, _ in _prices(offer, usd)), default=None)


def _prices(offer: Offer, usd: Mapping[Currency, float]) -> Iterator[tuple[float, Currency]]:
    for currency, rate in usd.items():
        if price := offer.price_per_day(currency):
            yield price * rate, currency


def _at_first(
    machine: Machine, scene: Scene, host: int, mine: Mapping[int, str], as_recorded: bool
) -> Machine:
    """A machine when the market opens. What others keep in dollars is recorded in coins, too."""
    settings = machine.settings
    if machine.id in mine:
        seen = scene.servers.get(mine[machine.id])
        hidden = seen is not None and seen.visibility == Visibility.HIDDEN
        pegged = {} if as_recorded else settings.pegged
        name, owner = mine[machine.id], host
    else:
        hidden, pegged, name, owner = machine.id not in scene.offers, {}, "", machine.owner
    settings = msgspec.structs.replace(settings, visibility=_visibility(not hidden), pegged=pegged)
    return replace(machine, settings=settings, name=name, owner=owner)


def _visibility(public: bool) -> Visibility:
    return Visibility.PUBLIC if public else Visibility.HIDDEN


class _Narrator:
    """Says what each scene has that the one before had not."""

    def __init__(
        self,
        first: Scene,
        machines: Sequence[Machine],
        mine: Mapping[int, str],
        usd: Mapping[Currency, float],
        as_recorded: bool,
    ) -> None:
        self._machines = {machine.id: machine for machine in machines}
        self._mine = {server_id: name for server_id, name in mine.items() if server_id in self._machines}
        self._usd = dict(usd)
        self._as_recorded = as_recorded
        self._prices = {machine.id: machine.settings.prices for machine in machines}
        self._there = {server_id for server_id in self._machines if server_id in first.offers}
        self._there |= self._mine.keys()
        self._rentals: dict[int, Rental] = {}
        self._count = 0
        self._before: Mapping[int, Offer] = {}

    def step(self, scene: Scene) -> Step:
        step = Step(scene.at)
        self._tell_rates(scene, step)
        for server_id in sorted((scene.changed & self._machines.keys()) | self._mine.keys()):
            offer = scene.offers.get(server_id)
            self._tell_presence(scene, server_id, step)
            if offer is not None:
                self._tell_prices(offer, step)
                self._tell_rental(offer, step)
        self._before = scene.offers
        return step

    def _tell_rates(self, scene: Scene, step: Step) -> None:
        for currency, rate in _rates(scene, self._usd).items():
            if rate != self._usd[currency]:
                step.rates[currency] = self._usd[currency] = rate

    def _tell_presence(self, scene: Scene, server_id: int, step: Step) -> None:
        """Ours that are hidden are there: only their host's list says whether they are online."""
        seen = scene.servers.get(self._mine.get(server_id, ""))
        there = server_id in scene.offers if seen is None else seen.online is not False
        if there and server_id not in self._there:
            self._there.add(server_id)
            step.back.append(server_id)
        elif not there and server_id in self._there:
            self._there.remove(server_id)
            step.gone.append(server_id)

    def _tell_prices(self, offer: Offer, step: Step) -> None:
        if offer.id in self._mine and not self._as_recorded:
            return
        asked, _ = prices_asked(offer)
        if asked != self._prices[offer.id] and any(pricing.accepted for pricing in asked.values()):
            step.prices[offer.id] = self._prices[offer.id] = asked

    def _tell_rental(self, offer: Offer, step: Step) -> None:
        rented = bool(offer.rented) and not offer.gigaspot
        if not rented and offer.id in self._rentals:
            step.ended.append(self._rentals.pop(offer.id).number)
        elif rented and offer.id not in self._rentals:
            before = self._before.get(offer.id)
            at_its_price = offer if before is None or before.rented else before
            self._count += 1
            rental = Rental(
                number=self._count,
                server_id=offer.id,
                usd=usd_per_day(at_its_price, self._usd) or 0.0,
                gpu=_gpu(offer),
                reliability=offer.reliability or 0.0,
            )
            self._rentals[offer.id] = rental
            step.begun.append(rental)


def _gpu(offer: Offer) -> str:
    """Model and count."""
    return (offer.specs.gpu if offer.specs else None) or ""


# On the market --------------------------------------------------------------------------------------


class Replay(Rivals):
    """Everybody else on a market that follows a script."""

    def __init__(
        self, market: Market, agenda: Agenda, hosts: Hosts, founded: Founded, script: Script, seed: int
    ) -> None:
        usd = dict(script.usd)
        super().__init__(market, agenda, hosts.vouch, founded.rivals, script.machines, usd, seed)
        self._hosts = hosts
        self._script = script
        self._mine = script.mine
        self._alike: dict[str, list[int]] = {}
        for machine in script.machines:
            self._alike.setdefault(machine.specs.gpu or "", []).append(machine.id)
        self._rates = usd
        self._seeking: dict[int, Rental] = {}
        self._held: dict[int, tuple[int, int]] = {}
        self._tenants: dict[int, Rental] = {}

    def open(self, now: int) -> None:
        """Take what is taken when the market opens, and put the rest on the agenda."""
        first, *others = self._script.steps
        for server_id in first.gone:
            self._hosts.lose(server_id, now)
        for rental in first.begun:
            self._move_in(rental, rental.server_id, now)
        for step in others:
            self._agenda.put(step.at, partial(self._live, step))

    def heard_end(self, account_id: int, order_id: int) -> None:
        """Whose rental goes on in the history, looks again."""
        super().heard_end(account_id, order_id)
        rental = self._tenants.pop(order_id, None)
        if rental is not None and rental.number in self._held:
            del self._held[rental.number]
            self._seeking[rental.number] = rental

    def heard_outbid(self, order_id: int, now: int) -> None:
        """Nobody bids here."""

    def _live(self, step: Step, now: int) -> None:
        self._vouch(now)
        for currency, rate in step.rates.items():
            self._rates[currency] = rate
            rates.set_rate(self._market, currency, money.from_wire(round(rate, 8)), now)
        self._show(step, now)
        for number in step.ended:
            self._seeking.pop(number, None)
            account_id, order_id = self._held.pop(number, (0, 0))
            if order_id:
                self._leave(account_id, order_id, now)
        again, self._seeking = self._seeking, {}
        for rental in [*again.values(), *step.begun]:
            server_id = self._choice(rental, now)
            if server_id is not None:
                self._move_in(rental, server_id, now)

    def _show(self, step: Step, now: int) -> None:
        """Prices, and who is there."""
        for server_id in step.back:
            self._hosts.find(server_id, now)
        for server_id in step.gone:
            self._hosts.lose(server_id, now)
        with self._market.store.writing() as tx:
            touched = {*step.prices, *step.back, *step.gone}
            for server in servers_store.by_ids(tx, sorted(touched)):
                changes: dict[str, Any] = {}
                if server.id in step.prices:
                    changes["prices"] = step.prices[server.id]
                if server.id not in self._mine and server.id in {*step.back, *step.gone}:
                    changes["visibility"] = _visibility(server.id in step.back)
                settings = msgspec.structs.replace(server.settings, **changes)
                if settings != server.settings:
                    servers_store.save_settings(tx, server.id, settings)
                    kind = events.Kind.SERVER_SETTINGS_CHANGED
                    events.append(tx, kind, now, account_id=server.account_id, server_id=server.id)

    def _choice(self, rental: Rental, now: int) -> int | None:
        """Where somebody goes."""
        found: dict[int, float] = {}
        listed = listings(self._market, self._alike.get(rental.gpu, []), now)
        for server_id, listing in listed.items():
            offer = listing.offer
            if offer is None or offer.rented or offer.gigaspot:
                continue
            usd = usd_per_day(offer, self._rates)
            taken = server_id == rental.server_id and server_id not in self._mine
            similar = (offer.reliability or 0.0) >= rental.reliability - RELIABILITY_SLACK
            if usd is not None and (taken or (similar and usd <= rental.usd * NOT_DEARER)):
                found[server_id] = usd
        if not found:
            return None
        cheapest = min(found, key=lambda one: (found[one], one != rental.server_id, one))
        return cheapest if cheapest in self._mine or rental.server_id not in found else rental.server_id

    def _move_in(self, rental: Rental, server_id: int, now: int) -> None:
        with self._market.store.reading() as tx:
            (server,) = servers_store.by_ids(tx, [server_id])
            pegged = rates_store.pegged(tx)
        prices = {
            currency: pricing.on_demand
            for currency, pricing in server_rules.in_force(server.settings, pegged).items()
            if pricing.accepted and pricing.on_demand
        }
        if not prices:
            return
        currency = min(prices, key=lambda one: prices[one] * self._rates[one])
        account_id = self._somebody()
        self._top_up(account_id, currency, prices[currency] * PURSE_DAYS, now)
        order_id = self._order(account_id, server_id, currency, None, now)
        if order_id is not None:
            self._tenants[order_id] = rental
            self._held[rental.number] = (account_id, order_id)
