"""The bot's week, in seconds: on the real market, with rivals, absences and faults.

`clore_sandbox` comes with OpenClore. Its clock moves by a second with each request, and by `sleep`.
"""

import pytest
from bot import Bot, Wish

from openclore.sandbox import Sandbox

HOUR, WEEK = 3_600, 7 * 24 * 3_600
STEP_SECONDS = 3_600


def live(bot: Bot, sandbox: Sandbox, seconds: int) -> None:
    """Let the bot step every hour, and check after each step what must always hold."""
    until = sandbox.clock.now + seconds
    while sandbox.clock.now < until and not bot.stopped:
        bot.step()
        active = [order for order in sandbox.orders().values() if order.state != "ended"]
        assert len(active) <= 1
        assert all((order.price or 0) <= bot.wish.usd_per_day for order in active)
        sandbox.sleep(STEP_SECONDS)


def served_hours(sandbox: Sandbox) -> float:
    """How long machines worked for us: what was paid for."""
    return sum((order.spend or 0) / (order.price or 1) * 24 for order in sandbox.orders().values())


@pytest.mark.clore_sandbox(seed=11)
def test_a_quiet_week(clore_sandbox: Sandbox) -> None:
    with clore_sandbox.client() as clore:
        bot = Bot(clore, Wish(), now=clore_sandbox.clock.time)
        live(bot, clore_sandbox, WEEK)
    assert served_hours(clore_sandbox) > 0.9 * 7 * 24
    assert clore_sandbox.ledger_difference() is None


@pytest.mark.parametrize(
    "dialect",
    [pytest.param(name, marks=pytest.mark.clore_sandbox(seed=12, dialect=name)) for name in ("open", "live")],
)
def test_a_week_in_which_everything_goes_wrong(clore_sandbox: Sandbox, dialect: str) -> None:
    faults = clore_sandbox.faults
    with clore_sandbox.client(timeout=0.5) as clore:
        bot = Bot(clore, Wish(), now=clore_sandbox.clock.time)
        faults.add("error_after", endpoint="create_order")
        faults.add("floor_moved", server_id=bot._candidates()[0][0].id, endpoint="create_order")
        live(bot, clore_sandbox, 12 * HOUR)
        for trouble in ("outbid", "host_lost", "outbid"):
            for order in clore_sandbox.orders().values():
                if order.state == "running":
                    faults.add(trouble, server_id=order.si)
            live(bot, clore_sandbox, 12 * HOUR)
        faults.add("never_deploys", count=1)
        for kind in ("too_many_requests", "forbidden", "bad_gateway"):
            faults.add(kind, count=3)
        faults.add("timeout_after", endpoint="set_spot_price")
        faults.add("cut_off", endpoint="create_order")
        faults.add("lingering_cancel", seconds=60)
        live(bot, clore_sandbox, WEEK - 48 * HOUR)
    assert served_hours(clore_sandbox) > 0.8 * 7 * 24
    assert clore_sandbox.ledger_difference() is None


@pytest.mark.clore_sandbox(seed=13)
def test_it_stops_when_the_budget_is_spent(clore_sandbox: Sandbox) -> None:
    with clore_sandbox.client() as clore:
        bot = Bot(clore, Wish(budget_usd=3.0), now=clore_sandbox.clock.time)
        live(bot, clore_sandbox, WEEK)
    assert bot.stopped
    spent = sum(order.spend or 0 for order in clore_sandbox.orders().values())
    assert 3.0 <= spent < 3.2
    assert all(order.state == "ended" for order in clore_sandbox.orders().values())
    assert clore_sandbox.ledger_difference() is None
