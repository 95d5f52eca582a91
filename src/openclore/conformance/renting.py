"""Checks that cost a little: a machine is rented, looked at and given back, on demand and by a bid.

Whatever happens, every order that this has made, or may have made, is cancelled at the end.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from openclore.api.codes import Code, Refusal
from openclore.api.orders import Order
from openclore.client.errors import CloreError

from .findings import Finding, Mark, judged, not_checked
from .market import Market, Seen
from .reading import Known, lengths_in_seconds
from .refusals import refused
from .shapes import misfits, missing

IMAGE = "cloreai/jupyter:ubuntu24.04-v2"
APPEARS_SECONDS = 30.0
"""A new order may take 20 s to be listed."""
VANISHES_SECONDS = 60.0
HOURS_AFFORDABLE = 1
"""A wallet must hold so much of the price besides the creation fee: far more than the checks cost."""
SERVERS_TRIED_MAX = 3
ROW = (
    "id",
    "si",
    "ct",
    "mrl",
    "price",
    "currency",
    "image",
    "online",
    "spend",
    "creation_fee",
    "mon_container",
)
_USD_MEMBERS = {
    "bitcoin": "on_demand_btc",
    "CLORE-Blockchain": "on_demand_clore",
    "USD-Blockchain": "on_demand_usd",
}
_TAKEN = (
    Refusal.SERVER_OFFLINE,
    Refusal.SERVER_ALREADY_RENTED,
    Refusal.PRICE_NOT_MATCHING,
    Refusal.MACHINE_IS_ON_GIGASPOT,
    Refusal.COMPUTE_NOT_AVAILABLE,
)
"""Says nothing about the market's manners: the machine went since it was listed."""


@dataclass(frozen=True)
class Choice:
    """A server to rent and the currency to pay in; prices per day, `floor` is the lowest bid."""

    server_id: int
    currency: str
    price: float
    floor: float
    dollars: float
    floor_dollars: float
    mrl: Any


def choices(known: Known, max_price_per_day: float) -> list[Choice]:
    """What could be rented for at most so many dollars a day with what the wallets hold, cheapest first."""
    affordable = [
        choice
        for offer in known.offers
        for choice in _ways_to_pay(offer)
        if 0 < choice.dollars <= max_price_per_day and choice.server_id not in known.my_server_ids
        if known.balances.get(choice.currency, 0) >= _needed(known, choice)
    ]
    return sorted(affordable, key=lambda choice: (choice.dollars, choice.server_id))


def _ways_to_pay(offer: dict[str, Any]) -> Iterator[Choice]:
    """One for every currency the host accepts; none for a machine that is taken."""
    server_id, price, coins = offer.get("id"), offer.get("price"), offer.get("allowed_coins")
    if not (isinstance(server_id, int) and isinstance(price, dict) and isinstance(coins, list)):
        return
    taken = offer.get("rented") or offer.get("gigaspot")
    for currency in [] if taken else [each for each in coins if isinstance(each, str)]:
        asked, floor = _number(price, "on_demand", currency), _number(price, "spot", currency)
        in_dollars = currency == "USD-Blockchain"
        dollars = asked if in_dollars else _number(price, "usd", _USD_MEMBERS.get(currency))
        if asked > 0:
            bid_dollars = floor * dollars / asked
            yield Choice(server_id, currency, asked, floor, dollars, bid_dollars, offer.get("mrl"))


def _needed(known: Known, choice: Choice) -> float:
    return choice.price * HOURS_AFFORDABLE / 24 + _creation_fee(known, choice.currency)


def _number(price: dict[str, Any], which: str, member: str | None) -> float:
    """0 where there is none."""
    prices = price.get(which)
    value = prices.get(member) if isinstance(prices, dict) else None
    return value if isinstance(value, int | float) else 0.0


def _creation_fee(known: Known, currency: str) -> float:
    fees = known.fees.get("creation_fees")
    return _number(fees, "on_demand", currency) if isinstance(fees, dict) else 0.0


