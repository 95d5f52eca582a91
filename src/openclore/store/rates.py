"""What one unit of each currency is worth in dollars."""

from sqlalchemy import Connection, select, update

from ..api.currencies import Currency
from ..rules.money import SCALE
from .tables import rates


def put(tx: Connection, currency: Currency, usd: int, now: int) -> None:
    """Set a rate: 10⁻⁸ dollars for one unit. Pegged prices follow at once only if they had none yet."""
    pegged_usd = tx.execute(select(rates.c.pegged_usd).where(rates.c.currency == currency)).scalar()
    tx.execute(rates.delete().where(rates.c.currency == currency))
    tx.execute(rates.insert().values(currency=currency, usd=usd, at=now, pegged_usd=pegged_usd or usd))


def every(tx: Connection) -> dict[Currency, int]:
    """Currency to 10⁻⁸ dollars for one unit; dollars are always worth one."""
    return both(tx)[0]


def pegged(tx: Connection) -> dict[Currency, int]:
    """The rates that dollar-pegged prices go by, as in `every`."""
    return both(tx)[1]


def both(tx: Connection) -> tuple[dict[Currency, int], dict[Currency, int]]:
    """What `every` and `pegged` give."""
    rows = tx.execute(_EVERY).all()
    known = {Currency(row.currency): row.usd for row in rows}
    pegged = {Currency(row.currency): row.pegged_usd or row.usd for row in rows}
    return {Currency.USD: SCALE, **known}, {Currency.USD: SCALE, **pegged}


def repeg(tx: Connection) -> bool:
    """Let pegged prices follow the rates; whether any does not stand already."""
    moved = tx.execute(
        update(rates)
        .where((rates.c.pegged_usd != rates.c.usd) | rates.c.pegged_usd.is_(None))
        .values(pegged_usd=rates.c.usd)
    )
    return moved.rowcount > 0


# Every bid asks. It is built once: building takes longer than running.
_EVERY = select(rates)
