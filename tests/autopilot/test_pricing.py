"""Strategies and limits of prices, with exact figures and reasons."""

from typing import Any

import msgspec
import pytest

from openclore.api.offers import OfferPrice, PricePair, UsdPrice
from openclore.api.specs import Specs
from openclore.autopilot.actions import SetSettings
from openclore.autopilot.file import (
    Fixed,
    Hours,
    Messages,
    Occupancy,
    Percentile,
    Period,
    Settings,
    Span,
    Timetable,
    Undercut,
)
from openclore.autopilot.memory import PriceChange, PriceMemory
from openclore.autopilot.observation import Failed, Observation, Reading
from openclore.autopilot.pricing import overlaps, problems_of_pricing

from .hosting import (
    BITCOIN,
    CLORE,
    GPU,
    NOW,
    USD,
    applied,
    config,
    file_of,
    new_price,
    offer,
    offers,
    plan,
    seen,
)

HOUR = 3_600
# 2027-01-15, a Friday, 08:00 UTC
BOUNDS: dict[str, Any] = {"servers": ("rig-*",), "floor": 1.0, "ceiling": 10.0, "step_per_hour": 0.5}


def percentile(**changes: Any) -> Percentile:
    return Percentile(**(BOUNDS | changes))


def undercut(**changes: Any) -> Undercut:
    return Undercut(**(BOUNDS | changes))


def occupancy(**changes: Any) -> Occupancy:
    return Occupancy(**(BOUNDS | changes))


def timetable(**changes: Any) -> Timetable:
    periods = (
        Period(hours=Hours("Mon-Fri 08:00-20:00"), price=5.0),
        Period(hours=Hours("22:00-07:00"), price=3.0),
    )
    return Timetable(**(BOUNDS | {"periods": periods, "otherwise": 4.4} | changes))


def fixed(price: float = 5.0, **changes: Any) -> Fixed:
    return Fixed(price=price, **(BOUNDS | changes))


def past(*changes: tuple[int, float, float], key: str = f"rig-1 on-demand {USD}") -> dict[str, PriceMemory]:
    """Changes so many seconds ago, from, to."""
    made = tuple(PriceChange(at=NOW - ago, before=before, after=after) for ago, before, after in changes)
    return {key: PriceMemory(changes=made)}


def reason(part: Any) -> str:
    (action,) = part.actions
    assert isinstance(action, SetSettings)
    return action.reason


def notes(part: Any) -> list[str]:
    return [note.text for note in part.notes]


@pytest.mark.parametrize(
    ("group", "market", "price", "said"),
    [
        (
            percentile(),
            offers(3.0, 3.5, 4.5, 5.5, 6.0),
            4.5,
            "2 of 5 comparable offers are cheaper, percentile 50 is 4.50; 4.00 -> 4.50 $ a day",
        ),
        (
            percentile(percentile=25),
            offers(3.0, 3.2),
            3.05,
            "2 of 2 comparable offers are cheaper, percentile 25 is 3.05; 4.00 -> 3.05 $ a day",
        ),
        (
            percentile(percentile=0),
            offers(3.25),
            3.25,
            "1 of 1 comparable offers is cheaper, percentile 0 is 3.25; 4.00 -> 3.25 $ a day",
        ),
        (
            undercut(),
            offers(3.5, 6.0),
            3.43,
            "the cheapest of 2 free comparable offers asks 3.50, 2 % less is 3.43; 4.00 -> 3.43 $ a day",
        ),
        (
            undercut(share=0.5),
            offers(0.6),
            2.0,
            "the only free comparable offer asks 0.60, 50 % less is 0.30, but the floor is 1.00,"
            " by 50 % an hour at most; 4.00 -> 2.00 $ a day",
        ),
        (occupancy(target=0.9), [], 3.88, "0 of 1 rented, wanted are 90 %; 4.00 -> 3.88 $ a day"),
        (timetable(), [], 5.0, "5.00 in Mon-Fri 08:00-20:00; 4.00 -> 5.00 $ a day"),
        (fixed(), [], 5.0, "fixed at 5.00; 4.00 -> 5.00 $ a day"),
        (
            fixed(9.0),
            [],
            6.0,
            "fixed at 9.00, by 50 % an hour at most; 4.00 -> 6.00 $ a day",
        ),
    ],
)
def test_each_strategy_says_its_price_and_why(group: Any, market: Any, price: float, said: str) -> None:
    part = plan(file_of(group), seen([config()], market))
    assert new_price(part) == price
    assert reason(part) == f"on-demand: {said}"


