"""What fleets order, see to, replace and cancel, and why."""

from typing import Any

import msgspec
import pytest

from openclore.api.offers import OfferPrice
from openclore.api.orders import Order
from openclore.api.specs import Net, Specs
from openclore.autopilot.actions import CancelOrder, Outcome, PlaceOrder, Rebid
from openclore.autopilot.file import Budget, Coin, Hours, Messages, Scale, Span, TcpCheck
from openclore.autopilot.fleets import done, plan_fleets
from openclore.autopilot.memory import FleetMemory, Memory
from openclore.autopilot.observation import Observation, Probe, Reading

from .fleet_market import FEES, START, USD, Market, Pilot, by_hand, file_of, fleet, offer


def pilot_of(*offers: Any, **changes: Any) -> Pilot:
    listed = offers or [offer(1, 2.4), offer(2, 3.6), offer(3, 4.8)]
    return Pilot(Market({each.id: each for each in listed}), file_of(a=fleet(**changes)))


def rounds(pilot: Pilot, count: int = 1) -> Pilot:
    for _ in range(count):
        pilot.round()
    return pilot


def servers(pilot: Pilot) -> list[int]:
    return sorted(one.server_id for one in pilot.market.active())


def said(pilot: Pilot) -> str:
    return "\n".join(pilot.log)


# Choosing -------------------------------------------------------------------------------------------


def specs(**changes: Any) -> Specs:
    known: dict[str, Any] = {
        "gpu": "1x NVIDIA GeForce RTX 4090",
        "gpuram": 24,
        "ram": 64,
        "net": Net(cc="DE"),
    }
    return Specs(**(known | changes))


@pytest.mark.parametrize(
    ("other", "wanted"),
    [
        ({"rented": True}, {}),
        ({"gigaspot": {"bids": []}}, {}),
        ({"allowed_coins": ["bitcoin"]}, {}),
        ({"specs": None}, {}),
        ({"mrl": 0}, {}),
        ({"price": OfferPrice(on_demand={USD: 9.0})}, {}),
        ({"price": None}, {}),
        ({"specs": specs(gpu="2x NVIDIA GeForce RTX 3090")}, {"gpu": "4090"}),
        ({"specs": specs(gpu="2x NVIDIA GeForce RTX 4090")}, {"gpu_count": 1}),
        ({"specs": specs(gpu="0x no GPU")}, {"gpu_count_min": 1}),
        ({"specs": specs(gpuram=8)}, {"vram_gb_min": 16.0}),
        ({"specs": specs(ram=None)}, {"ram_gb_min": 16.0}),
        ({"specs": specs(net=Net(cc="US"))}, {"countries": ("de", "FR")}),
        ({"specs": specs(net=None)}, {"countries": ("DE",)}),
        ({"reliability": 0.8}, {"reliability_min": 0.9}),
        ({"reliability": None}, {"reliability_min": 0.9}),
        ({}, {"exclude_servers": (1,)}),
    ],
)
def test_the_cheapest_that_fits_is_ordered(other, wanted):
    cheap = msgspec.structs.replace(offer(1, 2.4), **other)
    assert servers(rounds(pilot_of(cheap, offer(2, 3.6), offer(3, 4.8), **wanted))) == [2]


def test_of_two_at_one_price_the_more_reliable_is_ordered():
    offers = offer(1, 2.4, reliability=0.9), offer(2, 2.4, reliability=0.95), offer(3, 2.4, reliability=None)
    assert servers(rounds(pilot_of(*offers))) == [2]


@pytest.mark.parametrize(
    ("kind", "floor", "made"), [("on-demand", 1.0, False), ("spot", 9.0, True), ("cheapest", 2.0, True)]
)
def test_the_order_type_is_as_the_file_says_or_the_cheaper_with_fees(kind, floor, made):
    pilot = rounds(pilot_of(offer(1, 2.4, floor=floor), order_type=kind, price_per_hour_max=0.5))
    assert [one.spot for one in pilot.market.active()] == [made]


def test_fees_decide_which_type_is_cheaper():
    pilot = rounds(pilot_of(offer(1, 2.40, floor=2.45), order_type="cheapest"))
    assert [(one.spot, one.price) for one in pilot.market.active()] == [(True, 2.45)]


