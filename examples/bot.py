"""A bot to start from: it keeps one machine at work, as cheaply as a spot bid can, within a budget.

Run it with an address and a key of your own:

    CLORE_BASE_URL=https://api.clore.ai/v1 CLORE_API_KEY=... python bot.py

or let it live through a week in seconds, with everything that can go wrong: `pytest test_bot.py`.

It trusts nothing that it remembers: every step begins with what the market says there is.
"""

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from openclore import Clore, CloreError, NotFoundError, OutcomeUnknownError, PriceError, UnavailableError
from openclore.api.offers import Offer
from openclore.api.orders import Order
from openclore.api.spot import SpotOffer

log = logging.getLogger("bot")

CURRENCY = "USD-Blockchain"


@dataclass(frozen=True)
class Wish:
    """What the bot looks for, and what it may cost.

    Attributes:
        vram_gb: per GPU, at least.
        reliability: 0 to 1, at least.
        usd_per_day: the most a machine may cost a day.
        budget_usd: the most that all its orders may cost together; then it stops.
    """

    image: str = "busybox"
    vram_gb: float = 12
    reliability: float = 0.95
    usd_per_day: float = 5.0
    budget_usd: float = 50.0


@dataclass
class Bot:
    """Call `step` every few minutes. `now` is the time, Unix s; only differences of it count."""

    clore: Clore
    wish: Wish
    now: Callable[[], float] = time.time
    # Machines that disappointed, and until when they are left alone.
    shunned: dict[int, float] = field(default_factory=dict)
    stopped: bool = False

    deploy_seconds_max = 1_800
    shun_seconds = 6 * 3_600
    raise_factor = 1.03

    def step(self) -> None:
        """Look, and do one thing about it. Whatever fails now is tried again with the next step."""
        try:
            mine = self.clore.my_orders(return_completed=True)
            active = [order for order in mine if not order.expired]
            if sum(order.spend or 0 for order in mine) >= self.wish.budget_usd:
                self._stop(active)
            elif not active:
                self._find_a_machine()
            else:
                self._look_after(active[0])
                for order in active[1:]:
                    self._leave(order, "one is enough")
        except OutcomeUnknownError as error:
            log.warning("%s The next step sees whether there is an order.", error)
        except CloreError as error:
            log.warning("%s Trying again with the next step.", error)

    # One machine ------------------------------------------------------------------------------------

    def _look_after(self, order: Order) -> None:
        """Stay, raise, or go."""
        bids = self.clore.spot_marketplace(order.si or 0).offers or []
        own = next((bid for bid in bids if bid.my), None)
        if own is not None and not own.active:
            self._answer_outbid(order, bids)
        elif order.mon_container == 1 or order.online is False:
            self._leave(order, "the machine does not work")
        elif order.mon_container == 0 and self.now() - (order.ct or 0) > self.deploy_seconds_max:
            self._leave(order, "it takes too long to deploy")

    def _answer_outbid(self, order: Order, bids: list[SpotOffer]) -> None:
        """Raise above the bid that runs, or look for another machine if that is too dear."""
        rival = next((bid for bid in bids if bid.active), None)
        if rival is None or rival.currency != CURRENCY:
            self._leave(order, "outbid")
            return
        price = round((rival.bid or 0) * self.raise_factor + 0.01, 2)
        if price > self.wish.usd_per_day:
            self._leave(order, f"outbid, and {price} is too dear")
            return
        log.info("outbid on %s: raising to %s", order.si, price)
        self.clore.set_spot_price(order.id, price)

    def _leave(self, order: Order, why: str) -> None:
        log.info("leaving %s: %s", order.si, why)
        self.shunned[order.si or 0] = self.now() + self.shun_seconds
        try:
            self.clore.cancel_order(order.id)
        except NotFoundError:
            return  # it is over already

    def _stop(self, active: list[Order]) -> None:
        for order in active:
            self._leave(order, "the budget is spent")
        self.stopped = True

    # A new one --------------------------------------------------------------------------------------

    def _find_a_machine(self) -> None:
        """Bid on the cheapest that fits; the market may still say no, then on the next."""
        for offer, floor in self._candidates():
            bid = self._bid(offer, floor)
            if bid is None:
                continue
            try:
                order = self._order(offer, bid)
            except UnavailableError as error:
                log.info("%s is not to be had: %s", offer.id, error.error)
                continue
            log.info("bidding %s a day on %s, order %s", order.price, offer.id, order.id)
            return
        log.info("there is nothing to rent")

    def _candidates(self) -> list[tuple[Offer, float]]:
        """Offers that fit, with their lowest bids, the cheapest first."""
        fitting = []
        for offer in self.clore.marketplace():
            floor = ((offer.price and offer.price.spot) or {}).get(CURRENCY)
            if (
                floor is not None
                and floor <= self.wish.usd_per_day
                and not (offer.rented or offer.gigaspot)
                and CURRENCY in (offer.allowed_coins or [])
                and offer.specs is not None
                and (offer.specs.gpuram or 0) >= self.wish.vram_gb
                and (offer.reliability or 0) >= self.wish.reliability
                and self.shunned.get(offer.id, 0) < self.now()
            ):
                fitting.append((offer, floor))
        return sorted(fitting, key=lambda pair: (pair[1], pair[0].id))[:5]

    def _bid(self, offer: Offer, floor: float) -> float | None:
        """What would run now: the floor, or more than who bids there already."""
        running = [bid for bid in self.clore.spot_marketplace(offer.id).offers or [] if bid.active]
        if any(bid.currency != CURRENCY for bid in running):
            return None
        highest = max((bid.bid or 0 for bid in running), default=0)
        bid = max(floor, round(highest * self.raise_factor + 0.01, 2) if running else 0)
        return bid if bid <= self.wish.usd_per_day else None

    def _order(self, offer: Offer, bid: float) -> Order:
        """Order at this bid, or at the new floor if that moved meanwhile."""
        try:
            return self._ask(offer, bid)
        except PriceError as error:
            if error.min_price is None or error.min_price > self.wish.usd_per_day:
                raise UnavailableError(str(error), error=error.error) from error
            return self._ask(offer, error.min_price)

    def _ask(self, offer: Offer, bid: float) -> Order:
        return self.clore.create_order(
            renting_server=offer.id,
            type="spot",
            spotprice=bid,
            currency=CURRENCY,
            image=self.wish.image,
            ports={22: "tcp"},
        )


def run(bot: Bot, sleep: Callable[[float], None] = time.sleep, every_seconds: float = 300) -> None:
    """Step until the budget is spent."""
    while not bot.stopped:
        bot.step()
        sleep(every_seconds)


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(__doc__)
    logging.basicConfig(format="%(asctime)s %(message)s")
    log.setLevel(logging.INFO)
    with Clore() as clore, suppress(KeyboardInterrupt):
        run(Bot(clore, Wish()))
