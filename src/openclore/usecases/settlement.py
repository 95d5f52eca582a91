"""Bringing the ledger up to date, and machines to the orders that should have them.

The only place where orders turn into transfers.
"""

from collections import deque
from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Connection

from ..api.codes import Refusal
from ..api.currencies import Currency
from ..rules import billing, spot, statements
from ..rules.billing import Purse
from ..rules.orders import EndReason, Order, State
from ..rules.policy import Policy
from ..rules.refused import Refused
from ..rules.servers import DAY_SECONDS, Server, continues
from ..store import events, ledger, limits, orders, rates, servers
from ..store.ledger import LedgerAccount
from ..store.limits import SpendLimit
from .market import Market

Settled = set[tuple[int, Currency]]
"""The wallets, by account and currency, that one transaction has brought up to its `now` already.

Who changes many orders hands it from change to change, and calls `settle_again` at the end: settling looks
at every order of a wallet, and this way it is done twice and not twice for every change.
"""


def settle(
    tx: Connection,
    policy: Policy,
    account_id: int,
    currency: Currency,
    now: int,
    settled: Settled | None = None,
) -> None:
    """Bring one wallet up to `now`: end what reached its end, each at its second, then post what accrued.

    Nobody is charged for a host's silence, whether or not the loop has noticed it yet. A machine that becomes
    free goes to the best bid that waits for it. A wallet among `settled` is left alone.
    """
    _reassign(tx, policy, _bring_up(tx, policy, account_id, currency, now, settled), now, settled)


