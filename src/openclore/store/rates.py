"""What one unit of each currency is worth in dollars."""

from sqlalchemy import Connection, select

from ..api.currencies import Currency
from ..rules.money import SCALE
from .tables import rates


def put(tx: Connection, currency: Currency, usd: int, now: int) -> None:
    """Set a rate: 10⁻⁸ dollars for one unit."""
    tx.execute(rates.delete().where(rates.c.currency == currency))
    tx.execute(rates.insert().values(currency=currency, usd=usd, at=now))


def every(tx: Connection) -> dict[Currency, int]:
    """Currency to 10⁻⁸ dollars for one unit; dollars are always worth one."""
    known = {Currency(row.currency): row.usd for row in tx.execute(select(rates))}
    return {Currency.USD: SCALE, **known}
