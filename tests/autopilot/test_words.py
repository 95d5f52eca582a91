"""Actions are said as people would say them."""

import pytest

from openclore.autopilot.actions import (
    AnyAction,
    CancelOrder,
    Change,
    PlaceOrder,
    Rebid,
    RenewLease,
    SetSettings,
)
from openclore.autopilot.words import cents, plain, sentence

WHY = {"for_": "fleets.a", "reason": "r"}
ORDER = {"key": "k", "fleet": "a", "server_id": 5, "image": "i", "usd_per_hour": 0.1}


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (
            PlaceOrder(**WHY, **ORDER, type="on-demand", currency="USD-Blockchain", price=2.40),
            "Rent server 5 at 2.4 USD-Blockchain a day",
        ),
        (
            PlaceOrder(**WHY, **ORDER, type="spot", currency="bitcoin", price=0.0000312),
            "Bid for server 5 at 0.0000312 bitcoin a day",
        ),
        (CancelOrder(**WHY, order_id=7), "Cancel order 7"),
        (Rebid(**WHY, order_id=7, price=1.5, before=1.2), "Bid 1.2 -> 1.5 a day for order 7"),
        (RenewLease(**WHY, order_id=7, seconds=900), "Keep order 7 for another 15m"),
        (
            SetSettings(
                **WHY,
                server="rig-1",
                changes=(
                    Change("availability", False, True),
                    Change("mrl", 240, 48),
                    Change("clore_on_demand", None, 100.0),
                    Change(
                        "usd_pricing",
                        {"bitcoin": {"on_demand": 2.0, "spot": 1.0}},
                        {"bitcoin": {"on_demand": 2.5, "spot": 1.0}},
                    ),
                ),
            ),
            "Set rig-1: public no -> yes, longest rental in hours 240 -> 48, on demand none -> 100 clore,"
            " on demand 2 -> 2.5 $ in bitcoin",
        ),
    ],
)
def test_an_action_is_a_sentence(action: AnyAction, said: str):
    assert sentence(action) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [(4.1, "4.1"), (0.0000312, "0.0000312"), (-2.0, "-2"), (10.0**18, "1e+18"), (-1e308, "-1e+308")],
)
def test_a_number_is_plain_unless_that_would_be_long(number: float, said: str):
    assert plain(number) == said


def test_dollars_have_two_decimals_unless_that_would_be_long():
    assert [cents(usd) for usd in (3.999, 0.0, 1e308)] == ["4.00", "0.00", "1e+308"]
