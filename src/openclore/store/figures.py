"""What an operator watches: counts and sums over the whole market, each by one query."""

import msgspec
from sqlalchemy import Connection, case, func, select

from .orders import ACTIVE
from .tables import deliveries, ledger_accounts, orders, servers


class Figures(msgspec.Struct, frozen=True):
    """The market at one moment.

    Attributes:
        orders: state to how many, of orders that are not over.
        unposted_since: the earliest time (Unix s) from which a running order has not been posted.
        balances: (kind of ledger account, currency) to the sum, 10⁻⁸ units; over a currency's kinds it is 0.
        due_since: when the wallet that has waited longest had to be looked at, or is to be.
        servers: "online", "offline" or "new" (never connected) to how many.
        deliveries_due: webhooks' messages that should have been sent, and since when the first of them.
    """

    orders: dict[str, int]
    unposted_since: int | None
    balances: dict[tuple[str, str], int]
    due_since: int | None
    servers: dict[str, int]
    deliveries_due: int
    deliveries_due_since: int | None


def read(tx: Connection, now: int) -> Figures:
    """Every figure. What takes longest is to count the orders that are not over."""
    by_state = tx.execute(_ORDERS).all()
    due, due_since = tx.execute(_DELIVERIES.where(deliveries.c.next_at <= now)).one()
    return Figures(
        orders={state: count for state, count, _ in by_state},
        unposted_since=min((since for _, _, since in by_state if since is not None), default=None),
        balances={(kind, currency): int(total) for kind, currency, total in tx.execute(_BALANCES)},
        due_since=tx.execute(_DUE_SINCE).scalar_one(),
        servers=dict(tx.execute(_SERVERS).all()),
        deliveries_due=due,
        deliveries_due_since=due_since,
    )


_ORDERS = (
    select(
        orders.c.state,
        func.count(),
        func.min(case((orders.c.active_since.is_not(None), orders.c.posted_at))),
    )
    .where(ACTIVE)
    .group_by(orders.c.state)
)
_BALANCES = select(
    ledger_accounts.c.kind, ledger_accounts.c.currency, func.sum(ledger_accounts.c.balance)
).group_by(ledger_accounts.c.kind, ledger_accounts.c.currency)
_DUE_SINCE = select(func.min(ledger_accounts.c.due_at))
_STATE = case((servers.c.online, "online"), (servers.c.connected_at.is_(None), "new"), else_="offline").label(
    "state"
)
_SERVERS = select(_STATE, func.count()).where(servers.c.removed_at.is_(None)).group_by(_STATE)
_DELIVERIES = select(func.count(), func.min(deliveries.c.next_at))
