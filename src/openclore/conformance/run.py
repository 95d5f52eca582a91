"""All checks, in an order in which each can build upon the ones before."""

from collections.abc import Callable, Generator, Iterator

from openclore.client.errors import CloreError

from . import door, reading, refusals, renting
from .findings import Finding, Mark, judged, not_checked
from .market import Market
from .reading import Known
from .renting import Renter

READING = (
    reading.wallets,
    reading.marketplace,
    reading.my_orders,
    reading.spot_marketplace,
    reading.my_servers,
    reading.server_config,
    reading.account,
    reading.gigaspot,
    refusals.create_order,
    refusals.cancel_order,
    refusals.set_spot_price,
    refusals.set_server_settings,
    refusals.gigaspot,
)


def run(
    market: Market, *, spend: bool = False, max_price_per_day: float, tell: Callable[[str], None]
) -> Generator[Finding, None, None]:
    """What every check found, as it is found.

    Args:
        spend: also rent the cheapest machine that may be rented for so many dollars a day.
        tell: hears what takes a while, and which orders could not be cancelled.

    Raises:
        CloreError: the market did not answer the very first call.
    """
    market.get("wallets")
    known = Known()
    for check in (door.keys, door.codes, door.pace):
        yield from _unbroken(check.__name__, check(market))
    for part in READING:
        yield from _unbroken(part.__name__, part(market, known))
    if spend:
        yield from _spending(market, known, max_price_per_day, tell)
    yield from door.tally(market)


def _spending(
    market: Market, known: Known, max_price_per_day: float, tell: Callable[[str], None]
) -> Iterator[Finding]:
    found = renting.choices(known, max_price_per_day)
    if not found:
        why = f"no wallet can pay a free server of at most {max_price_per_day:g} dollars a day"
        yield not_checked("create_order", "renting", Mark.DOC, why)
        return
    renter = Renter(market, known, tell)
    try:
        yield from _unbroken("create_order", renting.refusals(renter, known, found))
        yield from _unbroken("create_order", renting.on_demand(renter, known, found))
        yield from _unbroken("create_order", renting.spot(renter, found))
    finally:
        renter.clean_up()
        for order_id in renter.left_over:
            tell(f"Order {order_id} could not be cancelled and costs money: openclore cancel {order_id}")


def _unbroken(about: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings; where an answer stays out or has no shape, that is one, and the rest is not checked."""
    try:
        yield from findings
    except CloreError as error:
        yield judged(about, "answers", Mark.DOC, False, error, "an answer")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # A market that is wrong may send anything; what nobody thought of is found out here.
        problem = f"{type(error).__name__}: {error}"
        yield judged(about, "answers with sense", Mark.DOC, False, problem, "the protocol's shapes")