def test_without_a_price_there_is_a_first_one_without_steps() -> None:
    one = config(pricing={BITCOIN: 0.0}, spot_pricing={BITCOIN: 0.0})
    part = plan(file_of(fixed(9.0)), seen([one]))
    assert new_price(part) == new_price(part, "usd_spot") == 9.0
    assert reason(part) == "on-demand: fixed at 9.00; none -> 9.00 $ a day"
    assert new_price(plan(file_of(occupancy()), seen([one]))) == 10.0


# What is comparable ---------------------------------------------------------------------------------


def test_only_offers_of_others_with_the_same_gpus_and_a_similar_reliability_are_comparable() -> None:
    ours = [offer(1.5, 101, owner=7, reliability=0.99), offer(1.5, 999, owner=7)]
    market = [
        *ours,
        offer(1.6, 1, specs=Specs(gpu="2x NVIDIA GeForce RTX 4090")),
        offer(1.7, 2, specs=Specs(gpu="1x NVIDIA GeForce RTX 3090")),
        offer(1.8, 3, reliability=0.93),
        offer(1.9, 4, gigaspot=True),
        offer(3.0, 5, reliability=0.94),
    ]
    part = plan(file_of(percentile()), seen([config()], market))
    assert "1 of 1 comparable offers is cheaper" in reason(part)
    assert new_price(part) == 3.0


def test_who_is_undercut_must_be_free() -> None:
    market = [offer(2.0, 1, rented=True), offer(3.0, 2)]
    assert new_price(plan(file_of(undercut()), seen([config()], market))) == 2.94


def test_an_offer_counts_in_its_cheapest_accepted_currency() -> None:
    price = OfferPrice(on_demand={USD: 5.0, CLORE: 160.0, BITCOIN: 0.00001}, spot={})
    market = [offer(0, price=price, allowed_coins=[USD, CLORE])]
    assert new_price(plan(file_of(percentile()), seen([config()], market))) == 3.2


def test_an_offer_in_a_coin_without_a_rate_counts_as_the_market_restates_it() -> None:
    price = OfferPrice(on_demand={CLORE: 160.0}, usd=UsdPrice(on_demand_clore=3.3))
    market = [offer(0, price=price, allowed_coins=[CLORE])]
    assert new_price(plan(file_of(percentile()), seen([config()], market, rates={}))) == 3.3


def test_spot_prices_follow_the_lowest_bids_of_others() -> None:
    group = percentile(prices=("on-demand", "spot"))
    part = plan(file_of(group), seen([config()], offers(5.0)))
    assert (new_price(part), new_price(part, "usd_spot")) == (5.0, 2.5)
    assert reason(part) == (
        "on-demand: 0 of 1 comparable offers are cheaper, percentile 50 is 5.00; 4.00 -> 5.00 $ a day;"
        " spot: 0 of 1 comparable offers are cheaper, percentile 50 is 2.50; 2.00 -> 2.50 $ a day"
    )


@pytest.mark.parametrize(
    ("one", "market", "said"),
    [
        (
            config(),
            [],
            f"rig-1: there are no comparable offers ({GPU}); the price stays",
        ),
        (
            config(),
            [offer(4.0, 101, owner=7), offer(3.0, reliability=0.5)],
            f"rig-1: there are no comparable offers ({GPU}, reliability at most 0.05 below); the price stays",
        ),
        (
            config(specs=None),
            offers(3.0),
            "rig-1: the hardware is not known yet, so nothing is comparable",
        ),
        (
            config(id=None),
            offers(3.0),
            "rig-1: the market does not tell the id of rig-1, so its own offer can't be left out",
        ),
        (
            config(),
            [offer(3.0, rented=True)],
            "rig-1: no comparable offer is free and has a price in dollars (on-demand); the price stays",
        ),
    ],
)
def test_without_comparable_offers_nothing_is_done_and_the_reason_told(
    one: Any, market: Any, said: str
) -> None:
    part = plan(file_of(undercut()), seen([one], market))
    assert (part.actions, part.memory, notes(part)) == ((), {}, [said])


# Occupancy ------------------------------------------------------------------------------------------


