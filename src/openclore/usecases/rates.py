"""What currencies are worth in dollars, as the operator says."""

from ..api.currencies import Currency
from ..rules import money
from ..rules.refused import InvalidInput
from ..store import events, orders, rates
from . import settlement
from .market import Market

PEG_SECONDS = 600


def set_rate(market: Market, currency: Currency, usd: int, now: int) -> None:
    """Set what one unit of a currency is worth in 10⁻⁸ dollars. Bids are compared anew.

    Raises:
        InvalidInput: the rate is not above zero.
    """
    if not 0 < usd <= money.AMOUNT_MAX:
        raise InvalidInput("a rate must be above 0")
    with market.store.writing() as tx:
        rates.put(tx, currency, usd, now)
        events.append(tx, events.Kind.RATES_SET, now, currency=currency, usd=money.to_text(usd))
        with settlement.settling(tx, market.policy, now) as books:
            for server_id in orders.contested(tx):
                settlement.reassign(books, server_id)


def repeg(market: Market, now: int) -> None:
    """Let dollar-pegged prices follow the rates; what the loop does every PEG_SECONDS."""
    with market.store.writing() as tx:
        if rates.repeg(tx):
            events.append(tx, events.Kind.PRICES_REPEGGED, now)


def list_rates(market: Market) -> dict[Currency, int]:
    """Currency to 10⁻⁸ dollars for one unit."""
    with market.store.reading() as tx:
        return rates.every(tx)
