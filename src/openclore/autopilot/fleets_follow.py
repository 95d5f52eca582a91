"""What became of a fleet's orders: its memory, brought up to date with what the market shows now."""

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import msgspec

from openclore.api.offers import Offer
from openclore.api.orders import Order, OrderType
from openclore.api.spot import SpotMarket

from .budget import DAY_SECONDS, Tariff, added, ended, not_after
from .file import Fleet, Span
from .fleets_choose import HOURS_PER_DAY, country_of
from .memory import Exclusion, FleetMemory, Intent, Machine, Spent
from .observation import Probe, Reading

SETTLE_SECONDS = 120
"""An order that was asked for so long ago and is not to be seen was not made."""
CLOCKS_DIFFER_SECONDS = 300
"""Where no order was known, one that is over and older than an intent by more than this is another one."""
MISSING_SECONDS = 3_600
"""An order that is nowhere to be seen for so long is given up."""
OFTEN = 6
"""From so many failures in a row on, an exclusion grows no longer."""
FORGET_SECONDS = 7 * 86_400
"""How long after its exclusion the failures of a server are remembered."""
FAILED_IN_ROW = 4
PAUSE_SECONDS = 60
"""How long nothing is ordered after so many in a row did not get ready; then twice as long, up to an hour."""
PAUSE_SECONDS_MAX = PAUSE_SECONDS * 2**OFTEN
NOT_MADE_SECONDS = Span(600)
"""How long a server is left alone that refused an order, or to which none came through."""
_EXPECTED_ENDS = frozenset({"cancelled", "expired", "exhausted", "lease_expired", "limit_reached"})
_EXPIRY_SECONDS = 180
_MOMENTS = (
    "made_at",
    "starting_at",
    "ready_at",
    "checked_at",
    "waiting_since",
    "bid_at",
    "offline_since",
    "missing_since",
    "leaving_since",
    "cancelling_since",
)


class Look(NamedTuple):
    """What the market shows. `ended` are orders that are over, `at` and `ended_at` when that was read.

    `doubted` are currencies whose rate jumped just now: until that is clear `tariff` has the higher one, and
    `usual` the one before.
    """

    orders: Mapping[int, Order]
    at: int
    ended: Mapping[int, Order]
    ended_at: int
    spot: Mapping[int, Reading[SpotMarket]]
    probes: Mapping[int, Reading[Probe]]
    offers: Mapping[int, Offer]
    tariff: Tariff
    usual: Tariff
    doubted: Collection[str]


def set_back(memory: FleetMemory, look: Look, now: int) -> FleetMemory:
    """The memory without times that are yet to come, as there are once a clock was set back.

    What was spent in an hour or a day that has not begun counts for the present one.
    """
    return msgspec.structs.replace(
        memory,
        machines={order_id: _set_back(machine, look, now) for order_id, machine in memory.machines.items()},
        intents={
            key: msgspec.structs.replace(one, at=min(one.at, now), unclear_at=min(one.unclear_at, now))
            for key, one in memory.intents.items()
        },
        over=not_after(memory.over, now),
        pause_until=min(memory.pause_until, now + PAUSE_SECONDS_MAX),
    )


def settled(memory: FleetMemory, look: Look, claimed: Collection[int], exclude_for: Span) -> FleetMemory:
    """Orders asked for become machines once they are found; nothing once it is clear they were not made."""
    machines, intents, missed = dict(memory.machines), dict(memory.intents), dict(memory.missed)
    taken = {*claimed, *machines}
    excluded = memory.excluded
    for key, intent in sorted(memory.intents.items()):
        order = _made_by(intent, look, taken)
        if order is not None:
            taken.add(order.id)
            machines[order.id] = machine_of(order, intent, look)
            del intents[key]
        elif min(look.at, look.ended_at) >= max(intent.at, intent.unclear_at) + SETTLE_SECONDS:
            del intents[key]
            missed[key] = intent
            excluded = excluding(
                excluded, intent.order.server_id, look.at, min(NOT_MADE_SECONDS, exclude_for)
            )
    for key, intent in sorted(missed.items()):
        order = _made_by(intent, look._replace(ended={}), taken)
        if order is not None:
            taken.add(order.id)
            machines[order.id] = machine_of(order, intent, look)
        if order is not None or look.at >= intent.at + FORGET_SECONDS:
            del missed[key]
    return msgspec.structs.replace(
        memory, machines=machines, intents=intents, missed=missed, excluded=excluded
    )


