from typing import Any

import pytest

from openclore.api.codes import Refusal
from openclore.api.currencies import Currency
from openclore.api.orders import CancelOrder
from openclore.rules import money
from openclore.rules.policy import Fees, OrderBounds, Policy
from openclore.rules.refused import InvalidInput, Refused
from openclore.store import events
from openclore.store.store import Store
from openclore.usecases import accounts, hosts, orders, servers

from ..world import START, USD, World


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def refused(world: World, refusal: Refusal, act: Any) -> None:
    """The act is refused by this name, and nothing changed."""
    before = everything(world)
    with pytest.raises(Refused) as error:
        act()
    assert error.value.refusal is refusal
    assert everything(world) == before


def everything(world: World) -> object:
    with world.store.reading() as tx:
        newest = events.newest(tx)
    return newest, world.orders(), world.balance(), world.balance(world.host)


def test_renting_charges_the_first_minute_and_says_how_to_reach_the_machine(world: World) -> None:
    world.credit("10")
    made = world.rent(ports={"22": "tcp", "8888": "http"})
    assert (made.pub_cluster, made.tcp_ports) == (None, None)
    order = world.orders()[made.id]
    assert order.spend == money.to_wire(2 * 10**8 // 1_440)
    assert order.pub_cluster == ["127.0.0.1"]
    assert order.tcp_ports == ["22:30000"]
    assert (order.http_port, order.http_pub) == ("8888", "127.0.0.1:30001")
    assert order.mon_container == 0
    assert world.balance() == 10 * 10**8 - 138_888 - 138_888 * 5 // 100
    assert world.difference() is None


def test_an_order_walks_from_placed_to_running(world: World) -> None:
    world.credit("10")
    order = world.rent()
    assert (order.state, order.mon_container) == ("placed", 0)
    world.report("pulling", order.id)
    assert world.orders()[order.id].state == "deploying"
    world.report("running", order.id)
    row = world.orders()[order.id]
    assert (row.state, row.mon_container) == ("running", 2)


def test_spend_follows_the_minutes_and_the_host_earns_its_share(world: World) -> None:
    world.credit("10")
    order = world.rent()
    world.wait(3_599)
    spend = 2 * 10**8 * 60 // 1_440
    assert money.from_wire(world.orders()[order.id].spend or 0) == spend
    world.cancel(order.id)
    fees = spend * 5 // 100 + 10**7
    assert world.balance() == 10 * 10**8 - spend - fees
    assert world.balance(world.host) == spend - spend * 20 // 100
    assert world.difference() is None


def test_cancelling_early_saves_the_creation_fee(world: World) -> None:
    world.credit("10")
    order = world.rent()
    world.wait(599)
    world.cancel(order.id)
    spend = 2 * 10**8 * 10 // 1_440
    assert world.balance() == 10 * 10**8 - spend - spend * 5 // 100


def test_a_machine_whose_order_reached_its_end_can_be_rented_before_the_loop_noticed(world: World) -> None:
    world.set_server("rack-1", mrl=6)
    world.credit("10")
    first = world.rent()
    world.jump(6 * 3_600)
    second = world.rent()
    assert world.orders()[first.id].end_reason == "expired"
    assert world.orders()[second.id].state == "placed"


def test_cancelling_frees_the_machine_at_once(world: World) -> None:
    world.credit("10")
    world.cancel(world.rent().id)
    again = world.rent()
    assert hosts.assignments(world.market, world.server, world.now).orders[0].order_id == again.id


def test_an_ended_order_keeps_its_reason_and_loses_its_secrets(world: World) -> None:
    world.credit("10")
    order = world.rent(ssh_password="s3cret", env={"TOKEN": "t0ken"}, command="echo h1dden")
    assignment = hosts.assignments(world.market, world.server, world.now).orders[0]
    assert assignment.env == {"SSH_PASSWORD": "s3cret", "TOKEN": "t0ken"}
    world.cancel(order.id)
    row = world.orders()[order.id]
    assert (row.expired, row.state, row.end_reason) == (True, "ended", "cancelled")
    with world.store.engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT deployment FROM orders").scalar_one()
    assert not any(secret in kept for secret in ("s3cret", "t0ken", "h1dden"))
    assert hosts.assignments(world.market, world.server, world.now).orders == []


def test_finished_orders_are_listed_only_when_asked_for(world: World) -> None:
    from openclore.api.orders import MyOrders

    world.credit("10")
    world.cancel(world.rent().id)
    assert orders.my_orders(world.market, world.renter, MyOrders(), world.now).orders == []


def test_a_second_order_for_the_same_machine_is_refused_even_to_its_renter(world: World) -> None:
    world.credit("10")
    world.rent()
    refused(world, Refusal.SERVER_ALREADY_RENTED, world.rent)


def test_ones_own_machine_is_refused(world: World) -> None:
    world.credit("10", "host@example.org")
    refused(world, Refusal.CANT_RENT_FROM_YOURSELF, lambda: world.rent(account=world.host))


def test_an_empty_wallet_is_refused(world: World) -> None:
    refused(world, Refusal.NOT_ENOUGH_BALANCE, world.rent)


def test_a_currency_the_host_does_not_take_is_refused(world: World) -> None:
    refused(world, Refusal.CURRENCY_NOT_ALLOWED, lambda: world.rent(currency="bitcoin"))


def test_a_machine_that_fell_silent_is_refused(world: World) -> None:
    world.credit("10")
    world.wait(60, beating=False)
    refused(world, Refusal.SERVER_OFFLINE, world.rent)


def test_unknown_and_hidden_machines_do_not_exist(world: World) -> None:
    world.credit("10")
    refused(world, Refusal.SERVER_DONT_EXIST, lambda: world.rent(999))
    world.set_server("rack-1", availability=False)
    refused(world, Refusal.SERVER_DONT_EXIST, world.rent)


def test_a_price_that_no_longer_holds_is_refused(world: World) -> None:
    world.credit("10")
    refused(world, Refusal.PRICE_NOT_MATCHING, lambda: world.rent(required_price=1.99))
    assert world.rent(required_price=2).price == 2


def test_a_changed_price_is_for_new_orders_only(world: World) -> None:
    world.credit("10")
    order = world.rent()
    world.set_server("rack-1", usd_on_demand=5)
    assert world.orders()[order.id].price == 2


def test_too_many_orders_are_refused(store: Store) -> None:
    world = World(store, Policy(orders_max=1))
    world.credit("10")
    world.rent()
    other = world.add_server("rack-2")
    refused(world, Refusal.REACHED_ORDER_LIMIT, lambda: world.rent(other))


@pytest.mark.parametrize("wish", [True, "true", "True"])
def test_ssh_brought_into_an_image_gets_its_port(world: World, wish: Any) -> None:
    world.credit("10")
    order = world.rent(autossh_entrypoint=wish, ports=None)
    assert [pair.partition(":")[0] for pair in world.orders()[order.id].tcp_ports or ()] == ["22"]
    [assignment] = hosts.assignments(world.market, world.server, world.now).orders
    assert assignment.autossh


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ports": {str(port): "tcp" for port in range(1, 4)}}, "ports: at most 2"),
        ({"ports": {"1": "tcp", "2": "tcp"}, "autossh_entrypoint": True}, "ports: at most 2"),
        ({"env": {"A": "1", "B": "2"}}, "env: at most 1 variables"),
        ({"env": {"A": "12345"}}, "env: at most 4 characters"),
        ({"command": "12345"}, "command: at most 4 characters"),
    ],
)
def test_an_operator_may_ask_for_less_than_the_wire_allows(
    store: Store, changes: dict[str, Any], named: str
) -> None:
    bounds = OrderBounds(ports_max=2, env_variables_max=1, env_value_length_max=4, command_length_max=4)
    world = World(store, Policy(order_bounds=bounds))
    world.credit("10")
    with pytest.raises(InvalidInput, match=named):
        world.rent(**changes)
    assert world.orders() == {}


