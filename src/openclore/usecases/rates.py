"""What currencies are worth in dollars, as the operator says."""

from ..api.currencies import Currency
from ..rules import money
from ..rules.refused import InvalidInput
from ..store import events, rates
from .market import Market


def set_rate(market: Market, currency: Currency, usd: int, now: int) -> None:
    """Set what one unit of a currency is worth in 10⁻⁸ dollars.

    Raises:
        InvalidInput: the rate is not above zero.
    """
    if not 0 < usd <= money.AMOUNT_MAX:
        raise InvalidInput("a rate must be above 0")
    with market.store.writing() as tx:
        rates.put(tx, currency, usd, now)
        events.append(tx, events.Kind.RATES_SET, now, currency=currency, usd=money.to_text(usd))


def list_rates(market: Market) -> dict[Currency, int]:
    """Currency to 10⁻⁸ dollars for one unit."""
    with market.store.reading() as tx:
        return rates.every(tx)
