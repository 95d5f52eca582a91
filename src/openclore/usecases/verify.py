"""Recomputing all money from what it is made of: orders, their prices, transfers."""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from itertools import zip_longest
from typing import Generic, TypeVar

import msgspec
from msgspec import UNSET
from sqlalchemy import Connection

from ..api.currencies import Currency
from ..rules import billing, money, statements
from ..rules.billing import Purse
from ..rules.orders import Order, State
from ..rules.statements import Basis
from ..store import audit
from ..store.audit import Credit, Dangling, Drawing, End, Happening, Owned, Parties, Payment, Rented, Side
from ..store.events import Kind as EventKind
from ..store.ledger import Kind, LedgerAccount, chained
from .market import Market
from .retrace import AHEAD_SECONDS_MAX, Contradiction, Retraced, Segment, retraced

CREDIT = "credit"


class Difference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first thing that is not as it must be. `account` is an e-mail address, "market" or "outside"."""

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
        said = (where, self.what, f"expected {self.expected}, found {self.found}")
        return ": ".join(filter(None, said))


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
    with market.store.reading() as tx, ExitStack() as opened:
        try:
            _check_orders(tx, opened, counted)
            _check_ledger_accounts(tx, opened, counted, sums)
            _check_credits(tx, opened)
            _refuse_dangling(next(audit.dangling(tx), None))
        except _Found as found:
            difference = found.difference
        except audit.Unreadable as row:
            difference = _Found(str(row), "one that can be read", row.reason).difference
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


def _check_orders(tx: Connection, opened: ExitStack, counted: Counter[str]) -> None:
    payments = _Groups(opened, audit.payments_by_order(tx), lambda payment: payment.order_id)
    log = _Groups(opened, audit.happenings_by_order(tx), lambda happening: happening.order_id or 0)
    for rented in opened.enter_context(closing(audit.orders_by_id(tx))):
        counted["orders"] += 1
        _refuse(payments.before(rented.order.id))
        _refuse_history(log.before(rented.order.id))
        _check_order(rented, payments.of(rented.order.id), list(log.of(rented.order.id)))
    _refuse(payments.before(None))
    _refuse_history(log.before(None))


def _refuse(payment: Payment | None) -> None:
    """A payment whose order is not there."""
    if payment is not None:
        raise _Found(
            f"the transfer ({payment.kind}) is for an order that is not there",
            "no transfer",
            money.to_text(payment.amount),
            order_id=payment.order_id,
            transfer_id=payment.id,
            currency=payment.debit.currency,
        )


def _refuse_history(happening: Happening | None) -> None:
    """Something that happened to an order that is not there."""
    if happening is not None:
        raise _Found(
            "the order that the log is about",
            "an order",
            f"none (event {happening.id})",
            order_id=happening.order_id,
        )


def _check_order(rented: Rented, payments: Iterator[Payment], log: list[Happening]) -> None:
    order = rented.order
    where: dict[str, object] = {
        "order_id": order.id,
        "account": rented.renter,
        "currency": order.currency,
    }
    for what, whom, there in (
        ("who rents", f"account {order.account_id}", rented.renter),
        ("who hosts", f"account {order.host_id}", rented.host),
        ("on which server it is", f"server {order.server_id}", rented.heard_until),
    ):
        if there is None:
            raise _Found(what, whom, f"no such {whom.split()[0]}", **where)
    history = _retraced(rented, log, where)
    _check_against_log(rented, history, where)
    paid: Counter[str] = Counter()
    segments = deque(history.segments)
    for payment in payments:
        _check_payment(order, payment, history, segments, paid, where)
        paid[payment.kind] += payment.amount
        key = f"order:{order.id}:{payment.kind}:{paid[payment.kind]}"
        if payment.key != key:
            what = f"the idempotency key of the transfer ({payment.kind})"
            raise _Found(what, key, payment.key, **where, transfer_id=payment.id)
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


def _retraced(rented: Rented, log: list[Happening], where: dict[str, object]) -> Retraced:
    """What became of the order by the event log, in which it is made once, and ends once if it is over."""
    order = rented.order
    for what, kind, times in (
        ("how it began", EventKind.ORDER_CREATED, 1),
        ("how it ended", EventKind.ORDER_ENDED, int(order.state is State.ENDED)),
    ):
        count = sum(happening.kind == kind for happening in log)
        if count != times:
            raise _Found(what, _events(kind, times), _events(kind, count), **where)
    made = log[0]
    terms = (
        ("what happened first", EventKind.ORDER_CREATED, made.kind),
        (
            "its renter, host and server",
            made.parties,
            Parties(order.account_id, order.host_id, order.server_id),
        ),
        ("when it was made", made.at, order.created_at),
        ("its kind", made.said.type or order.kind, order.kind),
        ("its currency", made.said.currency or order.currency, order.currency),
    )
    _compare(terms, where)
    for name, kept in statements.terms(order).items():
        said = getattr(made.said, name)
        _compare([(f"its {name}", kept if said is UNSET else said, kept)], where)
    try:
        return retraced(order, made, sorted([*log[1:], *rented.presence]))
    except Contradiction as wrong:
        raise _Found(str(wrong), wrong.expected, wrong.found, **where) from None


def _events(kind: EventKind, count: int) -> str:
    return f"{count or 'no'} {kind}"


def _check_against_log(rented: Rented, history: Retraced, where: dict[str, object]) -> None:
    """Whether the order is what its history made of it."""
    order, log = rented.order, history.order
    last = history.segments[-1]
    most_seconds = log.active_seconds + history.vague_seconds
    latest = order.posted_at
    if order.ended_at is not None:
        latest = max(order.ended_at, log.posted_at)
    elif order.active_since is not None:
        latest = max(order.active_since, rented.heard_until or 0) + AHEAD_SECONDS_MAX
    figures = (
        ("its price per day", money.to_text(log.price), money.to_text(order.price)),
        ("until when it is leased", log.lease_until, order.lease_until),
        ("its state", log.state, order.state),
        ("whether its container ever ran there", log.deployed, order.deployed),
        ("when its bid was last lowered", log.lowered_at, order.lowered_at),
        ("when it ended", log.ended_at, order.ended_at),
        ("why it ended", log.end_reason, order.end_reason),
        ("whether its meter ever ran", log.began, order.began),
        ("since when its meter runs", log.active_since, order.active_since),
        (
            "for how many seconds its meter ran",
            min(max(order.active_seconds, log.active_seconds), most_seconds),
            order.active_seconds,
        ),
        (
            "what the minutes before its last change of price cost",
            money.to_text(order.spend_before if last.spend_before is None else last.spend_before),
            money.to_text(order.spend_before),
        ),
        (
            "its minutes before its last change of price",
            order.minutes_before if last.minutes_before is None else last.minutes_before,
            order.minutes_before,
        ),
        ("up to when it is charged", min(order.posted_at, latest), order.posted_at),
    )
    _compare(figures, where)


def _compare(figures: Iterable[tuple[str, object, object]], where: dict[str, object]) -> None:
    for what, expected, found in figures:
        if found != expected:
            raise _Found(f"{what}, by the event log", _text(expected), _text(found), **where)


def _text(figure: object) -> str:
    """
    >>> _text(Parties(1, 2, 3)), _text(None), _text(5)
    ('account_id=1, host_id=2, server_id=3', 'none', '5')
    """
    if isinstance(figure, Parties):
        return ", ".join(f"{name}={value}" for name, value in figure._asdict().items())
    return "none" if figure is None else str(figure)


def _check_payment(
    order: Order,
    payment: Payment,
    history: Retraced,
    segments: deque[Segment],
    paid: Counter[str],
    where: dict[str, object],
) -> None:
    """Check one transfer of an order.

    `segments` are the prices it may go by, in the order in which they came; those that were over are taken
    out.
    """
    where = where | {"transfer_id": payment.id}
    kind = payment.kind
    debit = End(Kind.WALLET, order.account_id, order.currency)
    host, market = End(Kind.WALLET, order.host_id, order.currency), End(Kind.MARKET, None, order.currency)
    credit = {statements.RENTAL: host, statements.FEES: market}.get(kind)
    if (payment.debit, payment.credit) != (debit, credit):
        raise _Found(
            f"from whom the transfer ({kind}) goes to whom",
            _ends(debit, credit or market),
            _ends(payment.debit, payment.credit),
            **where,
        )
    if payment.at > order.posted_at:
        raise _Found(
            f"when the transfer ({kind}) was made", f"{order.posted_at} at the latest", payment.at, **where
        )
    if not payment.how:
        return
    basis = statements.parsed(payment.how)
    if basis is None:
        raise _Found("how the transfer was computed", "price, minutes, fees", repr(payment.how), **where)
    while segments and not _fits(basis, segments[0]):
        segments.popleft()
    if not segments:
        raise _Found(
            f"the price in the transfer ({kind}: {payment.how}), and what the minutes before it cost",
            " or ".join(map(_segment_text, history.segments)),
            _segment_text(Segment(basis.price, basis.spend_before, basis.minutes_before)),
            **where,
        )
    both = kind == statements.FEES
    seconds = history.seconds_at(payment.at)
    least, most = (
        max(billing.started_minutes(seconds), basis.minutes_before) if history.stretches else 0
        for seconds in (seconds, seconds + history.vague_seconds)
    )
    fees = [billing.creation_fee(order, s) if both else 0 for s in (seconds, seconds + history.vague_seconds)]
    for what, expected, found in (
        ("host_fee", order.host_fee, basis.host_fee),
        ("renter_fee", order.renter_fee if both else 0, basis.renter_fee),
        ("creation_fee", min(max(basis.creation_fee, fees[0]), fees[1]), basis.creation_fee),
        ("paid_before", paid[kind], basis.paid_before),
        ("minutes", min(max(basis.minutes, least), most), basis.minutes),
    ):
        if found != expected:
            raise _Found(f"{what} in the transfer ({kind}: {payment.how})", expected, found, **where)
    due = statements.amount(kind, basis)
    if payment.amount != due:
        raise _Found(
            f"the transfer's amount ({kind}: {payment.how})",
            money.to_text(due),
            money.to_text(payment.amount),
            **where,
        )


def _fits(basis: Basis, segment: Segment) -> bool:
    return (
        basis.price == segment.price
        and segment.spend_before in (None, basis.spend_before)
        and segment.minutes_before in (None, basis.minutes_before)
    )


def _segment_text(segment: Segment) -> str:
    """
    >>> _segment_text(Segment(150_000_000, 20_000_000, 7))
    '1.5 after 7 minutes for 0.2'
    """
    price = money.to_text(segment.price)
    if segment.spend_before is None:
        return price
    return f"{price} after {segment.minutes_before} minutes for {money.to_text(segment.spend_before)}"


def _ends(*ends: End) -> str:
    """
    >>> _ends(End(Kind.WALLET, 1, Currency.BITCOIN), End(Kind.MARKET, None, Currency.BITCOIN))
    'wallet 1 bitcoin -> market bitcoin'
    """
    return " -> ".join(" ".join(str(part) for part in end if part is not None) for end in ends)


# Accounts -------------------------------------------------------------------------------------------


def _check_ledger_accounts(
    tx: Connection, opened: ExitStack, counted: Counter[str], sums: Counter[tuple[Currency, Kind]]
) -> None:
    sides = _Groups(opened, audit.sides_by_ledger_account(tx), lambda side: side.ledger_account_id)
    drawing = _Groups(opened, audit.orders_by_wallet(tx), lambda drawing: drawing.wallet_id)
    for owned in opened.enter_context(closing(audit.ledger_accounts_by_id(tx))):
        counted["accounts"] += 1
        _refuse_side(sides.before(owned.account.id))
        _refuse_drawing(drawing.before(owned.account.id))
        counted["transfers"] += _check_ledger_account(owned, sides.of(owned.account.id))
        _check_schedule(owned, [drawn.order for drawn in drawing.of(owned.account.id)])
        sums[owned.account.currency, owned.account.kind] += owned.account.balance
    _refuse_side(sides.before(None))
    _refuse_drawing(drawing.before(None))
    for currency in Currency:
        total = sum(sums[currency, kind] for kind in Kind)
        if total:
            raise _Found(
                "what is in the market beyond what came in from outside",
                0,
                money.to_text(total),
                currency=currency,
            )


def _refuse_side(side: Side | None) -> None:
    """A transfer of which a ledger account is not there."""
    if side is not None:
        raise _Found(
            f"whom the transfer ({side.kind}, {side.reference}) is from or for",
            f"the ledger account {side.ledger_account_id}",
            "none",
            transfer_id=side.id,
        )


def _refuse_drawing(drawing: Drawing | None) -> None:
    """An order that is not over, of which the wallet is not there."""
    if drawing is not None:
        raise _Found(
            "from which wallet the order is paid",
            f"one of account {drawing.order.account_id}",
            "none",
            order_id=drawing.order.id,
            currency=drawing.order.currency,
        )


def _check_ledger_account(owned: Owned, sides: Iterator[Side]) -> int:
    """Check an account's chain and balance; how many transfers went into it."""
    account = owned.account
    where = _whose(owned)
    if account.kind is Kind.WALLET and owned.email is None:
        raise _Found(
            f"whose wallet it is (ledger account {account.id})",
            f"account {account.account_id}",
            "no such account",
            **where,
        )
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
                side.hash.hex(),
                **where,
                transfer_id=side.id,
            )
        if not _is_allowed(account, side):
            raise _Found(
                f"what the transfer ({side.kind}) is for",
                "an order, or a credit from outside to the wallet of the account that it names",
                f"{side.kind}, {side.reference}",
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


def _whose(owned: Owned) -> dict[str, object]:
    account = owned.account
    name = str(account.account_id) if account.kind is Kind.WALLET else account.kind.value
    return {"account": owned.email or name, "currency": account.currency}


def _check_schedule(owned: Owned, orders: list[Order]) -> None:
    """Whether a wallet is looked at before it runs dry, and before one of its orders reaches its end.

    It may be looked at earlier, for the limits of its account and keys or to post what is due.
    """
    if not orders:
        return
    account = owned.account
    purses = [Purse(account.balance)]
    purses += [
        Purse(order.spend_max - order.paid_host - order.paid_market, frozenset({order.id}))
        for order in orders
        if order.spend_max is not None
    ]
    first = min(orders, key=lambda order: order.ends_at)
    for what, order_id, latest, noted in (
        ("when it runs dry", None, billing.runs_dry_at(purses, orders), account.exhausts_at),
        ("when it is looked at, for an order's end", first.id, first.ends_at, account.due_at),
        ("when it is looked at, as it runs dry", None, account.exhausts_at, account.due_at),
    ):
        if latest is not None and (noted is None or noted > latest):
            raise _Found(what, f"{latest} at the latest", _text(noted), order_id=order_id, **_whose(owned))


def _is_allowed(account: LedgerAccount, side: Side) -> bool:
    """Whether one side of a transfer may be; what is for an order was checked with it."""
    if side.order_id is not None:
        return side.reference == f"order:{side.order_id}"
    if account.kind is Kind.WALLET:
        return (side.kind, side.sign, side.reference) == (CREDIT, 1, f"account:{account.account_id}")
    return (account.kind, side.kind, side.sign) == (Kind.OUTSIDE, CREDIT, -1)


# Credits --------------------------------------------------------------------------------------------


def _check_credits(tx: Connection, opened: ExitStack) -> None:
    """Whether what came in from outside is what the event log tells of, which has it in the same order."""
    posted = opened.enter_context(closing(audit.credits_posted(tx)))
    told = opened.enter_context(closing(audit.credits_told(tx)))
    for transfer, event in zip_longest(posted, told):
        named = transfer or event
        if named is not None and (transfer is None or event is None or transfer[1:] != event[1:]):
            raise _Found(
                "what came in from outside, by the event log",
                _credit(event, "event"),
                _credit(transfer, "transfer"),
                account=named.email,
                currency=named.currency,
                transfer_id=None if transfer is None else transfer.id,
            )


def _credit(credit: Credit | None, where: str) -> str:
    """
    >>> _credit(Credit(7, 1, "a@example.org", Currency.BITCOIN, 150_000_000, 1_800_000_000), "event")
    '1.5 bitcoin to account 1 at 1800000000 (event 7)'
    """
    if credit is None:
        return f"no {where}"
    amount = money.to_text(credit.amount)
    return f"{amount} {credit.currency} to account {credit.account_id} at {credit.at} ({where} {credit.id})"


# All else -------------------------------------------------------------------------------------------


def _refuse_dangling(row: Dangling | None) -> None:
    """A row, whatever of, that points to one that is not there."""
    if row is not None:
        raise _Found(
            f"what the row {row.row} of {row.table} points to by {row.column}", row.pointed_to, "no such row"
        )


# Reading in step ------------------------------------------------------------------------------------

Row = TypeVar("Row")


class _Groups(Generic[Row]):
    """Rows in the order of their keys, taken key by key."""

    def __init__(self, opened: ExitStack, rows: Generator[Row], key_of: Callable[[Row], int]) -> None:
        self._rows = opened.enter_context(closing(rows))
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
