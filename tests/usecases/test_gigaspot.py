"""GigaSPOT: batches of bids, clocks, and machines that come and go."""

from typing import Any

import msgspec
import pytest

from openclore.api.codes import Refusal
from openclore.api.currencies import Currency
from openclore.api.gigaspot import (
    CancelOrders,
    CreateGigaspotOrder,
    CreateGigaspotOrdersReply,
    EditGigaspotOrder,
    EditGigaspotOrdersReply,
    GpuClocks,
    SnapshotServer,
)
from openclore.api.hostlink import Assignment
from openclore.api.open.limits import SetSpendLimit
from openclore.api.open.servers import SetGigaspot
from openclore.api.specs import Net, Specs
from openclore.rules import money
from openclore.rules.orders import Order
from openclore.rules.policy import OrderBounds, Policy
from openclore.rules.refused import InvalidInput, NotFound, Refused
from openclore.store import accounts as account_rows
from openclore.store import events, ledger, orders
from openclore.store.store import Store
from openclore.usecases import accounts, gigaspot, hosts, limits, rates, servers

from ..world import World, hello

UBUNTU = "a3f9c4d7e5b088d8a0bff880"
GPU = {
    "type": "NVIDIA GeForce RTX 3090",
    "pl": [100, 366],
    "core_lock": [210, 2_100],
    "mem_offset": [0, 6_000],
}
SPECS = Specs(
    cpu="Example CPU",
    cpus="8/16",
    ram=64,
    gpu="2x NVIDIA GeForce RTX 3090",
    net=Net(cc="DE"),
    gpus=[GPU, GPU],
)
DAY_PRICE = 1_440
"""CLORE per day: one a minute."""


@pytest.fixture
def world(store: Store) -> World:
    return gigaspot_world(store)


def gigaspot_world(store: Store, policy: Policy | None = None) -> World:
    """The world's server has two GPUs and is on GigaSPOT from 100 CLORE on; the renter has 1,000 CLORE."""
    world = World(store, policy or Policy())
    rates.set_rate(world.market, Currency.CLORE, money.from_text("0.005"), world.now)
    equip(world, world.server)
    offer(world, world.server)
    clore(world, "1000")
    return world


def equip(world: World, server: int) -> None:
    connected = hello(specs=SPECS, gpu_array=["RTX 3090", "RTX 3090"], cuda_version="12.4")
    hosts.connect(world.market, server, connected, world.now)


def add_rig(world: World, name: str, min_bid: float = 100) -> int:
    server = world.add_server(name)
    equip(world, server)
    offer(world, server, min_bid)
    return server


def offer(world: World, server: int, min_bid: float | None = 100, **more: Any) -> None:
    gigaspot.set_gigaspot(world.market, world.host, server, SetGigaspot(min_bid=min_bid, **more), world.now)


def clore(world: World, amount: str, email: str = "renter@example.org") -> None:
    key = f"{email}:{amount}:{world.now}"
    accounts.credit(world.market, email, Currency.CLORE, money.from_text(amount), world.now, key)


def rival(world: World, name: str = "rival", amount: str = "1000") -> int:
    account = accounts.create_account(world.market, f"{name}@example.org", world.now)
    clore(world, amount, account.email)
    return account.id


def wanted(server: int, price: float = DAY_PRICE, **changes: Any) -> CreateGigaspotOrder:
    bid: dict[str, Any] = {
        "renting_server": server,
        "image": UBUNTU,
        "price": price,
        "oc": [{"pl": 250, "mem_offset": 1_000}, {"pl": 260}],
    }
    return msgspec.convert(bid | changes, CreateGigaspotOrder)


def bids(
    world: World, *request: CreateGigaspotOrder, account: int | None = None, key_id: int | None = None
) -> CreateGigaspotOrdersReply:
    return gigaspot.create_gigaspot_orders(
        world.market, account or world.renter, list(request), world.now, key_id
    )


