from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openclore.api.codes import Refusal
from openclore.api.currencies import Currency
from openclore.api.hostlink import Container
from openclore.rules import orders
from openclore.rules.orders import MOVES, State, Wish
from openclore.rules.refused import Refused
from openclore.rules.servers import Pricing

from .test_billing import an_order

ALLOWED = {
    (State.PLACED, State.DEPLOYING),
    (State.PLACED, State.RUNNING),
    (State.PLACED, State.WAITING),
    (State.PLACED, State.ENDED),
    (State.DEPLOYING, State.RUNNING),
    (State.DEPLOYING, State.WAITING),
    (State.DEPLOYING, State.ENDED),
    (State.RUNNING, State.WAITING),
    (State.RUNNING, State.ENDED),
    (State.WAITING, State.PLACED),
    (State.WAITING, State.ENDED),
}


@pytest.mark.parametrize("before", list(State))
@pytest.mark.parametrize("after", list(State))
def test_the_table_of_moves_is_the_drawn_one(before: State, after: State) -> None:
    assert (after in MOVES[before]) == ((before, after) in ALLOWED)


def report(state: Any, detail: str = "") -> Container:
    return Container(order_id=1, state=state, detail=detail)


@pytest.mark.parametrize(
    ("before", "reported", "after"),
    [
        (State.PLACED, "pulling", State.DEPLOYING),
        (State.DEPLOYING, "creating", State.DEPLOYING),
        (State.DEPLOYING, "running", State.RUNNING),
        (State.PLACED, "running", State.RUNNING),
        (State.RUNNING, "pulling", State.RUNNING),
        (State.RUNNING, "exited", State.RUNNING),
        (State.WAITING, "running", State.WAITING),
        (State.ENDED, "running", State.ENDED),
    ],
)
def test_reports_move_an_order_forward_only(before: State, reported: str, after: State) -> None:
    assert orders.after_report(an_order(state=before), report(reported)).state is after


def test_a_report_without_news_changes_nothing() -> None:
    order = an_order(state=State.RUNNING)
    assert orders.after_report(order, report("running")) is order


def test_an_exited_container_says_how() -> None:
    moved = orders.after_report(an_order(state=State.RUNNING), report("exited", "status 3"))
    assert moved.container_detail == "exited: status 3"


GOOD = Wish(
    account_id=1,
    currency="USD-Blockchain",
    server_exists=True,
    host_id=2,
    server_online=True,
    prices={
        Currency.USD: Pricing(on_demand=200, spot=100, accepted=True),
        Currency.BITCOIN: Pricing(on_demand=2, spot=1),
    },
    orders_max=1,
)


def test_a_good_wish_is_admitted() -> None:
    assert orders.admit(GOOD) is Currency.USD


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"server_exists": False}, Refusal.SERVER_DONT_EXIST),
        ({"host_id": 1}, Refusal.CANT_RENT_FROM_YOURSELF),
        ({"server_online": False}, Refusal.SERVER_OFFLINE),
        ({"on_gigaspot": True}, Refusal.MACHINE_IS_ON_GIGASPOT),
        ({"rented": True}, Refusal.SERVER_ALREADY_RENTED),
        ({"rented": True, "bid": 300}, Refusal.SERVER_ALREADY_RENTED),
        ({"has_bid": True, "bid": 300}, Refusal.YOU_ALREADY_HAVE_SPOT_ORDER),
        ({"bid": 99}, Refusal.TOO_LOW_PRICE),
        ({"currency": "bitcoin"}, Refusal.CURRENCY_NOT_ALLOWED),
        ({"currency": "dogecoin"}, Refusal.CURRENCY_NOT_ALLOWED),
        ({"required_price": 199}, Refusal.PRICE_NOT_MATCHING),
        ({"required_price": 201}, Refusal.PRICE_NOT_MATCHING),
        ({"required_price": 199, "required_price_is_exact": False}, Refusal.PRICE_NOT_MATCHING),
        ({"active_orders": 1}, Refusal.REACHED_ORDER_LIMIT),
        ({"orders_today": 3, "orders_per_day_max": 3}, Refusal.REACHED_ORDER_LIMIT_PER_DAY),
    ],
)
def test_a_wish_is_refused_by_its_name(changes: dict[str, Any], refusal: Refusal) -> None:
    with pytest.raises(Refused) as refused:
        orders.admit(msgspec.structs.replace(GOOD, **changes))
    assert refused.value.refusal is refusal


@pytest.mark.parametrize(
    "changes",
    [
        {"bid": 100},
        {"bid": 100, "required_price": 7},
        {"has_bid": True},
        {"required_price": 200},
        {"required_price": 201, "required_price_is_exact": False},
        {"orders_today": 2, "orders_per_day_max": 3},
    ],
)
def test_a_wish_at_its_bounds_is_admitted(changes: dict[str, Any]) -> None:
    assert orders.admit(msgspec.structs.replace(GOOD, **changes)) is Currency.USD


def test_a_refused_bid_learns_the_floor() -> None:
    with pytest.raises(Refused) as refused:
        orders.admit(msgspec.structs.replace(GOOD, bid=99))
    assert refused.value.facts == {"min_price": 0.000001}


@given(
    st.lists(st.integers(1, 65_535), unique=True, max_size=5),
    st.integers(1, 60_000),
    st.integers(0, 20),
    st.integers(0, 65_535),
)
def test_public_ports_are_different_and_inside_the_range(
    wanted: list[int], low: int, spare: int, last_used: int
) -> None:
    high = low + spare
    ports = orders.assign_ports(wanted, low, high, last_used)
    if len(wanted) > spare + 1:
        assert ports is None
    else:
        assert ports is not None
        public = [port.public for port in ports]
        assert [port.container for port in ports] == wanted
        assert len(set(public)) == len(public)
        assert all(low <= port <= high for port in public)


def test_a_port_rests_before_it_is_used_again() -> None:
    first = orders.assign_ports([22, 80], 30_000, 30_003, 0)
    assert first is not None
    second = orders.assign_ports([22, 80], 30_000, 30_003, first[-1].public)
    assert second is not None
    assert {port.public for port in first} & {port.public for port in second} == set()
