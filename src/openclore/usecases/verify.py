"""Recomputing the ledger from what it is made of."""

import msgspec

from ..rules import billing, money
from ..rules.orders import State
from ..store import ledger, orders
from .market import Market


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How much was checked, and the first difference found (None: everything adds up)."""

    accounts: int
    orders: int
    difference: str | None


def verify(market: Market, now: int) -> Verdict:
    """Recompute every balance from its transfers and every order's cost from its price and minutes."""
    with market.store.reading() as tx:
        checked = 0
        for account, total in ledger.recomputed(tx):
            checked += 1
            if account.balance != total:
                return Verdict(
                    accounts=checked,
                    orders=0,
                    difference=f"{account.kind} account {account.id} ({account.currency}) holds "
                    f"{money.to_text(account.balance)}, its transfers add up to {money.to_text(total)}",
                )
        seen = 0
        for order in orders.every(tx):
            seen += 1
            paid = ledger.sums_by_reference(tx, f"order:{order.id}")
            cost = billing.cost(order, max(now, order.posted_at))
            for kind, kept, due in (
                ("rental", order.paid_host, cost.to_host),
                ("fees", order.paid_market, cost.to_market),
            ):
                moved = paid.get(kind, 0)
                if moved != kept or moved > due or (order.state is State.ENDED and moved != due):
                    return Verdict(
                        accounts=checked,
                        orders=seen,
                        difference=f"order {order.id}: {money.to_text(moved)} {order.currency} moved as "
                        f"{kind}, {money.to_text(kept)} noted, {money.to_text(due)} due",
                    )
        return Verdict(accounts=checked, orders=seen, difference=None)
