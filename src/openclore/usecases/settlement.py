"""Bringing the ledger up to date, and machines to the orders that should have them.

The only place where orders turn into transfers. All of it happens in the books of one transaction.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from ..api.codes import Refusal
from ..api.currencies import Currency
from ..rules import billing, spot, statements
from ..rules.billing import Cost, Purse
from ..rules.orders import EndReason, Order, State
from ..rules.policy import Policy
from ..rules.refused import Refused
from ..rules.servers import DAY_SECONDS, continues
from ..store import events, ledger, servers
from ..store.failures import cause
from ..store.ledger import LedgerAccount
from ..store.limits import SpendLimit
from ..store.servers import Presence
from ..store.store import StoreBusy
from .books import Books, Wallet
from .market import Market

WALLETS_AT_ONCE = 32
"""What the loop settles in one transaction, about a tenth of a second for wallets with dozens of orders each:
callers wait so long.
"""


@contextmanager
def settling(tx: Connection, policy: Policy, now: int) -> Iterator[Books]:
    """The books of one transaction. At the end every wallet that was looked at is settled, every machine that
    became free has the order that should have it, and all is written.

    A wallet is settled again only after an order of it has changed, once for all that have: settling looks at
    all of them.
    """
    books = Books(tx, policy, now)
    yield books
    reassign(books)
    while stale := [wallet for wallet in books.wallets() if wallet.stale]:
        for wallet in stale:
            _settle(books, wallet)
            reassign(books)
    for wallet in books.wallets():
        if wallet.settled:
            _schedule(books, wallet)
    books.write()


def settle(tx: Connection, policy: Policy, account_id: int, currency: Currency, now: int) -> None:
    """Bring one wallet up to `now`."""
    with settling(tx, policy, now) as books:
        bring_up(books, account_id, currency)


def settle_due(market: Market, now: int) -> None:
    """Settle every wallet whose time has come. One that fails keeps no other waiting.

    Raises:
        ExceptionGroup: what failed, once all others are settled.
        StoreBusy, SQLAlchemyError: nothing can be written at present.
    """
    with market.store.reading() as tx:
        due = ledger.wallets_due(tx, now)
    together = deque(due[first : first + WALLETS_AT_ONCE] for first in range(0, len(due), WALLETS_AT_ONCE))
    failed = []
    while together:
        wallets = together.popleft()
        try:
            _settle_together(market, wallets, now)
        except Exception as error:
            if isinstance(error, StoreBusy) or (isinstance(error, SQLAlchemyError) and cause(error)):
                raise  # so it would be for all
            if len(wallets) > 1:
                together.extend([wallet] for wallet in wallets)
            else:
                failed.append(error)
    if failed:
        raise ExceptionGroup("wallets that can't be settled", failed)


def _settle_together(market: Market, wallets: Sequence[LedgerAccount], now: int) -> None:
    with market.store.writing() as tx, settling(tx, market.policy, now) as books:
        books.read(wallet.account_id or 0 for wallet in wallets)
        for wallet in wallets:
            bring_up(books, wallet.account_id or 0, wallet.currency)


def bring_up(books: Books, account_id: int, currency: Currency) -> None:
    """Bring one wallet up to `now`: end what reached its end, each at its second, then post what accrued.

    Nobody is charged for a host's silence, whether or not the loop has noticed it yet. A machine that becomes
    free goes to the best bid that waits for it. A wallet that these books have brought up is left alone.
    """
    _bring_up(books, account_id, currency)
    reassign(books)


def bring_up_account(books: Books, account_id: int) -> None:
    """Bring all wallets of an account that have running orders up to `now`."""
    for currency in sorted({order.currency for order in books.active_of(account_id)}):
        bring_up(books, account_id, currency)


def bring_up_holder(books: Books, server_id: int) -> None:
    """Bring the wallet that pays for a machine up to `now`: its order may have reached its end."""
    holder = books.holder(server_id)
    if holder is not None:
        bring_up(books, holder.account_id, holder.currency)


def _bring_up(books: Books, account_id: int, currency: Currency) -> None:
    wallet = books.wallet(account_id, currency)
    if not wallet.settled:
        _settle(books, wallet)


def _settle(books: Books, wallet: Wallet) -> None:
    """What `bring_up` says, but for who gets the machines."""
    now = books.now
    running = _running(books, wallet)
    silent = _silent(books, running)
    while True:
        window_end = min(_window_ends(wallet), default=now + 1)
        first_silent = min(silent, key=lambda order_id: silent[order_id].seen_until, default=None)
        heard_until = now if first_silent is None else min(silent[first_silent].seen_until, now)
        ending = billing.next_ending(
            _purses(books, wallet, running), running, min(heard_until, window_end - 1)
        )
        if ending is not None:
            for order in (order for order in running if order.id in ending.order_ids):
                end(books, order, ending.at, ending.reason)
                silent.pop(order.id, None)
        elif first_silent is not None and heard_until < window_end:
            _take_offline(books, silent.pop(first_silent))
        elif window_end <= now:
            _turn_windows(books, wallet, running, window_end if running else now // DAY_SECONDS * DAY_SECONDS)
        else:
            break
        running = _running(books, wallet)
    for order in running:
        if not _is_posted(order, now):
            _post(books, order, now)
    wallet.settled, wallet.stale = True, False


def _running(books: Books, wallet: Wallet) -> list[Order]:
    return [order for order in books.active_of(wallet.account_id) if order.currency is wallet.currency]


def afford(books: Books, order: Order, due: int, reserve: int = 0) -> None:
    """Whether a settled wallet and the limits on it cover what is due for an order, the wallet a reserve too.

    Raises:
        Refused: not_enough_balance or spend_limit_reached.
    """
    wallet = books.wallet(order.account_id, order.currency)
    for purse in _purses(books, wallet, [order]):
        exhausted = purse.reason is EndReason.EXHAUSTED
        if purse.drawn_by([order]) and purse.left < due + (reserve if exhausted else 0):
            raise Refused(Refusal.NOT_ENOUGH_BALANCE if exhausted else Refusal.SPEND_LIMIT_REACHED)


def begin(books: Books, order: Order) -> Order:
    """Take in a new order of a settled wallet, its first minute posted if it runs; the same with its id."""
    cost = billing.cost(order, books.now)
    begun = books.add(msgspec.structs.replace(order, paid_host=cost.to_host, paid_market=cost.to_market))
    _pay(books, msgspec.structs.replace(order, id=begun.id), cost, books.now)
    return begun


def end(books: Books, order: Order, at: int, reason: EndReason, detail: str = "") -> None:
    """End an order at `at`, with all it cost posted and its machine told, which is free from then on."""
    ended = billing.ended(order, at, reason, detail)
    _post(books, ended, at)
    if order.holds:
        servers.assignments_changed(books.tx, order.server_id)
    books.freed.append(order.server_id)
    events.append(
        books.tx,
        events.Kind.ORDER_ENDED,
        at,
        account_id=order.account_id,
        server_id=order.server_id,
        order_id=order.id,
        reason=reason,
        detail=detail,
        **charged_until(ended, billing.last_second(at, reason)),
    )


def charged_until(order: Order, at: int) -> dict[str, int]:
    """What the log says of an order that was charged for more than the time until `at`: by who came later and
    wrote earlier. Without it nobody could tell from the log how long its meter ran.
    """
    return {"charged_until": order.posted_at} if order.posted_at > at else {}


def reassign(books: Books, *server_ids: int) -> None:
    """Give these machines, and those that became free, to the orders that should have them now.

    One after the other: whoever gets or loses one is told, and settled, which may free the next. A bid whose
    wallet can't pay its next minute ends as exhausted instead of winning.
    """
    books.freed.extendleft(server_ids)
    while books.freed:
        server_id = books.freed.popleft()
        while (winner := _winner(books, server_id)) is not None:
            holder = books.holder(server_id)
            if holder is not None:
                outbid(books, holder)
            else:
                _place(books, winner)


def _winner(books: Books, server_id: int) -> Order | None:
    """The order that should have a machine and has not."""
    present = books.active_on(server_id)
    if all(order.holds for order in present):
        return None
    winner = spot.decide(present, books.rates)
    return None if winner is None or winner.holds else winner


def outbid(books: Books, order: Order) -> None:
    """Take the machine from a bid, which waits from now on."""
    _bring_up(books, order.account_id, order.currency)
    current = books.order(order.id)
    if current is None or not current.holds:
        return
    waiting = spot.outbid(billing.stopped(current, books.now))
    _post(books, waiting, books.now)
    servers.assignments_changed(books.tx, order.server_id)
    _tell(books, events.Kind.ORDER_OUTBID, waiting)


def _place(books: Books, order: Order) -> None:
    """Give a free machine to a waiting bid."""
    now = books.now
    _bring_up(books, order.account_id, order.currency)
    current = books.order(order.id)
    if current is None or current.state is not State.WAITING:
        return
    machine = books.presence(order.server_id)
    if machine is not None and machine.online and not _is_heard(books, machine):
        _take_offline(books, machine)
        machine = None
    placed = msgspec.structs.replace(current, state=State.PLACED, posted_at=max(current.posted_at, now))
    if machine is None or not machine.online:
        _post(books, placed, now)
    elif not _start(books, placed):
        return
    servers.assignments_changed(books.tx, order.server_id)
    _tell(books, events.Kind.ORDER_WON, placed)


def resume(books: Books, server_id: int) -> None:
    """Start the meter of the order on a machine that is back; one that can't pay its next minute ends."""
    bring_up_holder(books, server_id)
    order = books.holder(server_id)
    if order is not None and order.active_since is None:
        _start(books, order)


