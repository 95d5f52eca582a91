"""Prices of a host's servers: what a strategy wants, and how far a price may go towards it.

    wanted ─> within floor and ceiling ─> within step_per_hour ─> rounded ─> a change, unless in the dead band

Each price in a currency is judged by itself, in dollars at the present rates. It is rounded towards what it
was and never past what is wanted, so that a price turns back only after what is wanted (in that currency) has
moved by more than the dead band. Bounds are hard and steps are manners: a price outside floor and ceiling
goes to the nearer of them at once, whatever the last change was. Nothing is done on the strength of old
readings.
"""

import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from openclore.api.currencies import PRICE_BOUNDS, Currency
from openclore.api.offers import Offer
from openclore.api.orders import OrderType
from openclore.api.servers import MyServer, ServerConfig

from .actions import AnyAction, Change, Note, Part, SetSettings
from .file import Comparing, File, Fixed, Occupancy, Percentile, Pricing, PricingBase, Timetable, Undercut
from .memory import PriceChange, PriceMemory
from .observation import Observation, fresh
from .servers import (
    KINDS,
    PREFIXES,
    because,
    joined,
    member_of,
    merged,
    named,
    pegged_mode,
    price_in,
    pricing_of,
    together,
    unmatched,
    unread,
    usd_pricing_of,
)
from .words import cents

HOUR_SECONDS = 3_600
CENT = 0.01
_TINY = 1e-9
_UNITS_TINY = 1e-6


def plan_prices(
    file: File, seen: Observation, memory: Mapping[str, PriceMemory], now: int
) -> Part[Mapping[str, PriceMemory]]:
    """The changes of prices that are due; the memory has them as made."""
    if not file.pricing:
        return Part((), memory)
    servers = fresh(seen.servers, now, file.stale_after)
    if servers is None:
        text = f"the servers can't be read just now{because(seen, 'servers')}; prices stay"
        return Part((), memory, tuple(Note(for_=f"pricing.{name}", text=text) for name in file.pricing))
    view = _View(file, seen, now, servers)
    actions: list[AnyAction] = []
    notes: list[Note] = []
    remembered = dict(memory)
    for name, group in file.pricing.items():
        table, members = f"pricing.{name}", view.members(group)
        old = [server for server in members if view.config(server) is None]
        notes += unmatched(table, group.servers, tuple(servers))
        notes += unread(table, seen, members, old, "prices stay")
        said: list[tuple[str, Note]] = []
        for server in members:
            config = view.config(server)
            if config is None:
                continue
            action, changed, reasons = _server(view, name, group, server, config, remembered)
            actions += [action] if action else []
            remembered |= changed
            said += [(server, Note(for_=table, text=text)) for text in reasons]
        notes += together(said)
    return Part(merged(actions), remembered, tuple(notes))


def without(
    prices: Mapping[str, PriceMemory], before: Mapping[str, PriceMemory], servers: Container[str]
) -> dict[str, PriceMemory]:
    """The memory after a plan, as it was before for servers that are left alone."""
    kept = {price: known for price, known in prices.items() if _server_of(price) not in servers}
    return kept | {price: known for price, known in before.items() if _server_of(price) in servers}


def not_made(prices: Mapping[str, PriceMemory], action: SetSettings, now: int) -> Mapping[str, PriceMemory]:
    """The memory after an action of the last plan that was not carried out, without its changes of prices."""
    if not any(table.startswith("pricing.") for table in action.for_.split(", ")):
        return prices
    last = {
        price: known.changes[-1].at
        for price, known in prices.items()
        if _server_of(price) == action.server and known.changes and known.changes[-1].at <= now
    }
    planned_at = max(last.values(), default=None)
    undone = {
        price: PriceMemory(changes=prices[price].changes[:-1])
        for price, at in last.items()
        if at == planned_at
    }
    return {**prices, **undone}


def _server_of(price: str) -> str:
    """A key of the memory begins with the server, whose name may hold spaces."""
    return price.rsplit(" ", 2)[0]


# What makes no sense --------------------------------------------------------------------------------


def problems_of_pricing(name: str, group: Pricing) -> list[tuple[str, str]]:
    """What can't be meant in [pricing.`name`]: the member, and a sentence."""
    found = [*_general_problems(group), *_strategy_problems(group)]
    return found or list(_prices_out_of_bounds(group))


