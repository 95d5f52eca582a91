"""Bringing the ledger up to date: the only place where orders turn into transfers."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from ..api.currencies import Currency
from ..rules import billing
from ..rules.orders import EndReason, Order
from ..rules.policy import Policy
from ..rules.servers import Server, continues
from ..store import events, ledger, orders, servers
from .market import Market


def settle(tx: Connection, policy: Policy, account_id: int, currency: Currency, now: int) -> None:
    """Bring one wallet up to `now`: end what reached its end, each at its second, then post what accrued.

    Nobody is charged for a host's silence, whether or not the loop has noticed it yet.
    """
    wallet = ledger.wallet(tx, account_id, currency)
    running = [
        _at_evidence(tx, policy, order, now) for order in orders.active_on_wallet(tx, account_id, currency)
    ]
    while ending := billing.next_ending(wallet.balance, running, now):
        for order in (order for order in running if order.id in ending.order_ids):
            end(tx, order, ending.at, ending.reason)
        running = [order for order in running if order.id not in ending.order_ids]
        wallet = ledger.by_id(tx, wallet.id)
    running = [_post(tx, order, now) for order in running]
    _schedule(tx, policy, wallet.id, running)


def settle_account(tx: Connection, policy: Policy, account_id: int, now: int) -> None:
    """Bring all wallets of an account that have running orders up to `now`."""
    for currency in {order.currency for order in orders.of_renter(tx, account_id, with_ended=False)}:
        settle(tx, policy, account_id, currency, now)


def settle_holder(tx: Connection, policy: Policy, server_id: int, now: int) -> None:
    """Bring the wallet that pays for a machine up to `now`: its order may have reached its end."""
    holder = orders.active_on_server(tx, server_id)
    if holder is not None:
        settle(tx, policy, holder.account_id, holder.currency, now)


def end(tx: Connection, order: Order, at: int, reason: EndReason, detail: str = "") -> Order:
    """End an order at `at`, with all it cost posted and its machine told. Its wallet is for `settle` next."""
    order = _post(tx, billing.ended(order, at, reason, detail), at)
    servers.assignments_changed(tx, order.server_id)
    events.append(
        tx,
        events.Kind.ORDER_ENDED,
        at,
        account_id=order.account_id,
        server_id=order.server_id,
        order_id=order.id,
        reason=reason,
        detail=detail,
    )
    return order


def take_offline(tx: Connection, server: Server, now: int) -> Order | None:
    """Count a server as offline since its last heartbeat; its order, whose meter stops there.

    The order's wallet is for `settle` next.
    """
    heard_until = min(server.seen_until, now)
    servers.set_presence(tx, server.id, online=False, seen_until=heard_until)
    order = orders.active_on_server(tx, server.id)
    if order is not None:
        order = billing.stopped(order, heard_until)
        orders.save(tx, order)
    events.append(
        tx,
        events.Kind.SERVER_OFFLINE,
        now,
        account_id=server.account_id,
        server_id=server.id,
        seen_until=heard_until,
    )
    return order


def settle_due(market: Market, now: int) -> None:
    """Settle every wallet whose time has come. One that fails keeps no other waiting.

    Raises:
        ExceptionGroup: what failed, once all others are settled.
    """
    with market.store.reading() as tx:
        due = ledger.wallets_due(tx, now)
    failed = []
    for wallet in due:
        try:
            with market.store.writing() as tx:
                settle(tx, market.policy, wallet.account_id or 0, wallet.currency, now)
        except Exception as error:
            failed.append(error)
    if failed:
        raise ExceptionGroup("wallets that can't be settled", failed)


def _at_evidence(tx: Connection, policy: Policy, order: Order, now: int) -> Order:
    """The order, its meter stopped if its host has fallen silent."""
    if order.active_since is None:
        return order
    server = servers.by_id(tx, order.server_id)
    if server is None or continues(server.seen_until, now, policy.offline_after_seconds):
        return order
    return take_offline(tx, server, now) or order


def _post(tx: Connection, order: Order, now: int) -> Order:
    """Pay the host and the market what the order cost beyond what they have; the order as kept."""
    cost = billing.cost(order, now)
    renter = ledger.wallet(tx, order.account_id, order.currency)
    shares = (
        ("rental", ledger.wallet(tx, order.host_id, order.currency), order.paid_host, cost.to_host),
        ("fees", ledger.market(tx, order.currency), order.paid_market, cost.to_market),
    )
    for kind, receiver, paid, due in shares:
        if due > paid:
            ledger.post(
                tx,
                ledger.Transfer(
                    debit_id=renter.id,
                    credit_id=receiver.id,
                    amount=due - paid,
                    kind=kind,
                    reference=f"order:{order.id}",
                    idempotency_key=f"order:{order.id}:{kind}:{due}",
                    at=now,
                ),
            )
    order = msgspec.structs.replace(
        order,
        paid_host=max(order.paid_host, cost.to_host),
        paid_market=max(order.paid_market, cost.to_market),
        posted_at=max(order.posted_at, now),
    )
    orders.save(tx, order)
    return order


def _schedule(tx: Connection, policy: Policy, wallet_id: int, running: Sequence[Order]) -> None:
    """Note when the wallet runs dry, and when it must be looked at again."""
    exhausts_at = billing.exhausts_at(ledger.by_id(tx, wallet_id).balance, running)
    times = [order.ends_at for order in running]
    times += [order.posted_at + policy.post_every_seconds for order in running if order.active_since]
    times += [exhausts_at] if exhausts_at is not None else []
    ledger.schedule(tx, wallet_id, exhausts_at, min(times, default=None))
