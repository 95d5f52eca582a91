"""Bidding: the bids on a server, and changing one's own."""

from sqlalchemy import Connection

from ..api.codes import Refusal
from ..api.spot import SetSpotPrice, SpotMarket, SpotMarketplace, SpotMarketplaceReply, SpotOffer, SpotServer
from ..rules import money
from ..rules import servers as server_rules
from ..rules import spot as spot_rules
from ..rules.orders import Kind, Order, State
from ..rules.refused import Refused
from ..rules.servers import Visibility
from ..store import events, limits, orders, rates, servers
from . import settlement
from .books import Books
from .market import Market


def spot_marketplace(market: Market, account_id: int, request: SpotMarketplace) -> SpotMarketplaceReply:
    """The bids on a server, the highest in dollars first; the caller's are marked."""
    with market.store.reading() as tx:
        server = servers.by_id(tx, request.market)
        known = rates.every(tx)
        if server is None or server.settings.visibility is not Visibility.PUBLIC:
            return SpotMarketplaceReply(code=0, market=SpotMarket(offers=[]), exists=False)
        bids = [order for order in orders.active_on_server(tx, server.id) if order.kind is Kind.SPOT]
        prices = server_rules.in_force(server.settings, rates.pegged(tx))
    return SpotMarketplaceReply(
        code=0,
        market=SpotMarket(
            offers=[_offer(order, account_id) for order in spot_rules.ranked(bids, known)],
            server=SpotServer(
                min_pricing={currency: money.to_wire(pricing.spot) for currency, pricing in prices.items()},
                mrl=server.settings.mrl_hours,
                online=server.online,
                visibility=server.settings.visibility,
            ),
            currency_rates_in_usd={currency: money.to_wire(rate) for currency, rate in known.items()},
        ),
        exists=True,
    )


def _offer(order: Order, account_id: int) -> SpotOffer:
    return SpotOffer(
        offer_id=order.id,
        bid=money.to_wire(order.price),
        active=order.holds,
        my=order.account_id == account_id,
        currency=order.currency,
    )


def set_spot_price(
    market: Market, account_id: int, request: SetSpotPrice, now: int, key_id: int | None = None
) -> None:
    """Change one's own bid: raising is free, lowering limited in time and in step, the floor always holds.

    Raises:
        InvalidInput: the price is no amount.
        Refused: as the protocol names it; nothing changed.
    """
    price = money.of_member("desired_price", request.desired_price)
    with market.store.writing() as tx, settlement.settling(tx, market.policy, now) as books:
        order = books.order(request.order_id)
        if order is None or order.account_id != account_id or order.kind is not Kind.SPOT:
            raise Refused(Refusal.ORDER_DONT_EXIST)
        settlement.bring_up(books, account_id, order.currency)
        order = books.order(order.id)
        if order is None or order.state is State.ENDED:
            raise Refused(Refusal.ORDER_DONT_EXIST)
        server = servers.by_id(tx, order.server_id)
        assert server is not None
        pricing = server_rules.in_force(server.settings, rates.pegged(tx)).get(order.currency)
        # A currency that the host takes no more has no floor to go down to.
        floor = pricing.spot if pricing and pricing.accepted else order.price
        spot_rules.check_reprice(order, price, floor, market.policy.spot, now)
        check_own_limit(tx, order, price, key_id)
        reprice(books, order, price)


def check_own_limit(tx: Connection, order: Order, price: int, key_id: int | None) -> None:
    """A key with a spend limit raises its own bids only: another key's would not count against it.

    Raises:
        Refused: spend_limit_reached.
    """
    if price > order.price and order.key_id != key_id and limits.has_own(tx, key_id):
        raise Refused(
            Refusal.SPEND_LIMIT_REACHED, message="this key has a spend limit and may raise only its own bids"
        )


def reprice(books: Books, order: Order, price: int) -> None:
    """Put a bid of a settled wallet at another price, and see who has the machine then."""
    if price == order.price:
        return
    books.put(spot_rules.at_price(order, price, books.now))
    events.append(
        books.tx,
        events.Kind.ORDER_REPRICED,
        books.now,
        account_id=order.account_id,
        server_id=order.server_id,
        order_id=order.id,
        price=money.to_text(price),
        currency=order.currency,
        **settlement.charged_until(order, books.now),
    )
    settlement.reassign(books, order.server_id)
