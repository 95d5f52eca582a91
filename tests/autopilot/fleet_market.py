"""A small market to try fleets on: it makes orders, charges by the minute, and goes wrong as it likes."""

import json
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from openclore.api.account import CreationFees, FeeTable, RenterFees, RenterFeesReply
from openclore.api.offers import Offer, OfferPrice
from openclore.api.orders import Order
from openclore.api.specs import Net, Specs
from openclore.api.spot import SpotMarket, SpotOffer, SpotServer
from openclore.autopilot.actions import CancelOrder, Outcome, PlaceOrder, Rebid, RenewLease
from openclore.autopilot.file import Coin, File, Fleet, Span
from openclore.autopilot.fleets import done, plan_fleets
from openclore.autopilot.memory import FleetMemory, Memory
from openclore.autopilot.observation import Observation, Probe, Reading

USD = "USD-Blockchain"
START = 1_800_000_000
FEES = RenterFeesReply(
    code=0,
    renter_fees=RenterFees(on_demand=FeeTable(base={USD: 5.0}), spot=FeeTable(base={USD: 1.25})),
    creation_fees=CreationFees(on_demand={USD: 0.1}, spot={USD: 0.1}),
)


def offer(
    server_id: int, price: float = 4.8, floor: float | None = None, currency: str = USD, **changes: Any
) -> Offer:
    """`price` per day."""
    known: dict[str, Any] = {
        "owner": server_id,
        "mrl": 1_000,
        "price": OfferPrice(
            on_demand={currency: price}, spot={currency: price / 2 if floor is None else floor}
        ),
        "rented": False,
        "specs": Specs(gpu="1x NVIDIA GeForce RTX 4090", gpuram=24, ram=64, net=Net(cc="DE")),
        "reliability": 0.99,
        "allowed_coins": [currency],
    }
    return Offer(id=server_id, **(known | changes))


def fleet(**changes: Any) -> Fleet:
    known: dict[str, Any] = {
        "image": "busybox",
        "machines": 1,
        "currency": Coin(USD),
        "price_per_hour_max": 0.3,
        "ready_within": Span(600),
    }
    return Fleet(**(known | changes))


def file_of(*, every: int = 60, stale_after: int = 180, **fleets: Fleet) -> File:
    return File(every=Span(every), stale_after=Span(stale_after), fleets=fleets)


def by_hand(server_id: int, price: float) -> PlaceOrder:
    """What a person orders who uses the same image."""
    return PlaceOrder(
        for_="",
        reason="",
        key="by hand",
        fleet="",
        server_id=server_id,
        type="on-demand",
        currency=USD,
        image="busybox",
        price=price,
        usd_per_hour=0.0,
    )


@dataclass
class Rented:
    """An order as the market has it. `minutes` were charged, `key` asked for it."""

    id: int
    server_id: int
    spot: bool
    price: float
    made_at: int
    image: str
    key: str
    deploys_in: int = 90
    fails: bool = False
    minutes: int = 0
    spend: float = 0.0
    ran_since: int = 0
    waiting: bool = False
    ended_at: int | None = None
    end_reason: str | None = None


class Refused(Exception):
    pass


