"""Everybody else on the market: they rent, bid, raise when they are outbid, and leave again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from statistics import median

from ..api.codes import Refusal
from ..api.currencies import PRICE_BOUNDS, Currency
from ..api.orders import CancelOrder, CreateOrder
from ..api.orders import Order as OrderRow
from ..api.spot import SetSpotPrice
from ..rules import money
from ..rules import servers as server_rules
from ..rules import spot as spot_rules
from ..rules.orders import Kind, Order, State
from ..rules.refused import InvalidInput, Refused
from ..rules.servers import Pricing, Server
from ..store import orders as orders_store
from ..store import rates as rates_store
from ..store import servers as servers_store
from ..usecases import accounts, orders, spot
from ..usecases.market import Market
from .agenda import Agenda, Happening, liveliness
from .machines import Machine

SECONDS_BETWEEN_RENTERS = 900_000
"""Divided by the number of machines: how often somebody comes to rent."""
SECONDS_BETWEEN_BIDDERS = 1_600_000
RENTAL_SECONDS_MEDIAN = 220_000
BID_SECONDS_MEDIAN = 160_000
ANSWER_SECONDS = (30, 1_800)
"""How long somebody takes to answer being outbid."""
ANSWERS_SHARE = 0.6
LOOKS_AT = 4
"""Machines that somebody who comes compares."""
TOP_UP_USD = 5_000.0
IMAGES = ("cloreai/jupyter:ubuntu24.04-v2", "pytorch/pytorch:latest", "vllm/vllm-openai", "ubuntu:24.04")


@dataclass(frozen=True)
class Bid:
    """A rival's bid, and the most it will ever be, 10⁻⁸ of its currency per day."""

    account_id: int
    server_id: int
    currency: Currency
    limit: int