def machine_of(order: Order, intent: Intent, look: Look | None) -> Machine:
    """What an intent turned into."""
    asked = intent.order
    return Machine(
        order_id=order.id,
        server_id=asked.server_id,
        type=asked.type,
        currency=asked.currency,
        image=asked.image,
        made_at=intent.at,
        usd_per_hour=asked.usd_per_hour,
        usd_per_hour_max=asked.usd_per_hour,
        usd_at_once=asked.usd_at_once,
        spent_at=intent.at,
        starting_at=max(intent.at, min(order.ct or 0, look.at if look else intent.at)),
        lease_until=None if asked.lease_seconds is None else intent.at + asked.lease_seconds,
        owner=order.owner,
        country=_country(order),
    )


def adopted(order: Order, look: Look) -> Machine | None:
    """A running order that nobody remembers; what it has cost so far counts with its next look.

    None as long as it can't be said what it costs.
    """
    kind, currency = kind_of(order), order.currency or ""
    price = _amount(order.price)
    usd_per_day = None if price is None else look.tariff.usd_with_fees(price, kind, currency)
    if usd_per_day is None:
        return None
    rate = usd_per_day / HOURS_PER_DAY
    made_at = min(order.ct or look.at, look.at)
    return Machine(
        order_id=order.id,
        server_id=order.si or 0,
        type=kind,
        currency=currency,
        image=order.image or "",
        made_at=made_at,
        usd_per_hour=rate,
        usd_per_hour_max=rate,
        usd_at_once=look.tariff.usd_at_once(kind, currency),
        spent_at=made_at,
        starting_at=look.at,
        owner=order.owner,
        country=_country(order),
    )


def cost_before(fleet: Fleet, look: Look, claimed: Collection[int]) -> tuple[Spent, int]:
    """What orders of a fleet's image have cost that ended today and that nobody remembers.

    The second is how many there are of which that can't be said.
    """
    today = look.at // DAY_SECONDS * DAY_SECONDS
    spent, unknown = Spent(), 0
    for order in look.ended.values():
        if order.id in claimed or not could_be_of(fleet, order) or order.ct is None:
            continue
        kind, currency = kind_of(order), order.currency or ""
        spend, price = _amount(order.spend) or 0.0, _amount(order.price)
        seconds = int(spend / price * DAY_SECONDS) if price else 0
        if (order.order_end or order.ct + seconds) < today:
            continue
        at = min(look.at, order.order_end or look.at)
        usd = look.usual.usd_with_fees(spend, kind, currency)
        if usd is None:
            unknown += 1
            continue
        rate = look.tariff.usd_with_fees(price, kind, currency) if price else None
        highest = math.inf if rate is None else rate / HOURS_PER_DAY
        in_it = added(Spent(), usd, highest, order.ct, at)
        spent += ended(in_it, look.tariff.usd_at_once(kind, currency), order.ct, at)
    return spent, unknown


def could_be_of(fleet: Fleet, order: Order) -> bool:
    return order.image == fleet.image and fleet.order_type in (kind_of(order), "cheapest")


def kind_of(order: Order) -> OrderType:
    return "spot" if order.spot else "on-demand"


