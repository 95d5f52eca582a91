"""Whoever does the same on the same sandbox sees the same; and many at once see what makes sense."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from openclore.sandbox import Sandbox, ports
from openclore.sandbox.sandbox import START
from openclore.server.settings import SettingsError

from .conftest import Caller


def a_day_of(seed: int) -> list[Any]:
    """Everything a bot sees that rents, bids, is outbid, and looks around, through HTTP."""
    seen: list[Any] = []
    with Sandbox(seed=seed, servers=24) as sandbox:
        caller = Caller(sandbox)
        first, second = (row["id"] for row in caller.free()[:2])
        seen.append(sandbox.keys["renter"])
        seen.append(caller.rent(first, ports={"22": "tcp"}).json())
        seen.append(caller.rent(second, type="spot", spotprice=99).json())
        sandbox.faults.add("outbid", server_id=second)
        for _ in range(8):
            sandbox.clock.turn(hours=3, seconds=7)
            for name, query in (
                ("my_orders", {"return_completed": "true"}),
                ("wallets", {}),
                ("marketplace", {}),
                ("spot_marketplace", {"market": second}),
            ):
                seen.append(caller.get(name, **query).json())
        seen.append(caller.http.get("/open/v1/events", params={"limit": 1_000}).json())
        caller.http.close()
    return seen


def test_the_same_seed_and_the_same_calls_give_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "LOWEST", 31_000)  # where no sandbox of another test is
    once, again, other = a_day_of(8), a_day_of(8), a_day_of(9)
    assert once == again
    assert once != other


@pytest.mark.clore_sandbox(servers=12)
def test_many_callers_at_once_are_answered_one_after_the_other(clore_sandbox: Sandbox) -> None:
    callers = [Caller(clore_sandbox, timeout=30) for _ in range(8)]

    def look(caller: Caller) -> int:
        return sum(caller.get(name).json()["code"] for name in ("wallets", "my_orders", "marketplace") * 5)

    with ThreadPoolExecutor(len(callers)) as pool:
        turning = pool.submit(clore_sandbox.clock.turn, hours=12)
        assert sum(pool.map(look, callers)) == 0
        turning.result()
    # A second for each request, but for those that came while the clock was on its way.
    assert 0 <= clore_sandbox.clock.now - START - 12 * 3_600 <= 8 * 15
    assert clore_sandbox.ledger_difference() is None
    for caller in callers:
        caller.http.close()


def test_what_can_not_be_set_up_says_why() -> None:
    with pytest.raises(ValueError, match="servers: at least 1"):
        Sandbox(servers=0)
    with Sandbox(servers=1) as sandbox, pytest.raises(SettingsError, match="it is in use"):
        Sandbox(servers=1, port=int(sandbox.address.rpartition(":")[2]))


def test_a_closed_sandbox_leaves_nothing_and_can_be_closed_again() -> None:
    sandbox = Sandbox(servers=2)
    caller = Caller(sandbox)
    assert caller.get("marketplace").status_code == 200
    sandbox.close()
    sandbox.close()
    with pytest.raises(Exception, match=r"refused|closed|disconnected"):
        caller.get("marketplace")
    caller.http.close()


@pytest.mark.clore_sandbox(servers=2)
@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 10**9])
def test_the_clock_never_turns_back_nor_for_ever(clore_sandbox: Sandbox, seconds: float) -> None:
    with pytest.raises(ValueError, match="the clock turns by 0 to"):
        clore_sandbox.clock.turn(seconds)
    assert clore_sandbox.clock.now == START


@pytest.mark.clore_sandbox(servers=8, money={"USD-Blockchain": 0.5})
def test_a_renter_can_be_poor(caller: Caller) -> None:
    caller.rent()
    assert caller.sandbox.wallets()["bitcoin"] == 0
    caller.sandbox.clock.turn(days=3)
    (order,) = caller.sandbox.orders().values()
    assert order.end_reason == "exhausted"
    with pytest.raises(ValueError, match="gold"):
        Sandbox(servers=1, money={"gold": 1})