@dataclass(frozen=True)
class Lot:
    """What somebody who wants to bid sees: the machine, its prices, the bids on it (the highest first)."""

    server: Server
    prices: Mapping[Currency, Pricing]
    bids: Sequence[Order]
    rates: Mapping[Currency, int]
    taken: bool

    def highest(self, currency: Currency) -> int:
        """The highest bid, in this currency."""
        if not self.bids:
            return 0
        top = self.bids[0]
        return -(-top.price * self.rates[top.currency] // self.rates[currency])


class Rivals:
    """`vouch` is to be called before they act: acting settles orders."""

    def __init__(
        self,
        market: Market,
        agenda: Agenda,
        vouch: Happening,
        account_ids: Sequence[int],
        machines: Sequence[Machine],
        usd: Mapping[Currency, float],
        seed: int,
    ) -> None:
        self._market = market
        self._agenda = agenda
        self._vouch = vouch
        self._busy = dict.fromkeys(account_ids, 0)
        self._machines = {machine.id: machine for machine in machines}
        self._usual_usd = _usual_usd(machines, usd)
        self._usd = usd
        self._dice = Random(f"{seed}/rivals")
        self._bids: dict[int, Bid] = {}
        self._top_ups = 0

    def __contains__(self, account_id: int | None) -> bool:
        return account_id in self._busy

    def open(self, now: int) -> None:
        """Take what is taken when the market opens, and begin to come."""
        for machine in self._machines.values():
            if machine.rented:
                self._rent(machine, now)
        self._expect(self._renter_comes, SECONDS_BETWEEN_RENTERS, now)
        self._expect(self._bidder_comes, SECONDS_BETWEEN_BIDDERS, now)

    def heard_end(self, account_id: int, order_id: int) -> None:
        """A rival's order is over."""
        self._busy[account_id] -= 1
        self._bids.pop(order_id, None)

    def heard_outbid(self, order_id: int, now: int) -> None:
        """A rival's bid runs no more: it may be raised, or given up, after a while."""
        if order_id in self._bids:
            act = self._raise if self._dice.random() < ANSWERS_SHARE else self._give_up
            self._agenda.put(now + self._dice.uniform(*ANSWER_SECONDS), partial(act, order_id))

    def forget(self, server_id: int) -> None:
        """A machine that is not on the market any more."""
        self._machines.pop(server_id, None)

    def outbid(self, server_id: int, currency: Currency, price: int, now: int) -> None:
        """Somebody who waits there, or somebody new, bids exactly this much per day, and has the money.

        Raises:
            Refused: the market does not take the bid.
        """
        self._vouch(now)
        with self._market.store.reading() as tx:
            active = orders_store.active_on_server(tx, server_id)
        waiting = [o for o in active if o.account_id in self and not o.holds and o.currency is currency]
        if waiting:
            order_id, account_id = waiting[0].id, waiting[0].account_id
            self._top_up(account_id, currency, price * 30, now)
            spot.set_spot_price(self._market, account_id, _price_of(order_id, price), now)
            return
        there = {order.account_id for order in active}
        newcomers = [account_id for account_id in self._busy if account_id not in there]
        if not newcomers:
            raise Refused(Refusal.REACHED_ORDER_LIMIT)
        account_id = newcomers[0]
        self._top_up(account_id, currency, price * 30, now)
        order_id = self._make(account_id, server_id, currency, price, now)
        self._stays(Bid(account_id, server_id, currency, price), order_id, now)

    # Renting ----------------------------------------------------------------------------------------

    def _renter_comes(self, now: int) -> None:
        self._expect(self._renter_comes, SECONDS_BETWEEN_RENTERS, now)
        free = [lot.server.id for lot in self._look_around() if not lot.taken]
        if free:
            self._rent(min((self._machines[server_id] for server_id in free), key=self._dearness), now)

    def _rent(self, machine: Machine, now: int) -> None:
        currency = self._dice.choice(machine.settings.accepted)
        account_id = self._somebody()
        seconds = 60 + self._dice.lognormvariate(0, 1.2) * RENTAL_SECONDS_MEDIAN
        order_id = self._order(account_id, machine.id, currency, None, now)
        if order_id is not None:
            self._agenda.put(now + seconds, partial(self._leave, account_id, order_id))

    def _dearness(self, machine: Machine) -> float:
        """Its price in relation to what others ask for such a machine."""
        return _usd_per_gpu(machine, self._usd) / self._usual_usd[machine.specs.gpu_model]

    def _leave(self, account_id: int, order_id: int, now: int) -> None:
        self._vouch(now)
        try:
            orders.cancel_order(self._market, account_id, CancelOrder(id=order_id), now)
        except Refused:
            return  # it is over already

    # Bidding ----------------------------------------------------------------------------------------

    def _bidder_comes(self, now: int) -> None:
        self._expect(self._bidder_comes, SECONDS_BETWEEN_BIDDERS, now)
        lots = self._look_around()
        if not lots:
            return
        lot = min(lots, key=lambda lot: (lot.taken, len(lot.bids)))
        currency = self._dice.choice(lot.server.settings.accepted)
        if lot.bids and lot.bids[0].currency in lot.server.settings.accepted:
            currency = lot.bids[0].currency
        pricing = lot.prices[currency]
        limit = _rounded(currency, max(pricing.spot, pricing.on_demand * self._dice.uniform(0.6, 1.05)))
        price = max(pricing.spot * self._dice.uniform(1.0, 1.08), lot.highest(currency) * self._step())
        account_id = self._somebody()
        order_id = self._order(
            account_id, lot.server.id, currency, min(_rounded(currency, price), limit), now
        )
        if order_id is not None:
            self._stays(Bid(account_id, lot.server.id, currency, limit), order_id, now)

    def _stays(self, bid: Bid, order_id: int, now: int) -> None:
        self._bids[order_id] = bid
        seconds = 60 + self._dice.lognormvariate(0, 1.0) * BID_SECONDS_MEDIAN
        self._agenda.put(now + seconds, partial(self._leave, bid.account_id, order_id))

    def _raise(self, order_id: int, now: int) -> None:
        bid = self._bids.get(order_id)
        if bid is None:
            return
        lot = self._lots([bid.server_id])[0]
        own = next((order for order in lot.bids if order.id == order_id), None)
        if own is None or own.state is not State.WAITING or lot.taken:
            return
        price = _rounded(bid.currency, lot.highest(bid.currency) * self._step())
        if not own.price < price <= bid.limit:
            return
        self._vouch(now)
        try:
            spot.set_spot_price(self._market, bid.account_id, _price_of(order_id, price), now)
        except (Refused, InvalidInput):
            return  # it can wait

    def _give_up(self, order_id: int, now: int) -> None:
        bid = self._bids.get(order_id)
        if bid is not None:
            self._leave(bid.account_id, order_id, now)

    def _step(self) -> float:
        """How far above the highest bid one goes."""
        return self._dice.uniform(1.005, 1.05)

    # What both do -----------------------------------------------------------------------------------

    def _expect(self, arrival: Happening, seconds: float, now: int) -> None:
        count = max(1, len(self._machines)) * liveliness(max(1, len(self._machines)))
        self._agenda.put(now + 1 + self._dice.expovariate(count / seconds), arrival)

    def _somebody(self) -> int:
        """One of those with the fewest orders."""
        fewest = min(self._busy.values())
        return self._dice.choice([account_id for account_id, n in self._busy.items() if n == fewest])

    def _look_around(self) -> list[Lot]:
        """A few machines that can be had at all."""
        looked_at = self._dice.sample(list(self._machines), min(LOOKS_AT, len(self._machines)))
        return [lot for lot in self._lots(looked_at) if lot.server.listed and lot.server.gigaspot is None]

    def _lots(self, server_ids: Sequence[int]) -> list[Lot]:
        with self._market.store.reading() as tx:
            found = {server.id: server for server in servers_store.by_ids(tx, server_ids)}
            known, pegged = rates_store.every(tx), rates_store.pegged(tx)
            active = {server_id: orders_store.active_on_server(tx, server_id) for server_id in server_ids}
        return [
            Lot(
                server=found[server_id],
                prices=server_rules.in_force(found[server_id].settings, pegged),
                bids=spot_rules.ranked([o for o in active[server_id] if o.kind is Kind.SPOT], known),
                rates=known,
                taken=any(order.kind is Kind.ON_DEMAND for order in active[server_id]),
            )
            for server_id in server_ids
        ]

    def _order(
        self, account_id: int, server_id: int, currency: Currency, bid: int | None, now: int
    ) -> int | None:
        """Make an order, with fresh money where there is none left; None where the market refuses."""
        try:
            return self._make(account_id, server_id, currency, bid, now)
        except InvalidInput:
            return None
        except Refused as refused:
            if refused.refusal is not Refusal.NOT_ENOUGH_BALANCE:
                return None
        self._top_up(account_id, currency, money.from_wire(round(TOP_UP_USD / self._usd[currency], 8)), now)
        try:
            return self._make(account_id, server_id, currency, bid, now)
        except (Refused, InvalidInput):
            return None

    def _make(self, account_id: int, server_id: int, currency: Currency, bid: int | None, now: int) -> int:
        request = CreateOrder(
            renting_server=server_id,
            type="on-demand" if bid is None else "spot",
            currency=currency,
            image=self._dice.choice(IMAGES),
            spotprice=None if bid is None else money.to_wire(bid),
        )
        self._vouch(now)
        reply = orders.create_order(self._market, account_id, request, now)
        assert isinstance(reply.order, OrderRow)
        self._busy[account_id] += 1
        return reply.order.id

    def _top_up(self, account_id: int, currency: Currency, amount: int, now: int) -> None:
        self._top_ups += 1
        email = f"rival-{list(self._busy).index(account_id) + 1}@example.org"
        accounts.credit(self._market, email, currency, amount, now, f"rivals:{self._top_ups}")


def _price_of(order_id: int, price: int) -> SetSpotPrice:
    return SetSpotPrice(order_id=order_id, desired_price=money.to_wire(price))


def _usd_per_gpu(machine: Machine, usd: Mapping[Currency, float]) -> float:
    """The lowest price of a day and GPU that its host accepts."""
    prices = (
        money.to_wire(machine.settings.prices[currency].on_demand) * usd[currency]
        for currency in machine.settings.accepted
    )
    return min(prices) / max(1, machine.specs.gpu_count)


def _usual_usd(machines: Sequence[Machine], usd: Mapping[Currency, float]) -> dict[str, float]:
    """GPU model to what a day of one usually costs."""
    asked: dict[str, list[float]] = {}
    for machine in machines:
        asked.setdefault(machine.specs.gpu_model, []).append(_usd_per_gpu(machine, usd))
    return {model: median(prices) for model, prices in asked.items()}


def _rounded(currency: Currency, price: float) -> int:
    """Up to the decimals that people write in this currency."""
    step: int = 10 ** (8 - PRICE_BOUNDS[currency].decimals)
    return int(-(-price // step)) * step