def overlaps(file: File, names: Iterable[str]) -> list[tuple[str, str]]:
    """Servers whose price of one kind two groups set: the member ("pricing.b.servers"), and a sentence."""
    found = []
    for server in sorted(names):
        for kind in KINDS:
            first, *others = pricing_of(file, server, kind) or [""]
            found += [
                (
                    f"pricing.{other}.servers",
                    f"the {kind} price of {server} is set by [pricing.{first}], too; name it in one of them",
                )
                for other in others
            ]
    return found


def lowest_usd(group: PricingBase) -> float:
    """The floor, or what power costs in a day where that is more."""
    return max(group.floor, _power_usd(group))


def _power_usd(group: PricingBase) -> float:
    """The price at which a day's power is just paid, after the market's fee."""
    return group.power_watts * 24 / 1_000 * group.power_price_per_kwh / (1 - group.host_fee_percent / 100)


def _general_problems(group: PricingBase) -> Iterator[tuple[str, str]]:
    if not group.servers:
        yield "servers", 'name at least one pattern, such as "rig-*"'
    if not group.prices:
        yield "prices", 'name on-demand, spot, or both: ["on-demand", "spot"]'
    if not group.floor > 0:
        yield "floor", "must be above 0"
    if group.floor > group.ceiling:
        yield "floor", f"is above the ceiling ({group.floor:g} and {group.ceiling:g} $ a day)"
    if not group.step_per_hour > 0:
        yield "step_per_hour", "must be above 0; 0.1 is a tenth within an hour"
    if not 0 <= group.dead_band < 1:
        yield "dead_band", "must be from 0 to below 1; 0.02 is a fiftieth"
    elif 0 < group.step_per_hour <= group.dead_band:
        yield "dead_band", "must be below step_per_hour, or no change is ever made"
    for member in ("power_watts", "power_price_per_kwh"):
        if getattr(group, member) < 0:
            yield member, "must not be below 0"
    if not 0 <= group.host_fee_percent < 100:
        yield "host_fee_percent", "must be from 0 to below 100"
    elif _power_usd(group) > group.ceiling:
        yield (
            "power_watts",
            f"power alone costs {cents(_power_usd(group))} $ a day with the market's fee,"
            f" above the ceiling of {group.ceiling:g}",
        )


def _strategy_problems(group: Pricing) -> Iterator[tuple[str, str]]:
    if isinstance(group, Comparing) and not 0 <= group.reliability_slack <= 1:
        yield "reliability_slack", "must be from 0 to 1"
    match group:
        case Percentile(percentile=percentile) if not 0 <= percentile <= 100:
            yield "percentile", "must be from 0 to 100"
        case Undercut(share=share) if not 0 <= share < 1:
            yield "share", "must be from 0 to below 1; 0.02 is a fiftieth less"
        case Occupancy():
            if not 0 <= group.target <= 1:
                yield "target", "must be from 0 to 1; 0.8 is four of five servers"
            if not 0 < group.step < 1:
                yield "step", "must be above 0 and below 1"
            elif group.step < group.dead_band:
                yield "step", f"must not be below dead_band ({group.dead_band:g}), or no change is ever made"


def _prices_out_of_bounds(group: Pricing) -> Iterator[tuple[str, str]]:
    match group:
        case Timetable():
            for period in group.periods:
                yield from _out_of_bounds(
                    "periods", f"{period.price:g} ({period.hours})", period.price, group
                )
            yield from _out_of_bounds("otherwise", f"{group.otherwise:g}", group.otherwise, group)
        case Fixed():
            yield from _out_of_bounds("price", f"{group.price:g}", group.price, group)


def _out_of_bounds(member: str, said: str, usd: float, group: PricingBase) -> Iterator[tuple[str, str]]:
    if not lowest_usd(group) <= usd <= group.ceiling:
        power = " (power)" if _power_usd(group) > group.floor else ""
        yield member, f"{said} is outside {lowest_usd(group):g}{power} to {group.ceiling:g} $ a day"


# Strategies -----------------------------------------------------------------------------------------


class Wanted(NamedTuple):
    """Dollars per day, and why."""

    usd: float
    why: str