@pytest.mark.parametrize(("spread", "ordered"), [(None, [1, 2]), ("host", [1, 3]), ("country", [1, 4])])
def test_machines_are_spread_as_the_file_says(spread, ordered):
    offers = (
        offer(1, 1.0, owner=1),
        offer(2, 1.1, owner=1),
        offer(3, 1.2, owner=2),
        offer(4, 1.3, owner=2, specs=specs(net=Net(cc="US"))),
    )
    pilot = rounds(pilot_of(*offers, spread=spread, machines=2), 3)
    assert servers(pilot) == ordered
    assert pilot.notes == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"price_per_hour_max": 0.05}, "no offer under 0.05 $/h matches (cheapest 0.10)"),
        ({"gpu": "H100"}, "no free offer that takes USD-Blockchain matches"),
        ({"spread": "country"}, "the 2 offers left are of a country that has 1 machine of ours already"),
        ({"currency": Coin("doubloons")}, "what doubloons is worth in dollars is not known"),
        ({"budget": Budget(per_hour=0.2)}, "fleet a: the budget per hour is 0.20 $, and it could come to"),
    ],
)
def test_why_a_fleet_is_short_is_said(changes, why):
    pilot = rounds(pilot_of(machines=2, **changes))
    assert len(pilot.notes) == 1
    assert f"of 2 machines are missing: {why}" in pilot.notes[0]


def test_an_order_tells_the_market_its_limits_where_it_can():
    pilot = pilot_of(machines=1, budget=Budget(total=5.0), lease=Span(600))
    pilot.market.has_open = True
    plan = plan_fleets(pilot.file, pilot.market.observation(), pilot.memory, START)
    (order,) = plan.actions
    assert isinstance(order, PlaceOrder)
    assert (order.spend_max, order.lease_seconds, order.price) == (5.0, 600, 2.4)
    assert order.usd_per_hour == pytest.approx(0.105)
    assert order.reason == "0 of 1 machines there; server 1 is the best of 3 that match, 0.105 $/h with fees"
    assert list(plan.memory.fleets["a"].intents) == [order.key]


def test_nothing_is_done_on_old_orders_nor_ordered_from_an_old_list():
    pilot = pilot_of(machines=2)
    old = pilot.market.observation()
    later = START + pilot.file.stale_after + 1
    plan = plan_fleets(pilot.file, old, pilot.memory, later)
    assert plan.actions == ()
    assert plan.notes[0].text == "the orders were last read 3m 1s ago; nothing is done until they are read"
    seen = msgspec.structs.replace(old, orders=Reading({}, later))
    plan = plan_fleets(pilot.file, seen, pilot.memory, later)
    assert plan.actions == ()
    assert plan.notes[0].text == "2 of 2 machines are missing: the marketplace could not be read"


# Replacing ------------------------------------------------------------------------------------------


def test_a_failed_deployment_is_replaced_elsewhere_and_its_server_left_alone():
    pilot = pilot_of()
    pilot.market.fails_next = True
    rounds(pilot, 5)
    assert servers(pilot) == [2]
    assert "CancelOrder its container could not be deployed" in said(pilot)
    assert pilot.fleet.excluded[1].failures == 1


def test_what_is_not_ready_in_time_is_replaced():
    pilot = rounds(pilot_of(ready_within=Span(600)))
    pilot.market.active()[0].deploys_in = 10**6
    rounds(pilot, 12)
    assert servers(pilot) == [2]
    assert "CancelOrder not ready within 10m" in said(pilot)


def test_a_lost_host_is_waited_for_three_minutes():
    pilot = rounds(pilot_of(), 4)
    pilot.market.offline.add(1)
    rounds(pilot, 3)
    assert servers(pilot) == [1]
    rounds(pilot, 2)
    assert servers(pilot) == [2]
    assert "CancelOrder its host has been gone for 3m" in said(pilot)


