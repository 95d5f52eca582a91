"""/wallets answers from memory while nothing changes, and never what is not so any more."""

from typing import Any

from sqlalchemy import event

from openclore.api.currencies import Currency
from openclore.rules import money
from openclore.store.store import open_store
from openclore.usecases import accounts, settlement
from openclore.usecases.market import Market

from .conftest import Door


def shown(door: Door, who: str = "renter") -> dict[str, float]:
    _, reply = door.call("wallets", key=who)
    return {wallet["name"]: wallet["balance"] for wallet in reply["wallets"]}


def true(door: Door, who: str = "renter") -> dict[str, float]:
    reply = accounts.wallets(door.world.market, getattr(door.world, who), door.world.now)
    return {wallet.name: wallet.balance or 0 for wallet in reply.wallets}


def test_every_change_shows_at_once_to_renter_and_host(any_door: Door) -> None:
    door, world = any_door, any_door.world

    def let_ten_minutes_pass() -> None:
        world.now += 600

    changes: list[Any] = [
        lambda: world.credit("10"),
        world.rent,
        let_ten_minutes_pass,
        lambda: settlement.settle_due(world.market, world.now),
        lambda: world.set_server("rack-1", usd_on_demand=3),
        let_ten_minutes_pass,
        lambda: world.cancel(max(world.orders())),
        lambda: world.credit("2.5", "host@example.org"),
    ]
    for change in changes:
        for who in ("renter", "host"):
            assert shown(door, who) == shown(door, who) == true(door, who)
        change()
        for who in ("renter", "host"):
            assert shown(door, who) == true(door, who)
    assert shown(door)["USD-Blockchain"] < 10
    assert shown(door, "host")["USD-Blockchain"] > 2.5


def test_what_another_process_credits_shows_at_once(door: Door) -> None:
    assert shown(door)["bitcoin"] == 0
    other = open_store(f"sqlite:///{door.world.store.engine.url.database}")
    market = Market(other, door.world.policy)
    accounts.credit(
        market, "renter@example.org", Currency.BITCOIN, money.from_text("1"), door.world.now, "one"
    )
    other.close()
    assert shown(door)["bitcoin"] == 1


def test_while_nothing_changes_the_database_is_asked_once(door: Door) -> None:
    door.world.credit("10")
    door.world.rent()
    shown(door)
    asked: list[str] = []

    @event.listens_for(door.world.store.engine, "before_cursor_execute")
    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        asked.append(statement)

    before = shown(door)["USD-Blockchain"]
    door.world.now += 3_600
    assert shown(door)["USD-Blockchain"] < before
    assert not asked
