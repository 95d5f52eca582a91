import sqlite3
import stat
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from openclore.store import events, store
from openclore.store.store import Savepoint, Store, StoreError, migrate, open_store, shown
from openclore.store.tables import REVISION, metadata, rates


def test_migrations_lead_to_the_tables_in_the_code(store: Store) -> None:
    with store.reading() as tx:
        context = MigrationContext.configure(tx, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_migrations_go_down_and_up_again(store: Store) -> None:
    migrate(store, "base")
    assert inspect(store.engine).get_table_names() == ["alembic_version"]
    migrate(store)
    assert "transfers" in inspect(store.engine).get_table_names()


def test_a_market_made_by_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    url = store.database_url(tmp_path)
    opened = open_store(url)
    with opened.writing() as tx:
        tx.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    opened.close()
    with pytest.raises(StoreError, match="newer"):
        open_store(url)


def test_the_newest_migration_is_the_one_the_tables_name() -> None:
    folder = Path(store.__file__).parent / "migrations" / "versions"
    newest = sorted(file.name for file in folder.glob("[0-9]*.py"))[-1]
    assert newest.startswith(f"{REVISION}_")


def test_a_failed_unit_of_work_leaves_nothing(store: Store) -> None:
    def work() -> None:
        with store.writing() as tx:
            events.append(tx, events.Kind.RATES_SET, 1)
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError):
        work()
    with store.reading() as tx:
        assert events.newest(tx) == 0


def test_what_came_after_a_savepoint_is_undone_alone_again_and_again(store: Store) -> None:
    with store.writing() as tx:
        savepoint = Savepoint(tx)
        for number in range(1, 10):
            events.append(tx, events.Kind.RATES_SET, number)
            savepoint.set()
            for undone in (100, 200):
                events.append(tx, events.Kind.RATES_SET, undone)
                savepoint.go_back()
    with store.reading() as tx:
        assert [event.at for event in events.after(tx, 0)] == list(range(1, 10))


def count_one_more(tx: Connection) -> None:
    """Read a number and write the next."""
    seen = tx.execute(select(rates.c.usd)).scalar_one()
    tx.execute(update(rates).values(usd=seen + 1))


def test_writers_take_turns(store: Store) -> None:
    with store.writing() as tx:
        tx.exec_driver_sql("INSERT INTO rates (currency, usd, at) VALUES ('bitcoin', 0, 0)")

    def count_up() -> None:
        for _ in range(20):
            with store.writing() as tx:
                count_one_more(tx)

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.reading() as tx:
        assert tx.exec_driver_sql("SELECT usd FROM rates").scalar_one() == 80


def test_writers_of_two_processes_take_turns(store: Store) -> None:
    """Two stores on one database stand for two processes."""
    other = open_store(store.engine.url.render_as_string(hide_password=False))
    with store.writing() as tx:
        tx.exec_driver_sql("INSERT INTO rates (currency, usd, at) VALUES ('bitcoin', 0, 0)")

    def count_up(mine: Store) -> None:
        for _ in range(20):
            with mine.writing() as tx:
                count_one_more(tx)

    threads = [threading.Thread(target=count_up, args=[mine]) for mine in (store, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    with store.reading() as tx:
        assert tx.exec_driver_sql("SELECT usd FROM rates").scalar_one() == 40


def test_a_reader_sees_one_moment_while_a_writer_goes_on(store: Store) -> None:
    with store.reading() as before:
        assert events.newest(before) == 0
        with store.writing() as tx:
            events.append(tx, events.Kind.RATES_SET, 1)
        assert events.newest(before) == 0
    with store.reading() as after:
        assert events.newest(after) == 1


def test_the_database_itself_refuses_a_wallet_below_zero(store: Store) -> None:
    def overdraw() -> None:
        with store.writing() as tx:
            tx.exec_driver_sql("INSERT INTO accounts (id, email, created_at) VALUES (1, 'a@b.c', 0)")
            tx.exec_driver_sql(
                "INSERT INTO ledger_accounts (kind, account_id, currency, balance) "
                "VALUES ('wallet', 1, 'bitcoin', -1)"
            )

    with pytest.raises(IntegrityError):
        overdraw()


def test_a_new_sqlite_market_is_durable_and_its_owners_alone(
    new_sqlite_store: Callable[[], Store], tmp_path: Path
) -> None:
    opened = open_store(store.database_url(tmp_path / "new"))
    with opened.reading() as tx:
        assert tx.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert tx.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
        assert tx.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
    opened.close()
    file = tmp_path / "new" / "openclore.db"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "mysql://x/y",
        "sqlite://",
        "sqlite:////proc/nowhere/x.db",
        "postgresql+psycopg://u:s3cret@127.0.0.1:notaport/x",
    ],
)
def test_a_database_that_can_not_be_is_said_so_in_a_line(url: str) -> None:
    with pytest.raises(StoreError) as error:
        open_store(url)
    assert "\n" not in str(error.value)
    assert "s3cret" not in str(error.value)


