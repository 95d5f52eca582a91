"""Wallets and their orders as one transaction sees and changes them: each is read once and written once.

What is in the books is changed there and nowhere else until they are written.
"""

from collections import deque
from collections.abc import Collection, Iterable

import msgspec
from sqlalchemy import Connection

from ..api.currencies import Currency
from ..rules.orders import Order, State
from ..rules.policy import Policy
from ..rules.servers import Server
from ..store import ledger, limits, orders, rates, servers
from ..store.ledger import LedgerAccount, Transfer
from ..store.limits import SpendLimit
from ..store.servers import Presence


class Wallet(msgspec.Struct, kw_only=True):
    """An account's money in one currency, and the limits on it.

    `charged` is limit id to what the orders in its scope have been charged, as posted. `settled` is whether
    it was brought up to `now`, `stale` whether an order of it has changed since.
    """

    id: int
    account_id: int
    currency: Currency
    limits: list[SpendLimit]
    charged: dict[int, int]
    settled: bool = False
    stale: bool = False


class Books:
    """What one transaction does at `now`. `freed` are servers that another order may have by now."""

    def __init__(self, tx: Connection, policy: Policy, now: int) -> None:
        self.tx = tx
        self.policy = policy
        self.now = now
        self.freed: deque[int] = deque()
        self._wallets: dict[tuple[int, Currency], Wallet] = {}
        self._limits: dict[int, list[SpendLimit]] = {}
        self._orders: dict[int, Order] = {}
        self._of_account: dict[int, list[int]] = {}
        self._on_server: dict[int, list[int]] = {}
        self._presences: dict[int, Presence | None] = {}
        self._rates: dict[Currency, int] = {}
        self._journal = ledger.Journal()
        self._ledger_ids: dict[tuple[int | None, Currency], int] = {}
        self._expected: set[int] = set()
        self._changed: set[int] = set()
        self._posted: set[int] = set()

    # Reading ----------------------------------------------------------------------------------------

    def read(self, account_ids: Iterable[int]) -> None:
        """Read the orders of these accounts that are not over, and what settling them takes."""
        new = [account_id for account_id in dict.fromkeys(account_ids) if account_id not in self._of_account]
        if not new:
            return
        for account_id in new:
            self._of_account[account_id], self._limits[account_id] = [], []
        for order in orders.active_of(self.tx, new):
            self._orders.setdefault(order.id, order)
            self._of_account[order.account_id].append(order.id)
            self._expected.add(order.host_id)
        self.presences([o.server_id for i in new for o in self.active_of(i) if o.active_since is not None])
        for limit in limits.of_accounts(self.tx, new):
            self._limits[limit.account_id].append(limit)
        self._expected.update(new)

    def expect(self, account_id: int) -> None:
        """An account will be paid: its ledger accounts are read with the next ones."""
        self._expected.add(account_id)

    def wallet(self, account_id: int, currency: Currency) -> Wallet:
        """An account's wallet, opened if it had none."""
        wallet = self._wallets.get((account_id, currency))
        if wallet is None:
            self.read([account_id])
            limited = [limit for limit in self._limits[account_id] if limit.currency is currency]
            wallet = self._wallets[account_id, currency] = Wallet(
                id=self._ledger_id(account_id, currency),
                account_id=account_id,
                currency=currency,
                limits=limited,
                charged={
                    limit.id: orders.charged(self.tx, account_id, currency, limit.key_id) for limit in limited
                },
            )
        return wallet

    def wallets(self) -> list[Wallet]:
        """Those that were looked at."""
        return [wallet for _, wallet in sorted(self._wallets.items())]

    def balance(self, wallet: Wallet) -> int:
        return self._journal[wallet.id].balance

    def order(self, order_id: int) -> Order | None:
        if order_id not in self._orders:
            found = orders.by_id(self.tx, order_id)
            if found is None:
                return None
            self._orders[order_id] = found
        return self._orders[order_id]

    def active_of(self, account_id: int) -> list[Order]:
        """An account's orders that are not over, oldest first."""
        self.read([account_id])
        return self._active(self._of_account[account_id])

    def active_on(self, server_id: int) -> list[Order]:
        """The orders on a machine that are not over, oldest first."""
        if server_id not in self._on_server:
            found = orders.active_on_server(self.tx, server_id)
            for order in found:
                self._orders.setdefault(order.id, order)
            self._on_server[server_id] = [order.id for order in found]
        return self._active(self._on_server[server_id])

    def _active(self, order_ids: Collection[int]) -> list[Order]:
        found = (self._orders[order_id] for order_id in order_ids)
        return [order for order in found if order.state is not State.ENDED]

    def holder(self, server_id: int) -> Order | None:
        """The order that holds a machine."""
        return next((order for order in self.active_on(server_id) if order.holds), None)

    def presences(self, server_ids: Collection[int]) -> dict[int, Presence]:
        """Server id to presence, for those that are not removed."""
        new = [server_id for server_id in server_ids if server_id not in self._presences]
        if new:
            self._presences.update(dict.fromkeys(new))
            self._presences.update({found.id: found for found in servers.presences(self.tx, new)})
        known = ((server_id, self._presences[server_id]) for server_id in server_ids)
        return {server_id: presence for server_id, presence in known if presence is not None}

    def presence(self, server_id: int) -> Presence | None:
        return self.presences([server_id]).get(server_id)

    def server(self, server_id: int) -> Server | None:
        """A server that is not removed, as it is now."""
        found = servers.by_id(self.tx, server_id)
        if found is not None:
            self._presences[server_id] = Presence(found.id, found.account_id, found.online, found.seen_until)
        return found

    @property
    def rates(self) -> dict[Currency, int]:
        """Currency to 10⁻⁸ dollars for one unit."""
        if not self._rates:
            self._rates = rates.every(self.tx)
        return self._rates

    # Changing ---------------------------------------------------------------------------------------

    def add(self, order: Order) -> Order:
        """Take in a new order; the same with its id."""
        wallet = self.wallet(order.account_id, order.currency)
        self._save()
        order = orders.add(self.tx, order)
        self._orders[order.id] = order
        for listed in (self._of_account.get(order.account_id), self._on_server.get(order.server_id)):
            if listed is not None:
                listed.append(order.id)
        wallet.stale = True
        return order

    def put(self, order: Order) -> None:
        """Take in an order as it is now."""
        self._orders[order.id] = order
        self._changed.add(order.id)
        self.wallet(order.account_id, order.currency).stale = True

    def note(self, order: Order, *, paid_host: int, paid_market: int, posted_at: int) -> None:
        """Take in an order, and what it has paid by then."""
        if order is not self._orders[order.id]:
            self._changed.add(order.id)
        self._orders[order.id] = msgspec.structs.replace(
            order, paid_host=paid_host, paid_market=paid_market, posted_at=posted_at
        )
        self._posted.add(order.id)
        self.wallet(order.account_id, order.currency).stale = True

    def pay(
        self, order: Order, receiver_id: int | None, kind: str, before: int, after: int, how: str, at: int
    ) -> None:
        """Post what an order's renter pays to an account (to the market, if None), which was paid so much
        for it `before` and will be `after`.

        Raises:
            InsufficientFunds: the wallet does not hold it.
        """
        wallet = self.wallet(order.account_id, order.currency)
        self._journal.post(
            Transfer(
                debit_id=wallet.id,
                credit_id=self._ledger_id(receiver_id, order.currency),
                amount=after - before,
                kind=kind,
                reference=f"order:{order.id}",
                idempotency_key=f"order:{order.id}:{kind}:{after}",
                at=at,
                order_id=order.id,
                how=how,
            )
        )
        for limit in wallet.limits:
            if limit.key_id in (None, order.key_id):
                wallet.charged[limit.id] += after - before

    def schedule(self, wallet: Wallet, exhausts_at: int | None, due_at: int | None) -> None:
        """Note when a wallet runs dry and when it needs a look."""
        self._journal.schedule(wallet.id, exhausts_at, due_at)

    def restart(self, wallet: Wallet, limit: SpendLimit, since: int, spent_before: int) -> None:
        """Have a limit count from then on."""
        limits.restart(self.tx, limit.id, since, spent_before)
        restarted = msgspec.structs.replace(limit, since=since, spent_before=spent_before)
        wallet.limits = [restarted if known is limit else known for known in wallet.limits]

    def take_offline(self, presence: Presence, seen_until: int) -> None:
        """Have a server count as away."""
        servers.set_presence(self.tx, presence.id, online=False, seen_until=seen_until)
        self._presences[presence.id] = presence._replace(online=False, seen_until=seen_until)

    # Writing ----------------------------------------------------------------------------------------

    def write(self) -> None:
        """Write what was changed."""
        self._save()
        self._journal.write(self.tx)

    def _save(self) -> None:
        orders.save(self.tx, [self._orders[order_id] for order_id in sorted(self._changed)])
        posted = sorted(self._posted - self._changed)
        orders.save_posted(self.tx, [self._orders[order_id] for order_id in posted])
        self._changed.clear()
        self._posted.clear()

    def _ledger_id(self, account_id: int | None, currency: Currency) -> int:
        """The id of an account's wallet, or of what is the market's, known to the journal."""
        if (account_id, currency) not in self._ledger_ids:
            if account_id is not None:
                self._expected.add(account_id)
            for found in ledger.accounts_of(self.tx, sorted(self._expected)):
                self._know(found)
            self._expected.clear()
        if (account_id, currency) not in self._ledger_ids:
            if account_id is None:
                self._know(ledger.market(self.tx, currency))
            else:
                self._know(ledger.wallet(self.tx, account_id, currency))
        return self._ledger_ids[account_id, currency]

    def _know(self, account: LedgerAccount) -> None:
        self._journal.know(account)
        self._ledger_ids[account.account_id, account.currency] = account.id
