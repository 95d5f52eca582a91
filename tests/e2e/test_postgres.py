"""The same market on PostgreSQL: served, operated from beside, killed and started again."""

import signal
from pathlib import Path

from ..processes import Process, address_of, openclore


def test_a_market_on_postgresql_loses_nothing_when_it_is_killed(
    postgres_database: str, tmp_path: Path
) -> None:
    env = {"OPENCLORE_DATABASE_URL": postgres_database, "XDG_CACHE_HOME": str(tmp_path)}

    def serve(number: int) -> tuple[Process, str]:
        process = Process(tmp_path / f"market-{number}.log", "serve", "--port", "0", env=env)
        return process, address_of(process)

    first, address = serve(1)
    openclore("admin", "account", "create", "ada@example.org", env=env)
    key = openclore("admin", "key", "create", "ada@example.org", env=env)["key"]
    openclore("admin", "credit", "ada@example.org", "usd", "12.5", env=env)

    def dollars(address: str) -> float:
        me = env | {"CLORE_API_KEY": key, "CLORE_BASE_URL": f"{address}/v1"}
        return next(
            float(w["balance"]) for w in openclore("wallets", env=me) if w["name"] == "USD-Blockchain"
        )

    assert dollars(address) == 12.5
    first.stop(signal.SIGKILL)
    second, address = serve(2)
    assert dollars(address) == 12.5
    assert openclore("admin", "verify", env=env)["difference"] is None
    assert second.stop() == 0
    assert postgres_database not in second.text()
