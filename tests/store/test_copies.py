"""Backups, restoring them, and moving between databases."""

import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from openclore.api.currencies import Currency
from openclore.api.open.limits import SetSpendLimit
from openclore.api.open.statements import ReadStatement
from openclore.api.open.webhooks import AddWebhook
from openclore.api.spot import SetSpotPrice
from openclore.rules.policy import Policy
from openclore.store import copies
from openclore.store.copies import NotEmpty, back_up, copy_market, restore
from openclore.store.store import Store, StoreError, migrate, open_store
from openclore.usecases import accounts, limits, spot, webhooks
from openclore.usecases.market import Market
from openclore.usecases.statements import statement_pages
from openclore.usecases.verify import verify

from ..conftest import Postgres
from ..processes import openclore
from ..world import USD, World


@pytest.fixture
def world(store: Store) -> World:
    """A market with something in most tables."""
    world = World(store)
    world.credit("10")
    key, _ = accounts.create_key(world.market, "renter@example.org", "bot", world.now)
    world.rent(env={"NAME": "value"})
    bid = world.rent(world.add_server("rack-2"), type="spot", spotprice=1.5).id
    limit = SetSpendLimit(currency=USD, amount=50, key="bot")
    limits.set_spend_limit(world.market, key, limit, world.now)
    hook = AddWebhook(url="https://hooks.example.org/")
    webhooks.add_webhook(world.market, world.renter, hook, world.now)
    world.jump(4_000)
    world.turn()
    spot.set_spot_price(world.market, world.renter, SetSpotPrice(order_id=bid, desired_price=1.7), world.now)
    world.jump(500)
    world.cancel(1)
    return world


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, new_sqlite_store: Callable[[], Store]) -> Any:
    if request.param == "sqlite":
        with closing(new_sqlite_store()) as opened:
            yield opened
    else:
        postgres: Postgres = request.getfixturevalue("postgres")
        with postgres.database("migrated") as address, closing(open_store(address)) as opened:
            yield opened


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def everything(store: Store) -> dict[str, list[Any]]:
    with store.reading() as tx:
        return {
            table.name: [tuple(row) for row in tx.execute(select(table).order_by(*table.primary_key))]
            for table in copies.TABLES
        }


def test_a_market_is_the_same_in_every_database(world: World, target: Store) -> None:
    copied = copy_market(world.store, target)
    assert everything(target) == everything(world.store)
    assert copied == {name: len(rows) for name, rows in everything(world.store).items()}
    assert verify(Market(target, world.policy)).difference is None


def test_no_id_is_given_twice_after_the_move(world: World, target: Store) -> None:
    """Not even that of something that is gone."""
    (hook,) = webhooks.list_webhooks(world.market, world.renter, world.now).webhooks
    webhooks.remove_webhook(world.market, world.renter, hook.id, world.now)
    copy_market(world.store, target)
    moved = World.__new__(World)
    moved.store, moved.policy, moved.now = target, world.policy, world.now
    moved.market, moved.renter, moved.host = Market(target, world.policy), world.renter, world.host
    moved.server = world.server
    made = webhooks.add_webhook(
        moved.market, moved.renter, AddWebhook(url="https://hooks.example.org/"), moved.now
    )
    assert made.webhook.id == hook.id + 1
    assert moved.rent().id == 3
    moved.jump(100)
    moved.cancel(3)
    assert moved.difference() is None


def test_a_database_that_has_something_is_left_alone_unless_told(
    world: World, target: Store, tmp_path: Path
) -> None:
    accounts.create_account(Market(target, world.policy), "else@example.org", 1)
    before = everything(target)
    file = tmp_path / "market.backup"
    back_up(world.store, file)
    with pytest.raises(NotEmpty):
        copy_market(world.store, target)
    with pytest.raises(NotEmpty):
        restore(file, target)
    assert everything(target) == before
    restore(file, target, overwrite=True)
    assert everything(target) == everything(world.store)