def test_credentials_that_can_not_be_any_are_refused(world: World) -> None:
    world.credit("10")
    with pytest.raises(Refused, match=r"^dockerhub-"):
        world.rent(dockerhub_auth="no colon")


def test_orders_per_day_are_limited_by_utc_days(store: Store) -> None:
    world = World(store, Policy(orders_per_day_max=2))
    world.credit("10")
    for _ in range(2):
        world.cancel(world.rent().id)
    with pytest.raises(Refused) as no:
        world.rent()
    assert (no.value.refusal, no.value.facts) == (Refusal.REACHED_ORDER_LIMIT_PER_DAY, {"limit": 2})
    world.jump(86_400)
    world.rent()


def test_someone_elses_order_can_not_be_cancelled(world: World) -> None:
    world.credit("10")
    order = world.rent()
    refused(world, Refusal.YOU_DONT_OWN_THIS_ORDER, lambda: world.cancel(order.id, world.host))
    refused(world, Refusal.YOU_DONT_OWN_THIS_ORDER, lambda: world.cancel(999))


def test_an_order_ends_once(world: World) -> None:
    world.credit("10")
    order = world.rent()
    world.cancel(order.id)
    refused(world, Refusal.ORDER_NOT_ACTIVE, lambda: world.cancel(order.id))


