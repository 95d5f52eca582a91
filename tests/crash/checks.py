"""Whether a market's books agree with themselves, and with a journal of what it answered."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, select

from openclore.api.currencies import Currency
from openclore.rules import billing, money
from openclore.rules.orders import EndReason, Kind, Order, State
from openclore.store import events, ledger, orders
from openclore.store.tables import idempotency, ledger_accounts, transfers

from .load import Asked, Bid, Journal

RIG_IMAGE = "ubuntu:24.04"


@dataclass
class Books:
    """All orders and transfers, and what happened to each order."""

    orders: list[Order]
    transfers: list[ledger.Transfer]
    accounts: dict[int, ledger.LedgerAccount]
    happened: dict[int, list[events.Event]]
    kept_keys: set[tuple[int, str]]


def read(tx: Connection) -> Books:
    happened = defaultdict(list)
    cursor = 0
    while page := events.after(tx, cursor):
        cursor = page[-1].id
        for event in page:
            if event.order_id is not None:
                happened[event.order_id].append(event)
    rows = tx.execute(select(transfers).order_by(transfers.c.id)).mappings()
    names = ledger.Transfer.__struct_fields__
    kept = tx.execute(select(idempotency.c.account_id, idempotency.c.key))
    return Books(
        orders=list(orders.every(tx)),
        transfers=[ledger.Transfer(**{name: row[name] for name in names}) for row in rows],
        accounts={row.id: ledger.by_id(tx, row.id) for row in tx.execute(select(ledger_accounts.c.id)).all()},
        happened=happened,
        kept_keys={(row.account_id, row.key) for row in kept},
    )


def differences(books: Books, journal: Journal) -> Iterator[str]:
    """Each thing that is wrong, in words."""
    yield from _charges(books)
    yield from _histories(books)
    yield from _credits(books, journal)
    yield from _writes(books, journal)


def known(books: Books, account_id: int) -> dict[int, Bid | None]:
    """An account's orders that are not over, as `Journal.orders` has them."""
    mine = [o for o in books.orders if o.account_id == account_id and o.state is not State.ENDED]
    return {o.id: Bid(money.to_wire(o.price), o.kind is Kind.GIGASPOT) if o.is_bid else None for o in mine}


def _charges(books: Books) -> Iterator[str]:
    """No order without its charge, no charge without its order; and what each costs, computed once more."""
    by_id = {order.id: order for order in books.orders}
    paid: Counter[tuple[int, str]] = Counter()
    for transfer in books.transfers:
        if transfer.kind == "credit":
            continue
        order = by_id.get(int(transfer.reference.removeprefix("order:")))
        debit, credit = books.accounts[transfer.debit_id], books.accounts[transfer.credit_id]
        if order is None:
            yield f"a charge without its order: {transfer}"
        elif (debit.account_id, debit.currency, credit.currency) != (
            order.account_id,
            order.currency,
            order.currency,
        ) or credit.account_id != (order.host_id if transfer.kind == "rental" else None):
            yield f"a charge between the wrong accounts: {transfer} for {order}"
        else:
            paid[order.id, transfer.kind] += transfer.amount
    for order in books.orders:
        noted, moved = (
            (order.paid_host, order.paid_market),
            (paid[order.id, "rental"], paid[order.id, "fees"]),
        )
        if noted != moved:
            yield f"order {order.id}: {moved} was paid, {noted} is noted"
        if order.began and not moved[0]:
            yield f"an order without its charge: {order}"
        if not order.began and any(moved):
            yield f"a charge for an order that never ran: {order}"
        if order.active_seconds > order.posted_at - order.created_at:
            yield f"charged for more seconds than there were: {order}"
        if order.began and not order.minutes_before and moved != _cost(order):
            yield f"order {order.id}: {moved} was paid, {_cost(order)} is its cost: {order}"


