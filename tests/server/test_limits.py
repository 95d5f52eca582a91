from hypothesis import given
from hypothesis import strategies as st

from openclore.api.endpoints import CREATE_ORDER, MY_ORDERS, WALLETS
from openclore.server.limits import LEEWAY_SECONDS, Limits


def test_one_request_a_second_over_all_endpoints() -> None:
    limits = Limits()
    assert limits.admit(1, WALLETS, 100.0) == 0
    assert limits.admit(1, MY_ORDERS, 100.5) > 0
    assert limits.admit(1, MY_ORDERS, 101.0) == 0


def test_one_order_in_five_seconds() -> None:
    limits = Limits()
    assert limits.admit(1, CREATE_ORDER, 100.0) == 0
    assert 3 < limits.admit(1, CREATE_ORDER, 101.0) <= 4
    assert limits.admit(1, WALLETS, 101.0) == 0
    assert limits.admit(1, CREATE_ORDER, 105.0) == 0


def test_keys_do_not_slow_each_other() -> None:
    limits = Limits()
    assert limits.admit(1, WALLETS, 100.0) == 0
    assert limits.admit(2, WALLETS, 100.0) == 0


@given(st.lists(st.floats(0, 2), min_size=1, max_size=60))
def test_whatever_the_timing_the_pace_holds_and_refusals_count_for_nothing(gaps: list[float]) -> None:
    limits, now, admitted = Limits(), 100.0, []
    for gap in gaps:
        now += gap
        wait = limits.admit(1, WALLETS, now)
        if wait == 0:
            admitted.append(now)
        else:
            assert limits.admit(1, WALLETS, now + wait - 1e-6) > 0
    assert len(admitted) <= (admitted[-1] - admitted[0]) + LEEWAY_SECONDS + 1 + 1e-6


def test_a_waiting_client_is_let_in_after_the_wait_it_was_told() -> None:
    limits = Limits()
    limits.admit(1, WALLETS, 100.0)
    wait = limits.admit(1, WALLETS, 100.2)
    assert limits.admit(1, WALLETS, 100.2 + wait) == 0