def bid(world: World, price: float = DAY_PRICE, account: int | None = None, server: int | None = None) -> int:
    """One bid that is taken; its order's id."""
    reply = bids(world, wanted(server or world.server, price), account=account)
    assert reply.reasons == {}
    return max(world.orders(account))


def edits(world: World, *changes: dict[str, Any], account: int | None = None) -> EditGigaspotOrdersReply:
    request = [msgspec.convert(change, EditGigaspotOrder) for change in changes]
    return gigaspot.edit_gigaspot_orders(world.market, account or world.renter, request, world.now)


def cancels(world: World, *order_ids: int, account: int | None = None) -> list[int]:
    """What failed to cancel."""
    request = CancelOrders(order_ids=list(order_ids))
    return gigaspot.cancel_orders(world.market, account or world.renter, request, world.now).failed_to_cancel


def assigned(world: World, server: int | None = None) -> list[Assignment]:
    return hosts.assignments(world.market, server or world.server, world.now).orders


def assigned_ids(world: World, server: int | None = None) -> list[int]:
    return [order.order_id for order in assigned(world, server)]


def generation(world: World) -> int:
    return hosts.assignments(world.market, world.server, world.now).generation


def kept(world: World, order_id: int) -> Order:
    with world.store.reading() as tx:
        order = orders.by_id(tx, order_id)
    assert order is not None
    return order


def balance(world: World, account: int | None = None) -> int:
    reply = accounts.wallets(world.market, account or world.renter, world.now)
    return next(money.from_wire(w.balance or 0) for w in reply.wallets if w.name == Currency.CLORE)


def everything(world: World) -> object:
    with world.store.reading() as tx:
        wallets = tx.exec_driver_sql("SELECT * FROM ledger_accounts ORDER BY id").all()
        return events.newest(tx), list(orders.every(tx)), [tuple(wallet) for wallet in wallets]


# A bid ----------------------------------------------------------------------------------------------


def test_a_bid_runs_with_its_clocks_and_without_ports(world: World) -> None:
    reply = bids(world, wanted(world.server, env={"POOL": "stratum+tcp://example.org:3333"}))
    assert reply == CreateGigaspotOrdersReply(code=0, reasons={})
    (assignment,) = assigned(world)
    assert assignment.clocks == [GpuClocks(pl=250, mem_offset=1_000), GpuClocks(pl=260)]
    assert (assignment.ports, assignment.image) == ([], "ubuntu:24.04")
    assert assignment.env == {"POOL": "stratum+tcp://example.org:3333"}
    row = world.orders()[assignment.order_id]
    assert (row.state, row.tcp_ports, row.currency) == ("placed", [], Currency.CLORE)


def test_a_bid_costs_the_minutes_it_runs_and_the_spot_fee(world: World) -> None:
    bid(world)
    world.jump(119)
    spend = 2 * 10**8
    assert balance(world) == 1_000 * 10**8 - spend - spend * 125 // 10_000
    world.turn()
    assert world.difference() is None


def test_the_higher_bid_runs_and_the_earlier_one_of_a_tie(world: World) -> None:
    mine, other, third = bid(world), rival(world), rival(world, "third")
    assert assigned_ids(world) == [mine]
    same = bid(world, DAY_PRICE, other)
    assert assigned_ids(world) == [mine]
    higher = bid(world, DAY_PRICE + 1, third)
    assert assigned_ids(world) == [higher]
    cancels(world, higher, account=third)
    assert assigned_ids(world) == [mine]
    cancels(world, mine)
    assert assigned_ids(world) == [same]
    assert world.difference() is None


def test_waiting_costs_nothing(world: World) -> None:
    other = rival(world)
    bid(world, 2_000, other)
    mine = bid(world, 1_000)
    world.wait(600)
    assert (balance(world), world.orders()[mine].state) == (1_000 * 10**8, "waiting")


# What is refused ------------------------------------------------------------------------------------


