"""What became of a fleet's orders: its memory, brought up to date with what the market shows now."""

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import msgspec

from openclore.api.offers import Offer
from openclore.api.orders import Order, OrderType
from openclore.api.spot import SpotMarket

from .budget import Tariff, added, ended
from .file import Fleet, Span
from .fleets_choose import HOURS_PER_DAY, country_of
from .memory import Exclusion, FleetMemory, Intent, Machine
from .observation import Probe, Reading

SETTLE_SECONDS = 120
"""An order that was asked for so long ago and is not to be seen was not made."""
CLOCKS_DIFFER_SECONDS = 300
"""An order that is older than its intent by more than this is another one."""
MISSING_SECONDS = 3_600
"""An order that is nowhere to be seen for so long is given up."""
OFTEN = 6
"""From so many failures in a row on, an exclusion grows no longer."""
FORGET_SECONDS = 7 * 86_400
"""How long after its exclusion the failures of a server are remembered."""
FAILED_IN_ROW = 4
PAUSE_SECONDS = 60
"""How long nothing is ordered after so many in a row did not get ready; then twice as long, up to an hour."""
NOT_MADE_SECONDS = Span(600)
"""How long a server is left alone that refused an order, or to which none came through."""
_EXPECTED_ENDS = frozenset({"cancelled", "expired", "exhausted", "lease_expired", "limit_reached"})
_EXPIRY_SECONDS = 180


class Look(NamedTuple):
    """What the market shows. `ended` are orders that are over, `at` and `ended_at` when that was read.

    `doubted` are currencies whose rate jumped just now; `tariff` has the higher one until that is clear.
    """

    orders: Mapping[int, Order]
    at: int
    ended: Mapping[int, Order]
    ended_at: int
    spot: Mapping[int, Reading[SpotMarket]]
    probes: Mapping[int, Reading[Probe]]
    offers: Mapping[int, Offer]
    tariff: Tariff
    doubted: Collection[str]


def settled(memory: FleetMemory, look: Look, claimed: Collection[int], exclude_for: Span) -> FleetMemory:
    """Orders asked for become machines once they are found; nothing once it is clear they were not made."""
    machines, intents = dict(memory.machines), dict(memory.intents)
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
            excluded = excluding(
                excluded, intent.order.server_id, look.at, min(NOT_MADE_SECONDS, exclude_for)
            )
    return msgspec.structs.replace(memory, machines=machines, intents=intents, excluded=excluded)


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
    kind: OrderType = "spot" if order.spot else "on-demand"
    currency = order.currency or ""
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


def failed(memory: FleetMemory, machine: Machine, now: int, exclude_for: Span) -> FleetMemory:
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


def _made_by(intent: Intent, look: Look, taken: Collection[int]) -> Order | None:
    """The order that an intent asked for: the newest that can be it."""
    asked = intent.order
    found = [
        order
        for order in (*look.orders.values(), *look.ended.values())
        if order.si == asked.server_id
        and order.image in (None, asked.image)
        and bool(order.spot) == (asked.type == "spot")
        and order.id not in asked.known
        and order.id not in taken
        and (order.ct is None or order.ct >= intent.at - CLOCKS_DIFFER_SECONDS)
    ]
    return max(found, key=lambda order: order.id, default=None)


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
    usd = None if spend is None else look.tariff.usd_with_fees(consumed, machine.type, machine.currency)
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
    return memory if expected or fleet is None else failed(memory, machine, look.at, fleet.exclude_for)
