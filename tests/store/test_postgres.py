"""What only PostgreSQL has: several processes, and a network between."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from sqlalchemy import inspect

from openclore.store.store import Store, open_store


def test_processes_that_start_at_once_make_the_tables_once(postgres_database: str) -> None:
    with ThreadPoolExecutor(4) as starting:
        stores = list(starting.map(open_store, [postgres_database] * 4))
    for opened in stores:
        with closing(opened):
            assert inspect(opened.engine).has_table("transfers")


def connection_options(store: Store) -> dict[str, Any]:
    with store.reading() as tx:
        driver: Any = tx.connection.driver_connection
        options: dict[str, Any] = driver.info.get_parameters()
        return options


def test_a_network_that_breaks_is_noticed_unless_the_address_says_otherwise(postgres_database: str) -> None:
    with closing(open_store(postgres_database)) as usual:
        assert connection_options(usual)["tcp_user_timeout"] == "20000"
    with closing(open_store(f"{postgres_database}&tcp_user_timeout=500")) as changed:
        options = connection_options(changed)
        assert (options["tcp_user_timeout"], options["connect_timeout"]) == ("500", "10")