def test_who_fails_its_checks_in_a_row_is_replaced():
    pilot = rounds(pilot_of(ready=(TcpCheck(port=22),), ports={"22": "tcp"}), 4)
    (machine,) = pilot.fleet.machines.values()
    assert machine.ready_at is not None
    failing = Probe(passed=False, detail="TCP port 22: Connection refused")
    for left in (2, 1, 0):
        seen = pilot.market.observation()
        seen = msgspec.structs.replace(seen, probes={machine.order_id: Reading(failing, pilot.market.now)})
        plan = plan_fleets(pilot.file, seen, pilot.memory, pilot.market.now)
        pilot.memory = plan.memory
        pilot.market.turn(60)
        assert bool(plan.actions) == (left == 0)
    assert [type(action) for action in plan.actions] == [CancelOrder, PlaceOrder]
    assert plan.actions[0].reason == "3 checks in a row failed (TCP port 22: Connection refused)"


def test_an_order_that_ends_soon_is_replaced_before():
    pilot = rounds(pilot_of(), 4)
    (machine,) = pilot.market.active()
    expires = START + 4_000

    def look() -> Observation:
        seen = pilot.market.observation()
        assert seen.orders
        orders = {
            key: msgspec.structs.replace(row, mrl=expires - (row.ct or 0)) if key == machine.id else row
            for key, row in seen.orders.value.items()
        }
        return msgspec.structs.replace(seen, orders=Reading(orders, pilot.market.now))

    counts = []
    for _ in range(63):
        plan = plan_fleets(pilot.file, look(), pilot.memory, pilot.market.now)
        pilot.memory = plan.memory
        for action in plan.actions:
            pilot.memory = done(pilot.memory, pilot._carried_out(action))
        pilot.market.turn(60)
        counts.append(len(pilot.market.active()))
    assert set(counts) == {1, 2}
    assert pilot.market.now > expires - 300
    assert servers(pilot) == [2]


def test_servers_that_fail_again_are_left_alone_for_twice_as_long():
    pilot = pilot_of(offer(1, 2.4), exclude_for=Span(600))
    lengths = []
    for failures in (1, 2, 3):
        while not (1 in pilot.fleet.excluded and pilot.fleet.excluded[1].failures == failures):
            pilot.market.fails_next = True
            pilot.round()
        lengths.append(round(pilot.fleet.excluded[1].until - pilot.market.now, -2))
    assert lengths == [500, 1_100, 2_300]  # a round has passed since


def test_when_nothing_gets_ready_orders_pause():
    pilot = pilot_of(*(offer(n, 2.4) for n in range(1, 9)))
    for _ in range(12):
        pilot.market.fails_next = True
        pilot.round()
    assert len(pilot.market.orders) < 6
    assert "in a row did not get ready; is something wrong with busybox?" in pilot.notes[0]


def test_fewer_machines_wanted_cancels_the_dearest():
    pilot = rounds(pilot_of(machines=3), 4)
    pilot.file = file_of(a=fleet(machines=1))
    rounds(pilot, 2)
    assert servers(pilot) == [1]


def test_the_number_may_come_from_outside_within_its_bounds():
    pilot = pilot_of(machines=None, scale=Scale(command=("x",), minimum=1, maximum=2))
    seen = pilot.market.observation()
    for number, orders in ((0, 1), (1, 1), (2, 2), (9, 2)):
        asked = msgspec.structs.replace(seen, scale={"a": Reading(number, START)})
        assert len(plan_fleets(pilot.file, asked, pilot.memory, START).actions) == orders
    plan = plan_fleets(pilot.file, seen, pilot.memory, START)
    assert "could not be learned" in plan.notes[0].text
    assert len(plan.actions) == 1


def test_outside_the_schedule_and_after_the_end_there_are_none():
    # START is a Friday, 08:00 UTC: 09:00 in Berlin.
    pilot = rounds(pilot_of(machines=2, schedule=(Hours("Mon-Fri 08:00-09:30"),)), 3)
    pilot.file = msgspec.structs.replace(pilot.file, messages=Messages(timezone="Europe/Berlin"))
    rounds(pilot, 20)
    assert len(pilot.market.active()) == 2
    rounds(pilot, 10)
    assert pilot.market.active() == []
    assert "CancelOrder it is outside the fleet's schedule" in said(pilot)


# Bids and leases ------------------------------------------------------------------------------------


