"""Whatever the market does, prices keep within their limits: histories of offers, rates, rentals, time."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from openclore.api.currencies import PRICE_BOUNDS, Currency
from openclore.api.offers import PricePair
from openclore.api.servers import ServerConfig
from openclore.autopilot.file import (
    File,
    Fixed,
    Hours,
    Occupancy,
    Percentile,
    Period,
    Pricing,
    Span,
    Timetable,
    Undercut,
)
from openclore.autopilot.memory import PriceMemory
from openclore.autopilot.pricing import lowest_usd

from .hosting import BITCOIN, CLORE, NOW, USD, applied, config, file_of, offers, plan, seen

HOUR = 3_600
UNIT = {c: 10.0**-bounds.decimals for c, bounds in PRICE_BOUNDS.items()}
EXACT = 1e-7


class Moment(NamedTuple):
    """What the world is like after so many seconds."""

    seconds: int
    rates: dict[str, float]
    market: list[float]
    rented: int
    wanted: float


class Set(NamedTuple):
    """A change of a price: when, to which number, from and to which dollars; whether bounds forced it; and
    what was wanted, in the currency."""

    at: int
    before: float
    after: float
    number: float
    forced: bool
    wanted: float


usd = st.floats(0.05, 60)
moments = st.builds(
    Moment,
    seconds=st.sampled_from([10, 60, 600, 1_800, 3_590, 3_600, 9_000]),
    rates=st.fixed_dictionaries({CLORE: st.floats(0.01, 0.04), BITCOIN: st.floats(40_000, 90_000)}),
    market=st.lists(usd, max_size=4),
    rented=st.integers(0, 2),
    wanted=usd,
)
limits = st.fixed_dictionaries(
    {
        "servers": st.just(("*",)),
        "prices": st.sampled_from([("on-demand",), ("spot",), ("on-demand", "spot")]),
        "floor": st.floats(0.1, 5),
        "ceiling": st.floats(5, 50),
        "step_per_hour": st.sampled_from([0.06, 0.1, 0.5, 2.0]),
        "dead_band": st.sampled_from([0.0, 0.02, 0.05]),
        "every": st.sampled_from([Span(0), Span(60), Span(1_800)]),
        "power_watts": st.sampled_from([0.0, 500.0]),
        "power_price_per_kwh": st.just(0.3),
    }
)
strategies = st.one_of(
    st.builds(lambda one, share: Percentile(percentile=share, **one), limits, st.floats(0, 100)),
    st.builds(lambda one, share: Undercut(share=share, **one), limits, st.floats(0, 0.9)),
    st.builds(lambda one, step: Occupancy(step=step, **one), limits, st.floats(0.05, 0.3)),
    st.builds(lambda one, price: Fixed(price=price, **one), limits, usd),
    st.builds(
        lambda one, price: Timetable(
            periods=(Period(hours=Hours("08:00-20:00"), price=price),), otherwise=2 * price, **one
        ),
        limits,
        usd,
    ),
)
servers = st.builds(
    lambda coins, pegged, number: config(
        allowed_coins=sorted(coins),
        pricing={USD: number, CLORE: number * 40, BITCOIN: number / 50_000},
        spot_pricing={USD: number / 2, CLORE: number * 20, BITCOIN: number / 90_000},
        autoprice=dict.fromkeys(pegged & coins, "usd"),
        usd_pricing=dict.fromkeys(pegged & coins, PricePair(on_demand=number, spot=number)),
    ),
    st.sets(st.sampled_from([USD, CLORE, BITCOIN]), min_size=1),
    st.sets(st.sampled_from([CLORE, BITCOIN])),
    usd,
)


@given(strategies, servers, st.lists(moments, min_size=2, max_size=12))
@settings(max_examples=80, deadline=None)
def test_prices_stay_within_floor_ceiling_and_step(
    group: Pricing, server: ServerConfig, history: list[Moment]
) -> None:
    follow(group, server, history)


@given(limits, servers, st.lists(moments, min_size=2, max_size=12))
@settings(max_examples=80, deadline=None)
def test_a_price_turns_back_only_after_what_is_wanted_has_moved_by_the_dead_band(
    limit: dict[str, Any], server: ServerConfig, history: list[Moment]
) -> None:
    group = Fixed(price=1.0, **limit)
    for (_, currency, pegged), changes in follow(group, server, history, wanted=True).items():
        unit = UNIT[Currency.USD if pegged else currency]
        for first, second in pairwise(changes):
            turned = (first.number - numbers_before(changes, first)) * (second.number - first.number) < 0
            if turned and not second.forced:
                moved = abs(second.wanted - first.wanted)
                assert moved >= first.number * group.dead_band - unit - EXACT


def numbers_before(changes: list[Set], one: Set) -> float:
    place = changes.index(one)
    return changes[place - 1].number if place else one.before / (one.after / one.number)


def follow(
    group: Pricing, server: ServerConfig, history: list[Moment], *, wanted: bool = False
) -> dict[tuple[str, Currency, bool], list[Set]]:
    """Plan and apply from moment to moment, and hold every plan against the limits."""
    now = NOW
    memory: dict[str, PriceMemory] = {}
    made: dict[tuple[str, Currency, bool], list[Set]] = {}
    made_other: dict[tuple[str, Currency, bool], list[Set]] = {}
    other = config("other-2")
    for moment in history:
        now += moment.seconds
        if wanted and isinstance(group, Fixed):
            group = Fixed(
                **{f: getattr(group, f) for f in group.__struct_fields__} | {"price": moment.wanted}
            )
        file = file_of(group)
        server.rental_status, other.rental_status = moment.rented & 1, moment.rented >> 1
        observation = seen([server, other], offers(*moment.market), at=now, rates=moment.rates)
        part = plan(file, observation, memory, now)
        assert plan(file, observation, memory, now) == part
        after, other_after = applied(server, part.actions), applied(other, part.actions)
        judge(group, moment, server, after, now, made)
        judge(group, moment, other, other_after, now, made_other)
        server, other, memory = after, other_after, dict(part.memory)
        forced = any(
            change.forced and change.at == now
            for changes in (*made.values(), *made_other.values())
            for change in changes
        )
        at_rest(file, moment, [server, other], memory, now, forced=forced)
    return made


def at_rest(
    file: File,
    moment: Moment,
    configs: list[ServerConfig],
    memory: dict[str, PriceMemory],
    now: int,
    *,
    forced: bool,
) -> None:
    """A plan that was carried out leaves nothing to do; a second later neither, but to go on from a bound."""
    again = seen(configs, offers(*moment.market), at=now, rates=moment.rates)
    assert plan(file, again, memory, now).actions == ()
    if not forced and not isinstance(file.pricing["group-1"], Occupancy | Timetable):
        later = seen(configs, offers(*moment.market), at=now + 1, rates=moment.rates)
        assert plan(file, later, memory, now + 1).actions == ()


def judge(
    group: Pricing, moment: Moment, before: ServerConfig, after: ServerConfig, now: int, made: dict[Any, Any]
) -> None:
    low, high = lowest_usd(group), group.ceiling
    acted = bool(moment.market) or not isinstance(group, Percentile | Undercut)
    for (kind, currency, pegged), old, new in both(before, after):
        rate = 1.0 if pegged else moment.rates.get(currency, 1.0)
        unit = UNIT[Currency.USD if pegged else currency]
        bounds = PRICE_BOUNDS[Currency.USD if pegged else currency]
        lowest = max(math.ceil(low / rate / unit - 1e-6) * unit, float(bounds.lowest))
        highest = min(math.floor(high / rate / unit + 1e-6) * unit, float(bounds.highest))
        outside = not lowest - EXACT * unit <= old <= highest + EXACT * unit
        if kind not in group.prices or lowest > highest:
            assert new == old
            continue
        if acted:
            assert lowest - EXACT * unit <= new <= highest + EXACT * unit
        if new == old:
            continue
        changes = made.setdefault((kind, currency, pegged), [])
        if outside:
            assert min(abs(new - lowest), abs(new - highest)) < EXACT
        else:
            for change in changes:
                if now - change.at < HOUR:
                    for was in (change.before, change.after):
                        # Up from the least, down from the most there was: or not in this direction at all.
                        assert new < old or new * rate <= was * (1 + group.step_per_hour) * (1 + EXACT)
                        assert new > old or new * rate >= was * (1 - group.step_per_hour) * (1 - EXACT)
            assert abs(new / old - 1) <= group.step_per_hour + EXACT
            assert abs(new / old - 1) >= group.dead_band - EXACT
            assert not changes or now - changes[-1].at >= group.every
        target = min(max(moment.wanted, low), high)
        changes.append(Set(now, old * rate, new * rate, new, outside, target / rate))


def both(
    before: ServerConfig, after: ServerConfig
) -> Iterator[tuple[tuple[str, Currency, bool], float, float]]:
    """The accepted prices by kind, currency, and whether the market keeps it in dollars; before and after."""
    for kind in ("on-demand", "spot"):
        for coin in before.allowed_coins or ():
            pegged = (before.autoprice or {}).get(coin) == "usd"
            yield (
                (kind, Currency(coin), pegged),
                number(before, kind, coin, pegged),
                number(after, kind, coin, pegged),
            )


def number(one: ServerConfig, kind: str, coin: str, pegged: bool) -> float:
    if pegged:
        return float(getattr((one.usd_pricing or {})[coin], kind.replace("-", "_")))
    return float(((one.pricing if kind == "on-demand" else one.spot_pricing) or {})[coin] or 0)