def percentile(group: Percentile, prices: Sequence[float], present: float | None) -> Wanted:
    """Of the comparable offers' prices, at least one; between two of them in proportion."""
    ranked = sorted(prices)
    place = group.percentile / 100 * (len(ranked) - 1)
    below, above = ranked[math.floor(place)], ranked[math.ceil(place)]
    usd = below + (above - below) * (place - math.floor(place))
    why = f"percentile {group.percentile:g} is {cents(usd)}"
    if present is None:
        return Wanted(usd, f"{why} of {len(ranked)} comparable offers")
    cheaper = sum(price < present - _TINY for price in ranked)
    verb = "is" if cheaper == 1 else "are"
    return Wanted(usd, f"{cheaper} of {len(ranked)} comparable offers {verb} cheaper, {why}")


def undercut(group: Undercut, prices: Sequence[float]) -> Wanted:
    """Of the free comparable offers' prices, at least one."""
    cheapest = min(prices)
    usd = cheapest * (1 - group.share)
    which = (
        f"cheapest of {len(prices)} free comparable offers" if prices[1:] else "only free comparable offer"
    )
    return Wanted(usd, f"the {which} asks {cents(cheapest)}, {_percent(group.share)} less is {cents(usd)}")


def occupancy(group: Occupancy, present: float | None, rented: int, servers: int) -> Wanted:
    """From the present price, by at least a cent; from the ceiling where there is none."""
    why = f"{rented} of {servers} rented, wanted are {_percent(group.target)}"
    if present is None:
        return Wanted(group.ceiling, f"{why}, begins at the ceiling")
    by = max(present * group.step, CENT)
    share = rented / servers
    if share > group.target + _TINY:
        return Wanted(present + by, why)
    return Wanted(present - by if share < group.target - _TINY else present, why)


def timetable(group: Timetable, local: datetime) -> Wanted:
    """By local time."""
    for period in group.periods:
        if period.hours.covers(local):
            return Wanted(period.price, f"{cents(period.price)} in {period.hours}")
    return Wanted(group.otherwise, f"{cents(group.otherwise)} outside the hours named")


def fixed(group: Fixed) -> Wanted:
    return Wanted(group.price, f"fixed at {cents(group.price)}")


# One server -----------------------------------------------------------------------------------------