def test_occupancy_raises_while_more_is_rented_and_lowers_while_less_is() -> None:
    def rigs(*statuses: int, **last: Any) -> list[Any]:
        return [config(f"rig-{n}", rental_status=status) for n, status in enumerate(statuses, 1)]

    group = file_of(occupancy(target=0.5))
    assert new_price(plan(group, seen(rigs(2, 1, 0)))) == 4.12
    assert new_price(plan(group, seen(rigs(2, 0, 0)))) == 3.88
    assert plan(group, seen(rigs(2, 0))).actions == ()
    hidden = [*rigs(2, 0), config("rig-3", visibility="hidden"), config("rig-4", online=False)]
    assert plan(group, seen(hidden)).actions == ()
    nobody = plan(group, seen([config(online=False)]))
    assert notes(nobody) == ["rig-1: none of the group's servers can be rented just now"]
    unknown = plan(group, seen([config(rental_status=None)]))
    assert notes(unknown) == ["rig-1: the market does not tell whether rig-1 is rented; the price stays"]


def test_occupancy_moves_by_a_cent_at_least() -> None:
    one = config(pricing={USD: 0.3})
    group = occupancy(floor=0.2, target=0.5)
    assert new_price(plan(file_of(group), seen([one]))) == 0.29


# Timetables -----------------------------------------------------------------------------------------


def test_a_timetable_is_in_the_timezone_of_the_file() -> None:
    group = timetable(step_per_hour=9.0)
    berlin, tokyo = Messages(timezone="Europe/Berlin"), Messages(timezone="Asia/Tokyo")
    eight_in_london = seen([config(pricing={USD: 9.0})])
    assert new_price(plan(file_of(group), eight_in_london)) == 5.0
    assert new_price(plan(file_of(group, messages=tokyo), eight_in_london)) == 5.0
    at = NOW + 11 * HOUR + 1_800
    evening = seen([config(pricing={USD: 9.0})], at=at)
    assert new_price(plan(file_of(group), evening, now=at)) == 5.0
    assert new_price(plan(file_of(group, messages=berlin), evening, now=at)) == 4.4
    assert new_price(plan(file_of(group, messages=tokyo), evening, now=at)) == 3.0


# Limits ---------------------------------------------------------------------------------------------


def test_a_price_outside_the_bounds_goes_to_the_nearer_one_at_once() -> None:
    memory = past((10, 4.0, 4.0))
    careful = fixed(5.0, floor=3.0, ceiling=6.0, step_per_hour=0.1)
    for price, after in ((0.5, 3.0), (20.0, 6.0)):
        part = plan(file_of(careful), seen([config(pricing={USD: price})]), memory)
        assert new_price(part) == after


def test_power_is_the_lowest_floor() -> None:
    group = fixed(1.5, power_watts=500, power_price_per_kwh=0.3, host_fee_percent=10, step_per_hour=9.0)
    assert plan(file_of(group), seen([config()])).actions == ()
    cheap = plan(file_of(group), seen([config(pricing={USD: 3.0})]))
    assert new_price(cheap) == 4.0
    assert reason(cheap) == "on-demand: fixed at 1.50, but power costs 4.00; 3.00 -> 4.00 $ a day"


def test_within_an_hour_a_price_moves_by_the_step_at_most() -> None:
    group = fixed(9.0, step_per_hour=0.1, every=Span(600))
    part = plan(file_of(group), seen([config()]))
    assert new_price(part) == 4.4
    (change,) = part.memory[f"rig-1 on-demand {USD}"].changes
    assert change == PriceChange(at=NOW, before=4.0, after=4.4)
    after = seen([config(pricing={USD: 4.4})])
    assert plan(file_of(group), after, past((3_599, 4.0, 4.4))).actions == ()
    assert new_price(plan(file_of(group), after, past((3_600, 4.0, 4.4)))) == 4.84
    partly = seen([config(pricing={USD: 4.2})])
    assert new_price(plan(file_of(group), partly, past((3_000, 4.0, 4.2)))) == 4.4


def test_a_change_within_the_dead_band_is_not_made() -> None:
    group = percentile(dead_band=0.05)
    assert plan(file_of(group), seen([config()], offers(4.19))).actions == ()
    assert new_price(plan(file_of(group), seen([config()], offers(4.2)))) == 4.2


def test_two_changes_are_as_far_apart_as_the_file_says() -> None:
    group = fixed(5.0, every=Span(900))
    assert plan(file_of(group), seen([config()]), past((899, 4.0, 4.0))).actions == ()
    assert new_price(plan(file_of(group), seen([config()]), past((900, 4.0, 4.0)))) == 5.0