def test_a_problem_report_is_kept_and_may_not_be_too_long(world: World) -> None:
    world.credit("10")
    order = world.rent()

    def cancel(issue: str) -> None:
        orders.cancel_order(world.market, world.renter, CancelOrder(id=str(order.id), issue=issue), world.now)

    refused(world, Refusal.ISSUE_DESCRIPTION_TOO_LONG, lambda: cancel("x" * 2_049))
    cancel("x" * 2_048)
    assert world.orders()[order.id].state == "ended"


def test_a_failed_deployment_ends_the_order_with_its_reason(world: World) -> None:
    world.credit("10")
    order = world.rent()
    world.wait(30)
    world.report("failed", order.id, detail="image 'busybox' was not found")
    row = world.orders()[order.id]
    assert (row.end_reason, row.end_detail, row.mon_container) == (
        "failed",
        "image 'busybox' was not found",
        1,
    )
    world.wait(600)
    assert money.from_wire(world.orders()[order.id].spend or 0) == 2 * 10**8 // 1_440


def test_an_order_ends_when_its_rental_length_is_over(world: World) -> None:
    world.set_server("rack-1", mrl=6)
    world.credit("10")
    order = world.rent()
    world.jump(6 * 3_600 + 50)
    world.turn()
    row = world.orders()[order.id]
    assert (row.end_reason, row.order_end) == ("expired", START + 6 * 3_600)
    assert money.from_wire(row.spend or 0) == 2 * 10**8 * 360 // 1_440


def test_an_order_ends_the_minute_the_wallet_is_empty(world: World) -> None:
    world.credit("0.15")
    order = world.rent()
    world.wait(3_600)
    row = world.orders()[order.id]
    assert row.end_reason == "exhausted"
    assert ((row.order_end or 0) - START) % 60 == 0
    spend = money.from_wire(row.spend or 0)
    next_minute = spend + 2 * 10**8 // 1_440
    assert world.balance() == 15 * 10**6 - spend - spend * 5 // 100 - 10**7 * (
        (row.order_end or 0) > START + 600
    )
    assert next_minute * 105 // 100 + 10**7 > 15 * 10**6
    assert world.difference() is None


def test_the_newest_order_ends_first_when_the_wallet_runs_dry(world: World) -> None:
    other = world.add_server("rack-2", usd_on_demand=100)
    world.credit("1")
    first = world.rent()
    world.wait(60)
    second = world.rent(other)
    world.wait(2 * 3_600)
    rows = world.orders()
    assert rows[second.id].end_reason == "exhausted"
    assert (rows[second.id].order_end or 0) < (rows[first.id].order_end or 0)


def test_money_credited_in_time_keeps_the_order_running(world: World) -> None:
    world.credit("0.15")
    order = world.rent()
    world.wait(300)
    world.credit("10")
    world.wait(7_200)
    assert world.orders()[order.id].state == "placed"


def test_a_silent_host_is_not_paid_and_its_renter_not_charged(world: World) -> None:
    world.credit("10")
    order = world.rent()
    world.wait(600)
    before = world.orders()[order.id].spend
    world.wait(1_800, beating=False)
    assert world.orders()[order.id].spend == before
    assert world.orders()[order.id].online is False
    world.beat()
    world.wait(600)
    spend = money.from_wire(world.orders()[order.id].spend or 0)
    assert spend == 2 * 10**8 * 21 // 1_440
    assert world.difference() is None


@pytest.mark.parametrize("act", ["credit", "cancel", "rent another", "rent the same"])
def test_silence_is_not_charged_whoever_comes_before_the_loop(world: World, act: str) -> None:
    other = world.add_server("rack-2")
    world.credit("10")
    order = world.rent()
    world.wait(600)
    spend = money.from_wire(world.orders()[order.id].spend or 0)
    world.jump(36_000, beating=False)
    world.beat(other)
    if act == "credit":
        world.credit("1")
    elif act == "cancel":
        world.cancel(order.id)
    elif act == "rent another":
        world.rent(other)
    else:
        with pytest.raises(Refused):
            world.rent()
    world.turn()
    world.turn()
    row = world.orders()[order.id]
    assert money.from_wire(row.spend or 0) == spend
    assert row.end_reason == ("cancelled" if act == "cancel" else "host_lost")