class _View:
    """An observation as far as it is fresh, and what follows from it for all servers."""

    def __init__(self, file: File, seen: Observation, now: int, servers: Mapping[str, MyServer]) -> None:
        self.file, self.seen, self.now, self.servers = file, seen, now, servers
        self.offers = fresh(seen.offers, now, file.stale_after)
        # Rates are read from offers, and as old as they.
        told = seen.rates if self.offers is not None else {}
        self.rates = {**{name: rate for name, rate in told.items() if _sound(rate)}, str(Currency.USD): 1.0}
        self._own = {name: self.id_of(name) for name in servers}
        owners = {offer.owner for offer in self.offers or () if offer.id in self._own.values()} - {None}
        own = set(self._own.values())
        self._others: dict[tuple[str, int], list[Offer]] = {}
        for offer in self.offers or ():
            if offer.id not in own and offer.owner not in owners and not offer.gigaspot and offer.specs:
                kind = (offer.specs.gpu_model, offer.specs.gpu_count)
                self._others.setdefault(kind, []).append(offer)

    def config(self, server: str) -> ServerConfig | None:
        return fresh(self.seen.configs.get(server), self.now, self.file.stale_after)

    def read_at(self, server: str) -> int:
        """When its settings were read."""
        return self.seen.configs[server].at

    def id_of(self, server: str) -> int | None:
        config = self.config(server)
        return (config.id if config else None) or self.servers[server].id

    def members(self, group: PricingBase) -> list[str]:
        return [name for name in self.servers if named(group.servers, name)]

    def comparable(self, server: str, group: Comparing) -> list[Offer] | str:
        """Offers of others, or why there are none."""
        if self.offers is None:
            return (
                f"the market's offers can't be read just now{because(self.seen, 'offers')}; the price stays"
            )
        # Who can't tell his own offers from others' would follow himself.
        nameless = [name for name, id_ in self._own.items() if id_ is None and self._listed(name)]
        if nameless:
            return f"the market does not tell the id of {nameless[0]}, so its own offer can't be left out"
        config = self.config(server)
        specs = (config.specs if config else None) or self.servers[server].specs
        if specs is None or not specs.gpu_model:
            return "the hardware is not known yet, so nothing is comparable"
        own = next((offer for offer in self.offers if offer.id == self._own[server]), None)
        least = own.reliability - group.reliability_slack if own and own.reliability is not None else None
        found = [
            offer
            for offer in self._others.get((specs.gpu_model, specs.gpu_count), ())
            if (least is None or (offer.reliability is not None and offer.reliability >= least - _TINY))
        ]
        if not found:
            such = f"{specs.gpu_count}x {specs.gpu_model}" + (
                f", reliability at most {group.reliability_slack:g} below" if least is not None else ""
            )
            return f"there are no comparable offers ({such}); the price stays"
        return found

    def _listed(self, server: str) -> bool:
        mine = self.servers[server]
        return mine.visibility != "hidden" and mine.online is not False

    def usd_of(self, offer: Offer, kind: OrderType) -> float | None:
        """What an offer asks, or the lowest bid that it takes, in the currency in which that is least."""
        per_day = offer.price_per_day if kind == "on-demand" else offer.floor_per_day
        prices = [
            amount * self.rates[coin]
            for coin in offer.allowed_coins or ()
            if coin in self.rates and (amount := per_day(coin)) is not None
        ]
        told = offer.usd_per_day if kind == "on-demand" else offer.usd_floor_per_day
        return min((usd for usd in prices or [told or 0.0] if _sound(usd)), default=None)

    def rented(self, group: PricingBase) -> tuple[int, int] | str | None:
        """How many of a group's servers are rented, and how many could be; or why that is not known.

        None: some are yet to be read, or can't be, which is told of all of them.
        """
        rented = rentable = 0
        for name in self.members(group):
            config = self.config(name)
            if config is None:
                return None
            if config.rental_status is None:
                return f"the market does not tell whether {name} is rented; the price stays"
            rented += config.rental_status > 0
            rentable += config.rental_status > 0 or (config.visibility == "public" and bool(config.online))
        return (rented, rentable) if rentable else "none of the group's servers can be rented just now"


def _server(
    view: _View,
    name: str,
    group: Pricing,
    server: str,
    config: ServerConfig,
    memory: Mapping[str, PriceMemory],
) -> tuple[SetSettings | None, dict[str, PriceMemory], list[str]]:
    changes: list[Change] = []
    changed: dict[str, PriceMemory] = {}
    reasons, notes = [], []
    for kind in dict.fromkeys(group.prices):
        first, *others = pricing_of(view.file, server, kind)
        if others:
            notes.append(f"the {kind} price is set by [pricing.{first}] and [pricing.{others[0]}]; it stays")
            continue
        prices, unpriced = _prices(view, server, config, kind)
        notes += unpriced
        past = {price: memory.get(f"{server} {kind} {price.currency}", PriceMemory()) for price in prices}
        if any(known.changes and view.read_at(server) <= known.changes[-1].at for known in past.values()):
            continue  # what was read is from before the change
        reference = _reference(prices)
        wanted = _wanted(view, group, server, kind, reference.usd if reference else None) if prices else None
        if wanted is None or isinstance(wanted, str):
            notes += [wanted] if wanted else []
            continue
        follow = wanted.usd
        if reference and isinstance(group, Occupancy):
            # The others go where this one goes; each by itself would drift away with its rate.
            number = _next(group, reference, wanted.usd, past[reference], view.now)
            follow = number * reference.rate if isinstance(number, float) else reference.usd or wanted.usd
        moves: list[tuple[_Price, float]] = []
        for price in prices:
            target = wanted.usd if price is reference else follow
            number = _next(group, price, target, past[price], view.now)
            if isinstance(number, str):
                notes.append(number)
            elif number is not None:
                moves.append((price, number))
                key = f"{server} {kind} {price.currency}"
                changed[key] = _remembered(past[price], price, number, view.now)
        if moves:
            changes += _changes(view.file, server, config, kind, moves)
            reasons.append(f"{kind}: {wanted.why}{_held_back(group, wanted.usd, moves)}; {_told(moves)}")
    if not changes:
        return None, {}, notes
    action = SetSettings(
        for_=f"pricing.{name}", reason="; ".join(reasons), server=server, changes=joined(changes)
    )
    return action, changed, notes


