"""Backups, restoring them, and moving between databases."""

import copy
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import select, text
from typer.testing import CliRunner

from openclore.api.currencies import Currency
from openclore.api.open.limits import SetSpendLimit
from openclore.api.open.statements import ReadStatement
from openclore.api.open.webhooks import AddWebhook
from openclore.api.spot import SetSpotPrice
from openclore.cli.main import app
from openclore.rules.policy import Policy
from openclore.store import copies, leases
from openclore.store.copies import NotEmpty, back_up, copy_market, opened_backup
from openclore.store.serving import Served, alone_on
from openclore.store.store import Store, StoreError, database_url, migrate, open_store, revision, shown
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


@pytest.fixture
def backup(world: World, tmp_path: Path) -> Path:
    back_up(world.store, tmp_path / "market.backup")
    return tmp_path / "market.backup"


def restore(file: Path, target: Store, *, overwrite: bool = False) -> dict[str, int]:
    with opened_backup(file) as found:
        return copy_market(found, target, overwrite=overwrite)


@contextmanager
def served(store: Store) -> Iterator[None]:
    """As if a server were running on it."""
    if not store.shared:
        with alone_on(store):
            yield
        return
    with store.writing() as tx:
        token = leases.take(tx, "loop", "a server", 60)
    yield
    with store.writing() as tx:
        leases.release(tx, "loop", token or 0)


def a_market_of_the_first_release(store: Store) -> None:
    migrate(store, "base")
    migrate(store, "0001")
    with store.writing() as tx:
        tx.exec_driver_sql("INSERT INTO accounts (email, created_at) VALUES ('a@example.org', 5)")
        tx.exec_driver_sql(
            "INSERT INTO ledger_accounts (kind, account_id, currency, balance)"
            " VALUES ('outside', NULL, 'bitcoin', -70), ('wallet', 1, 'bitcoin', 70)"
        )
        tx.exec_driver_sql(
            "INSERT INTO transfers (debit_id, credit_id, amount, kind, reference, idempotency_key, at)"
            " VALUES (1, 2, 30, 'credit', 'account:1', 'credit:30', 6),"
            " (1, 2, 40, 'credit', 'account:1', 'credit:40', 6)"
        )
        for amount in ("0.0000003", "0.0000004"):
            tx.execute(
                text(
                    "INSERT INTO events (at, kind, account_id, data) VALUES (6, 'wallet_credited', 1, :data)"
                ),
                {"data": f'{{"currency":"bitcoin","amount":"{amount}"}}'},
            )


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def refused(*words: str) -> str:
    """What a command that ends with status 2 says on its way."""
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2, done.output
    return " ".join(done.output.split())


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


def moved_to(target: Store, world: World) -> World:
    moved = copy.copy(world)
    moved.store, moved.market = target, Market(target, world.policy)
    return moved


def test_no_id_is_given_twice_after_the_move(world: World, target: Store) -> None:
    """Not even that of something that is gone."""
    (hook,) = webhooks.list_webhooks(world.market, world.renter, world.now).webhooks
    webhooks.remove_webhook(world.market, world.renter, hook.id, world.now)
    copy_market(world.store, target)
    moved = moved_to(target, world)
    made = webhooks.add_webhook(
        moved.market, moved.renter, AddWebhook(url="https://hooks.example.org/"), moved.now
    )
    assert made.webhook.id == hook.id + 1
    assert moved.rent().id == 3
    moved.jump(100)
    moved.cancel(3)
    assert moved.difference() is None


def test_a_database_that_has_something_is_left_alone_unless_told(
    world: World, target: Store, backup: Path
) -> None:
    accounts.create_account(Market(target, world.policy), "else@example.org", 1)
    before = everything(target)
    with pytest.raises(NotEmpty):
        copy_market(world.store, target)
    with pytest.raises(NotEmpty):
        restore(backup, target)
    assert everything(target) == before
    restore(backup, target, overwrite=True)
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
    for name, said in (("letter", "no backup"), ("other", "no backup"), ("missing", "No such file")):
        with pytest.raises(StoreError, match=said):
            restore(tmp_path / name, world.store, overwrite=True)
    assert everything(world.store) == before
    assert names_in(tmp_path) == ["letter", "other", "taken"]


