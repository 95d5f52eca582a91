"""Fleets that can't be meant are refused with the member and a sentence."""

from datetime import UTC, datetime
from typing import Any

import pytest

from openclore.autopilot.file import Budget, CommandCheck, File, Scale, Span, TcpCheck
from openclore.autopilot.fleets_problems import alike, budget_too_small, problems_of_fleet

from .fleet_market import fleet


def test_a_usual_fleet_is_fine():
    usual = fleet(
        ports={"22": "tcp"},
        ready=(TcpCheck(port=22), CommandCheck(command=("true",))),
        countries=("DE", "fr"),
        until=datetime(2027, 1, 31, tzinfo=UTC),
        budget=Budget(per_hour=0.4, per_day=9.0, total=50.0),
    )
    assert problems_of_fleet("a", usual) == []


@pytest.mark.parametrize(
    ("changes", "member"),
    [
        ({"machines": None}, "machines"),
        ({"scale": Scale(command=("true",), maximum=2)}, "machines"),
        ({"machines": -1}, "machines"),
        ({"machines": 1_001}, "machines"),
        ({"machines": None, "scale": Scale(command=("x",), maximum=1_001)}, "scale.maximum"),
        ({"currency": "doge"}, "currency"),
        ({"gpu": ""}, "gpu"),
        ({"machines": None, "scale": Scale(maximum=2)}, "scale"),
        ({"machines": None, "scale": Scale(command=("x",), url="http://x", maximum=2)}, "scale"),
        ({"machines": None, "scale": Scale(url="ftp://x", maximum=2)}, "scale.url"),
        ({"machines": None, "scale": Scale(command=("x",), minimum=3, maximum=2)}, "scale.maximum"),
        ({"until": datetime(2027, 1, 31)}, "until"),  # noqa: DTZ001 -- that is what is wrong with it
        ({"price_per_hour_max": 0.0}, "price_per_hour_max"),
        ({"reliability_min": 99.0}, "reliability_min"),
        ({"bid_step": 0.0}, "bid_step"),
        ({"countries": ("Germany",)}, "countries"),
        ({"gpu_count": 2, "gpu_count_min": 1}, "gpu_count_min"),
        ({"spread": "host", "spread_max": 0}, "spread_max"),
        ({"spread_max": 2}, "spread_max"),
        ({"image": "a:b:c"}, "image"),
        ({"ports": {str(port): "tcp" for port in range(1, 7)}}, "ports"),
        ({"ports": {"70000": "tcp"}}, "ports"),
        ({"env": {"A": "a&b"}}, "env"),
        ({"ssh_password": "x" * 33}, "ssh_password"),
        ({"ready": (TcpCheck(port=22),)}, "ready"),
        ({"ready": (CommandCheck(command=()),)}, "ready"),
        ({"unhealthy_after": 0}, "unhealthy_after"),
        ({"ready_within": Span(0)}, "ready_within"),
        ({"budget": Budget(total=0.001)}, "budget.total"),
    ],
)
def test_what_makes_no_sense_is_named(changes: dict[str, Any], member: str):
    assert [found for found, _ in problems_of_fleet("a", fleet(**changes))] == [member]


def test_a_budget_pays_for_a_minute_of_a_machine():
    assert [*budget_too_small(Budget(per_hour=0.0051, per_day=0.0051), fleet())] == []
    assert [*budget_too_small(Budget(per_day=0.005), fleet())] == [
        ("per_day", "does not pay for one machine's minute, 0.00506 $ with fees at price_per_hour_max")
    ]


@pytest.mark.parametrize(
    ("one", "other", "confused"),
    [
        ({}, {}, True),
        ({}, {"image": "another"}, False),
        ({"order_type": "spot"}, {}, False),
        ({"order_type": "cheapest"}, {}, True),
        ({"orphans": "leave"}, {}, True),
        ({"orphans": "leave"}, {"orphans": "leave"}, False),
    ],
)
def test_fleets_must_be_able_to_tell_their_orders_apart(one, other, confused):
    found = alike(File(fleets={"one": fleet(**one), "other": fleet(**other)}))
    assert [member for member, _ in found] == (["fleets.other.image"] if confused else [])