def test_a_bid_begins_at_the_floor_and_rises_above_the_winner_up_to_the_cap():
    pilot = rounds(pilot_of(offer(1, 9.0, floor=2.0), order_type="spot"))
    prices = [one.price for one in pilot.market.active()]
    for bid in (2.5, 4.0, 7.15):
        pilot.market.outbid(1, bid)
        rounds(pilot, 2)
        prices += [one.price for one in pilot.market.active()]
    assert prices == [2.0, 2.55, 4.08]
    assert "CancelOrder outbid: 0.304 $/h would win, above 0.300" in said(pilot)


def test_a_bid_that_an_order_on_demand_displaced_is_replaced_elsewhere():
    pilot = rounds(pilot_of(offer(1, floor=1.0), offer(2, floor=2.0), order_type="spot"), 4)
    pilot.market.offers[1] = offer(1, floor=1.0, rented=True)
    pilot.market._auction()
    rounds(pilot, 4)
    assert servers(pilot) == [2]


def test_bids_and_checks_read_long_ago_are_not_acted_on():
    pilot = rounds(pilot_of(offer(1, 9.0, floor=2.0), order_type="spot"), 3)
    pilot.market.outbid(1, 4.0)
    old = pilot.market.observation().spot
    pilot.market.tells_state = False
    for later, rebids in ((60, 1), (pilot.file.stale_after + 1, 0)):
        now = pilot.market.now + later
        seen = pilot.market.observation()
        failing = Reading(Probe(passed=False), now - later)
        seen = msgspec.structs.replace(
            seen, spot=old, orders=Reading(seen.orders.value, now), probes={7_000: failing}
        )
        plan = plan_fleets(pilot.file, seen, pilot.memory, now)
        assert [type(action) for action in plan.actions] == [Rebid] * rebids


def test_leases_are_renewed_from_half_time_on():
    pilot = pilot_of(lease=Span(600))
    pilot.market.has_open = True
    rounds(pilot, 5)
    assert "RenewLease" not in said(pilot)
    rounds(pilot, 10)
    assert said(pilot).count("RenewLease") == 2


# Orders that are unclear, unknown or gone ----------------------------------------------------------


def outcome_of(pilot: Pilot, **changes: Any) -> tuple[Pilot, PlaceOrder]:
    plan = plan_fleets(pilot.file, pilot.market.observation(), pilot.memory, START)
    (order,) = plan.actions
    assert isinstance(order, PlaceOrder)
    outcome = Outcome(**({"action": order, "at": START + 2, "done": False} | changes))
    pilot.memory = done(plan.memory, outcome)
    return pilot, order


@pytest.mark.parametrize(
    ("error", "excluded", "paused"),
    [
        ("server-already-rented", True, False),
        ("compute-not-available", True, False),
        ("price_not_matching", True, False),
        ("not_enough_balance", False, True),
        ("reached_order_limit_per_day", False, True),
        ("image-not-allowed", True, True),
        (None, False, False),
    ],
)
def test_a_refusal_frees_the_intent_and_is_minded(error, excluded, paused):
    pilot, order = outcome_of(pilot_of(), error=error, refused=error is not None, detail=f"no: {error}")
    assert not pilot.fleet.intents
    assert (order.server_id in pilot.fleet.excluded) == excluded
    assert (pilot.fleet.pause_until > START) == paused


def test_orders_that_are_refused_whatever_the_server_are_few_and_it_is_said():
    pilot = pilot_of(*(offer(n, 2.4) for n in range(1, 40)), machines=3)
    tried = 0
    for _ in range(60):
        plan = plan_fleets(pilot.file, pilot.market.observation(), pilot.memory, pilot.market.now)
        pilot.memory = plan.memory
        for action in plan.actions:
            tried += 1
            outcome = Outcome(
                action=action, at=pilot.market.now, done=False, detail="no such image", refused=True
            )
            pilot.memory = done(pilot.memory, outcome)
        pilot.market.turn(60)
    assert tried == 18
    assert plan.notes[0].text.endswith("; the last one was refused: no such image")