def refuse(world: World, wish: CreateGigaspotOrder, why: str, account: int | None = None) -> None:
    """The bid is among those that failed, for this reason, and nothing changed."""
    before = everything(world)
    reply = bids(world, wish, account=account)
    assert reply.failed_to_rent_servers == [wish.renting_server]
    assert reply.reasons == {wish.renting_server: why}
    assert reply.failed_to_oc_servers == []
    assert everything(world) == before


def test_a_bid_under_the_floor_is_too_low_and_not_rented(world: World) -> None:
    before = everything(world)
    reply = bids(world, wanted(world.server, 99.9))
    assert (reply.too_low_bids_servers, reply.failed_to_rent_servers) == ([1], [1])
    assert everything(world) == before
    assert bids(world, wanted(world.server, 100)).too_low_bids_servers == []


@pytest.mark.parametrize(
    ("oc", "why"),
    [
        ([{"pl": 250}], "clocks for 1 GPUs were given, the machine has 2"),
        (
            [{"pl": 250}, {"pl": 900}],
            "GPU 2 (NVIDIA GeForce RTX 3090): a power limit of 900 W is outside 100 to",
        ),
        (
            [{"pl": 250, "mem_lock": 5_000}, {"pl": 250}],
            "GPU 1 (NVIDIA GeForce RTX 3090): its memory clock can't",
        ),
    ],
)
def test_clocks_that_the_machine_can_not_run_at_are_told_apart(
    world: World, oc: list[dict[str, int]], why: str
) -> None:
    before = everything(world)
    reply = bids(world, wanted(world.server, oc=oc))
    assert (reply.failed_to_oc_servers, reply.failed_to_rent_servers) == ([1], [])
    assert isinstance(reply.reasons, dict)
    assert reply.reasons[1].startswith(why)
    assert everything(world) == before


def test_a_machine_without_known_gpus_takes_no_clocks(world: World) -> None:
    plain = world.add_server("plain")
    offer(world, plain)
    assert bids(world, wanted(plain)).failed_to_oc_servers == [plain]


def test_what_is_not_offered_is_not_rented(world: World) -> None:
    refuse(world, wanted(99), "server-dont-exist")
    refuse(world, wanted(world.add_server("plain")), "server-dont-exist")
    world.set_server("rack-1", availability=False)
    refuse(world, wanted(world.server), "server-dont-exist")


def test_a_machine_that_is_away_is_not_rented(world: World) -> None:
    world.wait(60, beating=False)
    refuse(world, wanted(world.server), "server-offline")


def test_nobody_bids_on_an_own_machine(world: World) -> None:
    clore(world, "100", "host@example.org")
    refuse(world, wanted(world.server), "cant_rent_from_yourself", account=world.host)


def test_only_clore_is_taken(world: World) -> None:
    world.credit("1000")
    for currency in ("USD-Blockchain", "bitcoin", "gold"):
        refuse(world, wanted(world.server, currency=currency), "currency-not-allowed")


def test_an_image_must_be_one_of_the_markets(world: World) -> None:
    refuse(world, wanted(world.server, image="0" * 24), "image-dont-exist")


def test_an_account_bids_once_on_a_machine(world: World) -> None:
    bid(world)
    refuse(world, wanted(world.server, 2_000), "you_already_have_spot_order")


def test_a_bid_must_be_payable(world: World) -> None:
    poor = rival(world, "poor", "1.01")
    refuse(world, wanted(world.server), "not_enough_balance", account=poor)
    assert bids(world, wanted(world.server, 1_430), account=poor).reasons == {}


def test_the_money_of_a_batch_is_counted_bid_by_bid(world: World) -> None:
    """Three minutes cost more than there is: the third bid fails, and the first two are paid."""
    rigs = [world.server, add_rig(world, "rack-2"), add_rig(world, "rack-3")]
    some = rival(world, "some", "2.5")
    reply = bids(world, *map(wanted, rigs), account=some)
    assert (reply.failed_to_rent_servers, reply.reasons) == ([rigs[2]], {rigs[2]: "not_enough_balance"})
    assert [bool(assigned_ids(world, rig)) for rig in rigs] == [True, True, False]
    assert balance(world, some) == 250_000_000 - 2 * 101_250_000
    assert world.difference() is None