def _start(books: Books, order: Order) -> bool:
    """Start the meter of an order of a settled wallet, or end the order if it can't be paid."""
    started = billing.started(order, books.now)
    try:
        afford(books, started, billing.outstanding(started, books.now))
    except Refused as refused:
        empty = refused.refusal is Refusal.NOT_ENOUGH_BALANCE
        end(books, order, books.now, EndReason.EXHAUSTED if empty else EndReason.LIMIT_REACHED)
        return False
    _post(books, started, books.now)
    return True


def _tell(books: Books, kind: events.Kind, order: Order) -> None:
    events.append(
        books.tx,
        kind,
        books.now,
        account_id=order.account_id,
        server_id=order.server_id,
        order_id=order.id,
        **charged_until(order, books.now),
    )


def take_offline(books: Books, server_id: int) -> None:
    """Count a silent server as offline since its last heartbeat, where the meter of its order stops."""
    bring_up_holder(books, server_id)
    machine = books.presence(server_id)
    if machine is not None and machine.online:
        _take_offline(books, machine)


def _take_offline(books: Books, machine: Presence) -> None:
    heard_until = min(machine.seen_until, books.now)
    books.take_offline(machine, heard_until)
    order = books.holder(machine.id)
    if order is not None:
        order = billing.stopped(order, heard_until)
        books.put(order)
    events.append(
        books.tx,
        events.Kind.SERVER_OFFLINE,
        books.now,
        account_id=machine.account_id,
        server_id=machine.id,
        seen_until=heard_until,
        charged_until=None if order is None else order.posted_at,
    )