def test_an_unclear_order_is_not_made_again_and_found_when_it_shows():
    pilot, order = outcome_of(pilot_of(), unknown=True)
    pilot.market.turn(60)
    plan = plan_fleets(pilot.file, pilot.market.observation(), pilot.memory, pilot.market.now)
    assert plan.actions == ()
    pilot.market.do(order)
    rounds(pilot)
    assert not pilot.fleet.intents
    assert [one.order_id for one in pilot.fleet.machines.values()] == [7_000]
    assert len(pilot.market.orders) == 1


def test_an_unclear_order_that_does_not_show_was_not_made():
    pilot, _ = outcome_of(pilot_of(), unknown=True)
    pilot.market.turn(125)
    rounds(pilot)
    assert servers(pilot) == [2]


def test_an_unclear_order_counts_for_the_budget():
    pilot, _ = outcome_of(pilot_of(machines=1, budget=Budget(per_hour=0.25)), unknown=True)
    pilot.file = file_of(a=fleet(machines=2, budget=Budget(per_hour=0.25)))
    plan = plan_fleets(pilot.file, pilot.market.observation(), pilot.memory, START + 5)
    assert plan.actions == ()
    assert "the budget per hour is 0.25 $" in plan.notes[0].text


@pytest.mark.parametrize(("orphans", "left"), [("adopt", [1, 2]), ("cancel", [2, 3]), ("leave", [1, 2])])
def test_an_unknown_order_of_its_image_is_dealt_with_as_the_file_says(orphans, left):
    earlier = rounds(pilot_of(machines=1))
    pilot = Pilot(earlier.market, file_of(a=fleet(machines=1 if orphans == "leave" else 2, orphans=orphans)))
    pilot.memory = Memory(name="another")
    rounds(pilot)
    assert servers(pilot) == left
    assert (7_000 in pilot.fleet.machines) == (orphans != "leave")


@pytest.mark.parametrize("orphans", ["adopt", "cancel"])
def test_an_order_that_was_not_there_when_the_fleet_began_is_left_alone_and_said(orphans):
    pilot = rounds(pilot_of(orphans=orphans))
    pilot.market.do(by_hand(2, 3.6))
    rounds(pilot, 3)
    assert servers(pilot) == [1, 2]
    assert list(pilot.fleet.machines) == [7_000]
    what = "order 7001 on server 2 runs busybox and is unknown"
    assert pilot.notes == [f"{what}; it is left alone, as it was not there when the fleet began"]


def test_two_files_of_one_key_and_image_do_not_fight():
    market = Market({n: offer(n) for n in range(1, 12)})
    one, other = Pilot(market, file_of(a=fleet(machines=2))), Pilot(market, file_of(b=fleet(machines=3)))
    for _ in range(8):
        one.round()
        other.round()
    assert len(market.active()) == len(market.orders) == 3


def test_an_order_that_shows_after_it_was_taken_for_not_made_is_its_own():
    pilot, order = outcome_of(pilot_of(machines=1), unknown=True)
    pilot.market.turn(125)
    rounds(pilot)
    assert servers(pilot) == [2]
    pilot.market.do(order)
    rounds(pilot, 2)
    assert pilot.fleet.machines.keys() == {one.id for one in pilot.market.active()}
    assert len(pilot.market.active()) == 1


@pytest.mark.parametrize("ahead", [600, -600])
def test_an_unclear_order_is_found_whatever_the_clocks_say(ahead):
    pilot, order = outcome_of(pilot_of(orphans="leave"), unknown=True)
    pilot.market.do(order)
    pilot.market.orders[7_000].made_at -= ahead
    rounds(pilot, 3)
    assert list(pilot.fleet.machines) == [7_000]
    assert len(pilot.market.orders) == 1


def test_orders_that_ended_before_are_not_taken_for_an_unclear_one():
    pilot = rounds(pilot_of(offer(1, 2.4)), 2)
    pilot.market.end(7_000, "cancelled")
    rounds(pilot)
    assert len(pilot.market.orders) == 2
    pilot.market.orders.pop(7_001)
    pilot.memory = Memory(name="m", fleets={"a": FleetMemory(orphans=())})
    plan = plan_fleets(pilot.file, pilot.market.observation(), pilot.memory, pilot.market.now)
    pilot.memory = plan.memory
    pilot.market.turn(60)
    assert rounds(pilot).fleet.intents == plan.memory.fleets["a"].intents


