"""Recomputing all money from what it is made of: orders, their prices, transfers."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import msgspec
from sqlalchemy import Connection

from ..api.currencies import Currency
from ..rules import billing, money, statements
from ..rules.orders import Order
from ..store import audit
from ..store.audit import Owned, Payment, Priced, Rented, Side
from ..store.ledger import Kind, chained
from .market import Market


class Difference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first thing that is not as it must be. `account` is an e-mail address, or what the account is."""

    what: str
    expected: str
    found: str
    account: str | None = None
    currency: str | None = None
    order_id: int | None = None
    transfer_id: int | None = None

    def __str__(self) -> str:
        places = (
            ("order", self.order_id),
            ("account", self.account),
            ("currency", self.currency),
            ("transfer", self.transfer_id),
        )
        where = ", ".join(f"{name} {value}" for name, value in places if value is not None)
        return f"{where}: {self.what}: expected {self.expected}, found {self.found}"


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What came in from outside in a currency and who has it now, as decimal texts."""

    came_in: str
    wallets: str
    market: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How much was checked, what is held, and the first difference (None: everything adds up)."""

    accounts: int
    orders: int
    transfers: int
    held: dict[Currency, Held]
    difference: Difference | None


class _Found(Exception):
    """Ends the search."""

    def __init__(self, what: str, expected: object, found: object, **where: object) -> None:
        super().__init__(what)
        self.difference = msgspec.convert(
            {"what": what, "expected": str(expected), "found": str(found), **where}, Difference
        )


def verify(market: Market) -> Verdict:
    """Recompute every order's cost, every transfer, every balance and hash, and what each currency holds.

    Orders come first: what is wrong with a charge is said of the order. It reads one moment of the market,
    which goes on meanwhile, once from front to back, and remembers one order and one account at a time.
    """
    counted: Counter[str] = Counter()
    sums: Counter[tuple[Currency, Kind]] = Counter()
    difference = None
    with market.store.reading() as tx:
        try:
            _check_orders(tx, counted)
            _check_ledger_accounts(tx, counted, sums)
        except _Found as found:
            difference = found.difference
    return Verdict(
        accounts=counted["accounts"],
        orders=counted["orders"],
        transfers=counted["transfers"],
        held={
            currency: Held(
                came_in=money.to_text(-sums[currency, Kind.OUTSIDE]),
                wallets=money.to_text(sums[currency, Kind.WALLET]),
                market=money.to_text(sums[currency, Kind.MARKET]),
            )
            for currency in Currency
            if any(sums[currency, kind] for kind in Kind)
        },
        difference=difference,
    )


# Orders ---------------------------------------------------------------------------------------------


def _check_orders(tx: Connection, counted: Counter[str]) -> None:
    payments = _Groups(audit.payments_by_order(tx), lambda payment: payment.order_id)
    prices = _Groups(audit.prices_by_order(tx), lambda priced: priced.order_id)
    for rented in audit.orders_by_id(tx):
        counted["orders"] += 1
        _refuse(payments.before(rented.order.id))
        prices.before(rented.order.id)
        _check_order(rented, payments.of(rented.order.id), list(prices.of(rented.order.id)))
    _refuse(payments.before(None))


def _refuse(payment: Payment | None) -> None:
    """A payment whose order is not there."""
    if payment is not None:
        raise _Found(
            f"the transfer ({payment.kind}) is for an order that is not there",
            "no transfer",
            money.to_text(payment.amount),
            order_id=payment.order_id,
            transfer_id=payment.id,
            currency=payment.from_currency,
        )


def _check_order(rented: Rented, payments: Iterator[Payment], prices: list[Priced]) -> None:
    order = rented.order
    where = {"order_id": order.id, "account": rented.renter, "currency": order.currency}
    if not prices:
        raise _Found("how it began", "an event order_created", "none", **where)
    if prices[-1].price not in (None, order.price):
        raise _Found(
            "its price per day, after all changes of price",
            money.to_text(prices[-1].price or 0),
            money.to_text(order.price),
            **where,
        )
    paid: Counter[str] = Counter()
    minutes = 0
    for payment in payments:
        minutes = _check_payment(order, payment, prices, paid, minutes, where)
        paid[payment.kind] += payment.amount
    cost = billing.cost(order, order.posted_at)
    for kind, due, noted in (
        (statements.RENTAL, cost.to_host, order.paid_host),
        (statements.FEES, cost.to_market, order.paid_market),
    ):
        for what, expected, found in (
            (f"all its transfers ({kind}), by its price, minutes and fees", due, paid[kind]),
            (f"what the order notes as paid ({kind}), by its transfers", paid[kind], noted),
        ):
            if found != expected:
                raise _Found(what, money.to_text(expected), money.to_text(found), **where)