class Renter:
    """Makes orders, remembers them, and ends them all.

    Attributes:
        left_over: ids of orders that could not be cancelled, and go on costing money.
    """

    def __init__(self, market: Market, known: Known, tell: Callable[[str], None]) -> None:
        self.market = market
        self.left_over: list[int] = []
        self._tell = tell
        self._before = [row.get("id") for row in (*known.active, *known.finished)]
        self._tried: list[int] = []
        self._made_at_most = 0
        self._met: set[int] = set()

    def create(self, choice: Choice, kind: str = "on-demand", **changes: Any) -> Seen:
        """`create_order`, once; again only where the market asks for a second's patience."""
        body = {
            "renting_server": choice.server_id,
            "type": kind,
            "currency": choice.currency,
            "image": IMAGE,
            "ports": {"22": "tcp", "8888": "http"},
            "ssh_password": secrets.token_hex(9),
        }
        self._tried.append(choice.server_id)
        self._made_at_most += 1
        seen = self.market.post("create_order", body | changes)
        if seen.error == Refusal.WAIT:
            seen = self.market.post("create_order", body | changes)
        if seen.status < 500 and seen.code not in (Code.OK, Code.DATABASE_ERROR, None):
            self._made_at_most -= 1
        return seen

    def create_in_vain(self, choice: Choice, kind: str = "on-demand", **changes: Any) -> Seen:
        """One that must be refused; where it is not, the order is cancelled at once."""
        seen = self.create(choice, kind, **changes)
        if seen.code != Code.BUSINESS:
            self.clean_up()
        return seen

    def rows(self, server_id: int | None = None, *, ended: bool = False) -> list[dict[str, Any]]:
        """Orders made here, on one server or on all; with `ended` those that ended too."""
        query = {"return_completed": "true"} if ended else {}
        content = self.market.get("my_orders", **query).content.get("orders")
        servers = self._tried if server_id is None else [server_id]
        found = [
            row
            for row in (content if isinstance(content, list) else [])
            if isinstance(row, dict) and isinstance(row.get("id"), int)
            if row["id"] not in self._before and row.get("si") in servers
        ]
        self._met.update(row["id"] for row in found)
        return found

    def until(self, check: Callable[[], Any], seconds: float) -> tuple[Any, float]:
        """The first truthy answer and after how many seconds; the last answer if there is none in time."""
        started = self.market.clock()
        while True:
            found = check()
            elapsed = self.market.clock() - started
            if found or elapsed > seconds:
                return found, elapsed
            self.market.sleep(1.0)

    def clean_up(self) -> None:
        """Cancel what runs, and what shows up as long as an order may still appear."""
        started, elapsed = self.market.clock(), 0.0
        while self._made_at_most and elapsed <= VANISHES_SECONDS:
            running, answered = self._cancel_what_runs()
            self.left_over = running
            elapsed = self.market.clock() - started
            none_hidden = len(self._met) >= self._made_at_most or elapsed > APPEARS_SECONDS
            if answered and not running and none_hidden:
                return
            self.market.sleep(1.0)

    def _cancel_what_runs(self) -> tuple[list[int], bool]:
        """Ids of what ran, and whether the market answered."""
        running: list[int] = []
        try:
            running = [row["id"] for row in self.rows() if not row.get("expired")]
            for order_id in running:
                self._tell(f"Cancelling order {order_id} ...")
                self.market.post("cancel_order", {"id": order_id})
        except CloreError as error:
            self._tell(str(error))
            return running, False
        return running, True


# What must be refused -------------------------------------------------------------------------------


def refusals(renter: Renter, known: Known, found: list[Choice]) -> Iterator[Finding]:
    """Orders that a market must not make. One that makes them is found out, and the order is cancelled."""
    market, about = renter.market, "create_order"
    choosy = next((c for c in found if _refused_currency(known, c)), None)
    check = "a currency the host refuses"
    if choosy:
        seen = renter.create_in_vain(choosy, currency=_refused_currency(known, choosy))
        yield refused(market, about, check, Mark.SEEN, seen, Refusal.CURRENCY_NOT_ALLOWED)
    else:
        yield not_checked(about, check, Mark.SEEN, "no affordable host refuses one")
    seen = renter.create_in_vain(found[0], required_price=found[0].price / 2)
    yield refused(market, about, "another price than required", Mark.SEEN, seen, Refusal.PRICE_NOT_MATCHING)
    check = "more than the wallet holds"
    poor = next((c for c in found if _empty_wallet(known, c)), None)
    if poor:
        seen = renter.create_in_vain(poor, currency=_empty_wallet(known, poor))
        yield refused(market, about, check, Mark.DOC, seen, Refusal.NOT_ENOUGH_BALANCE)
    else:
        yield not_checked(about, check, Mark.DOC, "no affordable host takes an empty wallet's currency")
    check = "a server of one's own"
    own = next((offer for offer in known.offers if offer.get("id") in known.my_server_ids), None)
    coins = (own or {}).get("allowed_coins") or ()
    if own and coins:
        seen = renter.create_in_vain(Choice(own["id"], coins[0], 0, 0, 0, 0, None))
        yield refused(market, about, check, Mark.DOC, seen, Refusal.CANT_RENT_FROM_YOURSELF)
    else:
        yield not_checked(about, check, Mark.DOC, "the key has none on the market")