def test_what_was_adopted_above_the_number_is_cancelled():
    earlier = rounds(pilot_of(machines=3), 3)
    pilot = Pilot(earlier.market, file_of(a=fleet(machines=1)), memory=Memory(name="another"))
    assert servers(rounds(pilot, 2)) == [1]


def test_a_fleet_that_left_the_file_hands_over_or_is_cancelled():
    pilot = rounds(pilot_of(machines=2), 3)
    pilot.file = file_of(b=fleet(machines=1), c=fleet(machines=0, image="another"))
    rounds(pilot, 2)
    assert servers(pilot) == [1]
    assert list(pilot.memory.fleets["b"].machines) == [7_000]


def test_an_order_that_is_nowhere_stops_the_fleet_until_it_is_given_up():
    pilot = rounds(pilot_of(machines=1), 4)
    pilot.market.orders.clear()
    rounds(pilot, 30)
    assert "order 7000 on server 1 is nowhere to be seen" in pilot.notes[0]
    assert len(pilot.market.orders) == 0
    rounds(pilot, 35)
    assert len(pilot.market.active()) == 1


def test_orders_of_another_server_by_the_same_id_stop_the_fleet():
    pilot = rounds(pilot_of(machines=1), 4)
    seen = pilot.market.observation()
    foreign = Reading({7_000: Order(id=7_000, si=99, image="another")}, pilot.market.now)
    plan = plan_fleets(
        pilot.file, msgspec.structs.replace(seen, orders=foreign), pilot.memory, pilot.market.now
    )
    assert plan.actions == ()
    assert "order 7000 on server 1 is said to be on server 99" in plan.notes[0].text


def test_a_cancel_that_did_not_take_is_tried_again():
    pilot = rounds(pilot_of(machines=1), 4)
    pilot.file = file_of(a=fleet(machines=0))
    plan = plan_fleets(pilot.file, pilot.market.observation(), pilot.memory, pilot.market.now)
    pilot.memory = plan.memory
    pilot.market.turn(60)
    assert len(pilot.market.active()) == 1
    rounds(pilot)
    assert "CancelOrder still there 1m after it was cancelled" in said(pilot)
    assert pilot.market.active() == []


BTC = "bitcoin"


def in_bitcoin(**changes: Any) -> Order:
    known: dict[str, Any] = {
        "id": 1,
        "si": 9,
        "ct": START - 40 * 3_600,
        "mrl": 3_600_000,
        "price": 2.4 / 60_000,
        "currency": BTC,
        "spend": 4.0 / 60_000,
        "image": "busybox",
        "online": True,
        "mon_container": 2,
    }
    return Order(**(known | changes))


def seen_in_bitcoin(now: int, rate: float | None, order: Order | None = None, **changes: Any) -> Observation:
    price = OfferPrice(on_demand={BTC: 2.4 / 60_000}, spot={BTC: 1e-5})
    listed = msgspec.structs.replace(offer(8), price=price, allowed_coins=[BTC])
    known: dict[str, Any] = {
        "orders": Reading({order.id: order} if order else {}, now),
        "ended": Reading({}, now),
        "offers": Reading([listed], now),
        "fees": Reading(FEES, now),
        "rates": {USD: 1.0} | ({BTC: rate} if rate else {}),
    }
    return Observation(**(known | changes))


@pytest.mark.parametrize("unknown", ["rate", "price"])
def test_an_unknown_order_is_not_adopted_before_it_is_known_what_it_costs(unknown):
    file = file_of(a=fleet(currency=Coin(BTC), budget=Budget(total=5.0)))
    order = in_bitcoin(price=None) if unknown == "price" else in_bitcoin()
    seen = seen_in_bitcoin(START, None if unknown == "rate" else 60_000, order, offers=None)
    plan = plan_fleets(file, seen, Memory(name="m"), START)
    assert plan.actions == ()
    assert not plan.memory.fleets["a"].machines
    assert "until its price and the rate of its currency are known" in plan.notes[0].text
    later = START + 60
    plan = plan_fleets(file, seen_in_bitcoin(later, 60_000, in_bitcoin()), plan.memory, later)
    assert plan.memory.fleets["a"].machines[1].spent.total == pytest.approx(4.2)