def _bring_up(
    tx: Connection, policy: Policy, account_id: int, currency: Currency, now: int, settled: Settled | None
) -> list[int]:
    """Settle one wallet; ids of the servers that became free."""
    if settled is not None:
        if (account_id, currency) in settled:
            return []
        settled.add((account_id, currency))
    wallet = ledger.wallet(tx, account_id, currency)
    running = orders.active_on_wallet(tx, account_id, currency)
    silent = _silent(tx, policy, running, now)
    freed: list[int] = []
    while True:
        counted = _limits(tx, account_id, currency)
        window_end = min(_window_ends(counted), default=now + 1)
        first_silent = min(silent, key=lambda order_id: silent[order_id].seen_until, default=None)
        heard_until = now if first_silent is None else min(silent[first_silent].seen_until, now)
        purses = _purses(tx, wallet.id, running, counted)
        ending = billing.next_ending(purses, running, min(heard_until, window_end - 1))
        if ending is not None:
            for order in (order for order in running if order.id in ending.order_ids):
                end(tx, order, ending.at, ending.reason)
                freed.append(order.server_id)
                silent.pop(order.id, None)
            running = [order for order in running if order.id not in ending.order_ids]
        elif first_silent is not None and heard_until < window_end:
            stopped = _take_offline(tx, silent.pop(first_silent), now)
            running = [stopped if stopped and stopped.id == order.id else order for order in running]
        elif window_end <= now:
            _turn_windows(tx, counted, running, window_end if running else now // DAY_SECONDS * DAY_SECONDS)
        else:
            break
    running = [order if _is_posted(order, now) else _post(tx, order, now) for order in running]
    _schedule(tx, policy, wallet.id, running, _limits(tx, account_id, currency))
    return freed


def settle_again(tx: Connection, policy: Policy, settled: Settled, now: int) -> None:
    """Bring the wallets whose orders have changed up to date once more, and note when they need a look."""
    for account_id, currency in sorted(settled):
        settle(tx, policy, account_id, currency, now)


def settle_account(
    tx: Connection, policy: Policy, account_id: int, now: int, settled: Settled | None = None
) -> None:
    """Bring all wallets of an account that have running orders up to `now`."""
    for currency in sorted({order.currency for order in orders.of_renter(tx, account_id, with_ended=False)}):
        settle(tx, policy, account_id, currency, now, settled)


def settle_holder(tx: Connection, policy: Policy, server_id: int, now: int) -> None:
    """Bring the wallet that pays for a machine up to `now`: its order may have reached its end."""
    holder = orders.holder(tx, server_id)
    if holder is not None:
        settle(tx, policy, holder.account_id, holder.currency, now)


def afford(tx: Connection, order: Order, due: int, reserve: int = 0) -> None:
    """Whether a settled wallet and the limits on it cover what is due for an order, the wallet a reserve too.

    Raises:
        Refused: not_enough_balance or spend_limit_reached.
    """
    wallet = ledger.wallet(tx, order.account_id, order.currency)
    purses = _purses(tx, wallet.id, [order], _limits(tx, order.account_id, order.currency))
    for purse in purses:
        exhausted = purse.reason is EndReason.EXHAUSTED
        if purse.drawn_by([order]) and purse.left < due + (reserve if exhausted else 0):
            raise Refused(Refusal.NOT_ENOUGH_BALANCE if exhausted else Refusal.SPEND_LIMIT_REACHED)


def end(tx: Connection, order: Order, at: int, reason: EndReason, detail: str = "") -> Order:
    """End an order at `at`, with all it cost posted and its machine told.

    Its wallet is for `settle` next, its machine for `reassign`.
    """
    held = order.holds
    order = _post(tx, billing.ended(order, at, reason, detail), at)
    if held:
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


def reassign(
    tx: Connection, policy: Policy, server_id: int, now: int, settled: Settled | None = None
) -> None:
    """Give a machine to the order that should have it now, and tell the one that had it.

    A bid whose wallet can't pay its next minute ends as exhausted instead of winning.
    """
    _reassign(tx, policy, [server_id], now, settled)


def _reassign(
    tx: Connection, policy: Policy, server_ids: Iterable[int], now: int, settled: Settled | None
) -> None:
    """One machine after the other: whoever gets or loses one is settled, which may free the next."""
    waiting, touched = deque(server_ids), set() if settled is None else settled
    while waiting:
        server_id = waiting.popleft()
        while (winner := _winner(tx, server_id)) is not None:
            holder = orders.holder(tx, server_id)
            if holder is not None:
                waiting += outbid(tx, policy, holder, now, touched)
            else:
                waiting += _place(tx, policy, winner, now, touched)
    if settled is None:
        settle_again(tx, policy, touched, now)


def _winner(tx: Connection, server_id: int) -> Order | None:
    """The order that should have a machine and has not."""
    winner = spot.decide(orders.active_on_server(tx, server_id), rates.every(tx))
    return None if winner is None or winner.holds else winner


def outbid(
    tx: Connection, policy: Policy, order: Order, now: int, settled: Settled | None = None
) -> list[int]:
    """Take the machine from a bid, which waits from now on; ids of the servers to `reassign` then."""
    freed = _bring_up(tx, policy, order.account_id, order.currency, now, settled)
    current = orders.by_id(tx, order.id)
    if current is None or not current.holds:
        return freed
    _post(tx, spot.outbid(billing.stopped(current, now)), now)
    servers.assignments_changed(tx, order.server_id)
    freed += _bring_up(tx, policy, order.account_id, order.currency, now, settled)
    _tell(tx, events.Kind.ORDER_OUTBID, order, now)
    return freed


def _place(tx: Connection, policy: Policy, order: Order, now: int, settled: Settled | None) -> list[int]:
    """Give a free machine to a waiting bid; ids of the servers to `reassign` then."""
    freed = _bring_up(tx, policy, order.account_id, order.currency, now, settled)
    current = orders.by_id(tx, order.id)
    if current is None or current.state is not State.WAITING:
        return freed
    server = servers.by_id(tx, order.server_id)
    if server is not None and server.online and not _is_heard(policy, server, now):
        _take_offline(tx, server, now)
        server = None
    placed = msgspec.structs.replace(current, state=State.PLACED, posted_at=max(current.posted_at, now))
    if server is None or not server.online:
        _post(tx, placed, now)
    elif not _start(tx, placed, now):
        return freed + _bring_up(tx, policy, order.account_id, order.currency, now, settled)
    servers.assignments_changed(tx, order.server_id)
    _tell(tx, events.Kind.ORDER_WON, order, now)
    return freed + _bring_up(tx, policy, order.account_id, order.currency, now, settled)


def resume(tx: Connection, policy: Policy, server_id: int, now: int) -> None:
    """Start the meter of the order on a machine that is back; one that can't pay its next minute ends."""
    settle_holder(tx, policy, server_id, now)
    order = orders.holder(tx, server_id)
    if order is None or order.active_since is not None:
        return
    started = _start(tx, order, now)
    settle(tx, policy, order.account_id, order.currency, now)
    if not started:
        reassign(tx, policy, server_id, now)


def _start(tx: Connection, order: Order, now: int) -> bool:
    """Start the meter of an order of a settled wallet, or end the order if it can't be paid."""
    started = billing.started(order, now)
    try:
        afford(tx, started, billing.outstanding(started, now))
    except Refused as refused:
        empty = refused.refusal is Refusal.NOT_ENOUGH_BALANCE
        end(tx, order, now, EndReason.EXHAUSTED if empty else EndReason.LIMIT_REACHED)
        return False
    _post(tx, started, now)
    return True


def _tell(tx: Connection, kind: events.Kind, order: Order, now: int) -> None:
    events.append(tx, kind, now, account_id=order.account_id, server_id=order.server_id, order_id=order.id)


def take_offline(tx: Connection, policy: Policy, server_id: int, now: int) -> None:
    """Count a silent server as offline since its last heartbeat, where the meter of its order stops."""
    settle_holder(tx, policy, server_id, now)
    server = servers.by_id(tx, server_id)
    if server is not None and server.online:
        _take_offline(tx, server, now)


def _take_offline(tx: Connection, server: Server, now: int) -> Order | None:
    """The order on it, if there is one, is for `settle` next."""
    heard_until = min(server.seen_until, now)
    servers.set_presence(tx, server.id, online=False, seen_until=heard_until)
    order = orders.holder(tx, server.id)
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


def _silent(tx: Connection, policy: Policy, running: Sequence[Order], now: int) -> dict[int, Server]:
    """Id of each order whose meter runs though its host has fallen silent, and the server."""
    metered = [order for order in running if order.active_since is not None]
    machines = {order.id: servers.by_id(tx, order.server_id) for order in metered}
    return {i: server for i, server in machines.items() if server and not _is_heard(policy, server, now)}


def _is_heard(policy: Policy, server: Server, now: int) -> bool:
    return continues(server.seen_until, now, policy.offline_after_seconds)


def _is_posted(order: Order, now: int) -> bool:
    """Whether the ledger holds all that the order cost, and no time has passed for it since."""
    still = order.active_since is None or order.posted_at >= now
    return still and not billing.outstanding(order, now)


def _post(tx: Connection, order: Order, now: int) -> Order:
    """Pay the host and the market what the order cost beyond what they have; the order as kept."""
    cost = billing.cost(order, now)
    if cost.to_host > order.paid_host:
        _pay(tx, order, ledger.wallet(tx, order.host_id, order.currency), statements.RENTAL, now)
    if cost.to_market > order.paid_market:
        _pay(tx, order, ledger.market(tx, order.currency), statements.FEES, now)
    order = msgspec.structs.replace(
        order,
        paid_host=max(order.paid_host, cost.to_host),
        paid_market=max(order.paid_market, cost.to_market),
        posted_at=max(order.posted_at, now),
    )
    orders.save(tx, order)
    return order


def _pay(tx: Connection, order: Order, receiver: LedgerAccount, kind: str, now: int) -> None:
    basis = statements.basis(order, now, kind)
    amount = statements.amount(kind, basis)
    ledger.post(
        tx,
        ledger.Transfer(
            debit_id=ledger.wallet(tx, order.account_id, order.currency).id,
            credit_id=receiver.id,
            amount=amount,
            kind=kind,
            reference=f"order:{order.id}",
            idempotency_key=f"order:{order.id}:{kind}:{basis.paid_before + amount}",
            at=now,
            order_id=order.id,
            how=statements.text(kind, basis),
        ),
    )


def _limits(tx: Connection, account_id: int, currency: Currency) -> list[SpendLimit]:
    return [limit for limit in limits.of_account(tx, account_id) if limit.currency is currency]


def _purses(
    tx: Connection, wallet_id: int, running: Sequence[Order], counted: Sequence[SpendLimit]
) -> list[Purse]:
    """All that these orders draw on: the wallet, the limits of account and keys, their own limits."""
    purses = [Purse(ledger.by_id(tx, wallet_id).balance)]
    for limit in counted:
        spent = orders.charged(tx, limit.account_id, limit.currency, limit.key_id) - limit.spent_before
        ids = frozenset(order.id for order in running if limit.key_id in (None, order.key_id))
        purses.append(Purse(limit.amount - spent, ids, EndReason.LIMIT_REACHED))
    for order in running:
        if order.spend_max is not None:
            left = order.spend_max - order.paid_host - order.paid_market
            purses.append(Purse(left, frozenset({order.id}), EndReason.LIMIT_REACHED))
    return purses


def _window_ends(counted: Sequence[SpendLimit]) -> list[int]:
    return [end for end in map(_window_end, counted) if end is not None]


def _window_end(limit: SpendLimit) -> int | None:
    """When a limit that counts by UTC days starts anew."""
    return (limit.since // DAY_SECONDS + 1) * DAY_SECONDS if limit.period == "day" else None


def _turn_windows(
    tx: Connection, counted: Sequence[SpendLimit], running: Sequence[Order], start: int
) -> None:
    """Start the limits anew whose window is over at `start`."""
    for limit in counted:
        if (_window_end(limit) or start + 1) <= start:
            in_scope = [order for order in running if limit.key_id in (None, order.key_id)]
            posted = orders.charged(tx, limit.account_id, limit.currency, limit.key_id)
            owed = billing.accrued(in_scope, start - 1)
            limits.restart(tx, limit.id, start, posted + owed)


def _schedule(
    tx: Connection,
    policy: Policy,
    wallet_id: int,
    running: Sequence[Order],
    counted: Sequence[SpendLimit],
) -> None:
    """Note when the wallet runs dry, and when it must be looked at again."""
    exhausts_at = billing.runs_dry_at(_purses(tx, wallet_id, running, counted), running)
    times = [order.ends_at for order in running]
    times += [order.posted_at + policy.post_every_seconds for order in running if order.active_since]
    times += _window_ends(counted) if running else []
    times += [exhausts_at] if exhausts_at is not None else []
    ledger.schedule(tx, wallet_id, exhausts_at, min(times, default=None))