def test_settings_read_before_the_last_change_say_nothing() -> None:
    group = fixed(5.0, every=Span(60))
    old = seen([config()], at=NOW - 120)
    assert plan(file_of(group), old, past((100, 4.0, 4.5))).actions == ()


# Currencies -----------------------------------------------------------------------------------------


def test_each_accepted_currency_is_priced_at_its_rate() -> None:
    one = config(
        allowed_coins=[USD, CLORE, BITCOIN],
        pricing={USD: 4.0, CLORE: 200.0, BITCOIN: 0.00006},
        spot_pricing={USD: 2.0, CLORE: 100.0, BITCOIN: 0.00003},
    )
    part = plan(file_of(fixed(5.0)), seen([one]))
    assert new_price(part) == 5.0
    assert new_price(part, "clore_on_demand") == 250.0
    assert new_price(part, "bitcoin_on_demand") == 0.00007692  # 5 $ are 0.000076923
    assert reason(part) == (
        "on-demand: fixed at 5.00; 3.90 -> 5.00 $ a day in bitcoin,"
        " 4.00 -> 5.00 $ a day in CLORE-Blockchain and USD-Blockchain"
    )


def test_a_currency_without_a_rate_stays_and_is_named() -> None:
    one = config(allowed_coins=[USD, CLORE], pricing={USD: 4.0, CLORE: 200.0})
    part = plan(file_of(fixed(5.0)), seen([one], rates={}))
    assert (new_price(part), new_price(part, "clore_on_demand")) == (5.0, None)
    assert notes(part) == [f"rig-1: the rate of {CLORE} is not known just now; the price in it stays"]


def test_a_price_that_the_market_keeps_in_dollars_is_set_in_dollars() -> None:
    one = config(
        allowed_coins=[CLORE, BITCOIN],
        autoprice={CLORE: "usd", BITCOIN: "usd"},
        usd_pricing={CLORE: PricePair(on_demand=4.0, spot=2.0), BITCOIN: PricePair(on_demand=3.0, spot=2.0)},
    )
    group, other = fixed(5.0, step_per_hour=9.0), fixed(2.5, prices=("spot",), step_per_hour=9.0)
    part = plan(file_of(group, other), seen([one], rates={}))
    (action,) = part.actions
    assert isinstance(action, SetSettings)
    assert action.for_ == "pricing.group-1, pricing.group-2"
    (change,) = action.changes
    assert change.member == "usd_pricing"
    assert change.before == {CLORE: {"on_demand": 4.0, "spot": 2.0}, BITCOIN: {"on_demand": 3.0, "spot": 2.0}}
    assert change.after == {CLORE: {"on_demand": 5.0, "spot": 2.5}, BITCOIN: {"on_demand": 5.0, "spot": 2.5}}
    assert plan(file_of(group, other), seen([applied(one, part.actions)], rates={})).actions == ()


def test_a_price_that_the_market_makes_itself_stays() -> None:
    part = plan(file_of(fixed(5.0)), seen([config(autoprice={USD: "pow"})]))
    assert part.actions == ()
    assert notes(part) == [f"rig-1: {USD} is priced by the market itself (pow); that price stays"]


def test_prices_are_rounded_into_the_bounds() -> None:
    one = config(allowed_coins=[CLORE], pricing={CLORE: 1.0})
    group = fixed(1.0, floor=1.0, ceiling=1.01)
    part = plan(file_of(group), seen([one], rates={CLORE: 0.03}))
    assert new_price(part, "clore_on_demand") == 33.34  # 33.33 would be 0.9999 $
    nothing = plan(file_of(fixed(0.1, floor=0.1, ceiling=0.15)), seen([config()]))
    assert nothing.actions == ()
    assert notes(nothing) == [f"rig-1: the market takes no price in {USD} between 0.10 and 0.15 $ a day"]


def test_a_currency_that_the_settings_are_about_to_accept_is_priced_with_them() -> None:
    one = config(allowed_coins=[], pricing={}, spot_pricing={})
    table = Settings(servers=("*",), currencies=(CLORE,))  # type: ignore[arg-type]
    part = plan(file_of(fixed(5.0), settings={"all": table}), seen([one]))
    assert new_price(part, "clore_on_demand") == new_price(part, "clore_spot") == 250.0
    assert notes(plan(file_of(fixed(5.0)), seen([one]))) == [
        "rig-1: no currency is accepted, so there is no price to set"
    ]


