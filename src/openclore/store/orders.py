"""Orders as rows."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Result, Row, bindparam, func, literal_column, select

from ..api.currencies import Currency
from ..rules.orders import Deployment, Kind, Order, State
from .rows import among, as_struct, as_structs, updating
from .tables import issues, orders

HOLDING = orders.c.state.not_in([literal_column(f"'{State.ENDED}'"), literal_column(f"'{State.WAITING}'")])
ACTIVE = orders.c.state != literal_column(f"'{State.ENDED}'")
"""Written out, so that the indexes over active orders serve."""


def add(tx: Connection, order: Order) -> Order:
    """Keep a new order; the same with its id."""
    values = _values(order)
    del values["id"]
    order_id = tx.execute(_ADD, values).scalar_one()
    return msgspec.structs.replace(order, id=order_id)


def save(tx: Connection, changed: Sequence[Order]) -> None:
    """Keep orders as they are now. A machine that passes from one to another of them is given up first."""
    for holds in (False, True):
        rows = [_values(order) for order in changed if order.holds is holds]
        for row in rows:
            row["of"] = row.pop("id")
        _SAVE(tx, rows)


def save_posted(tx: Connection, posted: Sequence[Order]) -> None:
    """Keep of orders what they have paid, and until when."""
    _SAVE_POSTED(tx, [{"of": o.id} | {name: getattr(o, name) for name in _POSTED} for o in posted])


def by_id(tx: Connection, order_id: int) -> Order | None:
    row = tx.execute(_BY_ID, {"of": order_id}).one_or_none()
    return _order(row) if row else None


def of_renter(
    tx: Connection, account_id: int, *, with_ended: bool, ended_since: int | None = None
) -> list[Order]:
    """An account's orders, oldest first; of those that are over all, or only what ended since then."""
    query = select(orders).where(orders.c.account_id == account_id).order_by(orders.c.id)
    if not with_ended:
        query = query.where(ACTIVE if ended_since is None else ACTIVE | (orders.c.ended_at > ended_since))
    return _orders(tx.execute(query))


def of_host(tx: Connection, host_id: int, *, ended_since: int) -> list[Order]:
    """The orders on an account's machines that are not over or ended since then, oldest first."""
    query = select(orders).where(orders.c.host_id == host_id, ACTIVE | (orders.c.ended_at > ended_since))
    return _orders(tx.execute(query.order_by(orders.c.id)))


def active_of(tx: Connection, account_ids: Sequence[int]) -> list[Order]:
    """The orders of these accounts that are not over, oldest first."""
    return _orders(tx.execute(_ACTIVE_OF, {"accounts": account_ids}))


def holder(tx: Connection, server_id: int) -> Order | None:
    """The order that holds a machine."""
    row = tx.execute(_HOLDER, {"on": server_id}).one_or_none()
    return _order(row) if row else None


def active_on_server(tx: Connection, server_id: int) -> list[Order]:
    """The orders on a machine that are not over, waiting bids included, oldest first."""
    return _orders(tx.execute(_ACTIVE_ON_SERVER, {"on": server_id}))


def active_of_kind(tx: Connection, kind: Kind) -> list[Order]:
    """All orders of a kind that are not over, oldest first."""
    return _orders(tx.execute(select(orders).where(orders.c.kind == kind, ACTIVE).order_by(orders.c.id)))


def holders(tx: Connection, server_ids: Sequence[int] | None) -> dict[int, Kind]:
    """Server id to the kind of the order that holds it, among these servers or among all."""
    rows = tx.execute(_HOLDERS if server_ids is None else _HOLDERS_OF, {"servers": server_ids})
    return {server_id: Kind(kind) for server_id, kind in rows}


def contested(tx: Connection) -> list[int]:
    """Ids of the servers on which a bid waits."""
    query = select(orders.c.server_id).where(orders.c.state == State.WAITING).distinct()
    return list(tx.execute(query.order_by(orders.c.server_id)).scalars())


def made_since(tx: Connection, account_id: int, since: int) -> int:
    """How many orders an account made since then."""
    made = (orders.c.account_id == account_id, orders.c.created_at >= since)
    return tx.execute(select(func.count()).where(*made)).scalar_one()


def charged(tx: Connection, account_id: int, currency: Currency, key_id: int | None) -> int:
    """What an account's orders in a currency (those of one key, if given) have been charged, as posted."""
    query = select(func.coalesce(func.sum(orders.c.paid_host + orders.c.paid_market), 0)).where(
        orders.c.account_id == account_id, orders.c.currency == currency
    )
    if key_id is not None:
        query = query.where(orders.c.key_id == key_id)
    return int(tx.execute(query).scalar_one())


def every(tx: Connection) -> Iterator[Order]:
    """All orders ever, oldest first."""
    for row in tx.execute(select(orders).order_by(orders.c.id)).yield_per(1_000):
        yield _order(row)


def add_issue(tx: Connection, order_id: int, text: str, now: int) -> None:
    """Keep a renter's problem report."""
    tx.execute(issues.insert().values(order_id=order_id, text=text, at=now))


def _values(order: Order) -> dict[str, object]:
    values = msgspec.structs.asdict(order)
    values["deployment"] = msgspec.json.encode(order.deployment).decode()
    return values


def _order(row: Row[*tuple[Any, ...]]) -> Order:
    return as_struct(row, Order, deployment=_DEPLOYMENT.decode(row.deployment))


def _orders(found: Result[*tuple[Any, ...]]) -> list[Order]:
    return as_structs(found, Order, deployment=_DEPLOYMENT.decode)


_DEPLOYMENT = msgspec.json.Decoder(Deployment)


# What every change of an order asks. They are built once: building takes longer than running.
_ADD = orders.insert().returning(orders.c.id)
_SAVE = updating(orders, [name for name in Order.__struct_fields__ if name != "id"])
_POSTED = ("paid_host", "paid_market", "posted_at")
_SAVE_POSTED = updating(orders, _POSTED)
_BY_ID = select(orders).where(orders.c.id == bindparam("of"))
_ACTIVE_OF = select(orders).where(among(orders.c.account_id, "accounts"), ACTIVE).order_by(orders.c.id)
_HOLDER = select(orders).where(orders.c.server_id == bindparam("on"), HOLDING)
_HOLDERS = select(orders.c.server_id, orders.c.kind).where(HOLDING)
_HOLDERS_OF = _HOLDERS.where(among(orders.c.server_id, "servers"))
_ACTIVE_ON_SERVER = select(orders).where(orders.c.server_id == bindparam("on"), ACTIVE).order_by(orders.c.id)