def test_limits_hold_for_every_bid(store: Store) -> None:
    world = gigaspot_world(store, Policy(orders_max=2))
    rigs = [world.server, add_rig(world, "rack-2"), add_rig(world, "rack-3")]
    reply = bids(world, *map(wanted, rigs))
    assert reply.reasons == {rigs[2]: "reached_order_limit"}
    assert reply.failed_to_rent_servers == [rigs[2]]


def test_the_daily_quota_holds_for_every_bid(store: Store) -> None:
    world = gigaspot_world(store, Policy(orders_per_day_max=1))
    rigs = [world.server, add_rig(world, "rack-2")]
    assert bids(world, *map(wanted, rigs)).reasons == {rigs[1]: "reached_order_limit_per_day"}


def test_a_spend_limit_of_the_key_holds_for_every_bid(world: World) -> None:
    rigs = [world.server, add_rig(world, "rack-2")]
    key, _ = accounts.create_key(world.market, "renter@example.org", "bot", world.now)
    with world.store.reading() as tx:
        owner = account_rows.keys_of(tx, world.renter)[0]
    limits.set_spend_limit(
        world.market, owner, SetSpendLimit(amount=1.5, currency=Currency.CLORE, key="bot"), world.now
    )
    reply = bids(world, *map(wanted, rigs), key_id=key.id)
    assert reply.reasons == {rigs[1]: "spend_limit_reached"}


def test_one_refused_bid_leaves_the_others(world: World) -> None:
    rigs = [world.server, add_rig(world, "rack-2", min_bid=3_000), 99, add_rig(world, "rack-4")]
    reply = bids(world, *map(wanted, rigs))
    assert (reply.failed_to_rent_servers, reply.too_low_bids_servers) == ([rigs[1], 99], [rigs[1]])
    assert len(assigned_ids(world, rigs[0])) == len(assigned_ids(world, rigs[3])) == 1
    assert world.difference() is None


def test_a_server_named_twice_refuses_the_batch(world: World) -> None:
    before = everything(world)
    with pytest.raises(InvalidInput, match=r"^\[2\]\.renting_server: 1 is named in \[0\] already$"):
        bids(world, wanted(1), wanted(2), wanted(1))
    assert everything(world) == before


def test_the_operators_bounds_hold(store: Store) -> None:
    bounds = OrderBounds(env_variables_max=1, env_value_length_max=3)
    world = gigaspot_world(store, Policy(order_bounds=bounds))
    before = everything(world)
    for env, sentence in (({"A": "1", "B": "2"}, "at most 1 var"), ({"A": "1234"}, "at most 3 characters")):
        with pytest.raises(InvalidInput, match=rf"^\[1\]\.env: {sentence}"):
            bids(world, wanted(1), wanted(2, env=env))
    assert everything(world) == before


def test_the_market_refuses_ordinary_orders_there(world: World) -> None:
    world.credit("10")
    for more in ({}, {"type": "spot", "spotprice": 2}):
        with pytest.raises(Refused, match=Refusal.MACHINE_IS_ON_GIGASPOT):
            world.rent(**more)


# Editing --------------------------------------------------------------------------------------------


def test_a_bid_is_raised_and_lowered_at_any_time(world: World) -> None:
    mine, theirs = bid(world, 1_000), bid(world, 1_100, other := rival(world))
    assert edits(world, {"order_id": mine, "price": 1_200}).success_to_update_ids == [mine]
    assert assigned_ids(world) == [mine]
    for price in (1_050, 1_150, 101):
        assert edits(world, {"order_id": mine, "price": price}).success_to_update_ids == [mine]
        assert assigned_ids(world) == [mine if price > 1_100 else theirs]
    assert world.orders(other)[theirs].state == "placed"
    assert world.difference() is None


