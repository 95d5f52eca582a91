"""A host's week with each strategy, in a market where who comes takes the cheapest of what is alike."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

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
from openclore.autopilot.history import History, read
from openclore.sandbox.backtest import DEFAULT_HISTORY, Report, backtest

RIGS = ("rig-2", "rig-5")
"""One RTX 4090 each; ten of others stand beside them."""
LIMITS: dict[str, Any] = {
    "servers": RIGS,
    "floor": 3.0,
    "ceiling": 13.0,
    "step_per_hour": 0.1,
    "every": Span(3_600),
}
WEEK_SECONDS = 7 * 86_400
WANDERED = 0.05
"""As far as rates may carry a price away between two looks at it."""

STRATEGIES: dict[str, Pricing] = {
    "percentile": Percentile(percentile=10, **LIMITS),
    "undercut": Undercut(**LIMITS),
    "occupancy": Occupancy(target=0.7, **LIMITS),
    "timetable": Timetable(
        periods=(Period(hours=Hours("Mon-Fri 08:00-20:00"), price=6.5),), otherwise=5.8, **LIMITS
    ),
}
EARNS = {"percentile": 1.4, "undercut": 1.5, "occupancy": 1.4, "timetable": 1.6}
"""In that week, at least so many times what the fixed price does."""
ASKS = {"percentile": (6.0, 6.3), "undercut": (5.8, 7.2), "occupancy": (3.0, 5.6), "timetable": (5.7, 6.6)}
"""Where the price of rig-2 is after the first day: at what others ask or below, lower while it stands empty,
and as the timetable says, as far as rates let it be."""


@pytest.fixture(scope="module")
def week() -> History:
    history = read(DEFAULT_HISTORY)
    first = history.scenes[0].at
    return history._replace(scenes=[scene for scene in history.scenes if scene.at <= first + WEEK_SECONDS])


@pytest.fixture(scope="module")
def fixed(week: History) -> Report:
    return lived(Fixed(price=6.5, **LIMITS), week)


def lived(group: Pricing, week: History) -> Report:
    file = File(pricing={"rigs": group}, stale_after=Span(3_600))
    report = backtest(file, week, every=14_400)
    assert report.not_done == {}
    return report


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_host_lives_a_week_within_his_limits_and_better_than_at_a_fixed_price(
    name: str, week: History, fixed: Report, record_property: Callable[[str, object], None]
) -> None:
    report = lived(STRATEGIES[name], week)
    assert report.host
    assert fixed.host
    record_property(f"{name} usd", report.host.usd)
    record_property("fixed usd", fixed.host.usd)
    for rig in RIGS:
        prices = [price for price in report.curves[f"price of {rig}"] if price is not None]
        assert len(prices) == report.rounds
        assert all(2.99 <= price <= 13.01 for price in prices)
        assert all(abs(after / before - 1) <= 0.1 + WANDERED for before, after in pairwise(prices))
    assert report.host.price_changes > 10
    assert report.host.usd >= EARNS[name] * fixed.host.usd
    assert report.host.occupancy >= 1.4 * fixed.host.occupancy
    lowest, highest = ASKS[name]
    settled = report.curves["price of rig-2"][6:]
    assert all(price is not None and lowest <= price <= highest for price in settled)


def test_a_fixed_price_is_in_dollars_whatever_the_rates_do(fixed: Report) -> None:
    assert fixed.host
    for rig in RIGS:
        settled = fixed.curves[f"price of {rig}"][3:]
        assert all(price is not None and abs(price / 6.5 - 1) < 0.02 + WANDERED for price in settled)