def test_a_wallet_that_ran_dry_unnoticed_before_its_host_fell_silent_ends_at_its_second(world: World) -> None:
    world.set_server("rack-1", usd_on_demand=14.4)
    renter = accounts.create_account(world.market, "poor@example.org", world.now).id
    world.credit("0.15", "poor@example.org")
    order = world.rent(account=renter)
    world.jump(1_200)
    world.jump(600, beating=False)
    world.turn()
    row = world.orders(renter)[order.id]
    assert (row.end_reason, row.order_end) == ("exhausted", row.ct + 600)
    assert world.difference() is None


def test_a_gap_noticed_by_the_heartbeat_itself_changes_the_assignments(world: World) -> None:
    world.set_server("rack-1", mrl=6)
    world.credit("10")
    world.rent()
    before = hosts.assignments(world.market, world.server, world.now)
    world.jump(6 * 3_600 + 100, beating=False)
    world.beat()
    after = hosts.assignments(world.market, world.server, world.now)
    assert (len(before.orders), len(after.orders)) == (1, 0)
    assert after.generation > before.generation


def test_a_clock_turned_back_takes_no_money_and_stops_nobody(world: World) -> None:
    other = world.add_server("rack-2")
    world.credit("0.3")
    first = world.rent()
    world.wait(1_800)
    world.rent(other)
    world.wait(60)
    world.now -= 900
    world.turn()
    world.credit("1", key="after")
    assert world.difference() is None
    world.beat()
    world.wait(60)
    world.cancel(first.id)
    assert world.difference() is None


def test_a_host_whose_last_heartbeat_lies_in_the_future_is_not_there(world: World) -> None:
    world.credit("10")
    world.now -= 3_600
    world.turn()
    with pytest.raises(Refused, match="server-offline"):
        world.rent()


def test_an_order_outlives_a_short_absence_and_ends_after_a_long_one(world: World) -> None:
    world.credit("10")
    order = world.rent()
    world.wait(7_000, beating=False)
    assert world.orders()[order.id].state == "placed"
    world.wait(300, beating=False)
    assert world.orders()[order.id].end_reason == "host_lost"


def test_a_heartbeat_after_a_gap_leaves_the_gap_unbilled_even_if_nobody_noticed_it(world: World) -> None:
    world.credit("10")
    order = world.rent()
    world.now += 1_000
    world.beat()
    assert money.from_wire(world.orders()[order.id].spend or 0) == 2 * 10**8 // 1_440


def test_an_assignment_says_until_when_it_is_paid(world: World) -> None:
    world.credit("0.15")
    order = world.rent()
    paid_until = hosts.assignments(world.market, world.server, world.now).orders[0].paid_until
    world.wait(7_000)
    assert world.orders()[order.id].order_end == paid_until


def test_running_orders_are_posted_every_hour(world: World) -> None:
    world.credit("10")
    world.rent()
    world.wait(3_700)
    assert world.balance(world.host) > 0


def test_fees_are_settings(store: Store) -> None:
    free = Fees(renter_percent=0, host_percent=0, host_surcharge_percent={}, creation={})
    world = World(store, Policy(fees=free))
    world.credit("10")
    order = world.rent()
    world.wait(1_200)
    world.cancel(order.id)
    assert world.balance() + world.balance(world.host) == 10 * 10**8


def test_a_host_that_is_a_renter_too_can_be_shut_down_by_its_own_empty_wallet(world: World) -> None:
    other = accounts.create_account(world.market, "third@example.org", world.now)
    server = servers.create_server(world.market, "third@example.org", "box", world.now)
    from ..world import SETTINGS, hello

    hosts.connect(world.market, server.id, hello(), world.now)
    request = servers.SetServerSettings(name="box", **SETTINGS)
    servers.set_server_settings(world.market, other.id, request, world.now)
    world.credit("0.15", "host@example.org")
    order = world.rent(server.id, account=world.host)
    world.wait(7_200)
    assert world.orders(world.host)[order.id].end_reason == "exhausted"
    assert world.difference() is None


def test_every_currency_has_a_wallet_and_income_shows_in_the_right_one(world: World) -> None:
    names = [wallet.name for wallet in accounts.wallets(world.market, world.renter, world.now).wallets]
    assert names == list(Currency)
    assert USD in names