def _check_payment(
    order: Order,
    payment: Payment,
    prices: list[Priced],
    paid: Counter[str],
    minutes_before: int,
    where: dict[str, object],
) -> int:
    """Check one transfer of an order; the minutes it is computed from.

    `prices` are those it may go by, in the order in which they came; those that were over are taken out.
    Times say less than this order: who waits for his turn to write then acts at the second at which he came.
    """
    where = where | {"transfer_id": payment.id}
    kind = payment.kind
    receiver = (Kind.WALLET, order.host_id) if kind == statements.RENTAL else (Kind.MARKET, None)
    expected_ends = (Kind.WALLET, order.account_id, order.currency, *receiver, order.currency)
    if kind not in (statements.RENTAL, statements.FEES) or payment[6:] != expected_ends:
        raise _Found(
            f"from whom the transfer ({kind}) goes to whom",
            _ends(*expected_ends),
            _ends(*payment[6:]),
            **where,
        )
    if not payment.how:
        return minutes_before
    basis = statements.parsed(payment.how)
    if basis is None:
        raise _Found("how the transfer was computed", "price, minutes, fees", repr(payment.how), **where)
    # One more than there were: a meter may start again at the second at which somebody waited for his turn.
    most_minutes = billing.started_minutes(max(0, payment.at - order.created_at)) + 1
    both = kind == statements.FEES
    for what, expected, found in (
        ("host_fee", order.host_fee, basis.host_fee),
        ("renter_fee", order.renter_fee if both else 0, basis.renter_fee),
        ("creation_fee", order.creation_fee if basis.creation_fee else 0, basis.creation_fee),
        ("paid_before", paid[kind], basis.paid_before),
        ("minutes", min(max(basis.minutes, minutes_before), most_minutes), basis.minutes),
    ):
        if found != expected:
            raise _Found(f"{what} in the transfer ({kind}: {payment.how})", expected, found, **where)
    fitting = [n for n, priced in enumerate(prices) if priced.price in (None, basis.price)]
    if not fitting:
        raise _Found(
            f"the price in the transfer ({kind}: {payment.how})",
            " or ".join(money.to_text(priced.price or 0) for priced in prices),
            money.to_text(basis.price),
            **where,
        )
    del prices[: fitting[0]]
    due = statements.amount(kind, basis)
    if payment.amount != due:
        raise _Found(
            f"the transfer's amount ({kind}: {payment.how})",
            money.to_text(due),
            money.to_text(payment.amount),
            **where,
        )
    return basis.minutes


def _ends(*ends: object) -> str:
    """
    >>> _ends("wallet", 1, "bitcoin", "market", None, "bitcoin")
    'wallet 1 bitcoin -> market bitcoin'
    """
    names = ["" if part is None else str(part) for part in ends]
    return " -> ".join(" ".join(filter(None, half)) for half in (names[:3], names[3:]))


# Accounts -------------------------------------------------------------------------------------------


def _check_ledger_accounts(
    tx: Connection, counted: Counter[str], sums: Counter[tuple[Currency, Kind]]
) -> None:
    sides = _Groups(audit.sides_by_ledger_account(tx), lambda side: side.ledger_account_id)
    for owned in audit.ledger_accounts_by_id(tx):
        counted["accounts"] += 1
        counted["transfers"] += _check_ledger_account(owned, sides.of(owned.account.id))
        sums[owned.account.currency, owned.account.kind] += owned.account.balance
    for currency in Currency:
        total = sum(sums[currency, kind] for kind in Kind)
        if total:
            raise _Found(
                "what is in the market beyond what came in from outside",
                0,
                money.to_text(total),
                currency=currency,
            )


def _check_ledger_account(owned: Owned, sides: Iterator[Side]) -> int:
    """Check an account's chain and balance; how many transfers went into it."""
    account = owned.account
    where = {"account": owned.owner, "currency": account.currency}
    head, balance, incoming = b"", 0, 0
    for side in sides:
        incoming += side.change > 0
        balance += side.change
        head = chained(
            head,
            currency=account.currency,
            at=side.at,
            kind=side.kind,
            reference=side.reference,
            amount=side.change,
            balance=balance,
            how=side.how,
        )
        if side.order_id is None and side.kind in (statements.RENTAL, statements.FEES):
            raise _Found(
                f"what the transfer ({side.kind}) is for", "an order", "none", **where, transfer_id=side.id
            )
        if balance != side.balance:
            raise _Found(
                f"the balance that the transfer ({side.kind}, {side.reference}) led to",
                money.to_text(balance),
                money.to_text(side.balance),
                **where,
                transfer_id=side.id,
            )
        if head != side.hash:
            raise _Found(
                f"the hash of the transfer ({side.kind}, {side.reference}), by what it and those before say",
                head.hex(),
                bytes(side.hash).hex(),
                **where,
                transfer_id=side.id,
            )
    if balance != account.balance:
        raise _Found(
            "the balance, by its transfers", money.to_text(balance), money.to_text(account.balance), **where
        )
    if head != account.head:
        raise _Found("the hash of the last transfer", head.hex(), account.head.hex(), **where)
    return incoming


# Reading in step ------------------------------------------------------------------------------------

Row = TypeVar("Row")


class _Groups(Generic[Row]):
    """Rows in the order of their keys, taken key by key."""

    def __init__(self, rows: Iterator[Row], key_of: Callable[[Row], int]) -> None:
        self._rows = rows
        self._key_of = key_of
        self._next = next(rows, None)

    def before(self, key: int | None) -> Row | None:
        """Pass over what comes before a key (the end, if None); the first of it."""
        first = None
        while self._next is not None and (key is None or self._key_of(self._next) < key):
            first = self._next if first is None else first
            self._next = next(self._rows, None)
        return first

    def of(self, key: int) -> Iterator[Row]:
        while self._next is not None and self._key_of(self._next) == key:
            row = self._next
            self._next = next(self._rows, None)
            yield row
