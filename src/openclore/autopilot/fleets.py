"""Keeping fleets: which machines to order, to bid for, to see to and to cancel.

Each round begins with what became of the orders (`fleets_follow`), then looks fleet by fleet at what is
wrong, what is too much, what the budget does not allow (`budget`), and last what is missing
(`fleets_choose`). An order is in the memory as an intent before it is asked for, and leaves it when it is
clear what became of it.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

import msgspec

from openclore.api.codes import Refusal
from openclore.api.durations import words_of
from openclore.api.open.orders import LEASE_SECONDS_MIN
from openclore.api.orders import Order
from openclore.api.spot import SpotMarket

from .actions import AnyAction, CancelOrder, Note, Outcome, Part, PlaceOrder, Rebid, RenewLease
from .budget import HOUR_SECONDS, Cost, Excess, Tariff, excess
from .file import Budget, File, Fleet
from .fleets_choose import (
    HOURS_PER_DAY,
    Choice,
    best,
    bid_of,
    choices,
    country_of,
    place_of,
    place_of_offer,
    price_cap,
)
from .fleets_follow import (
    NOT_MADE_SECONDS,
    Look,
    adopted,
    after_failure,
    cost_before,
    could_be_of,
    excluding,
    followed,
    machine_of,
    set_back,
    settled,
)
from .memory import FleetMemory, Intent, Machine, Memory, Spent
from .observation import Observation, Reading, fresh

T = TypeVar("T")

OFFLINE_SECONDS = 180
"""How long a host may be gone before its machine is replaced."""
CANCEL_AGAIN_SECONDS = 60
WAIT_SECONDS = 300
"""How long a bid that does not run is raised again and again before another machine is looked for; with slow
rounds, three of them."""
MARGIN_SECONDS = 60
ORDERS_PER_ROUND = 10
"""A market takes one in five seconds; a round should not last much longer than it is apart from the next."""
_OF_SERVER = frozenset(
    {
        Refusal.SERVER_DONT_EXIST,
        Refusal.SERVER_OFFLINE,
        Refusal.SERVER_ALREADY_RENTED,
        Refusal.CANT_RENT_FROM_YOURSELF,
        Refusal.TOO_LOW_PRICE,
        Refusal.YOU_ALREADY_HAVE_SPOT_ORDER,
        Refusal.CURRENCY_NOT_ALLOWED,
        Refusal.MACHINE_IS_ON_GIGASPOT,
        Refusal.PRICE_NOT_MATCHING,
        Refusal.COMPUTE_NOT_AVAILABLE,
    }
)
REFUSED_SECONDS = 600
"""How long nothing is ordered after a refusal that this does not know; it may be the image, or the server."""
_PAUSES = {
    Refusal.WAIT: 60,
    Refusal.NOT_ENOUGH_BALANCE: 300,
    Refusal.REACHED_ORDER_LIMIT: 300,
    Refusal.REACHED_ORDER_LIMIT_PER_DAY: 3_600,
    Refusal.SPEND_LIMIT_REACHED: 600,
}
"""Refusals that are not about a server, and how long nothing is ordered after them."""


def plan_fleets(file: File, seen: Observation, memory: Memory, now: int) -> Part[Memory]:
    """What all fleets do in this round."""
    if not file.fleets and not any(one.machines or one.intents for one in memory.fleets.values()):
        return Part((), memory)
    orders = fresh(seen.orders, now, file.stale_after)
    if seen.orders is None or orders is None:
        return Part((), memory, tuple(_blind(file, seen, now)))
    fees = seen.fees.value if seen.fees else None
    look = Look(
        orders=orders,
        at=seen.orders.at,
        ended=seen.ended.value if seen.ended else {},
        ended_at=seen.ended.at if seen.ended else 0,
        spot=_fresh_of(seen.spot, file, now),
        probes=_fresh_of(seen.probes, file, now),
        offers={offer.id: offer for offer in (fresh(seen.offers, now, file.stale_after) or ())},
        tariff=Tariff(_higher(seen), fees),
        usual=Tariff(seen.rates, fees),
        doubted=seen.doubted,
    )
    return _Round(file, seen, look, memory, now).plan()


def done(memory: Memory, outcome: Outcome) -> Memory:
    """The memory after an action on a fleet; other actions change nothing."""
    action = outcome.action
    name = action.for_.removeprefix("fleets.")
    fleet = memory.fleets.get(name)
    if fleet is None:
        return memory
    match action:
        case PlaceOrder():
            fleet = _asked(fleet, action, outcome)
        case RenewLease() if outcome.done and action.order_id in fleet.machines:
            machine = fleet.machines[action.order_id]
            renewed = msgspec.structs.replace(machine, lease_until=outcome.at + action.seconds)
            fleet = msgspec.structs.replace(fleet, machines={**fleet.machines, action.order_id: renewed})
        case _:
            return memory
    return msgspec.structs.replace(memory, fleets={**memory.fleets, name: fleet})


def guard_seconds(file: File) -> int:
    """The longest until something that runs can be stopped."""
    return 2 * file.every + file.stale_after + MARGIN_SECONDS


def lease_seconds(file: File, fleet: Fleet) -> int:
    """Long enough to be renewed in time whatever the file says of rounds."""
    return int(max(fleet.lease, 4 * file.every, LEASE_SECONDS_MIN))


def _higher(seen: Observation) -> dict[str, float]:
    """Rates; while one is doubted, the higher of what it was and what it may be."""
    doubted = {name: max(rate, seen.rates.get(name, 0.0)) for name, rate in seen.doubted.items()}
    return {**seen.rates, **doubted}


def _fresh_of(readings: Mapping[int, Reading[T]], file: File, now: int) -> dict[int, Reading[T]]:
    return {key: one for key, one in readings.items() if fresh(one, now, file.stale_after) is not None}


def _blind(file: File, seen: Observation, now: int) -> Iterable[Note]:
    last = (
        f"were last read {words_of(max(0, now - seen.orders.at))} ago"
        if seen.orders
        else "could not be read yet"
    )
    for name in sorted(file.fleets):
        yield Note(for_=f"fleets.{name}", text=f"the orders {last}; nothing is done until they are read")


def _asked(fleet: FleetMemory, action: PlaceOrder, outcome: Outcome) -> FleetMemory:
    """What an order that was asked for turned into, if that is known."""
    intent = fleet.intents.get(action.key)
    if intent is None:
        return fleet
    if outcome.unknown or (outcome.done and outcome.order is None):
        unclear = msgspec.structs.replace(intent, unclear_at=outcome.at)
        return msgspec.structs.replace(fleet, intents={**fleet.intents, action.key: unclear})
    intents = {key: one for key, one in fleet.intents.items() if key != action.key}
    fleet = msgspec.structs.replace(fleet, intents=intents)
    if outcome.order is not None:
        machine = msgspec.structs.replace(machine_of(outcome.order, intent, None), starting_at=outcome.at)
        return msgspec.structs.replace(fleet, machines={**fleet.machines, outcome.order.id: machine})
    if outcome.error in _PAUSES:
        return _pausing(fleet, outcome, _PAUSES[Refusal(outcome.error)], f"the market: {outcome.error}")
    if outcome.error in _OF_SERVER or outcome.refused:
        excluded = excluding(fleet.excluded, action.server_id, outcome.at, NOT_MADE_SECONDS)
        fleet = msgspec.structs.replace(fleet, excluded=excluded)
    if outcome.refused and outcome.error not in _OF_SERVER:
        return _pausing(fleet, outcome, REFUSED_SECONDS, f"the last one was refused: {outcome.detail}")
    return fleet


def _pausing(fleet: FleetMemory, outcome: Outcome, seconds: int, why: str) -> FleetMemory:
    return msgspec.structs.replace(fleet, pause_until=outcome.at + seconds, pause_reason=why)


@dataclass
class _Work:
    """One fleet in this round; `fleet` is None if it is no longer in the file."""

    name: str
    fleet: Fleet | None
    memory: FleetMemory
    strange: bool = False
    missing: int = 0
    wanted: int = 0
    actions: list[AnyAction] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    @property
    def for_(self) -> str:
        return f"fleets.{self.name}"

    @property
    def staying(self) -> list[Machine]:
        return [one for one in self.memory.machines.values() if one.cancelling_since is None]

    def put(self, machine: Machine) -> None:
        machines = {**self.memory.machines, machine.order_id: machine}
        self.memory = msgspec.structs.replace(self.memory, machines=machines)

    def cancel(self, machine: Machine, reason: str, now: int) -> None:
        since = machine.leaving_since or now
        self.put(msgspec.structs.replace(machine, leaving_since=since, cancelling_since=now))
        self.actions.append(CancelOrder(for_=self.for_, reason=reason, order_id=machine.order_id))

    def say(self, text: str) -> None:
        self.notes.append(Note(for_=self.for_, text=text))


class _Round:
    def __init__(self, file: File, seen: Observation, look: Look, memory: Memory, now: int) -> None:
        self._file = file
        self._seen = seen
        self._look = look
        self._memory = memory
        self._now = now
        self._guard = guard_seconds(file)
        self._sequence = memory.sequence
        self._works = [
            _Work(name, file.fleets.get(name), memory.fleets.get(name, FleetMemory()))
            for name in sorted({*file.fleets, *memory.fleets})
        ]

    def plan(self) -> Part[Memory]:
        for work in self._works:
            self._follow(work)
        self._hand_over()
        for work in self._works:
            if work.fleet is not None:
                self._take_up_orphans(work, work.fleet)
        for work in self._works:
            self._cancel_again(work)
            if not work.strange:
                self._tend(work)
            self._renew(work)
        self._keep_within_budgets()
        for work in self._works:
            if work.fleet is not None and work.missing > 0 and not work.strange:
                self._order(work, work.fleet)
        memory = msgspec.structs.replace(
            self._memory,
            sequence=self._sequence,
            fleets={work.name: work.memory for work in self._works},
        )
        return Part(
            tuple(action for work in self._works for action in work.actions),
            memory,
            tuple(note for work in self._works for note in work.notes),
        )

    # What became of the orders ----------------------------------------------------------------------

    def _follow(self, work: _Work) -> None:
        exclude_for = work.fleet.exclude_for if work.fleet else NOT_MADE_SECONDS
        memory = settled(
            set_back(work.memory, self._look, self._now), self._look, self._claimed(), exclude_for
        )
        work.memory, strange = followed(memory, work.fleet, self._look, self._now)
        work.strange = bool(strange)
        for text in strange:
            work.say(text)

    def _claimed(self) -> set[int]:
        return {order_id for work in self._works for order_id in work.memory.machines}

    def _hand_over(self) -> None:
        """Machines of a fleet that is no longer in the file go to one that would have adopted them."""
        for work in self._works:
            for machine in work.staying if work.fleet is None else ():
                heir = next((each for each in self._works if _would_have(each, machine)), None)
                if heir is not None:
                    heir.put(machine)
                    machines = {**work.memory.machines}
                    del machines[machine.order_id]
                    work.memory = msgspec.structs.replace(work.memory, machines=machines)

    def _take_up_orphans(self, work: _Work, fleet: Fleet) -> None:
        """Running orders of its image that nobody remembers: those that were there when it began."""
        claimed = self._claimed()
        begins = work.memory.orphans is None
        due = set(work.memory.orphans or ())
        if begins:
            self._count_what_was(work, fleet, claimed)
        for order_id, order in sorted(self._look.orders.items()):
            if order_id in claimed or not could_be_of(fleet, order):
                continue
            what = f"order {order_id} on server {order.si} runs {fleet.image} and is unknown"
            if begins and fleet.orphans == "leave":
                work.say(f"{what}; it is left alone")
                continue
            if not begins and order_id not in due:
                work.say(f"{what}; it is left alone, as it was not there when the fleet began")
                continue
            machine = adopted(order, self._look)
            if machine is None:
                work.say(f"{what}; it is left alone until its price and the rate of its currency are known")
                due.add(order_id)
                continue
            due.discard(order_id)
            work.memory, _ = followed(
                msgspec.structs.replace(work.memory, machines={**work.memory.machines, order_id: machine}),
                fleet,
                self._look,
                self._now,
            )
            if fleet.orphans == "cancel":
                work.cancel(work.memory.machines[order_id], f"{what}", self._now)
            else:
                work.say(f"{what}; it is adopted")
        work.memory = msgspec.structs.replace(work.memory, orphans=tuple(sorted(due)))

    def _count_what_was(self, work: _Work, fleet: Fleet, claimed: Collection[int]) -> None:
        spent, unknown = cost_before(fleet, self._look, claimed)
        work.memory = msgspec.structs.replace(work.memory, over=work.memory.over + spent)
        if unknown:
            work.say(f"{unknown} orders of its image ended today, and what they have cost is not known")

    # What is wrong, and what is too much -------------------------------------------------------------

    def _cancel_again(self, work: _Work) -> None:
        for machine in work.memory.machines.values():
            since = machine.cancelling_since
            if since is None or machine.order_id not in self._look.orders:
                continue
            if self._look.at < since + CANCEL_AGAIN_SECONDS:
                continue
            seconds = self._look.at - (machine.leaving_since or since)
            still = f"still there {words_of(seconds)} after it was cancelled"
            if machine.leaving_since != since:
                work.say(f"order {machine.order_id} is {still}; it goes on costing money")
            work.cancel(machine, still, self._now)

    def _tend(self, work: _Work) -> None:
        fleet, now = work.fleet, self._now
        if fleet is None:
            for machine in work.staying:
                work.cancel(machine, f"there is no fleet {work.name} in the file any more", now)
            return
        for machine in work.staying:
            order = self._look.orders.get(machine.order_id)
            trouble = _trouble(fleet, machine, order, self._look, now) if order is not None else None
            if trouble:
                work.memory = after_failure(work.memory, machine, now, fleet.exclude_for)
                work.cancel(machine, trouble, now)
            elif order is not None and machine.waiting_since is not None:
                self._bid(work, fleet, machine, order)
        work.wanted, why = self._wanted(work, fleet)
        kept = [one for one in work.staying if not self._expires(fleet, one)]
        expiring = [one for one in work.staying if self._expires(fleet, one)]
        surplus = len(kept) + len(work.memory.intents) - work.wanted
        for machine in sorted(kept, key=_dispensable)[: max(0, surplus)]:
            kept.remove(machine)
            work.cancel(machine, why or f"one more than the {work.wanted} wanted", now)
        ready = sum(one.ready_at is not None for one in kept)
        expiring.sort(key=lambda one: (one.ends_at or 0, one.order_id))
        for machine in expiring[: max(0, len(expiring) + ready - work.wanted)]:
            work.cancel(machine, why or "its replacement is ready", now)
        work.missing = work.wanted - len(kept) - len(work.memory.intents)
        room = 2 * work.wanted - len(work.memory.machines) - len(work.memory.intents)
        if work.missing > max(0, room):
            work.missing = max(0, room)
            work.say(
                "orders that were to end or be replaced are still there; no more are made until they end"
            )

    def _expires(self, fleet: Fleet, machine: Machine) -> bool:
        if machine.ends_at is None:
            return False
        short_life = (machine.ends_at - machine.made_at) // 4
        return machine.ends_at - self._now < min(self._renewal_seconds(fleet), short_life)

    def _renewal_seconds(self, fleet: Fleet) -> int:
        """How long before an order's end another is made."""
        return fleet.ready_within + self._guard

    def _wanted(self, work: _Work, fleet: Fleet) -> tuple[int, str]:
        """How many machines there should be, and why none if so."""
        zone = ZoneInfo(self._file.messages.timezone)
        local = datetime.fromtimestamp(self._now, zone)
        until = fleet.until
        if until is not None and local >= (until if until.tzinfo else until.replace(tzinfo=zone)):
            return 0, f"the fleet's time was up at {fleet.until}"
        if fleet.schedule and not any(hours.covers(local) for hours in fleet.schedule):
            return 0, "it is outside the fleet's schedule"
        if fleet.scale is None:
            return fleet.machines or 0, ""
        reading = self._seen.scale.get(work.name)
        number = fresh(reading, self._now, self._file.stale_after)
        if number is None:
            work.say("how many machines there should be could not be learned; it stays as it was")
            number = work.memory.wanted if work.memory.wanted is not None else len(work.staying)
        number = min(max(number, fleet.scale.minimum), fleet.scale.maximum)
        work.memory = msgspec.structs.replace(work.memory, wanted=number)
        return number, ""

    # Bids and leases ---------------------------------------------------------------------------------

    def _bid(self, work: _Work, fleet: Fleet, machine: Machine, order: Order) -> None:
        """Go above the winner, or give up."""
        now, tariff = self._now, self._look.tariff
        reading = self._look.spot.get(machine.server_id)
        since = machine.waiting_since or now
        if now - since >= max(WAIT_SECONDS, 3 * self._file.every):
            self._give_up(work, machine, f"its bid has waited for {words_of(now - since)}")
            return
        if reading is None or reading.at <= max(machine.made_at, machine.bid_at or 0):
            return
        if machine.currency in self._look.doubted or tariff.usd(1.0, machine.currency) is None:
            return
        price = _winning(reading.value, machine.currency, fleet.bid_step, tariff)
        cap = price_cap(fleet, machine.currency, tariff)
        if price is None or cap is None:
            if now - since >= MARGIN_SECONDS:
                self._give_up(work, machine, "its bid waits, and there is no other to go above")
            return
        if order.price is not None and price <= order.price:
            return
        usd = (tariff.usd(price, machine.currency) or 0.0) / HOURS_PER_DAY
        if price > cap * (1 + 1e-9):
            why = f"outbid: {usd:.3f} $/h would win, above {fleet.price_per_hour_max:.3f}"
            self._give_up(work, machine, why)
            return
        with_fees = (tariff.usd_with_fees(price, machine.type, machine.currency) or 0.0) / HOURS_PER_DAY
        raised = msgspec.structs.replace(
            machine,
            bid_at=now,
            usd_per_hour=with_fees,
            usd_per_hour_max=max(with_fees, machine.usd_per_hour_max),
        )
        work.put(raised)
        over = self._excess(work, fleet)
        if over is not None:
            self._give_up(work, machine, f"outbid, and {over}")
            return
        work.actions.append(
            Rebid(
                for_=work.for_,
                reason=f"outbid: {usd:.3f} $/h is {fleet.bid_step:.0%} above the bid that runs",
                order_id=machine.order_id,
                price=price,
                before=order.price,
            )
        )

    def _give_up(self, work: _Work, machine: Machine, reason: str) -> None:
        excluded = excluding(work.memory.excluded, machine.server_id, self._now, NOT_MADE_SECONDS)
        work.memory = msgspec.structs.replace(work.memory, excluded=excluded)
        work.cancel(machine, reason, self._now)

    def _renew(self, work: _Work) -> None:
        fleet = work.fleet
        if not self._seen.has_open or fleet is None:
            return
        seconds = lease_seconds(self._file, fleet)
        for machine in work.staying:
            left = None if machine.lease_until is None else machine.lease_until - self._now
            if left is not None and left > seconds:  # by a clock that was set back since
                left = None
            if machine.order_id in self._look.orders and (left is None or left < seconds / 2):
                if left is not None and left < seconds / 4:
                    ends_in = words_of(max(0, left))
                    work.say(f"the lease of order {machine.order_id} was not renewed; it ends in {ends_in}")
                had = "has no lease yet" if left is None else f"ends in {words_of(max(0, left))} otherwise"
                work.actions.append(
                    RenewLease(for_=work.for_, reason=f"it {had}", order_id=machine.order_id, seconds=seconds)
                )

    # Money -------------------------------------------------------------------------------------------

    def _keep_within_budgets(self) -> None:
        """Cancel until the rest fits until the next look, the most expensive first, of those the newest."""
        for work in self._works:
            if work.fleet is not None:
                self._keep_within(work.fleet.budget, [work], f"fleet {work.name}")
        self._keep_within(self._file.budget, self._works, "all fleets")

    def _keep_within(self, budget: Budget, works: Sequence[_Work], whose: str) -> None:
        while True:
            over = excess(budget, _over(works), self._costs(works, self._now + self._guard), self._now)
            running = [(machine, work) for work in works for machine in work.staying]
            if over is None or not running:
                return
            machine, work = max(
                running, key=lambda one: (one[0].usd_per_hour, one[0].made_at, one[0].order_id)
            )
            work.cancel(machine, f"{whose}: {over}", self._now)

    def _excess(self, work: _Work, fleet: Fleet, *more: Cost) -> str | None:
        """Why something new can't be afforded, if so.

        For the hour everything is counted to its end: what begins must not make another end before it. Days
        and totals may be used up; then it must be worth beginning.
        """
        for budget, works, whose in (
            (fleet.budget, [work], f"fleet {work.name}"),
            (self._file.budget, self._works, "all fleets"),
        ):
            hour_ends = (self._now // HOUR_SECONDS + 1) * HOUR_SECONDS
            to_the_hour = max(hour_ends, self._now + self._guard)
            hourly = msgspec.structs.replace(budget, per_day=None, total=None)
            rest = msgspec.structs.replace(budget, per_hour=None)
            costs = [
                *self._costs(works, to_the_hour, self._now + self._guard),
                *(cost._replace(until=to_the_hour) for cost in more),
            ]
            found: Excess | None = excess(
                hourly, _over(works), [cost._replace(stays=True) for cost in costs], self._now
            ) or excess(
                rest,
                _over(works),
                [*self._costs(works, self._now + self._guard, self._now + self._guard), *more],
                self._now,
            )
            if found is not None:
                return f"{whose}: {found}"
        return None

    def _costs(self, works: Sequence[_Work], until: int, ending_until: int | None = None) -> list[Cost]:
        """What all there is may cost; what is being cancelled is over a round later, if all goes well."""
        soon = self._now + self._file.every + MARGIN_SECONDS if ending_until is None else ending_until
        machines = [machine for work in works for machine in work.memory.machines.values()]
        intents = [intent for work in works for intent in work.memory.intents.values()]
        return [
            *(_cost_of(machine, until if machine.cancelling_since is None else soon) for machine in machines),
            *(_cost_of_intent(intent, until) for intent in intents),
        ]

    # What is missing ---------------------------------------------------------------------------------

    def _order(self, work: _Work, fleet: Fleet) -> None:
        why = self._why_none_now(work, fleet)
        asked = 0
        if why is None:
            found = choices(
                fleet,
                self._look.offers.values(),
                self._look.tariff,
                self._occupied(),
                {server for server, one in work.memory.excluded.items() if self._now < one.until},
                2 * self._renewal_seconds(fleet),
            )
            left, why = list(found.found), found.why_not
            places = self._places(work, fleet)
            while asked < work.missing:
                if asked == ORDERS_PER_ROUND:
                    return
                choice = best(fleet, left, places)
                if choice is None:
                    if found.found:
                        why = _all_taken(fleet, len(found.found), len(left))
                    break
                over = self._excess(work, fleet, _cost_of_choice(choice, self._now, self._trial_ends(fleet)))
                if over is not None:
                    why = over
                    break
                left.remove(choice)
                places[place_of_offer(fleet, choice.offer)] += 1
                self._ask(work, fleet, choice, len(found.found))
                asked += 1
        if asked < work.missing:
            work.say(f"{work.missing - asked} of {work.wanted} machines are missing: {why}")

    def _why_none_now(self, work: _Work, fleet: Fleet) -> str | None:
        if self._now < work.memory.pause_until:
            rest = words_of(work.memory.pause_until - self._now)
            return f"nothing is ordered for another {rest}; {work.memory.pause_reason}"
        if fleet.currency in self._look.doubted:
            return f"what {fleet.currency} is worth jumped just now; nothing is ordered until that is clear"
        if fresh(self._seen.offers, self._now, self._file.stale_after) is None:
            return "the marketplace could not be read"
        return None

    def _trial_ends(self, fleet: Fleet) -> int:
        """What can't be paid until it is ready is not worth beginning."""
        return self._now + self._guard + fleet.ready_within

    def _occupied(self) -> set[int]:
        """Servers on which there is, or may soon be, an order of ours, or that are our own."""
        own = fresh(self._seen.servers, self._now, self._file.stale_after) or {}
        return {
            *(server.id for server in own.values() if server.id is not None),
            *(order.si for order in self._look.orders.values() if order.si is not None),
            *(one.server_id for work in self._works for one in work.memory.machines.values()),
            *(one.order.server_id for work in self._works for one in work.memory.intents.values()),
        }

    def _places(self, work: _Work, fleet: Fleet) -> Counter[str]:
        places = [
            place_of(fleet, machine.server_id, machine.owner, machine.country) for machine in work.staying
        ]
        for intent in work.memory.intents.values():
            offer = self._look.offers.get(intent.order.server_id)
            owner, country = (offer.owner, country_of(offer)) if offer else (None, None)
            places.append(place_of(fleet, intent.order.server_id, owner, country))
        return Counter(places)

    def _ask(self, work: _Work, fleet: Fleet, choice: Choice, of: int) -> None:
        key = f"{self._memory.name}-{work.name.replace(' ', '_')}-{self._sequence}"
        self._sequence += 1
        have = work.wanted - work.missing
        order = PlaceOrder(
            for_=work.for_,
            reason=(
                f"{have} of {work.wanted} machines there; server {choice.offer.id} is the best of {of} that"
                f" match, {choice.usd_per_hour:.3f} $/h with fees"
            ),
            key=key,
            fleet=work.name,
            server_id=choice.offer.id,
            type=choice.type,
            currency=str(fleet.currency),
            image=fleet.image,
            price=choice.price,
            usd_per_hour=choice.usd_per_hour,
            usd_at_once=choice.usd_at_once,
            spend_max=self._spend_max(work, fleet),
            lease_seconds=lease_seconds(self._file, fleet) if self._seen.has_open else None,
            known=tuple(sorted({*self._look.orders, *self._claimed(), *self._ended_on(choice.offer.id)})),
        )
        intents = {**work.memory.intents, key: Intent(at=self._now, order=order)}
        work.memory = msgspec.structs.replace(work.memory, intents=intents)
        work.actions.append(order)

    def _ended_on(self, server_id: int) -> set[int]:
        return {order.id for order in self._look.ended.values() if order.si == server_id}

    def _spend_max(self, work: _Work, fleet: Fleet) -> float | None:
        """What is left of the totals, in the fleet's currency, where the market can be told."""
        left = [
            budget.total - sum(one.memory.spent.total for one in works)
            for budget, works in ((fleet.budget, [work]), (self._file.budget, self._works))
            if budget.total is not None
        ]
        rate = self._look.tariff.usd(1.0, str(fleet.currency))
        if not left or not rate or not self._seen.has_open:
            return None
        return int(min(left) / rate * 10**8) / 10**8


def _would_have(work: _Work, machine: Machine) -> bool:
    fleet = work.fleet
    return (
        fleet is not None
        and fleet.orphans == "adopt"
        and fleet.image == machine.image
        and fleet.order_type in (machine.type, "cheapest")
    )


def _trouble(fleet: Fleet, machine: Machine, order: Order, look: Look, now: int) -> str | None:
    """Why a machine has to be replaced."""
    if order.mon_container == 1:
        return f"its container could not be deployed{': ' + order.end_detail if order.end_detail else ''}"
    if machine.offline_since is not None and now - machine.offline_since >= OFFLINE_SECONDS:
        return f"its host has been gone for {words_of(now - machine.offline_since)}"
    if machine.waiting_since is not None:
        return None
    probe = look.probes.get(machine.order_id)
    said = f" ({probe.value.detail})" if probe is not None and probe.value.detail else ""
    if machine.ready_at is None and now - machine.starting_at > fleet.ready_within:
        return f"not ready within {fleet.ready_within}{said}"
    if machine.failures >= fleet.unhealthy_after:
        return f"{machine.failures} checks in a row failed{said}"
    return None


def _dispensable(machine: Machine) -> tuple[bool, float, int, int]:
    """What to do without first: what is not ready, then the most expensive, then the newest."""
    return machine.ready_at is not None, -machine.usd_per_hour, -machine.made_at, -machine.order_id


def _winning(market: SpotMarket, currency: str, step: float, tariff: Tariff) -> float | None:
    """A bid above all others, None where there is no other."""
    unit = tariff.usd(1.0, currency)
    others = [
        usd / unit
        for bid in market.offers or ()
        if unit
        and not bid.my
        and bid.bid
        and (usd := tariff.usd(bid.bid, bid.currency or currency)) is not None
    ]
    if not others:
        return None
    floor = ((market.server and market.server.min_pricing) or {}).get(currency) or 0.0
    return bid_of(max(floor, max(others) * (1 + step)), currency)


def _over(works: Iterable[_Work]) -> Spent:
    spent = Spent()
    for work in works:
        spent += work.memory.over
    return spent


def _cost_of(machine: Machine, until: int) -> Cost:
    return Cost(
        machine.usd_per_hour,
        machine.usd_per_hour_max,
        machine.usd_at_once,
        machine.made_at,
        machine.spent,
        machine.spent_at,
        until,
        machine.cancelling_since is None,
    )


def _cost_of_intent(intent: Intent, until: int) -> Cost:
    asked = intent.order
    return Cost(
        asked.usd_per_hour, asked.usd_per_hour, asked.usd_at_once, intent.at, Spent(), intent.at, until
    )


def _cost_of_choice(choice: Choice, now: int, until: int) -> Cost:
    return Cost(choice.usd_per_hour, choice.usd_per_hour, choice.usd_at_once, now, Spent(), now, until)


def _all_taken(fleet: Fleet, found: int, left: int) -> str:
    if fleet.spread is None or not left:
        return f"only {found} offers match"
    there = f"{fleet.spread_max} machine{'s' if fleet.spread_max > 1 else ''}"
    return f"the {left} offers left are of a {fleet.spread} that has {there} of ours already"