def _offer(known: Known, choice: Choice) -> dict[str, Any]:
    return next(offer for offer in known.offers if offer.get("id") == choice.server_id)


def _refused_currency(known: Known, choice: Choice) -> str | None:
    accepted = _offer(known, choice).get("allowed_coins") or ()
    return next((currency for currency in _USD_MEMBERS if currency not in accepted), None)


def _empty_wallet(known: Known, choice: Choice) -> str | None:
    accepted = _offer(known, choice).get("allowed_coins") or ()
    return next((currency for currency in accepted if known.balances.get(currency) == 0), None)


# On demand ------------------------------------------------------------------------------------------


def on_demand(renter: Renter, known: Known, found: list[Choice]) -> Iterator[Finding]:
    """One order from its making to its end."""
    market, about = renter.market, "create_order"
    balances = known.balances
    for choice in found[:SERVERS_TRIED_MAX]:
        seen = renter.create(choice, required_price=choice.price)
        if seen.error not in _TAKEN:
            break
    yield judged(about, "makes an order", Mark.DOC, seen.is_(200, Code.OK), seen, "HTTP 200, code 0")
    if seen.code != Code.OK:
        return
    if market.says_open:
        order = seen.content.get("order")
        holds = isinstance(order, dict) and isinstance(order.get("id"), int)
        yield judged(about, "answers with the order", Mark.OPEN, holds, seen, "order with its id")
    else:
        holds = seen.content == {"code": 0}
        yield judged(about, "answers code 0 and no more", Mark.SEEN, holds, seen, '{"code":0}')
    rows, seconds = renter.until(lambda: renter.rows(choice.server_id), APPEARS_SECONDS)
    told = f"after {seconds:.0f} s" if rows else f"not in {seconds:.0f} s"
    yield judged(
        "my_orders", "a new order appears", Mark.SEEN, bool(rows), told, f"within {APPEARS_SECONDS:.0f} s"
    )
    if not rows:
        return
    row = rows[0]
    yield from _new_row(row, choice, known)
    seen = renter.create(choice)
    yield refused(market, about, "a second order", Mark.SEEN, seen, Refusal.SERVER_ALREADY_RENTED)
    if not market.says_open and seen.error == Refusal.SERVER_ALREADY_RENTED:
        yield judged(
            about, "... with a status member", Mark.SEEN, "status" in seen.content, seen, "status, any"
        )
    yield _listed_as_rented(renter, choice)
    yield _wallet_shrinks(renter, choice, balances)
    yield from _end(renter, row, by_text=True)


