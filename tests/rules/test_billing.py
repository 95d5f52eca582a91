from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openclore.api.currencies import Currency
from openclore.rules import billing
from openclore.rules.billing import Purse
from openclore.rules.orders import Deployment, EndReason, Order, State

USD = 10**8
HOUR = 3_600


def an_order(**changes: Any) -> Order:
    made = Order(
        id=1,
        account_id=1,
        host_id=2,
        server_id=3,
        currency=Currency.USD,
        image="busybox",
        price=2 * USD,
        renter_fee=500,
        host_fee=2_000,
        creation_fee=USD // 10,
        creation_grace_seconds=600,
        created_at=1_000,
        mrl_seconds=6 * HOUR,
        active_since=1_000,
        posted_at=1_000,
        began=True,
    )
    return msgspec.structs.replace(made, **changes)


def at_minute(minutes: int, **changes: Any) -> billing.Cost:
    return billing.cost(an_order(creation_fee=0, **changes), 1_000 + 60 * minutes)


def test_the_first_minute_is_charged_at_once() -> None:
    assert at_minute(0).spend == 2 * USD // 1_440


def test_a_minute_is_charged_when_it_begins() -> None:
    order = an_order()
    assert billing.cost(order, 1_059).spend == billing.spend(order.price, 1)
    assert billing.cost(order, 1_060).spend == billing.spend(order.price, 2)


def test_the_creation_fee_comes_after_the_grace_period() -> None:
    order = an_order()
    without = billing.spend(order.price, 10) * 10_500 // 10_000
    assert billing.cost(order, 1_599).charge == without
    with_fee = billing.spend(order.price, 11) * 10_500 // 10_000 + order.creation_fee
    assert billing.cost(order, 1_600).charge == with_fee


def test_a_stopped_meter_stands_still_and_goes_on_later() -> None:
    stopped = billing.stopped(an_order(), 1_090)
    assert billing.cost(stopped, 9_000) == billing.cost(an_order(), 1_090)
    again = billing.started(stopped, 9_000)
    assert billing.cost(again, 9_029).spend == billing.spend(2 * USD, 2)
    assert billing.cost(again, 9_030).spend == billing.spend(2 * USD, 3)


def test_a_meter_that_starts_again_before_it_stopped_counts_no_second_twice() -> None:
    """Who had to wait to write acts at the second at which it came."""
    stopped = billing.stopped(an_order(), 1_090)
    again = billing.started(stopped, 1_070)
    assert billing.active_seconds(again, 1_080) == 90
    assert billing.active_seconds(again, 1_100) == 100


def test_the_longest_rental_length_is_billed_to_its_last_minute_and_no_further() -> None:
    order = an_order()
    assert billing.cost(order, order.ends_at + HOUR).spend == billing.spend(order.price, 360)
    over = billing.ended(order, order.ends_at, EndReason.EXPIRED)
    assert billing.cost(over, order.ends_at).spend == billing.spend(order.price, 360)


def test_an_ended_order_has_no_secrets_left() -> None:
    order = an_order(deployment=msgspec.convert({"env": {"TOKEN": "s3cret"}, "command": "x"}, Deployment))
    assert "s3cret" not in repr(billing.ended(order, 2_000, EndReason.CANCELLED))


def with_first_minute_paid(order: Order) -> Order:
    cost = billing.cost(order, order.created_at)
    return msgspec.structs.replace(order, paid_host=cost.to_host, paid_market=cost.to_market)


prices = st.integers(1, 5_000 * USD)
percents = st.integers(0, 10_000)
times = st.integers(1_000, 1_000 + 7 * HOUR)


@given(prices, percents, percents, st.integers(0, USD), times)
def test_the_three_shares_always_add_up(
    price: int, renter_fee: int, host_fee: int, creation_fee: int, now: int
) -> None:
    order = an_order(price=price, renter_fee=renter_fee, host_fee=host_fee, creation_fee=creation_fee)
    cost = billing.cost(order, now)
    assert cost.charge == cost.to_host + cost.to_market
    assert min(cost) >= 0
    assert cost.to_host <= cost.spend <= cost.charge


@given(prices, percents, percents, times, st.integers(0, HOUR))
def test_no_share_ever_shrinks(price: int, renter_fee: int, host_fee: int, now: int, later: int) -> None:
    order = an_order(price=price, renter_fee=renter_fee, host_fee=host_fee)
    before, after = billing.cost(order, now), billing.cost(order, now + later)
    assert all(a <= b for a, b in zip(before, after, strict=True))


orders_on_a_wallet = st.lists(
    st.tuples(prices, st.integers(0, 5 * HOUR), st.booleans()), min_size=1, max_size=5
).map(
    lambda rows: [
        with_first_minute_paid(
            an_order(
                id=number + 1,
                price=price,
                created_at=1_000 + start,
                active_since=None if paused else 1_000 + start,
                posted_at=1_000 + start,
            )
        )
        for number, (price, start, paused) in enumerate(rows)
    ]
)