# Old and broken readings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "said"),
    [
        ({"servers"}, "the servers can't be read just now (down); prices stay"),
        ({"configs"}, "rig-1: the settings can't be read just now (slow); prices stay"),
        ({"offers"}, "rig-1: the market's offers can't be read just now; the price stays"),
    ],
)
def test_nothing_is_done_on_the_strength_of_something_old(age: set[str], said: str) -> None:
    now, old = seen([config()], offers(3.0)), seen([config()], offers(3.0), at=NOW - 301)
    failed = {"servers": Failed("down"), "server rig-1": Failed("slow")}
    observation = msgspec.structs.replace(now, failed=failed, **{part: getattr(old, part) for part in age})
    part = plan(file_of(percentile()), observation)
    assert (part.actions, part.memory, notes(part)) == ((), {}, [said])
    assert plan(file_of(percentile()), Observation()).actions == ()


def test_rates_are_as_old_as_the_offers_they_are_read_from() -> None:
    one = config(allowed_coins=[CLORE], pricing={CLORE: 200.0})
    old = msgspec.structs.replace(seen([one]), offers=Reading([], NOW - 301))
    assert plan(file_of(fixed(5.0)), old).actions == ()


# Files that can't be meant --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "member", "said"),
    [
        (fixed(servers=()), "servers", 'name at least one pattern, such as "rig-*"'),
        (fixed(prices=()), "prices", 'name on-demand, spot, or both: ["on-demand", "spot"]'),
        (fixed(floor=0), "floor", "must be above 0"),
        (occupancy(floor=11.0), "floor", "is above the ceiling (11 and 10 $ a day)"),
        (fixed(step_per_hour=0), "step_per_hour", "must be above 0; 0.1 is a tenth within an hour"),
        (fixed(dead_band=0.5), "dead_band", "must be below step_per_hour, or no change is ever made"),
        (fixed(dead_band=-0.1), "dead_band", "must be from 0 to below 1; 0.02 is a fiftieth"),
        (fixed(power_watts=-1), "power_watts", "must not be below 0"),
        (fixed(host_fee_percent=100), "host_fee_percent", "must be from 0 to below 100"),
        (
            occupancy(power_watts=2_000, power_price_per_kwh=0.3, host_fee_percent=4.0),
            "power_watts",
            "power alone costs 15.00 $ a day with the market's fee, above the ceiling of 10",
        ),
        (percentile(percentile=101), "percentile", "must be from 0 to 100"),
        (percentile(reliability_slack=2), "reliability_slack", "must be from 0 to 1"),
        (undercut(share=1), "share", "must be from 0 to below 1; 0.02 is a fiftieth less"),
        (occupancy(target=80), "target", "must be from 0 to 1; 0.8 is four of five servers"),
        (occupancy(step=0), "step", "must be above 0 and below 1"),
        (occupancy(step=0.01), "step", "must not be below dead_band (0.02), or no change is ever made"),
        (timetable(ceiling=4.5), "periods", "5 (Mon-Fri 08:00-20:00) is outside 1 to 4.5 $ a day"),
        (timetable(otherwise=0.5), "otherwise", "0.5 is outside 1 to 10 $ a day"),
        (fixed(11.0), "price", "11 is outside 1 to 10 $ a day"),
        (
            fixed(1.5, power_watts=100, power_price_per_kwh=1, host_fee_percent=4.0),
            "price",
            "1.5 is outside 2.5 (power) to 10 $ a day",
        ),
    ],
)
def test_groups_that_can_not_be_meant_are_told(group: Any, member: str, said: str) -> None:
    assert problems_of_pricing("a", group) == [(member, said)]


@pytest.mark.parametrize("group", [percentile(), undercut(), occupancy(), timetable(), fixed()])
def test_groups_that_can_be_meant_are_fine(group: Any) -> None:
    assert problems_of_pricing("a", group) == []


def test_a_server_in_two_groups_for_one_kind_of_price_is_told_and_left_alone() -> None:
    file = file_of(fixed(5.0), fixed(6.0, servers=("rig-1",)), fixed(3.0, prices=("spot",)))
    assert overlaps(file, ["rig-1", "rig-2"]) == [
        (
            "pricing.group-2.servers",
            "the on-demand price of rig-1 is set by [pricing.group-1], too; name it in one of them",
        )
    ]
    part = plan(file, seen([config()]))
    assert (new_price(part), new_price(part, "usd_spot")) == (None, 3.0)
    said = "rig-1: the on-demand price is set by [pricing.group-1] and [pricing.group-2]; it stays"
    assert notes(part) == [said, said]