def test_what_was_consumed_while_a_rate_is_unknown_counts_once_it_is_known():
    file = file_of(a=fleet(currency=Coin(BTC)))
    memory, spent = Memory(name="m"), []
    for minutes, rate in ((0, 60_000), (60, None), (120, 60_000)):
        now = START + 60 * minutes
        order = in_bitcoin(spend=(4.0 + minutes * 0.1) / 60_000)
        memory = plan_fleets(file, seen_in_bitcoin(now, rate, order), memory, now).memory
        spent.append(memory.fleets["a"].machines[1].spent.total)
    assert spent == pytest.approx([4.2, 4.2, 16.8])
    gone = seen_in_bitcoin(now + 3_600, None, ended=Reading({1: in_bitcoin(spend=1.0)}, now + 3_600))
    over = plan_fleets(file, gone, memory, now + 3_600).memory.fleets["a"].over
    assert over.total == pytest.approx(16.8 + 0.105 * 61 / 60)


def test_nothing_is_ordered_in_a_currency_whose_rate_jumped_and_costs_are_the_higher():
    file = file_of(a=fleet(currency=Coin(BTC), machines=2, budget=Budget(per_hour=0.5)))
    memory = plan_fleets(file, seen_in_bitcoin(START, 60_000, in_bitcoin()), Memory(name="m"), START).memory
    assert len(memory.fleets["a"].intents) == 1
    memory = Memory(name="m", fleets={"a": FleetMemory(machines=memory.fleets["a"].machines, orphans=())})
    for jump, rate in ((90_000, 0.1575), (20_000, 0.105)):
        now = START + 60
        order = in_bitcoin(spend=4.1 / 60_000)
        plan = plan_fleets(file, seen_in_bitcoin(now, 60_000, order, doubted={BTC: jump}), memory, now)
        assert plan.actions == ()
        assert "what bitcoin is worth jumped just now" in plan.notes[0].text
        machine = plan.memory.fleets["a"].machines[1]
        assert machine.usd_per_hour == pytest.approx(rate)
        assert machine.spent.total == pytest.approx(4.2)
    over = Reading({1: msgspec.structs.replace(order, expired=True)}, now)
    gone = seen_in_bitcoin(now, 60_000, ended=over, doubted={BTC: 6e6})
    assert plan_fleets(file, gone, memory, now).memory.fleets["a"].over.total == pytest.approx(4.305)
    now = START + 120
    plan = plan_fleets(file, seen_in_bitcoin(now, 60_000, order), plan.memory, now)
    assert plan.memory.fleets["a"].machines[1].spent.total == pytest.approx(4.305)


def test_no_bid_is_raised_in_a_currency_whose_rate_jumped():
    pilot = rounds(pilot_of(offer(1, 9.0, floor=2.0), order_type="spot"), 3)
    pilot.market.outbid(1, 4.0)
    seen = pilot.market.observation()
    doubted = msgspec.structs.replace(seen, doubted={USD: 2.0})
    now = pilot.market.now
    assert [type(one) for one in plan_fleets(pilot.file, seen, pilot.memory, now).actions] == [Rebid]
    assert plan_fleets(pilot.file, doubted, pilot.memory, now).actions == ()


def test_a_cancel_that_fails_again_and_again_is_said():
    pilot = rounds(pilot_of(machines=1), 4)
    pilot.file = file_of(a=fleet(machines=0))
    said = []
    for _ in range(120):
        plan = plan_fleets(pilot.file, pilot.market.observation(), pilot.memory, pilot.market.now)
        pilot.memory = plan.memory
        said.append([note.text for note in plan.notes])
        pilot.market.turn(60)
    assert said[:2] == [[], []]
    assert said[-1] == [
        "order 7000 is still there 1h 59m after it was cancelled; it goes on costing money",
    ]


# Money ----------------------------------------------------------------------------------------------