def _wanted(
    view: _View, group: Pricing, server: str, kind: OrderType, present: float | None
) -> Wanted | str | None:
    """What the strategy wants, or why it can't say."""
    match group:
        case Fixed():
            return fixed(group)
        case Timetable():
            here = ZoneInfo(view.file.messages.timezone)
            return timetable(group, datetime.fromtimestamp(view.now, here))
        case Occupancy():
            counts = view.rented(group)
            return occupancy(group, present, *counts) if isinstance(counts, tuple) else counts
    offers = view.comparable(server, group)
    if isinstance(offers, str):
        return offers
    if isinstance(group, Undercut):
        offers = [offer for offer in offers if not offer.rented]
    usd = [price for offer in offers if (price := view.usd_of(offer, kind)) is not None]
    if not usd:
        free = " is free and" if isinstance(group, Undercut) else ""
        return f"no comparable offer{free} has a price in dollars ({kind}); the price stays"
    return undercut(group, usd) if isinstance(group, Undercut) else percentile(group, usd, present)


# One price ------------------------------------------------------------------------------------------


class _Price(NamedTuple):
    """A server's price of one kind in one currency.

    `number` is in that currency, or in dollars where the market keeps it `pegged` to them; None: there is
    none yet. `rate`: dollars for one of it.
    """

    currency: Currency
    pegged: bool
    number: float | None
    rate: float

    @property
    def usd(self) -> float | None:
        return None if self.number is None else self.number * self.rate

    @property
    def decimals(self) -> int:
        return PRICE_BOUNDS[Currency.USD if self.pegged else self.currency].decimals

    def units(self, usd: float) -> float:
        """Dollars in the smallest unit that a price in the currency may have."""
        return float(min(usd / self.rate, 1e12) * 10**self.decimals)

    def allowed(self, low: float, high: float) -> tuple[int, int]:
        """The units between two prices in dollars and the market's own bounds."""
        bounds = PRICE_BOUNDS[Currency.USD if self.pegged else self.currency]
        lowest, highest = (round(float(bound) * 10**self.decimals) for bound in bounds[:2])
        return max(_up(self.units(low)), lowest), min(_down(self.units(high)), highest)


def _prices(
    view: _View, server: str, config: ServerConfig, kind: OrderType
) -> tuple[list[_Price], list[str]]:
    """The prices to keep, and which of the accepted currencies can't be priced."""
    found, left_out = [], []
    coins = accepted(view.file, server, config)
    for currency in Currency:
        if currency not in coins:
            continue
        mode = pegged_mode(config, currency)
        if mode not in (None, "usd"):
            left_out.append(f"{currency} is priced by the market itself ({mode}); that price stays")
        elif mode == "usd":
            pair = (config.usd_pricing or {}).get(currency)
            usd = (pair.on_demand if kind == "on-demand" else pair.spot) if pair else None
            found.append(_Price(currency, True, usd or None, 1.0))
        elif currency in view.rates:
            found.append(
                _Price(currency, False, price_in(config, kind, currency) or None, view.rates[currency])
            )
        else:
            left_out.append(f"the rate of {currency} is not known just now; the price in it stays")
    if not coins:
        left_out.append("no currency is accepted, so there is no price to set")
    return found, left_out


def accepted(file: File, server: str, config: ServerConfig) -> Sequence[str]:
    """The currencies a server accepts, or will once its settings are as the file says."""
    for table in file.settings.values():
        if table.currencies is not None and table.drift == "repair" and named(table.servers, server):
            return table.currencies
    return config.allowed_coins or ()


def _reference(prices: Sequence[_Price]) -> _Price | None:
    """The price that stands for all: one kept in dollars, before one that wanders with a rate."""
    priced = [price for price in prices if price.number is not None]
    return min(priced, key=lambda p: not (p.pegged or p.currency is Currency.USD), default=None)