def followed(memory: FleetMemory, fleet: Fleet | None, look: Look, now: int) -> tuple[FleetMemory, list[str]]:
    """The machines as they are now, without those that are over; and a sentence for each that is strange."""
    machines: dict[int, Machine] = {}
    strange = []
    for order_id, machine in sorted(memory.machines.items()):
        order, over = look.orders.get(order_id), look.ended.get(order_id)
        if order is not None and order.si in (None, machine.server_id):
            machines[order_id] = _present(machine, order, fleet, look, now)
        elif order is None and over is not None:
            memory = _over(memory, machine, over, fleet, look)
        elif order is None and look.at < machine.starting_at + SETTLE_SECONDS:
            machines[order_id] = machine
        else:
            missing_since = machine.missing_since or now
            if now - missing_since >= MISSING_SECONDS:
                memory = _over(memory, machine, Order(id=order_id, end_reason="cancelled"), fleet, look)
                memory = msgspec.structs.replace(memory, orphans=(*(memory.orphans or ()), order_id))
                continue
            machines[order_id] = msgspec.structs.replace(machine, missing_since=missing_since)
            if machine.cancelling_since is None:
                where = "is nowhere to be seen" if order is None else f"is said to be on server {order.si}"
                strange.append(
                    f"order {order_id} on server {machine.server_id} {where}; nothing is ordered or cancelled"
                    " until that is clear"
                )
    excluded = {server: one for server, one in memory.excluded.items() if now < one.until + FORGET_SECONDS}
    if any(machine.ready_at == now for machine in machines.values()):
        memory = msgspec.structs.replace(memory, failed_in_row=0, pause_until=0, pause_reason="")
    return msgspec.structs.replace(memory, machines=machines, excluded=excluded), strange


def excluding(
    excluded: Mapping[int, Exclusion], server_id: int, now: int, seconds: int
) -> dict[int, Exclusion]:
    """One more failure of a server: it is left alone for so long, then twice as long, and so on."""
    before = excluded.get(server_id)
    failures = before.failures + 1 if before else 1
    until = now + seconds * 2 ** min(failures - 1, OFTEN)
    return {**excluded, server_id: Exclusion(max(until, before.until if before else 0), failures)}


def after_failure(memory: FleetMemory, machine: Machine, now: int, exclude_for: Span) -> FleetMemory:
    """The memory after a machine turned out to be no good.

    When one after the other does not get ready while none is, it is probably not their fault: orders pause.
    """
    memory = msgspec.structs.replace(
        memory, excluded=excluding(memory.excluded, machine.server_id, now, exclude_for)
    )
    if any(one.ready_at is not None for one in (machine, *memory.machines.values())):
        return memory
    in_row = memory.failed_in_row + 1
    memory = msgspec.structs.replace(memory, failed_in_row=in_row)
    if in_row < FAILED_IN_ROW:
        return memory
    seconds = PAUSE_SECONDS * 2 ** min(in_row - FAILED_IN_ROW, OFTEN)
    why = f"{in_row} in a row did not get ready; is something wrong with {machine.image}?"
    return msgspec.structs.replace(memory, pause_until=now + seconds, pause_reason=why)


def deployed(order: Order) -> bool:
    return order.state == "running" if order.state else (order.mon_container or 0) >= 2


def _set_back(machine: Machine, look: Look, now: int) -> Machine:
    changes = {name: now for name in _MOMENTS if (getattr(machine, name) or 0) > now}
    if machine.spent_at > now:
        changes |= {"spent_at": look.at - 1}  # so that this look counts
    return msgspec.structs.replace(machine, spent=not_after(machine.spent, now), **changes)


def _made_by(intent: Intent, look: Look, taken: Collection[int]) -> Order | None:
    """The order that an intent asked for: the newest that can be it."""
    asked = intent.order
    found = [
        order
        for order in (*look.orders.values(), *look.ended.values())
        if order.si == asked.server_id
        and order.image in (None, asked.image)
        and kind_of(order) == asked.type
        and order.id not in asked.known
        and order.id not in taken
        and (order.id in look.orders or _began_after(intent, order))
    ]
    return max(found, key=lambda order: order.id, default=None)


def _began_after(intent: Intent, order: Order) -> bool:
    """Whether an order that is over is newer than an intent: by the ids there were, not by two clocks."""
    if intent.order.known:
        return order.id > max(intent.order.known)
    return order.ct is None or order.ct >= intent.at - CLOCKS_DIFFER_SECONDS


def _country(order: Order) -> str | None:
    return order.specs.net.cc if order.specs and order.specs.net else None