def test_a_database_that_is_served_is_not_replaced(world: World, target: Store, backup: Path) -> None:
    accounts.create_account(Market(target, world.policy), "else@example.org", 1)
    before = everything(target)
    with served(target), pytest.raises(Served, match="stop it first"):
        restore(backup, target, overwrite=True)
    assert everything(target) == before
    restore(backup, target, overwrite=True)
    assert everything(target) == everything(world.store)


def test_a_backup_with_a_changed_byte_is_never_another_market(
    world: World, backup: Path, tmp_path: Path
) -> None:
    """What is changed in the empty space of its pages does no harm; all else is found."""
    content, damaged, then = backup.read_bytes(), tmp_path / "damaged", everything(world.store)
    chance, said = Random(5), []
    for _ in range(60):
        length = chance.choice([1, 4, 64, 600])
        begin = chance.randrange(len(content) - length)
        damaged.write_bytes(content[:begin] + chance.randbytes(length) + content[begin + length :])
        try:
            with opened_backup(damaged) as found:
                assert everything(found) == then
        except StoreError as error:
            said.append(str(error))
    assert len(said) > 5
    assert all(text.startswith((f"{damaged} is damaged: ", f"{damaged} is no backup")) for text in said)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE servers SET name = name || '!'",
        "UPDATE api_keys SET key_hash = 'x'",
        "UPDATE sqlite_sequence SET seq = seq - 1",
        "DELETE FROM events",
        "DROP INDEX ix_transfers_order_id",
    ],
)
def test_a_backup_that_somebody_changed_is_refused(backup: Path, change: str) -> None:
    with closing(sqlite3.connect(backup)) as opened:
        opened.execute(change)
        opened.commit()
    with pytest.raises(StoreError, match="is damaged"), opened_backup(backup):
        pass


def test_a_market_made_of_a_backup_is_backed_up_anew(world: World, backup: Path, tmp_path: Path) -> None:
    """Even if it is the file itself that is served."""
    (tmp_path / "home").mkdir()
    shutil.copy(backup, tmp_path / "home" / "openclore.db")
    with closing(open_store(database_url(tmp_path / "home"))) as home:
        moved_to(home, world).credit("3")
        back_up(home, tmp_path / "second.backup")
        with opened_backup(tmp_path / "second.backup") as found:
            assert everything(found) == everything(home)


def test_a_backup_of_an_earlier_release_is_brought_up(
    store: Store, new_sqlite_store: Callable[[], Store], tmp_path: Path
) -> None:
    """It is made with the tables it has: processes of that release may go on."""
    file = tmp_path / "old.backup"
    a_market_of_the_first_release(store)
    back_up(store, file)
    assert revision(store) == "0001"
    with closing(sqlite3.connect(file)) as opened:
        assert opened.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
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


def test_a_backup_of_a_newer_release_is_refused_by_its_name(
    new_sqlite_store: Callable[[], Store], tmp_path: Path
) -> None:
    file = tmp_path / "newer.backup"
    with closing(new_sqlite_store()) as newer:
        with newer.writing() as tx:
            tx.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        back_up(newer, file)
    with pytest.raises(StoreError, match=r"newer\.backup.*made by a newer") as error, opened_backup(file):
        pass
    assert "openclore-restore" not in str(error.value)


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


def test_a_market_that_is_served_is_neither_copied_nor_replaced_by_command(
    world: World, backup: Path, tmp_path: Path
) -> None:
    source = world.store.engine.url.render_as_string(hide_password=False)
    with served(world.store):
        for words in (
            ("db", "copy", source, str(tmp_path / "new")),
            ("admin", "restore", str(backup), "--overwrite", "--database-url", source),
        ):
            assert "running" in refused(*words)
        openclore("admin", "backup", str(tmp_path / "second.backup"), "--database-url", source)
    assert not (tmp_path / "new").exists()
    openclore("db", "copy", source, str(tmp_path / "new"))