def _new_row(row: dict[str, Any], choice: Choice, known: Known) -> Iterator[Finding]:
    about = "my_orders"
    lacking = missing([row], ROW)
    told = f"not {', '.join(lacking)}" if lacking else "all there"
    yield judged(about, "members of a new order", Mark.DOC, not lacking, told, ", ".join(ROW))
    wrong = [each.text for each in misfits(Order, row) if each.kind == "wrong"]
    told = ", ".join(wrong) or "as the protocol says"
    yield judged(about, "types of a new order", Mark.SEEN, not wrong, told, "the protocol's types")
    for member, mark, expected in (
        ("si", Mark.DOC, choice.server_id),
        ("currency", Mark.DOC, choice.currency),
        ("image", Mark.DOC, IMAGE),
        ("price", Mark.DOC, choice.price),
    ):
        holds = row.get(member) == expected
        yield judged(about, f"{member} as ordered", mark, holds, row.get(member), str(expected))
    yield lengths_in_seconds([row])
    if isinstance(choice.mrl, int):
        holds = row.get("mrl") == choice.mrl * 3_600
        yield judged(
            about, "mrl is the server's", Mark.SEEN, holds, row.get("mrl"), f"{choice.mrl} h in seconds"
        )
    earlier = [each.get("id") for each in (*known.active, *known.finished)]
    newest = max((each for each in earlier if isinstance(each, int)), default=0)
    holds = isinstance(row.get("id"), int) and row["id"] > newest
    yield judged(about, "order ids rise", Mark.SEEN, holds, row.get("id"), f"more than {newest}")
    spend, minute = row.get("spend"), choice.price / 1_440
    holds = isinstance(spend, int | float) and 0.99 * minute <= spend + 1e-8 and spend <= 3 * minute
    yield judged(about, "a minute is charged at once", Mark.SEEN, holds, spend, f"about {minute:.8f}")
    fee = _creation_fee(known, choice.currency)
    holds = row.get("creation_fee", 0) == fee
    yield judged(about, "creation_fee as in renter_fees", Mark.SEEN, holds, row.get("creation_fee"), str(fee))
    holds = not row.get("spot") and not row.get("expired")
    told = f"spot {row.get('spot')}, expired {row.get('expired')}"
    yield judged(about, "no spot order, and active", Mark.SEEN, holds, told, "both false or missing")
    ports, http = row.get("tcp_ports"), row.get("http_port")
    if ports is None or http is None:
        yield not_checked(about, "the ports that were asked for", Mark.SEEN, "not assigned yet")
    else:
        holds = http == "8888" and isinstance(ports, list) and [str(p).split(":")[0] for p in ports] == ["22"]
        told = f"tcp_ports {ports}, http_port {http!r}"
        yield judged(
            about,
            "the ports that were asked for",
            Mark.SEEN,
            holds,
            told,
            'tcp_ports ["22:…"], http_port "8888"',
        )


def _listed_as_rented(renter: Renter, choice: Choice) -> Finding:
    def rented() -> bool:
        servers = renter.market.get("marketplace").content.get("servers")
        rows = servers if isinstance(servers, list) else []
        return any(row.get("id") == choice.server_id and row.get("rented") is True for row in rows)

    shown, seconds = renter.until(rented, APPEARS_SECONDS)
    told = f"after {seconds:.0f} s" if shown else f"not in {seconds:.0f} s"
    return judged("marketplace", "shows the server as rented", Mark.DOC, shown, told, "rented true")


def _wallet_shrinks(renter: Renter, choice: Choice, before: dict[str, float]) -> Finding:
    rows = renter.market.get("wallets").content.get("wallets")
    left = {row.get("name"): row.get("balance") for row in rows} if isinstance(rows, list) else {}
    now, then = left.get(choice.currency), before[choice.currency]
    holds = isinstance(now, int | float) and now < then
    return judged(
        "wallets", "an order is paid as it runs", Mark.INFERRED, holds, f"{then} -> {now}", "less than before"
    )


def _end(renter: Renter, row: dict[str, Any], *, by_text: bool = False) -> Iterator[Finding]:
    market, order_id = renter.market, row.get("id")
    seen = market.post("cancel_order", {"id": str(order_id) if by_text else order_id})
    check = "cancels, the id as text" if by_text else "cancels a bid"
    mark = Mark.SEEN if by_text else Mark.DOC
    yield judged("cancel_order", check, mark, seen.is_(200, Code.OK), seen, "HTTP 200, code 0")
    if seen.code != Code.OK:
        return

    def gone() -> bool:
        return all(each.get("id") != order_id for each in renter.rows())

    vanished, seconds = renter.until(gone, VANISHES_SECONDS)
    told = f"after {seconds:.0f} s" if vanished else f"still there after {seconds:.0f} s"
    yield judged(
        "my_orders", "a cancelled order goes", Mark.SEEN, vanished, told, f"within {VANISHES_SECONDS:.0f} s"
    )
    ended = next((each for each in renter.rows(ended=True) if each.get("id") == order_id), {})
    holds = ended.get("expired") is True
    told = f"expired {ended.get('expired')}" if ended else "not listed"
    yield judged(
        "my_orders", "... and is expired from then on", Mark.DOC, holds, told, "expired true, if asked for"
    )
    seen = market.post("cancel_order", {"id": order_id})
    yield refused(market, "cancel_order", "cancelled twice", Mark.DOC, seen, Refusal.ORDER_NOT_ACTIVE)


# By a bid -------------------------------------------------------------------------------------------