def _present(machine: Machine, order: Order, fleet: Fleet | None, look: Look, now: int) -> Machine:
    machine = _charged(machine, order, look)
    offer = look.offers.get(machine.server_id)
    waiting = _waits(machine, order, look.spot.get(machine.server_id))
    changes = {
        "missing_since": None,
        "ends_at": order.ct + order.mrl if order.ct and order.mrl and order.mrl > 0 else machine.ends_at,
        "offline_since": (machine.offline_since or now) if order.online is False else None,
        "owner": machine.owner if machine.owner is not None else order.owner or (offer and offer.owner),
        "country": machine.country or _country(order) or (country_of(offer) if offer else None),
        "waiting_since": (machine.waiting_since or now) if waiting else None,
    }
    if waiting:
        changes |= {"ready_at": None, "failures": 0, "offline_since": None}
    elif machine.waiting_since is not None:
        changes |= {"starting_at": now}
    machine = msgspec.structs.replace(machine, **changes)
    return machine if waiting or fleet is None else _checked(machine, order, fleet, look, now)


def _charged(machine: Machine, order: Order, look: Look, last: bool = False) -> Machine:
    """With what it has cost by now, and what it costs from now on.

    What it has consumed waits until it is known what that is worth, unless this is the `last` look.
    """
    if look.at <= machine.spent_at:
        return machine
    spend = _amount(order.spend)
    consumed = 0.0 if spend is None else max(0.0, spend - machine.spend)
    usd = None if spend is None else look.usual.usd_with_fees(consumed, machine.type, machine.currency)
    waits = spend is not None and not last and (usd is None or machine.currency in look.doubted)
    if usd is None:
        minutes = -(-(look.at - machine.spent_at) // 60) + 1
        usd = machine.usd_per_hour * minutes / 60
    price = _amount(order.price)
    now_per_day = None if price is None else look.tariff.usd_with_fees(price, machine.type, machine.currency)
    rate = machine.usd_per_hour if now_per_day is None else now_per_day / HOURS_PER_DAY
    if machine.bid_at is not None and look.at < machine.bid_at + SETTLE_SECONDS:
        rate = max(rate, machine.usd_per_hour)
    highest = max(machine.usd_per_hour_max, rate)
    machine = msgspec.structs.replace(machine, usd_per_hour=rate, usd_per_hour_max=highest)
    if waits:
        return machine
    return msgspec.structs.replace(
        machine,
        spend=machine.spend if spend is None else max(spend, machine.spend),
        spent=added(machine.spent, usd, highest, machine.spent_at, look.at),
        spent_at=look.at,
    )


def _amount(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) and number >= 0 else None


def _waits(machine: Machine, order: Order, market: Reading[SpotMarket] | None) -> bool:
    """Whether it is a bid that does not run; where the market does not say, as it was."""
    if machine.type != "spot":
        return False
    if order.state:
        return order.state == "waiting"
    if market is not None and market.at > max(machine.made_at, machine.bid_at or 0):
        for bid in market.value.offers or ():
            if bid.my and bid.offer_id in (None, machine.order_id) and bid.active is not None:
                return not bid.active
    return machine.waiting_since is not None


def _checked(machine: Machine, order: Order, fleet: Fleet, look: Look, now: int) -> Machine:
    """With what its checks said."""
    if not fleet.ready:
        ready = deployed(order)
        return msgspec.structs.replace(machine, ready_at=machine.ready_at or now) if ready else machine
    probe = look.probes.get(machine.order_id)
    if probe is None or probe.at <= max(machine.checked_at or 0, machine.waiting_since or 0):
        return machine
    if probe.value.passed:
        return msgspec.structs.replace(
            machine, checked_at=probe.at, failures=0, ready_at=machine.ready_at or now
        )
    failures = machine.failures + (machine.ready_at is not None)
    return msgspec.structs.replace(machine, checked_at=probe.at, failures=failures)


def _over(
    memory: FleetMemory, machine: Machine, order: Order, fleet: Fleet | None, look: Look
) -> FleetMemory:
    """The memory after an order ended, by whomever."""
    machine = _charged(machine, order, look, last=True)
    cost = ended(machine.spent, machine.usd_at_once, machine.made_at, max(look.at, machine.spent_at))
    memory = msgspec.structs.replace(memory, over=memory.over + cost)
    expected = (
        machine.cancelling_since is not None
        or order.end_reason in _EXPECTED_ENDS
        or (machine.ends_at is not None and look.at >= machine.ends_at - _EXPIRY_SECONDS)
    )
    return memory if expected or fleet is None else after_failure(memory, machine, look.at, fleet.exclude_for)