def test_a_backup_is_one_file_of_its_owner_with_all_that_was_there(
    world: World, target: Store, tmp_path: Path
) -> None:
    (page,) = statement_pages(world.market, "renter@example.org", ReadStatement())
    file = tmp_path / "market.backup"
    back_up(world.store, file)
    then = everything(world.store)
    world.credit("1")
    assert names_in(tmp_path) == ["market.backup"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = file.read_bytes()
    restore(file, target)
    assert everything(target) == then
    assert next(statement_pages(Market(target, world.policy), "renter@example.org", ReadStatement())) == page
    assert file.read_bytes() == content
    assert names_in(tmp_path) == ["market.backup"]


def test_secrets_of_orders_that_are_over_are_in_no_backup(world: World, tmp_path: Path) -> None:
    order = world.rent(env={"TOKEN": "b4ckup-s3cret"})
    world.cancel(order.id)
    file = tmp_path / "market.backup"
    back_up(world.store, file)
    assert b"b4ckup-s3cret" not in file.read_bytes()


def test_a_backup_that_can_not_be_made_or_read_leaves_nothing(world: World, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("precious")
    with pytest.raises(StoreError, match="there already"):
        back_up(world.store, taken)
    with pytest.raises(StoreError, match="nowhere"):
        back_up(world.store, tmp_path / "nowhere" / "market.backup")
    before = everything(world.store)
    (tmp_path / "letter").write_text("hello, I am a letter; " * 100)
    with closing(sqlite3.connect(tmp_path / "other")) as other:
        other.execute("CREATE TABLE birds (name)")
    for name, said in (("letter", "database"), ("other", "no backup"), ("missing", "No such file")):
        with pytest.raises(StoreError, match=said):
            restore(tmp_path / name, world.store, overwrite=True)
    assert everything(world.store) == before
    assert names_in(tmp_path) == ["letter", "other", "taken"]


def test_a_backup_of_an_earlier_release_is_brought_up(
    new_sqlite_store: Callable[[], Store], tmp_path: Path
) -> None:
    file = tmp_path / "old.backup"
    with closing(new_sqlite_store()) as old:
        migrate(old, "base")
        migrate(old, "0001")
        with old.writing() as tx:
            tx.exec_driver_sql("INSERT INTO accounts (email, created_at) VALUES ('a@example.org', 5)")
            tx.exec_driver_sql(
                "INSERT INTO ledger_accounts (kind, account_id, currency, balance)"
                " VALUES ('outside', NULL, 'bitcoin', -70), ('wallet', 1, 'bitcoin', 70)"
            )
            tx.exec_driver_sql(
                "INSERT INTO transfers"
                " (debit_id, credit_id, amount, kind, reference, idempotency_key, at)"
                " VALUES (1, 2, 30, 'credit', 'account:1', 'credit:30', 6),"
                " (1, 2, 40, 'credit', 'account:1', 'credit:40', 6)"
            )
        back_up(old, file)
    content = file.read_bytes()
    with closing(new_sqlite_store()) as new:
        restore(file, new)
        market = Market(new, Policy())
        verdict = verify(market)
        assert (verdict.difference, verdict.held[Currency.BITCOIN].wallets) == (None, "0.0000007")
        (page,) = statement_pages(market, "a@example.org", ReadStatement())
        assert [(line.amount, line.balance) for line in page.lines] == [
            ("0.0000003", "0.0000003"),
            ("0.0000004", "0.0000007"),
        ]
        assert page.lines[1].previous == page.lines[0].hash
        assert page.wallets[0].hash == page.lines[1].hash
    assert file.read_bytes() == content


def test_the_commands_move_a_market_there_and_back(
    world: World, postgres_database: str, tmp_path: Path
) -> None:
    source = world.store.engine.url.render_as_string(hide_password=False)
    first = openclore("db", "copy", source, str(tmp_path / "moved"))
    assert openclore("db", "copy", str(tmp_path / "moved"), postgres_database) == first
    assert openclore("admin", "verify", "--database-url", postgres_database)["difference"] is None
    env = {"OPENCLORE_DATABASE_URL": postgres_database}
    backup = str(tmp_path / "market.backup")
    assert openclore("admin", "backup", backup, env=env)["bytes"] > 10_000
    home = {"OPENCLORE_DATA_DIR": str(tmp_path / "home")}
    restored = openclore("admin", "restore", backup, env=home)
    assert (restored["rows"], restored["difference"]) == (first["rows"], None)
    openclore("admin", "restore", backup, env=home, status=2)
    openclore("admin", "restore", backup, "--overwrite", env=home)
    with closing(open_store(f"sqlite:///{tmp_path}/home/openclore.db")) as there:
        assert everything(there) == everything(world.store)
    openclore("db", "copy", str(tmp_path / "home"), str(tmp_path / "home"), status=2)
    openclore("db", "copy", str(tmp_path / "nowhere"), str(tmp_path / "new"), status=2)
    openclore("db", "copy", source, str(tmp_path / "home"), status=2)


def test_tables_are_brought_up_by_a_command(new_sqlite_store: Callable[[], Store], tmp_path: Path) -> None:
    with closing(new_sqlite_store()) as old:
        migrate(old, "base")
        migrate(old, "0001")
        address = str(old.engine.url)
    openclore("db", "copy", address, str(tmp_path / "new"), status=2)
    assert openclore("db", "upgrade", "--database-url", address) == {"before": "0001", "now": "0002"}
    assert openclore("db", "upgrade", "--database-url", address) == {"before": "0002", "now": "0002"}
    openclore("db", "copy", address, str(tmp_path / "new"))