def spot(renter: Renter, found: list[Choice]) -> Iterator[Finding]:
    """A bid from its making over its changes to its end."""
    market = renter.market
    biddable = sorted((c for c in found if c.floor > 0), key=lambda choice: choice.floor_dollars)
    if not biddable:
        yield not_checked("create_order", "a bid", Mark.DOC, "no affordable server takes bids")
        return
    for choice in biddable[:SERVERS_TRIED_MAX]:
        seen = renter.create_in_vain(choice, "spot", spotprice=choice.floor / 2)
        if seen.error not in _TAKEN:
            break
    yield refused(market, "create_order", "a bid under the floor", Mark.SEEN, seen, Refusal.TOO_LOW_PRICE)
    floor = seen.content.get("min_price")
    numeric = isinstance(floor, int | float) and not isinstance(floor, bool)
    if seen.error == Refusal.TOO_LOW_PRICE:
        yield judged("create_order", "... names min_price", Mark.SEEN, numeric, seen, "min_price, per day")
    bid = float(floor) if isinstance(floor, int | float) and numeric else choice.floor
    seen = renter.create(choice, "spot", spotprice=bid)
    yield judged(
        "create_order",
        "a bid at the floor",
        Mark.DOC,
        seen.is_(200, Code.OK),
        seen,
        "HTTP 200, code 0",
    )
    if seen.code != Code.OK:
        return
    rows, _ = renter.until(lambda: renter.rows(choice.server_id), APPEARS_SECONDS)
    row = rows[-1] if rows else {}
    told = f"spot {row.get('spot')}" if row else "not listed"
    yield judged("my_orders", "a bid is a spot order", Mark.SEEN, row.get("spot") is True, told, "spot true")
    if not row:
        return
    seen = renter.create(choice, "spot", spotprice=bid)
    yield refused(market, "create_order", "a second bid", Mark.DOC, seen, Refusal.YOU_ALREADY_HAVE_SPOT_ORDER)
    yield _shown(renter, choice, row, bid, "shows the bid as mine")
    yield from _repricing(renter, choice, row, bid)
    yield from _end(renter, row)


def _shown(renter: Renter, choice: Choice, row: dict[str, Any], bid: float, check: str) -> Finding:
    market = renter.market.get("spot_marketplace", market=choice.server_id).content.get("market")
    offers = market.get("offers") if isinstance(market, dict) else None
    mine = [each for each in offers if each.get("my")] if isinstance(offers, list) else []
    holds = [(o.get("offer_id"), o.get("bid"), o.get("currency")) for o in mine] == [
        (row.get("id"), bid, choice.currency)
    ]
    expected = f"one offer of mine: offer_id {row.get('id')}, bid {bid}"
    return judged("spot_marketplace", check, Mark.INFERRED, holds, mine or "none", expected)


def _repricing(renter: Renter, choice: Choice, row: dict[str, Any], bid: float) -> Iterator[Finding]:
    market, about = renter.market, "set_spot_price"

    def reprice(price: float) -> Seen:
        return market.post(about, {"order_id": row.get("id"), "desired_price": price})

    raised = round(bid * 1.2, 8)
    seen = reprice(raised)
    yield judged(about, "raising is free", Mark.DOC, seen.is_(200, Code.OK), seen, "HTTP 200, code 0")
    if seen.code == Code.OK:
        yield _shown(renter, choice, row, raised, "shows the new bid")
    seen = reprice(bid / 2)
    reasons = (Refusal.AMOUNT_TOO_LOW, Refusal.EXCEEDED_MAX_STEP)
    yield refused(market, about, "under the floor", Mark.DOC, seen, *reasons)
    seen = reprice(round((bid + raised) / 2, 8))
    if seen.error == Refusal.EXCEEDED_MAX_STEP:
        step = seen.content.get("max_step")
        numeric = isinstance(step, int | float) and not isinstance(step, bool) and step > 0
        yield judged(about, "too far at once names max_step", Mark.DOC, numeric, seen, "max_step, per day")
        if not isinstance(step, int | float) or not numeric:
            return
        seen = reprice(raised - step / 2)
    yield judged(about, "lowering once", Mark.DOC, seen.is_(200, Code.OK), seen, "HTTP 200, code 0")
    if seen.code != Code.OK:
        return
    seen = reprice(bid)
    yield refused(
        market, about, "lowering again at once", Mark.DOC, seen, Refusal.CAN_LOWER_EVERY_600_SECONDS
    )
    if seen.error == Refusal.CAN_LOWER_EVERY_600_SECONDS:
        left = seen.content.get("time_to_lowering")
        holds = isinstance(left, int | float) and 0 < left <= 600
        yield judged(about, "... names time_to_lowering", Mark.DOC, holds, left, "1 to 600 s")