def test_a_database_that_does_not_answer_is_said_so_without_its_password() -> None:
    with pytest.raises(StoreError) as error:
        open_store("postgresql://someone:s3cret@127.0.0.1:1/market")
    assert "s3cret" not in str(error.value)
    assert "127.0.0.1:1" in str(error.value)


def test_a_file_that_is_no_database_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "openclore.db").write_text("hello, I am a letter, not a database; " * 100)
    with pytest.raises(StoreError, match=r"openclore\.db"):
        open_store(store.database_url(tmp_path))


FOREIGN = {
    "birds": ("CREATE TABLE birds (name TEXT)",),
    "accounts and orders": ("CREATE TABLE accounts (id INTEGER)", "CREATE TABLE orders (id INTEGER)"),
    "migrations of its own": (
        "CREATE TABLE accounts (id INTEGER)",
        "CREATE TABLE alembic_version (version_num TEXT)",
        "INSERT INTO alembic_version VALUES ('0002')",
    ),
    "branches of its own": (
        "CREATE TABLE alembic_version (version_num TEXT)",
        "INSERT INTO alembic_version VALUES ('0001'), ('0002')",
    ),
}


@pytest.mark.parametrize("statements", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_file_of_something_else_is_refused_and_left_as_it_is(
    statements: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "openclore.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as foreign:
        for statement in statements:
            foreign.execute(statement)
    before = file.read_bytes()
    with pytest.raises(StoreError, match="tables of something else"):
        open_store(store.database_url(tmp_path))
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("statements", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_postgresql_of_something_else_is_refused_and_left_as_it_is(
    statements: tuple[str, ...], postgres_database: str
) -> None:
    with closing(store.open_database(postgres_database)) as foreign:
        with foreign.writing() as tx:
            for statement in statements:
                tx.exec_driver_sql(statement)
        before = inspect(foreign.engine).get_table_names()
        with pytest.raises(StoreError, match="tables of something else"):
            open_store(postgres_database)
        assert inspect(foreign.engine).get_table_names() == before


def test_tables_elsewhere_in_a_postgresql_and_views_do_not_count(postgres_database: str) -> None:
    with closing(store.open_database(postgres_database)) as empty:
        with empty.writing() as tx:
            tx.exec_driver_sql("CREATE SCHEMA extension")
            tx.exec_driver_sql("CREATE TABLE extension.birds (name TEXT)")
            tx.exec_driver_sql("CREATE VIEW birds AS SELECT * FROM extension.birds")
        migrate(empty)
        assert store.revision(empty) == REVISION


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "openclore.db").mkdir()
    with pytest.raises(StoreError, match=r"openclore\.db: it is a directory"):
        open_store(store.database_url(tmp_path))


def test_what_a_database_fails_at_says_which_one_it_is(store: Store) -> None:
    with pytest.raises(DBAPIError) as error, store.reading() as tx:
        tx.exec_driver_sql("SELECT * FROM birds")
    assert error.value.__notes__ == [shown(store)]