def test_a_backup_that_can_not_be_restored_makes_no_market(backup: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(backup)) as opened:
        opened.execute("DELETE FROM events")
        opened.commit()
    for file in (backup, tmp_path / "nowhere"):
        said = refused("admin", "restore", str(file), "--data-dir", str(tmp_path / "new"))
        assert str(file) in said
        assert "openclore-restore" not in said
    assert not (tmp_path / "new").exists()


def test_the_current_directory_is_not_meant_by_an_empty_address(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = world.store.engine.url.render_as_string(hide_password=False)
    assert "must not be empty" in refused("db", "copy", source, "")
    assert "must not be empty" in refused("db", "copy", "", source)
    assert "must not be empty" in refused("admin", "account", "create", "a@example.org", "--data-dir", "")
    assert "must not be empty" in refused("serve", "--data-dir", "")
    assert names_in(tmp_path) == []


def test_tables_are_brought_up_by_a_command(store: Store, tmp_path: Path) -> None:
    """And by no other that looks at a market or changes it."""
    a_market_of_the_first_release(store)
    address = store.engine.url.render_as_string(hide_password=False)
    for words in (
        ("admin", "verify"),
        ("admin", "statement", "a@example.org"),
        ("admin", "credit", "a@example.org", "bitcoin", "1"),
        ("admin", "account", "create", "b@example.org"),
    ):
        assert "openclore db upgrade" in refused(*words, "--database-url", address)
    openclore("admin", "backup", str(tmp_path / "old.backup"), "--database-url", address)
    openclore("db", "copy", address, str(tmp_path / "new"), status=2)
    assert revision(store) == "0001"
    assert openclore("db", "upgrade", "--database-url", address) == {"before": "0001", "now": "0002"}
    assert openclore("db", "upgrade", "--database-url", address) == {"before": "0002", "now": "0002"}
    openclore("db", "copy", address, str(tmp_path / "new"))


def test_a_market_that_the_environment_names_is_safe_from_commands_on_another(
    world: World, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.credit("1")
    before = everything(world.store)
    url = world.store.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("OPENCLORE_DATABASE_URL", url)
    new = ("--data-dir", str(tmp_path / "new"))
    openclore("admin", "restore", str(backup), "--overwrite", *new)
    openclore("admin", "account", "create", "new@example.org", *new)
    assert openclore("db", "upgrade", *new)["before"] == "0002"
    assert everything(world.store) == before
    monkeypatch.setenv("OPENCLORE_DATA_DIR", str(tmp_path / "elsewhere"))
    assert openclore("admin", "verify", "--database-url", url)["difference"] is None
    there, here = openclore("admin", "verify"), openclore("admin", "verify", *new)
    assert there["transfers"] == here["transfers"] + 1
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "words",
    [("admin", "restore", "x.backup", "--overwrite"), ("admin", "verify"), ("db", "upgrade"), ("serve",)],
)
def test_two_markets_at_once_are_refused(words: tuple[str, ...], backup: Path, tmp_path: Path) -> None:
    words = tuple(word.replace("x.backup", str(backup)) for word in words)
    said = refused(*words, "--data-dir", str(tmp_path / "new"), "--database-url", "sqlite:////x/y.db")
    assert "give one of them" in said
    assert not (tmp_path / "new").exists()
    assert "must not be empty" in refused(*words, "--database-url", "")


def address_of(store: Store) -> str:
    return store.engine.url.render_as_string(hide_password=False)


def test_a_damaged_market_is_not_blamed_on_its_backup(
    new_sqlite_store: Callable[[], Store], tmp_path: Path
) -> None:
    """SQLite says of some of it that the disk is full."""
    with closing(new_sqlite_store()) as home, home.reading() as tx:
        page = tx.exec_driver_sql("SELECT rootpage FROM sqlite_master WHERE name = 'orders'").scalar_one()
    file = Path(home.engine.url.database or "")
    with file.open("r+b") as opened:
        opened.seek((page - 1) * 4096)
        opened.write(b"\xff" * 8)
    said = refused("admin", "backup", str(tmp_path / "market.backup"), "--data-dir", str(file.parent))
    assert f"{file} is damaged: " in said
    assert names_in(tmp_path) == []


def test_no_backup_of_what_is_no_text_and_no_word_of_it(
    new_sqlite_store: Callable[[], Store], tmp_path: Path
) -> None:
    with closing(new_sqlite_store()) as home:
        with home.writing() as tx:
            tx.exec_driver_sql(
                "INSERT INTO accounts (email, created_at) VALUES (CAST(x'ff' || 's3cret' AS TEXT), 1)"
            )
        with pytest.raises(StoreError, match=r"is damaged: .*UTF-8") as error:
            back_up(home, tmp_path / "market.backup")
    assert "s3cret" not in str(error.value)


def test_a_market_is_not_copied_onto_itself_however_its_name_is_spelled(
    new_sqlite_store: Callable[[], Store], tmp_path: Path
) -> None:
    with closing(new_sqlite_store()) as home:
        folder = Path(home.engine.url.database or "").parent
        (tmp_path / "link").symlink_to(folder)
        for other in (
            f"{folder}",
            f"{folder}/../{folder.name}",
            f"{folder}/openclore.db",
            f"{tmp_path}/link",
            f"sqlite:///{tmp_path}/link/openclore.db",
        ):
            assert "must be another database than SRC" in refused("db", "copy", address_of(home), other)


def test_what_can_not_be_written_is_named(world: World, backup: Path, tmp_path: Path) -> None:
    (tmp_path / "letter").mkdir()
    (tmp_path / "letter" / "openclore.db").write_text("hello, I am a letter; " * 100)
    (tmp_path / "folder" / "openclore.db").mkdir(parents=True)
    for target, named in (
        (f"sqlite:///{tmp_path}/letter/openclore.db", f"{tmp_path}/letter/openclore.db"),
        (f"sqlite:///{tmp_path}/folder/openclore.db", f"{tmp_path}/folder/openclore.db"),
        ("postgresql://someone:s3cret@127.0.0.1:1/market", "someone:***@127.0.0.1:1/market"),
    ):
        for words in (
            ("db", "copy", address_of(world.store), target),
            ("admin", "restore", str(backup), "--database-url", target),
            ("admin", "verify", "--database-url", target),
        ):
            said = refused(*words)
            assert f"can't open the database {'postgresql+psycopg://' * ('***' in named)}{named}: " in said
            assert "s3cret" not in said


def test_a_market_that_lacks_a_table_does_not_add_up(store: Store) -> None:
    with store.writing() as tx:
        tx.exec_driver_sql("ALTER TABLE transfers RENAME TO elsewhere")
    done = CliRunner().invoke(app, ["admin", "verify", "--database-url", address_of(store)])
    assert done.exit_code == 1
    assert done.output.startswith("Error: the database failed: ")
    assert "transfers" in done.output
    assert shown(store) in done.output


def test_commands_leave_a_database_of_something_else_alone(
    world: World, backup: Path, tmp_path: Path
) -> None:
    file = tmp_path / "birds.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE birds (name)")
    before, url = file.read_bytes(), f"sqlite:///{file}"
    for words in (
        ("db", "upgrade", "--database-url", url),
        ("admin", "account", "create", "a@example.org", "--database-url", url),
        ("admin", "restore", str(backup), "--overwrite", "--database-url", url),
        ("admin", "backup", str(tmp_path / "second.backup"), "--database-url", url),
        ("db", "copy", address_of(world.store), url),
        ("db", "copy", url, str(tmp_path / "new")),
        ("serve", "--port", "0", "--database-url", url),
    ):
        assert f"{file} has tables of something else" in refused(*words)
    assert file.read_bytes() == before