def test_no_price_goes_under_the_floor(world: World) -> None:
    mine = bid(world)
    before = everything(world)
    reply = edits(world, {"order_id": mine, "price": 99})
    assert (reply.too_low_bid_ids, reply.failed_to_update_ids) == ([mine], [mine])
    assert (reply.success_to_update_ids, reply.reasons) == ([], {mine: "too_low_price"})
    assert everything(world) == before


def test_a_raised_floor_leaves_a_price_that_stays(world: World) -> None:
    mine = bid(world, 150)
    offer(world, world.server, 200)
    clocks = [{"pl": 300}, {"pl": 300}]
    assert edits(world, {"order_id": mine, "price": 150, "oc": clocks}).success_to_update_ids == [mine]
    assert edits(world, {"order_id": mine, "price": 160}).too_low_bid_ids == [mine]


def test_new_clocks_reach_the_machine_and_the_container_stays(world: World) -> None:
    mine = bid(world)
    world.report("running", mine)
    before = generation(world)
    assert edits(world, {"order_id": mine, "price": DAY_PRICE, "oc": [{"pl": 300}, {"pl": 310}]})
    assert generation(world) == before + 1
    (assignment,) = assigned(world)
    assert assignment.clocks == [GpuClocks(pl=300), GpuClocks(pl=310)]
    row = world.orders()[mine]
    assert (row.state, row.mon_container) == ("running", 2)


def test_clocks_of_a_waiting_bid_do_not_trouble_the_machine(world: World) -> None:
    mine = bid(world, 1_000)
    bid(world, 1_100, other := rival(world))
    before = generation(world)
    edits(world, {"order_id": mine, "price": 1_000, "oc": [{"pl": 300}, {"pl": 300}]})
    assert generation(world) == before
    cancels(world, *world.orders(other), account=other)
    assert assigned(world)[0].clocks == [GpuClocks(pl=300), GpuClocks(pl=300)]


def test_clocks_that_can_not_be_keep_the_price_too(world: World) -> None:
    mine = bid(world)
    before = everything(world)
    reply = edits(world, {"order_id": mine, "price": 2_000, "oc": [{"pl": 9_000}, {"pl": 250}]})
    assert (reply.failed_to_update_ids, reply.too_low_bid_ids) == ([mine], [])
    assert isinstance(reply.reasons, dict)
    assert "9000 W" in reply.reasons[mine]
    assert everything(world) == before


def test_only_ones_own_gigaspot_bids_are_edited(world: World) -> None:
    plain = world.add_server("plain")
    world.credit("10")
    ordinary = world.rent(plain, type="spot", spotprice=1.5).id
    theirs, over = bid(world, account=rival(world)), bid(world, 2_000)
    cancels(world, over)
    before = everything(world)
    changes = [{"order_id": n, "price": 3_000} for n in (ordinary, theirs, over, 99)]
    reply = edits(world, *changes)
    assert reply.failed_to_update_ids == [ordinary, theirs, over, 99]
    assert reply.reasons == {
        ordinary: "order_dont_exist",
        theirs: "order_dont_exist",
        over: "order_not_active",
        99: "order_dont_exist",
    }
    assert everything(world) == before


def test_an_order_edited_twice_refuses_the_batch(world: World) -> None:
    mine = bid(world)
    before = everything(world)
    with pytest.raises(InvalidInput, match=r"^\[1\]\.order_id"):
        edits(world, {"order_id": mine, "price": 200}, {"order_id": mine, "price": 300})
    assert everything(world) == before


# Cancelling -----------------------------------------------------------------------------------------


def test_many_orders_of_any_kind_are_cancelled_at_once(world: World) -> None:
    world.credit("10")
    ordinary = world.rent(world.add_server("plain")).id
    mine, theirs = bid(world), bid(world, 2_000, rival(world))
    assert cancels(world, mine, ordinary, theirs, mine, 99) == [theirs, 99]
    assert [world.orders()[n].end_reason for n in (mine, ordinary)] == ["cancelled", "cancelled"]
    assert cancels(world, mine) == [mine]
    assert world.difference() is None


# Hosting --------------------------------------------------------------------------------------------