def _silent(books: Books, running: Sequence[Order]) -> dict[int, Presence]:
    """Id of each order whose meter runs though its host has fallen silent, and the server."""
    metered = [order for order in running if order.active_since is not None]
    machines = books.presences([order.server_id for order in metered])
    return {
        order.id: machines[order.server_id]
        for order in metered
        if order.server_id in machines and not _is_heard(books, machines[order.server_id])
    }


def _is_heard(books: Books, machine: Presence) -> bool:
    return continues(machine.seen_until, books.now, books.policy.offline_after_seconds)


def _is_posted(order: Order, now: int) -> bool:
    """Whether the ledger holds all that the order cost, and no time has passed for it since."""
    still = order.active_since is None or order.posted_at >= now
    return still and not billing.outstanding(order, now)


def _post(books: Books, order: Order, at: int) -> None:
    """Pay the host and the market what the order cost beyond what they have, and keep the order."""
    cost = billing.cost(order, at)
    _pay(books, order, cost, at)
    books.note(
        order,
        paid_host=max(order.paid_host, cost.to_host),
        paid_market=max(order.paid_market, cost.to_market),
        posted_at=max(order.posted_at, at),
    )


def _pay(books: Books, order: Order, cost: Cost, at: int) -> None:
    """Post what an order has cost beyond what it has paid."""
    if cost.to_host > order.paid_host:
        how = statements.text(statements.RENTAL, statements.basis(order, at, statements.RENTAL))
        books.pay(order, order.host_id, statements.RENTAL, order.paid_host, cost.to_host, how, at)
    if cost.to_market > order.paid_market:
        how = statements.text(statements.FEES, statements.basis(order, at, statements.FEES))
        books.pay(order, None, statements.FEES, order.paid_market, cost.to_market, how, at)


def _purses(books: Books, wallet: Wallet, running: Sequence[Order]) -> list[Purse]:
    """All that these orders draw on: the wallet, the limits of account and keys, their own limits."""
    purses = [Purse(books.balance(wallet))]
    for limit in wallet.limits:
        spent = wallet.charged[limit.id] - limit.spent_before
        ids = frozenset(order.id for order in running if limit.key_id in (None, order.key_id))
        purses.append(Purse(limit.amount - spent, ids, EndReason.LIMIT_REACHED))
    for order in running:
        if order.spend_max is not None:
            left = order.spend_max - order.paid_host - order.paid_market
            purses.append(Purse(left, frozenset({order.id}), EndReason.LIMIT_REACHED))
    return purses


def _window_ends(wallet: Wallet) -> list[int]:
    return [end for end in map(_window_end, wallet.limits) if end is not None]


def _window_end(limit: SpendLimit) -> int | None:
    """When a limit that counts by UTC days starts anew."""
    return (limit.since // DAY_SECONDS + 1) * DAY_SECONDS if limit.period == "day" else None


def _turn_windows(books: Books, wallet: Wallet, running: Sequence[Order], start: int) -> None:
    """Start the limits anew whose window is over at `start`."""
    for limit in wallet.limits:
        if (_window_end(limit) or start + 1) <= start:
            in_scope = [order for order in running if limit.key_id in (None, order.key_id)]
            owed = billing.accrued(in_scope, start - 1)
            books.restart(wallet, limit, start, wallet.charged[limit.id] + owed)


def _schedule(books: Books, wallet: Wallet) -> None:
    """Note when the wallet runs dry, and when it must be looked at again."""
    running = _running(books, wallet)
    exhausts_at = billing.runs_dry_at(_purses(books, wallet, running), running)
    times = [order.ends_at for order in running]
    times += [order.posted_at + books.policy.post_every_seconds for order in running if order.active_since]
    times += _window_ends(wallet) if running else []
    times += [exhausts_at] if exhausts_at is not None else []
    books.schedule(wallet, exhausts_at, min(times, default=None))