@given(st.integers(0, 3_000 * USD), orders_on_a_wallet)
def test_a_wallet_is_exhausted_at_the_first_second_it_cannot_pay(balance: int, orders: list[Order]) -> None:
    at = billing.exhausts_at(balance, orders)
    end = max(order.ends_at for order in orders)
    if at is None:
        assert billing.accrued(orders, end) <= balance
    else:
        assert billing.accrued(orders, at) > balance
        assert at == min(o.posted_at for o in orders) or billing.accrued(orders, at - 1) <= balance


@given(st.integers(0, 3_000 * USD), orders_on_a_wallet)
def test_after_exhaustion_the_rest_is_affordable_and_the_newest_went_first(
    balance: int, orders: list[Order]
) -> None:
    ending = billing.next_ending([Purse(balance)], orders, max(order.ends_at for order in orders))
    if ending is None or ending.reason is not EndReason.EXHAUSTED:
        return
    gone = [order for order in orders if order.id in ending.order_ids]
    kept = [order for order in orders if order.id not in ending.order_ids]
    paid = sum(billing.outstanding(order, ending.at - 1) for order in gone)
    assert billing.accrued(kept, ending.at) + paid <= balance
    youngest_kept = max(((o.created_at, o.id) for o in kept if o.active_since is not None), default=(0, 0))
    assert all((order.created_at, order.id) > youngest_kept for order in gone)


def test_an_order_that_ends_is_billed_to_the_second_of_its_last_posting_at_least() -> None:
    order = an_order(posted_at=1_120)
    assert billing.stopped(order, 1_100).active_seconds == 120


@pytest.mark.parametrize("reason", list(EndReason))
def test_every_reason_ends_an_order(reason: EndReason) -> None:
    over = billing.ended(an_order(), 2_000, reason, "why")
    assert (over.state, over.ended_at, over.end_reason, over.end_detail) == (
        State.ENDED,
        2_000,
        reason,
        "why",
    )


@given(st.lists(st.tuples(st.integers(0, HOUR), prices), max_size=6), st.integers(0, HOUR))
def test_minutes_that_have_begun_keep_their_price_however_often_it_changes(
    changes: list[tuple[int, int]], rest: int
) -> None:
    order = an_order(creation_fee=0, renter_fee=0)
    now, expected, counted, price = 1_000, 0, 0, order.price
    for wait, new_price in changes:
        now += wait
        minutes = billing.started_minutes(now - 1_000)
        expected, counted = expected + billing.spend(price, minutes - counted), minutes
        before = billing.cost(order, now)
        order, price = billing.repriced(order, now, new_price), new_price
        assert billing.cost(order, now) == before
    now += rest
    expected += billing.spend(price, billing.started_minutes(now - 1_000) - counted)
    assert billing.cost(order, now).spend == expected


@given(st.integers(0, 300 * USD), st.integers(0, 300 * USD), st.sets(st.integers(1, 5)), orders_on_a_wallet)
def test_the_first_purse_to_run_dry_ends_an_order_that_draws_on_it(
    balance: int, left: int, limited: set[int], orders: list[Order]
) -> None:
    limit = Purse(left, frozenset(limited), EndReason.LIMIT_REACHED)
    purses = [Purse(balance), limit]
    ending = billing.next_ending(purses, orders, max(order.ends_at for order in orders))
    if ending is None or ending.reason is EndReason.EXPIRED:
        return
    assert ending.at == billing.runs_dry_at(purses, orders)
    assert ending.order_ids
    if ending.reason is EndReason.LIMIT_REACHED:
        assert set(ending.order_ids) <= limited
    kept = [order for order in orders if order.id not in ending.order_ids]
    purse = limit if ending.reason is EndReason.LIMIT_REACHED else purses[0]
    gone = [order for order in orders if order.id in ending.order_ids]
    paid = sum(billing.outstanding(order, ending.at - 1) for order in gone)
    assert billing.accrued(purse.drawn_by(kept), ending.at) + paid <= purse.left


def test_a_waiting_bid_is_not_ended_by_an_empty_wallet() -> None:
    running = with_first_minute_paid(an_order(id=1))
    waiting = an_order(id=2, state=State.WAITING, active_since=None, began=False, created_at=1_001)
    ending = billing.next_ending([Purse(0)], [running, waiting], 10_000)
    assert ending is not None
    assert ending.order_ids == (1,)


def test_a_lease_is_an_earlier_end() -> None:
    order = an_order(lease_until=2_000)
    assert (order.ends_at, order.expiry) == (2_000, EndReason.LEASE_EXPIRED)
    late = an_order(lease_until=1_000 + 7 * HOUR)
    assert (late.ends_at, late.expiry) == (1_000 + 6 * HOUR, EndReason.EXPIRED)