def test_what_the_budget_no_longer_allows_is_cancelled_the_dearest_first():
    pilot = rounds(pilot_of(machines=3), 4)
    pilot.file = file_of(a=fleet(machines=3, budget=Budget(per_hour=0.3)))
    pilot.market.turn(3_600)
    rounds(pilot, 2)
    assert servers(pilot) == [1, 2]
    assert "CancelOrder fleet a: the budget per hour is 0.30 $, and it could come to" in said(pilot)


def test_the_budget_of_all_fleets_holds_too():
    pilot = Pilot(
        Market({n: offer(n, 2.4) for n in range(1, 7)}),
        msgspec.structs.replace(file_of(a=fleet(), b=fleet(image="another")), budget=Budget(per_day=0.25)),
    )
    rounds(pilot, 200)
    assert 0.1 < max(pilot.market.spent_per(86_400).values()) <= 0.25


@pytest.mark.parametrize("back", [600, 6 * 3_600, 40 * 86_400])
def test_a_clock_that_is_set_back_does_not_stop_counting(back):
    pilot = rounds(pilot_of(machines=2, budget=Budget(total=2.0, per_hour=0.45)), 50)
    charged = sum(pilot.market.spent_per(0).values())
    pilot.market.now -= back
    for one in pilot.market.orders.values():
        one.made_at -= back
    pilot.market.charges.clear()
    remembered = pilot.fleet.spent
    rounds(pilot, 2)
    assert pilot.fleet.spent.total >= remembered.total
    assert pilot.fleet.spent.hour <= pilot.market.now // 3_600
    rounds(pilot, 600)
    assert charged + sum(pilot.market.spent_per(0).values()) <= 2.0
    assert pilot.market.active() == []


def test_a_lease_is_renewed_at_once_after_a_clock_was_set_back():
    pilot = pilot_of(lease=Span(600))
    pilot.market.has_open = True
    rounds(pilot, 2)
    pilot.market.now -= 6 * 3_600
    rounds(pilot, 2)
    assert said(pilot).count("RenewLease") == 1


def test_what_was_spent_includes_the_fee_for_creation_in_each_window():
    spent = rounds(pilot_of(), 2).fleet.spent
    assert spent.in_hour == spent.in_day == spent.total == pytest.approx(0.1 + 2 * 0.105 / 60)


def test_without_its_memory_a_fleet_counts_what_ended_today_and_what_runs():
    pilot = rounds(pilot_of(machines=2, budget=Budget(per_day=1.2)), 300)
    assert [one.end_reason for one in pilot.market.orders.values()] == ["cancelled", "cancelled"]
    pilot.memory = Memory(name="another")
    rounds(pilot, 100)
    assert max(pilot.market.spent_per(86_400).values()) <= 1.2
    assert pilot.fleet.spent.total == pytest.approx(sum(pilot.market.spent_per(0).values()), abs=0.02)


def test_orders_that_ended_on_another_day_are_not_counted_without_memory():
    pilot = rounds(pilot_of(machines=2), 10)
    pilot.file = file_of(a=fleet(machines=0))
    rounds(pilot, 3)
    pilot.memory = Memory(name="another")
    pilot.market.now += 86_400
    assert rounds(pilot).fleet.spent.total == 0.0


def test_machines_that_cost_what_the_hour_allows_run_without_a_gap():
    pilot = pilot_of(offer(1, 2.4), machines=1, budget=Budget(per_hour=0.105 + 0.1))
    rounds(pilot, 10)
    pilot.file = file_of(a=fleet(machines=1, budget=Budget(per_hour=0.105)))
    pilot.market.turn(3_600)
    rounds(pilot, 180)
    assert [one.id for one in pilot.market.orders.values()] == [7_000]


def test_a_market_that_does_not_let_go_is_given_no_third_order():
    pilot = pilot_of(*(offer(n, 2.4) for n in range(1, 9)))
    for _ in range(20):
        pilot.market.fails_next = True
        seen = pilot.market.observation()
        plan = plan_fleets(pilot.file, seen, pilot.memory, pilot.market.now)
        pilot.memory = plan.memory
        for action in plan.actions:
            if isinstance(action, PlaceOrder):
                pilot.memory = done(pilot.memory, pilot._carried_out(action))
        pilot.market.turn(60)
    assert len(pilot.market.orders) == 2
    assert plan.notes[-1].text.endswith("no more are made until they end")
