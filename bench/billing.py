"""Keeping a million running orders billed for an hour, on PostgreSQL.

The floor of any billing by ticks is one UPDATE that touches each order's row once. Ours bills by event: while
no wallet runs dry and no posting is due, an hour costs the market's loop 3,600 looks at which are due. That
is the first row. The second is what comes at the end of the hour, when every order's cost is posted: the
market's own `settle_due`, each wallet a transaction with its transfers, hashes and checks. A turn settles a
part of the wallets, and its time is scaled to all of them.
"""

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import msgspec
import psycopg
from sqlalchemy import Connection, Table, bindparam, func, insert, literal_column, select, text

from openclore.rules.policy import Policy
from openclore.store.store import Store, open_store
from openclore.store.tables import accounts, ledger_accounts, orders, servers
from openclore.usecases import settlement
from openclore.usecases.market import Market

from .marketplace import offer
from .measure import NotMeasured, Row, Scale, in_turns, milliseconds
from .peers import Missing
from .postgres import for_sqlalchemy, postgres
from .prefill import (
    SILENCE_SECONDS,
    go_on_counting,
    order_of,
    order_values,
    server_of,
    server_values,
    wallet_values,
)

ORDERS_PER_WALLET = 32
HOSTS = 1_000
HOUR_SECONDS = 3_600
NOT_YET_SECONDS = 3 * HOUR_SECONDS
"""After the beginning: when the wallets that were not settled yet are due. Those that were are due before."""
SETTLED_PER_TURN = 2_000
"""Orders; what a turn of the second row settles at most."""
TOUCH = "UPDATE orders SET posted_at = posted_at + 0"


def measure(scale: Scale) -> list[Row | NotMeasured]:
    count = scale.billed_orders // ORDERS_PER_WALLET * ORDERS_PER_WALLET
    what = f"{count:,} running orders, billed for an hour"
    try:
        with postgres() as server:
            address = server.new_database("market")
            return _measured(what, address, count, scale)
    except Missing as missing:
        return [NotMeasured(what=what, against="one UPDATE", reason=str(missing))]


def _measured(what: str, address: str, count: int, scale: Scale) -> list[Row | NotMeasured]:
    now = int(time.time())
    policy = Policy(offline_after_seconds=SILENCE_SECONDS, host_lost_after_seconds=SILENCE_SECONDS)
    with (
        closing(open_store(for_sqlalchemy(address))) as store,
        psycopg.connect(address, autocommit=True) as bare,
    ):
        market = Market(store, policy)
        _fill(store, count, now)
        bare.execute("VACUUM ANALYZE")

        looks = min(HOUR_SECONDS, count)

        def touch() -> float:
            return _seconds(lambda: bare.execute(TOUCH))

        looking = in_turns(lambda: _look_for_an_hour(market, now, looks), touch, scale.load_turns)
        portion = max(1, min(SETTLED_PER_TURN, count // (scale.load_turns + 1)) // ORDERS_PER_WALLET)

        def settle() -> float:
            _make_due(store, portion, now)
            seconds = _seconds(lambda: settlement.settle_due(market, now + HOUR_SECONDS))
            return seconds * count / (portion * ORDERS_PER_WALLET)

        settling = in_turns(settle, touch, scale.load_turns)
    against = "one UPDATE that touches each row once"
    return [
        Row(
            what=what,
            against=against,
            unit="s",
            ours=looking[0],
            theirs=looking[1],
            note=f"nobody runs dry; {HOUR_SECONDS:,} looks at what is due; PostgreSQL",
            target=0.1,
        ),
        Row(
            what=f"{what}: posting all",
            against=against,
            unit="s",
            ours=settling[0],
            theirs=settling[1],
            note=f"from turns of {portion * ORDERS_PER_WALLET:,} orders, {ORDERS_PER_WALLET} to a wallet",
            target=5,
        ),
    ]


def _look_for_an_hour(market: Market, now: int, looks: int) -> float:
    """Seconds."""

    def look() -> None:
        for second in range(now, now + looks):
            settlement.settle_due(market, second)

    return _seconds(look) * HOUR_SECONDS / looks


def _make_due(store: Store, wallets: int, now: int) -> None:
    """Have the time come, an hour from now, of so many wallets that were not settled yet."""
    with store.writing() as tx:
        tx.execute(
            text(
                "UPDATE ledger_accounts SET due_at = :at WHERE id IN (SELECT id FROM ledger_accounts"
                " WHERE kind = 'wallet' AND due_at = :not_yet ORDER BY id LIMIT :count)"
            ),
            {"at": now + HOUR_SECONDS, "not_yet": now + NOT_YET_SECONDS, "count": wallets},
        )


def _fill(store: Store, count: int, now: int) -> None:
    """Orders and what they need, each a copy of one, made by the database.

    No wallet's time comes within an hour.
    """
    wallets = count // ORDERS_PER_WALLET
    renter = f"{HOSTS + 1} + (n - 1) / {ORDERS_PER_WALLET}"
    host = f"1 + n % {HOSTS}"
    machine = server_values(msgspec.structs.replace(server_of(offer(1), now), account_id=1))
    with store.writing() as tx:
        _copies(
            tx,
            accounts,
            HOSTS + wallets,
            {"created_at": now},
            id="n",
            email="'account-' || n || '@example.org'",
        )
        wallet = wallet_values(1) | {"due_at": now + NOT_YET_SECONDS}
        _copies(tx, ledger_accounts, wallets, wallet, account_id=f"{HOSTS} + n")
        _copies(tx, servers, count, machine, id="n", name="'rack-' || n", account_id=host)
        order = order_values(order_of(1, 1, 1, 1, now))
        _copies(tx, orders, count, order, id="n", server_id="n", account_id=renter, host_id=host)
        go_on_counting(tx)


def _copies(tx: Connection, table: Table, count: int, model: dict[str, Any], **varying: str) -> None:
    """`varying` is column to SQL over `n`, which goes from 1 to `count`."""
    values = {name: bindparam(name, value, table.c[name].type) for name, value in model.items()}
    columns = values | {name: literal_column(sql) for name, sql in varying.items()}
    numbers = func.generate_series(1, count).table_valued("n").render_derived()
    chosen = select(*(value.label(name) for name, value in columns.items())).select_from(numbers)
    tx.execute(insert(table).from_select(list(columns), chosen))


def _seconds(work: Callable[[], object]) -> float:
    return milliseconds(work) / 1_000