@dataclass
class Market:
    """`rate`: dollars for one `currency`, in which all is priced and paid; `doubted`: one told only once."""

    offers: dict[int, Offer]
    now: int = START
    orders: dict[int, Rented] = field(default_factory=dict)
    rivals: dict[int, float] = field(default_factory=dict)
    offline: set[int] = field(default_factory=set)
    charges: list[tuple[int, float, str]] = field(default_factory=list)
    fee_at_once: bool = False
    tells_state: bool = True
    has_open: bool = False
    fails_next: bool = False
    currency: str = USD
    rate: float = 1.0
    doubted: float | None = None

    # What everybody sees -----------------------------------------------------------------------------

    def observation(
        self, before: Observation | None = None, unread: frozenset[str] = frozenset()
    ) -> Observation:
        rows = {rented.id: self._row(rented) for rented in self.orders.values()}
        active = {key: row for key, row in rows.items() if self.orders[key].ended_at is None}
        ended = {key: row for key, row in rows.items() if key not in active}
        listed = [
            msgspec.structs.replace(each, rented=each.rented or self._held(each.id))
            for each in self.offers.values()
            if each.id not in self.offline
        ]
        bids = {row.si for row in active.values() if row.spot}
        old = before or Observation()
        return Observation(
            offers=old.offers if "offers" in unread else Reading(listed, self.now),
            orders=old.orders if "orders" in unread else Reading(active, self.now),
            ended=old.ended if "orders" in unread else Reading(ended, self.now),
            spot=old.spot if "spot" in unread else {si: Reading(self._bids(si), self.now) for si in bids},
            fees=Reading(FEES, self.now),
            rates={USD: 1.0, self.currency: self.rate},
            doubted={} if self.doubted is None else {self.currency: self.doubted},
            probes={
                key: Reading(Probe(passed=row.si not in self.offline), self.now)
                for key, row in active.items()
                if (row.mon_container or 0) >= 2
            },
            has_open=self.has_open,
        )

    def active(self) -> list[Rented]:
        return [rented for rented in self.orders.values() if rented.ended_at is None]

    def running(self) -> list[Rented]:
        return [one for one in self.active() if not one.waiting and one.server_id not in self.offline]

    def _row(self, rented: Rented) -> Order:
        since = self.now - rented.ran_since
        deployed = 0 if since < rented.deploys_in else (1 if rented.fails else 2)
        state = None
        if self.tells_state:
            names = ("deploying", "deploying", "running")
            state = "waiting" if rented.waiting else names[deployed]
            state = "ended" if rented.ended_at is not None else state
        return Order(
            id=rented.id,
            si=rented.server_id,
            ct=rented.made_at,
            mrl=1_000 * 3_600,
            price=rented.price,
            currency=self.currency,
            spend=rented.spend,
            image=rented.image,
            spot=rented.spot or None,
            online=rented.server_id not in self.offline,
            mon_container=0 if rented.waiting else deployed,
            expired=rented.ended_at is not None or None,
            end_reason=rented.end_reason if self.tells_state else None,
            state=state,
        )

    def _bids(self, server_id: int) -> SpotMarket:
        found = [
            SpotOffer(offer_id=one.id, bid=one.price, active=not one.waiting, my=True, currency=self.currency)
            for one in self.active()
            if one.server_id == server_id and one.spot
        ]
        if server_id in self.rivals:
            found.append(
                SpotOffer(
                    offer_id=1, bid=self.rivals[server_id], active=True, my=False, currency=self.currency
                )
            )
        floor = self.offers[server_id].floor_per_day(self.currency) if server_id in self.offers else None
        return SpotMarket(offers=found, server=SpotServer(min_pricing={self.currency: floor}))

    def _held(self, server_id: int) -> bool:
        return any(one.server_id == server_id and not one.spot for one in self.active())

    # What we do --------------------------------------------------------------------------------------

    def do(self, action: Any) -> Order | None:
        match action:
            case PlaceOrder():
                return self._place(action)
            case CancelOrder():
                if action.order_id in self.orders and self.orders[action.order_id].ended_at is None:
                    self.end(action.order_id, "cancelled")
            case Rebid():
                if self.orders[action.order_id].ended_at is not None:
                    raise Refused("order_dont_exist")
                self.orders[action.order_id].price = action.price
                self._auction()
            case RenewLease():
                if self.orders[action.order_id].ended_at is not None:
                    raise Refused("order_dont_exist")
        return None

    def _place(self, action: PlaceOrder) -> Order:
        listed = self.offers.get(action.server_id)
        if listed is None or action.server_id in self.offline:
            raise Refused("server-offline")
        if listed.rented or self._held(action.server_id):
            raise Refused("server-already-rented")
        if action.type == "on-demand" and action.price != listed.price_per_day(self.currency):
            raise Refused("price_not_matching")
        if action.type == "spot" and action.price < (listed.floor_per_day(self.currency) or 0):
            raise Refused("too_low_price")
        made = Rented(
            id=7_000 + len(self.orders),
            server_id=action.server_id,
            spot=action.type == "spot",
            price=action.price,
            made_at=self.now,
            image=action.image,
            key=action.key,
            ran_since=self.now,
            fails=self.fails_next,
        )
        self.fails_next = False
        self.orders[made.id] = made
        if self.fee_at_once and self.currency == USD:
            self.charges.append((self.now, 0.1, f"{made.id} fee"))
        self._auction()
        self._charge(made)
        return self._row(made)

    def end(self, order_id: int, reason: str) -> None:
        self.orders[order_id].ended_at = self.now
        self.orders[order_id].end_reason = reason

    # What happens ------------------------------------------------------------------------------------

    def turn(self, seconds: int) -> None:
        """Time passes; every minute of an order that runs is charged as it begins."""
        for _ in range(seconds):
            self.now += 1
            for one in self.active():
                self._charge(one)

    def outbid(self, server_id: int, price: float) -> None:
        self.rivals[server_id] = price
        self._auction()

    def _auction(self) -> None:
        for one in self.active():
            if one.spot:
                taken = bool(self.offers[one.server_id].rented) or self._held(one.server_id)
                lost = taken or self.rivals.get(one.server_id, 0.0) >= one.price
                if one.waiting and not lost:
                    one.ran_since = self.now
                one.waiting = lost

    def _charge(self, one: Rented) -> None:
        if one.waiting or one.server_id in self.offline or one.ended_at is not None:
            return
        if (self.now - one.made_at) // 60 >= one.minutes and (self.now - one.made_at) % 60 == 0:
            one.minutes += 1
            one.spend += one.price / 1_440
            factor = 1.0125 if one.spot else 1.05
            self.charges.append((self.now, one.price / 1_440 * factor * self.rate, f"{one.id}"))
        if not self.fee_at_once and self.currency == USD and self.now - one.made_at == 600:
            self.charges.append((self.now, 0.1, f"{one.id} fee"))

    def spent_per(self, seconds: int) -> Counter[int]:
        found: Counter[int] = Counter()
        for at, usd, _ in self.charges:
            found[at // seconds if seconds else 0] += usd  # type: ignore[assignment]
        return found


def stored(memory: Memory) -> Memory:
    """As it comes back from disk."""
    return msgspec.convert(json.loads(msgspec.json.encode(memory)), Memory, strict=False)


class Crashed(Exception):
    pass


@dataclass
class Pilot:
    """Observe, plan, remember, act; `crash_at` is the number of the step at which it stops once.

    `slow`: an action takes up to so many seconds. Like the runner, it begins nothing but cancelling on the
    strength of what it saw longer ago than `stale_after`.
    """

    market: Market
    file: File
    dice: Random = field(default_factory=lambda: Random(0))
    faults: float = 0.0
    crash_at: int | None = None
    slow: int | None = None
    memory: Memory = field(default_factory=lambda: Memory(name="m"))
    seen: Observation | None = None
    step: int = 0
    unread: int = 0
    spoiled: int = 0
    keys: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def round(self) -> None:
        began = self.market.now
        try:
            self._round()
        except Crashed:
            self.memory, self.seen = stored(self.memory), None
        self.market.turn(
            self.file.every if self.slow is None else max(1, began + self.file.every - self.market.now)
        )

    def _round(self) -> None:
        unread: frozenset[str] = frozenset()
        if self.seen is not None and self.unread < 1 and self.dice.random() < self.faults:
            self.unread += 1
            unread = frozenset(self.dice.sample(["orders", "offers", "spot"], 2))
        else:
            self.unread = 0
        self.seen = self.market.observation(self.seen, unread)
        plan = plan_fleets(self.file, self.seen, self.memory, self.market.now)
        assert plan == plan_fleets(self.file, self.seen, self.memory, self.market.now)
        self._step()
        self.memory = plan.memory
        self.notes = [note.text for note in plan.notes]
        for action in plan.actions:
            self._step()
            if self._old(action):
                outcome = Outcome(action=action, at=self.market.now, done=False, detail="not begun")
            else:
                before, after = self._takes()
                self.market.turn(before)
                self.log.append(f"{self.market.now - START} {type(action).__name__} {action.reason}")
                outcome = self._carried_out(action)
                self.market.turn(after)
            self._step()
            self.memory = done(self.memory, outcome)

    def _old(self, action: Any) -> bool:
        assert self.seen is not None
        assert self.seen.fees is not None
        age = self.market.now - self.seen.fees.at
        return age > self.file.stale_after and not isinstance(action, CancelOrder)

    def _takes(self) -> tuple[int, int]:
        if self.slow is None:
            return 0, 2
        before = self.dice.randrange(self.slow)
        return before, self.dice.randint(1, self.slow - before)

    def _step(self) -> None:
        self.step += 1
        if self.step == self.crash_at:
            raise Crashed

    def _carried_out(self, action: Any) -> Outcome:
        if isinstance(action, PlaceOrder):
            self.keys[action.key] += 1
        spoil = ""
        if self.spoiled < 1 and self.dice.random() < self.faults:
            spoil = self.dice.choice(["before", "after", "refused"])
        self.spoiled = self.spoiled + 1 if spoil else 0
        at = self.market.now
        if spoil == "before":
            return Outcome(action=action, at=at, done=False, detail="HTTP 500", unknown=True)
        if spoil == "refused":
            return Outcome(action=action, at=at, done=False, detail="no", error="compute-not-available")
        try:
            order = self.market.do(action)
        except Refused as refusal:
            return Outcome(action=action, at=at, done=False, detail=str(refusal), error=str(refusal))
        if spoil == "after":
            return Outcome(action=action, at=at, done=False, detail="HTTP 500", unknown=True)
        return Outcome(action=action, at=at, done=True, order=order)

    @property
    def fleet(self) -> FleetMemory:
        return self.memory.fleets.get("a", FleetMemory())

    def remembered(self) -> set[int]:
        return {order_id for one in self.memory.fleets.values() for order_id in one.machines}