def _next(
    group: PricingBase, price: _Price, wanted: float, past: PriceMemory, now: int
) -> float | str | None:
    """The number to set; None: it stays; text: there is none to set."""
    low, high = lowest_usd(group), group.ceiling
    lowest, highest = price.allowed(low, high)
    if lowest > highest:
        return f"the market takes no price in {price.currency} between {cents(low)} and {cents(high)} $ a day"
    target = min(max(wanted, low), high)
    if price.usd is None:
        units = min(max(round(price.units(target)), lowest), highest)
        return _number(price, units)
    present = price.units(price.usd)
    if not lowest - _UNITS_TINY <= present <= highest + _UNITS_TINY:
        return _number(price, lowest if present < lowest else highest)
    if past.changes and now - past.changes[-1].at < max(group.every, 1):
        return None
    lately = [price.usd, *_lately(past, now)]
    if target > price.usd:
        usd = min(target, min(lately) * (1 + group.step_per_hour))
        units = min(_down(price.units(usd)), highest)
        moved = units / present - 1
    else:
        usd = max(target, max(lately) * (1 - group.step_per_hour))
        units = max(_up(price.units(usd)), lowest)
        moved = 1 - units / present
    return _number(price, units) if moved >= max(group.dead_band, _TINY) - _TINY / 2 else None


def _lately(past: PriceMemory, now: int) -> Iterator[float]:
    """The dollars it was at within the last hour."""
    for change in past.changes:
        if now - change.at < HOUR_SECONDS:
            yield from (usd for usd in (change.before, change.after) if usd)


def _remembered(past: PriceMemory, price: _Price, number: float, now: int) -> PriceMemory:
    last = past.changes[-1:]
    recent = tuple(change for change in past.changes[:-1] if now - change.at < HOUR_SECONDS) + last
    change = PriceChange(at=now, before=price.usd or 0.0, after=number * price.rate)
    return PriceMemory(changes=(*recent, change))


def _number(price: _Price, units: float) -> float:
    return float(units / 10**price.decimals)


def _down(units: float) -> int:
    return math.floor(units + _UNITS_TINY)


def _up(units: float) -> int:
    return math.ceil(units - _UNITS_TINY)


def _sound(amount: float) -> bool:
    return math.isfinite(amount) and amount > 0


# Said and done --------------------------------------------------------------------------------------


def _changes(
    file: File, server: str, config: ServerConfig, kind: OrderType, moves: Iterable[tuple[_Price, float]]
) -> Iterator[Change]:
    """The members to change; where the price of the other kind is lacking, it becomes the same."""
    other: OrderType = "spot" if kind == "on-demand" else "on-demand"
    alone = not pricing_of(file, server, other)
    for price, number in moves:
        currency = price.currency
        if price.pegged:
            before = usd_pricing_of(config)
            pair = before.get(currency, {})
            partner = {member_of(other): number} if alone and not pair.get(member_of(other)) else {}
            after = {**before, str(currency): {**pair, **partner, member_of(kind): number}}
            yield Change("usd_pricing", before or None, after)
            continue
        yield Change(f"{PREFIXES[currency]}_{member_of(kind)}", price_in(config, kind, currency), number)
        if alone and not price_in(config, other, currency):
            yield Change(
                f"{PREFIXES[currency]}_{member_of(other)}", price_in(config, other, currency), number
            )


def _held_back(group: PricingBase, wanted: float, moves: Iterable[tuple[_Price, float]]) -> str:
    """Which limits stand between what is wanted and what is set."""
    low, high = lowest_usd(group), group.ceiling
    said = ""
    if wanted < low - _TINY:
        said = f", but {'power costs' if _power_usd(group) > group.floor else 'the floor is'} {cents(low)}"
    elif wanted > high + _TINY:
        said = f", but the ceiling is {cents(high)}"
    target = min(max(wanted, low), high)
    if any(abs(price.units(number * price.rate) - price.units(target)) > 1 for price, number in moves):
        said += f", by {_percent(group.step_per_hour)} an hour at most"
    return said


def _percent(share: float) -> str:
    return f"{share * 100:.4g} %"


def _told(moves: Iterable[tuple[_Price, float]]) -> str:
    """ "4.10 -> 3.95 $ a day"; with the currencies where they differ."""
    coins: dict[str, list[str]] = {}
    for price, number in moves:
        before = "none" if price.usd is None else cents(price.usd)
        coins.setdefault(f"{before} -> {cents(number * price.rate)}", []).append(price.currency)
    if len(coins) == 1:
        return f"{next(iter(coins))} $ a day"
    return ", ".join(f"{move} $ a day in {' and '.join(names)}" for move, names in coins.items())