def test_an_order_on_demand_goes_on_and_bids_wait_for_its_end(store: Store) -> None:
    world = World(store)
    equip(world, world.server)
    world.credit("10")
    ordinary = world.rent().id
    offer(world, world.server)
    clore(world, "100")
    mine = bid(world)
    assert assigned_ids(world) == [ordinary]
    assert only(world).on_demand_rented is True
    world.wait(120)
    assert balance(world) == 100 * 10**8
    world.cancel(ordinary)
    assert assigned_ids(world) == [mine]
    assert world.difference() is None


def test_bids_of_the_market_end_when_the_machine_moves(store: Store) -> None:
    world = World(store)
    other = rival(world)
    accounts.credit(world.market, "rival@example.org", Currency.USD, 10**9, world.now, "usd")
    world.credit("10")
    first = world.rent(type="spot", spotprice=1.5).id
    second = world.rent(account=other, type="spot", spotprice=2).id
    spent = world.balance()
    world.wait(90)
    offer(world, world.server)
    for account, order_id in ((world.renter, first), (other, second)):
        row = world.orders(account)[order_id]
        assert (row.end_reason, row.end_detail) == ("cancelled", "the host moved the machine to GigaSPOT")
    assert assigned(world) == []
    assert world.balance() == spent
    assert world.orders(other)[second].spend == money.to_wire(2 * 10**8 * 2 // 1_440)
    assert world.difference() is None


def test_bids_end_when_the_machine_is_taken_off(world: World) -> None:
    mine, theirs = bid(world), bid(world, 2_000, other := rival(world))
    paid = balance(world)
    world.wait(60)
    offer(world, world.server, None)
    for account, order_id in ((world.renter, mine), (other, theirs)):
        row = world.orders(account)[order_id]
        assert (row.end_reason, row.end_detail) == ("cancelled", "the host took the machine off GigaSPOT")
    assert (assigned(world), balance(world)) == ([], paid)
    world.credit("10")
    assert world.rent().state == "placed"
    assert world.difference() is None


def test_new_terms_leave_the_bids_alone(world: World) -> None:
    mine = bid(world, 150)
    offer(world, world.server, 500, energy_price=0.21)
    assert assigned_ids(world) == [mine]
    assert (only(world).min_bid, only(world).energy_price) == (500, 0.21)


def test_terms_that_stand_already_are_no_event(world: World) -> None:
    before = everything(world)
    offer(world, world.server)
    assert everything(world) == before


def test_only_the_host_decides(world: World) -> None:
    before = everything(world)
    for account, server in ((world.renter, world.server), (world.host, 99)):
        with pytest.raises(NotFound, match="you have no server"):
            gigaspot.set_gigaspot(world.market, account, server, SetGigaspot(min_bid=None), world.now)
    assert everything(world) == before


# The snapshot ---------------------------------------------------------------------------------------


def only(world: World) -> SnapshotServer:
    (server,) = gigaspot.snapshot(world.market, world.now).values()
    return server


def test_the_snapshot_tells_of_machines_and_bids(world: World) -> None:
    mine, theirs = bid(world), bid(world, 2_000, other := rival(world))
    world.report("running", theirs)
    (key,) = gigaspot.snapshot(world.market, world.now)
    assert key == str(world.server)
    assert msgspec.to_builtins(only(world)) == {
        "bids": [
            {
                "owner": other,
                "id": theirs,
                "active": True,
                "to_cache": False,
                "cached": True,
                "price": 2_000,
                "currency": "CLORE-Blockchain",
                "pl": [250, 260],
            },
            {
                "owner": world.renter,
                "id": mine,
                "active": False,
                "to_cache": False,
                "cached": False,
                "price": DAY_PRICE,
                "currency": "CLORE-Blockchain",
                "pl": [250, 260],
            },
        ],
        "on_demand_rented": False,
        "online": True,
        "working_properly": True,
        "cpu": "Example CPU",
        "cores": 8,
        "threads": 16,
        "ram": 64,
        "host": world.host,
        "cc": "DE",
        "cuda": "12.4",
        "gpus": [
            {
                "model": "NVIDIA GeForce RTX 3090",
                "pl": [100, 366],
                "core_lock": [210, 2_100],
                "mem_offset": [0, 6_000],
            }
        ]
        * 2,
        "max_rental_length": 24 * 3_600,
        "reliability": 1,
        "min_bid": 100,
    }


def test_a_machine_that_fell_silent_is_shown_as_offline(world: World) -> None:
    mine = bid(world)
    world.wait(60, beating=False)
    shown = only(world)
    assert (shown.online, [b.id for b in shown.bids or ()]) == (False, [mine])


def test_what_is_not_public_or_never_connected_is_not_shown(world: World) -> None:
    unseen = servers.create_server(world.market, "host@example.org", "unseen", world.now)
    offer(world, unseen.id)
    world.set_server("rack-1", availability=False)
    world.add_server("plain")
    assert gigaspot.snapshot(world.market, world.now) == {}


@pytest.mark.parametrize(
    ("cpus", "read"),
    [
        (None, (None, None)),
        ("many", (None, None)),
        ("8", (8, None)),
        ("²/16", (None, 16)),
        ("9" * 40 + "/1", (None, 1)),
    ],
)
def test_odd_facts_are_left_out(world: World, cpus: str | None, read: tuple[int | None, ...]) -> None:
    odd = msgspec.structs.replace(SPECS, cpus=cpus, gpus=None, net=None)
    hosts.connect(world.market, world.server, hello(specs=odd, gpu_array=[" RTX 3090"]), world.now)
    shown = only(world)
    assert (shown.cores, shown.threads) == read
    assert [gpu.model for gpu in shown.gpus or ()] == ["RTX 3090"]


def test_what_a_bidder_needs_to_know(world: World) -> None:
    reply = gigaspot.get_gigaspot(world.market, world.renter, "https://example.org/x_1.json")
    assert (reply.my_user_id, reply.v1_snapshot_url) == (world.renter, "https://example.org/x_1.json")
    assert (reply.clore_price, reply.creation_fees) == (0.005, {"CLORE-Blockchain": 0})


def test_a_batch_of_bids_and_outbids_keeps_the_books(world: World) -> None:
    """Many wallets change in one transaction; each is scheduled again at its end."""
    rigs = [world.server, *(add_rig(world, f"rig-{number}") for number in range(5))]
    others = [rival(world, f"rival-{number}") for number in range(3)]
    for other in others:
        bids(world, *(wanted(rig, 500 + other) for rig in rigs), account=other)
    assert bids(world, *(wanted(rig, 1_440) for rig in rigs)).reasons == {}
    assert [len(assigned_ids(world, rig)) for rig in rigs] == [1] * 6
    with world.store.reading() as tx:
        mine = ledger.wallets_of(tx, world.renter)[Currency.CLORE]
        theirs = [ledger.wallets_of(tx, other)[Currency.CLORE] for other in others]
    assert mine.exhausts_at is not None
    assert all(wallet.exhausts_at is None for wallet in theirs)
    cancels(world, *world.orders())
    with world.store.reading() as tx:
        best = ledger.wallets_of(tx, others[-1])[Currency.CLORE]
    assert best.exhausts_at is not None
    assert world.difference() is None


def test_a_machine_found_silent_by_an_earlier_bid_of_the_same_batch_takes_none(world: World) -> None:
    """Outbidding somebody settles him, and shows that another machine of his is away."""
    first, second = world.server, add_rig(world, "rig-2")
    other = rival(world)
    bid(world, 200, other, first)
    bid(world, 200, other, second)
    world.now += 60
    world.beat(first)
    reply = bids(world, wanted(first, 300), wanted(second, 300))
    assert reply.failed_to_rent_servers == [second]
    assert world.difference() is None
    world.beat(second)
    world.jump(60)
    assert bids(world, wanted(second, 300)).reasons == {}
    assert world.difference() is None