def _cost(order: Order) -> tuple[int, int]:
    """To its host and to the market: what an order whose price never changed has cost when last looked at."""
    seconds = order.active_seconds
    if order.active_since is not None:
        seconds += min(order.posted_at, order.ends_at - 1) - order.active_since
    price = order.price * (seconds // 60 + 1) // billing.MINUTES_PER_DAY
    creation = order.creation_fee if seconds >= order.creation_grace_seconds else 0
    to_host = price - price * order.host_fee // 10_000
    return to_host, price + price * order.renter_fee // 10_000 + creation - to_host


def _histories(books: Books) -> Iterator[str]:
    """Every order was created once and, if it is over, ended once; its price is what was last made of it."""
    ids = {order.id for order in books.orders}
    for order_id in books.happened.keys() - ids:
        yield f"events of an order that is not there: {books.happened[order_id]}"
    holders = Counter(o.server_id for o in books.orders if o.state not in (State.ENDED, State.WAITING))
    yield from (f"server {server} is held by {many} orders" for server, many in holders.items() if many > 1)
    for order in books.orders:
        kinds = Counter(event.kind for event in books.happened[order.id])
        ends = int(order.state is State.ENDED)
        if (kinds[events.Kind.ORDER_CREATED], kinds[events.Kind.ORDER_ENDED]) != (1, ends):
            yield f"order {order.id} is {order.state}, and this happened: {kinds}"
        prices = _prices(books, order.id)
        if prices and money.to_text(order.price) != prices[-1]:
            yield f"order {order.id} has the price {money.to_text(order.price)} after {prices}"


def _prices(books: Books, order_id: int) -> list[str]:
    """The prices an order was changed to, as texts."""
    return [
        str(event.data["price"])
        for event in books.happened[order_id]
        if event.kind is events.Kind.ORDER_REPRICED
    ]


def _credits(books: Books, journal: Journal) -> Iterator[str]:
    made = {transfer.idempotency_key: transfer for transfer in books.transfers if transfer.kind == "credit"}
    ids = {renter.email: renter.id for renter in journal.people.renters}
    for key, (email, currency, amount, done) in journal.credited.items():
        transfer = made.pop(key, None)
        if transfer is None:
            if done:
                yield f"a credit was acknowledged and is not there: {key}"
            continue
        wallet = books.accounts[transfer.credit_id]
        if (wallet.account_id, wallet.currency, transfer.amount) != (ids[email], Currency(currency), amount):
            yield f"a credit went elsewhere: {key}, {transfer}"
    yield from (f"a credit that nobody asked for: {key}" for key in made if ":first" not in key)


def _writes(books: Books, journal: Journal) -> Iterator[str]:
    """Every acknowledged write is there, none twice; none of a refused one, at most one of an unknown one."""
    by_image: dict[str, list[Order]] = defaultdict(list)
    by_bid: dict[tuple[int, str], list[Order]] = defaultdict(list)
    by_id = {order.id: order for order in books.orders}
    for order in books.orders:
        by_image[order.image].append(order)
    for order in by_image.pop(RIG_IMAGE, []):
        first = next(e for e in books.happened[order.id] if e.kind is events.Kind.ORDER_CREATED)
        by_bid[order.server_id, str(first.data["price"])].append(order)
    leased: Counter[int] = Counter(
        order_id
        for order_id, happened in books.happened.items()
        for event in happened
        if event.kind is events.Kind.ORDER_LEASED
    )
    leases: dict[int, Counter[str]] = defaultdict(Counter)
    for asked in journal.asked:
        if asked.outcome == "done" and asked.key and (asked.renter.id, asked.key) not in books.kept_keys:
            yield f"its answer is not kept: {asked}"
        match asked.name:
            case "create_order" | "place_order":
                made = by_image.pop(asked.mark, [])
                yield from _counted(asked, len(made), [order.id for order in made])
                if asked.outcome == "done" and made:
                    reply = asked.reply["order"]
                    order_id = (reply["order"] if asked.name == "place_order" else reply)["id"]
                    if (made[0].id, made[0].server_id) != (order_id, asked.body["renting_server"]):
                        yield f"another order than the one told: {asked}, {made[0]}"
            case "create_gigaspot_orders":
                refused = asked.reply["failed_to_rent_servers"] if asked.outcome == "done" else []
                price = _text(asked.mark)
                for bid in asked.body:
                    made = by_bid.pop((bid["renting_server"], price), [])
                    if bid["renting_server"] in refused:
                        yield from _counted(asked, len(made), "of a bid that was refused", outcome="refused")
                    else:
                        yield from _counted(asked, len(made), [order.id for order in made])
            case "set_spot_price":
                times = _prices(books, asked.body["order_id"]).count(_text(asked.mark))
                yield from _counted(asked, times, "changes of price")
            case "edit_gigaspot_orders":
                moved = asked.reply["success_to_update_ids"] if asked.outcome == "done" else []
                for bid in asked.body:
                    times = _prices(books, bid["order_id"]).count(_text(asked.mark))
                    outcome = "refused" if asked.outcome == "done" and bid["order_id"] not in moved else None
                    yield from _counted(asked, times, "changes of price", outcome=outcome)
            case "cancel_order":
                ended = by_id.get(asked.body["id"])
                if asked.outcome == "done" and not _is_cancelled(ended):
                    yield f"a cancelled order is not: {asked}, {ended}"
            case "cancel_orders":
                refused = (
                    asked.reply["failed_to_cancel"] if asked.outcome == "done" else asked.body["order_ids"]
                )
                for order_id in set(asked.body["order_ids"]) - set(refused):
                    if not _is_cancelled(by_id.get(order_id)):
                        yield f"a cancelled bid is not: {asked}, {by_id.get(order_id)}"
            case "renew_lease":
                leases[asked.mark][asked.outcome] += 1
    for order_id in leases.keys() | leased.keys():
        outcomes, times = leases[order_id], leased[order_id]
        if not outcomes["done"] <= times <= outcomes["done"] + outcomes["unknown"]:
            yield f"order {order_id} was leased {times} times, though asked {outcomes}"
    yield from (f"orders that nobody asked for: {made}" for made in by_image.values() if made)
    yield from (f"bids that nobody made: {made}" for made in by_bid.values() if made)


def _counted(asked: Asked, times: int, what: object, *, outcome: str | None = None) -> Iterator[str]:
    """What is wrong with a write having left so many traces."""
    least, most = {"done": (1, 1), "refused": (0, 0), "unknown": (0, 1)}[outcome or asked.outcome]
    if not least <= times <= most:
        yield f"{asked.outcome}, and is there {times} times ({what}): {asked}"


def _is_cancelled(order: Order | None) -> bool:
    return order is not None and order.end_reason is EndReason.CANCELLED


def _text(price: float) -> str:
    return money.to_text(money.from_wire(price))
