"""What each kind of alert looks at, and its words. Pure.

Some conditions last (a wallet is low, a server is offline): for each subject they hold or not, or can't be
told just now. Others happen once (an order failed, an event).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from openclore.api.account import RenterFeesReply
from openclore.api.offers import Offer
from openclore.api.open.events import Event
from openclore.api.orders import Order
from openclore.api.servers import MyServer
from openclore.api.specs import Specs

from .file import (
    Alert,
    Happened,
    HostLost,
    OrderFailed,
    Outbid,
    PriceAbove,
    PriceBelow,
    ServerFree,
    ServerOffline,
    ServerRented,
    WalletBelow,
    WalletHoursBelow,
)
from .observation import Observation, Reading, fresh
from .servers import named
from .templates import Figure, Names
from .words import plain

BACK_FACTOR = 1.05
"""Without a mark of its own, a figure is back when it is 5 % on the good side."""


class Said(NamedTuple):
    """Something to say. `names` are those of its kind of template."""

    title: str
    text: str
    names: Names


class Case(NamedTuple):
    """A condition and one subject.

    `holds`: None where that can't be told just now. `back` is what to say when it is over, None: nothing.
    """

    holds: bool | None
    said: Said
    back: tuple[str, str] | None = None


class Evidence(NamedTuple):
    """What a condition is judged by; `held` tells of a subject whether the condition held before."""

    seen: Observation
    now: int
    stale_after: int
    held: Callable[[str], bool]


Cases = Mapping[str, Case]
"""By subject; what is known of one that is not there is forgotten."""


class Lasting(NamedTuple):
    """How a lasting condition is treated.

    Attributes:
        cases: None where all that it looks at is too old or missing.
        news: what is no news: "changes", a subject first seen; "orders", those there were at the first look;
            "all": nothing.
        reminds: whether it is said again while it lasts.
    """

    cases: Callable[[Any, Evidence], Cases | None]
    news: str
    reminds: bool = True


class Happening(NamedTuple):
    """What happened since `before`, which is what the last look returned; None at the first."""

    happened: Callable[[Any, Evidence, Mapping[str, str] | None], "Happenings | None"]


class Happenings(NamedTuple):
    """By subject what to say, and what to compare with next time."""

    said: list[tuple[str, Said]]
    seen: Mapping[str, str]


def treatment(alert: Alert) -> Lasting | Happening:
    """How a kind of alert is treated."""
    return _TREATMENTS[type(alert)]


def back_mark(alert: WalletBelow) -> float:
    """From which balance on a wallet is back."""
    return alert.below * BACK_FACTOR if alert.back_above is None else alert.back_above


# Wallets --------------------------------------------------------------------------------------------


def _wallet_below(alert: WalletBelow, evidence: Evidence) -> Cases | None:
    amount = _balance(alert.wallet, evidence)
    if amount is None:
        return None
    mark = back_mark(alert)
    names: Names = {"wallet": str(alert.wallet), "amount": Figure(amount), "below": Figure(alert.below)}
    case = Case(
        amount < (mark if evidence.held(alert.wallet) else alert.below),
        Said(
            f"{alert.wallet} is low: {plain(amount)}",
            f"The balance is {plain(amount)}, below {plain(alert.below)}.",
            {**names, "back_above": Figure(mark)},
        ),
        (
            f"{alert.wallet} is back: {plain(amount)}",
            f"The balance is {plain(amount)}, again at or above {plain(mark)}.",
        ),
    )
    return {str(alert.wallet): case}


def _wallet_hours_below(alert: WalletHoursBelow, evidence: Evidence) -> Cases | None:
    amount = _balance(alert.wallet, evidence)
    orders = fresh(evidence.seen.orders, evidence.now, evidence.stale_after)
    if amount is None or orders is None:
        return None
    fees = evidence.seen.fees.value if evidence.seen.fees is not None else None
    burn = sum(_per_hour(order, fees) for order in orders.values() if order.currency == alert.wallet)
    if not math.isfinite(burn) or burn < 0:
        return None
    left = amount / burn if burn else math.inf
    mark = alert.hours * BACK_FACTOR if evidence.held(alert.wallet) else alert.hours
    spending = f"{plain(round(burn, 8))} an hour"
    case = Case(
        left < mark,
        Said(
            f"{alert.wallet} lasts for {plain(_tenth(left))} hours",
            f"The balance is {plain(amount)}; running orders cost {spending}, fees included. That lasts for"
            f" {plain(_tenth(left))} hours, fewer than {plain(alert.hours)}.",
            {
                "wallet": str(alert.wallet),
                "amount": Figure(amount),
                "hours": Figure(alert.hours),
                "hours_left": Figure(_tenth(left)),
                "per_hour": Figure(round(burn, 8)),
            },
        ),
        (
            f"{alert.wallet} lasts again",
            f"The balance is {plain(amount)}; running orders cost {spending}, fees included. That lasts for"
            + (f" {plain(_tenth(left))} hours." if burn else "ever."),
        ),
    )
    return {str(alert.wallet): case}


def _balance(wallet: str, evidence: Evidence) -> float | None:
    amount = (fresh(evidence.seen.wallets, evidence.now, evidence.stale_after) or {}).get(wallet)
    return amount if amount is not None and math.isfinite(amount) else None


def _per_hour(order: Order, fees: RenterFeesReply | None) -> float:
    """What an order costs now in its currency, with the renter's fee."""
    if not _runs(order) or order.price is None:
        return 0.0
    tables = fees.renter_fees if fees is not None else None
    table = tables and (tables.spot if order.spot else tables.on_demand)
    percent = sum(
        ((part or {}).get(order.currency or "") or 0.0)
        for part in (table and (table.base, table.surcharge)) or ()
    )
    return order.price / 24 * (1 + percent * (1 - _reduction(fees)) / 100)


def _reduction(fees: RenterFeesReply | None) -> float:
    """By which share holding lowers the fee, as the market says."""
    poh = fees.poh_config if fees is not None else None
    if fees is None or poh is None or not poh.max_poh_amount or poh.max_reduction_percent is None:
        return 0.0
    return min((fees.poh_balance or 0.0) / poh.max_poh_amount, 1.0) * poh.max_reduction_percent / 100


def _runs(order: Order) -> bool:
    """Whether it costs anything now."""
    over = order.expired or order.state in ("ended", "waiting")
    return not (over or order.paused or order.mon_container == 1 or order.online is False)


def _tenth(hours: float) -> float:
    return math.floor(hours * 10) / 10 if math.isfinite(hours) else hours


# Orders ---------------------------------------------------------------------------------------------


def _outbid(alert: Outbid, evidence: Evidence) -> Cases | None:
    orders = fresh(evidence.seen.orders, evidence.now, evidence.stale_after)
    if orders is None:
        return None
    return {
        str(order.id): Case(
            _waits(order, evidence),
            Said(
                f"Order {order.id} is outbid",
                f"Somebody bids more than {_price(order)} a day for {_server(order)}.",
                {**_order(order), "price": Figure(order.price or 0), "currency": order.currency or ""},
            ),
            (f"Order {order.id} runs again", f"Its bid is {_price(order)} a day for {_server(order)}."),
        )
        for order in orders.values()
        if order.spot
    }


def _waits(order: Order, evidence: Evidence) -> bool | None:
    """Whether a bid does not run: as the order says, else as the bids on its server do."""
    if order.state is not None:
        return order.state == "waiting"
    market = fresh(evidence.seen.spot.get(order.si or 0), evidence.now, evidence.stale_after)
    bids = (market.offers if market is not None else None) or []
    own = [bid for bid in bids if bid.my and bid.offer_id in (order.id, None)]
    return not any(bid.active for bid in own) if own else None


def _host_lost(alert: HostLost, evidence: Evidence) -> Cases | None:
    orders = fresh(evidence.seen.orders, evidence.now, evidence.stale_after)
    if orders is None:
        return None
    return {
        str(order.id): Case(
            None if order.online is None else not order.online,
            Said(
                f"Order {order.id} lost its host",
                f"{_server(order).capitalize()}, on which order {order.id} ({order.image}) runs, is offline.",
                _order(order),
            ),
            (f"Order {order.id} has its host back", f"{_server(order).capitalize()} is online again."),
        )
        for order in orders.values()
        if (order.mon_container or 0) >= 2 and order.state in (None, "running")
    }


NEWEST = "newest"


def _order_failed(
    alert: OrderFailed, evidence: Evidence, before: Mapping[str, str] | None
) -> Happenings | None:
    """Compares with the orders that were there, by id: "" or "failed", and with the newest id there was."""
    active = fresh(evidence.seen.orders, evidence.now, evidence.stale_after)
    if active is None:
        return None
    ended = fresh(evidence.seen.ended, evidence.now, evidence.stale_after) or {}
    newest = max([int((before or {}).get(NEWEST, 0)), *active, *ended])
    after = {NEWEST: str(newest), **{str(n): "failed" if failure(o) else "" for n, o in active.items()}}
    if before is None:
        return Happenings([], after)
    said = []
    for number, order in {**ended, **active}.items():
        is_ours = str(number) in before or number in active or number > int(before[NEWEST])
        reason = failure(order)
        if is_ours and reason and before.get(str(number)) != "failed":
            said.append((str(number), _failed(order, reason)))
    if not _read_after(evidence.seen.ended, evidence.seen.orders):
        # One that is in neither may be among the ended ones when those are read next.
        after |= {n: state for n, state in before.items() if n not in after and int(n) not in ended}
    return Happenings(said, after)


def _read_after(later: Reading[Any] | None, earlier: Reading[Any] | None) -> bool:
    return later is not None and earlier is not None and later.at >= earlier.at


def failure(order: Order) -> str | None:
    """Why an order failed, None if it did not or the market does not tell why it ended."""
    detail = f": {order.end_detail}" if order.end_detail else ""
    if order.mon_container == 1 or order.end_reason == "failed":
        return f"it could not be deployed{detail}"
    if order.end_reason not in (None, "cancelled"):
        return f"it ended: {order.end_reason.replace('_', ' ')}{detail}"
    if isinstance(order.status, str) and order.status.startswith("exited"):
        return f"its container ended by itself ({order.status})"
    return None


def _failed(order: Order, reason: str) -> Said:
    return Said(
        f"Order {order.id} failed",
        f"Order {order.id} ({order.image}) on {_server(order)}: {reason}.",
        {**_order(order), "reason": reason},
    )


def _order(order: Order) -> dict[str, str | int | Figure]:
    return {"order": order.id, "server": order.si or 0, "image": order.image or ""}


def _server(order: Order) -> str:
    return f"server {order.si}" if order.si else "a server"


def _price(order: Order) -> str:
    return f"{plain(order.price or 0)} {order.currency or ''}".strip()


# Servers --------------------------------------------------------------------------------------------


def _server_offline(alert: ServerOffline, evidence: Evidence) -> Cases | None:
    servers = fresh(evidence.seen.servers, evidence.now, evidence.stale_after)
    if servers is None:
        return None
    return {
        name: Case(
            None if server.online is None else not server.online,
            Said(f"{name} is offline", f"Server {name} is offline.", {"server": name}),
            (f"{name} is online again", f"Server {name} is online again."),
        )
        for name, server in servers.items()
        if named(alert.servers, name)
    }


def _server_rented(alert: ServerRented, evidence: Evidence) -> Cases | None:
    rented = _rented(alert.servers, evidence)
    if rented is None:
        return None
    return {
        name: Case(yes, Said(f"{name} is rented", f"Server {name} is rented now.", {"server": name}))
        for name, yes in rented.items()
    }


def _server_free(alert: ServerFree, evidence: Evidence) -> Cases | None:
    rented = _rented(alert.servers, evidence)
    if rented is None:
        return None
    return {
        name: Case(
            yes if yes is None else not yes,
            Said(f"{name} is free", f"Server {name} is no longer rented.", {"server": name}),
        )
        for name, yes in rented.items()
    }


def _rented(patterns: tuple[str, ...], evidence: Evidence) -> dict[str, bool | None] | None:
    """By name: as a server's settings tell, else as its offer does, which knows of on-demand renters only."""
    servers = fresh(evidence.seen.servers, evidence.now, evidence.stale_after)
    if servers is None:
        return None
    offers = {
        offer.id: offer for offer in fresh(evidence.seen.offers, evidence.now, evidence.stale_after) or ()
    }

    def rented(name: str, server: MyServer) -> bool | None:
        config = fresh(evidence.seen.configs.get(name), evidence.now, evidence.stale_after)
        offer = offers.get(server.id or 0)
        if config is not None and config.rental_status is not None:
            return config.rental_status > 0
        return offer.rented if offer is not None else None

    return {name: rented(name, server) for name, server in servers.items() if named(patterns, name)}


# Prices ---------------------------------------------------------------------------------------------


def _price_above(alert: PriceAbove, evidence: Evidence) -> Cases | None:
    return _prices(
        alert, evidence, lambda price, held: price > (alert.level / BACK_FACTOR if held else alert.level)
    )


def _price_below(alert: PriceBelow, evidence: Evidence) -> Cases | None:
    return _prices(
        alert, evidence, lambda price, held: price < (alert.level * BACK_FACTOR if held else alert.level)
    )


def _prices(
    alert: PriceAbove | PriceBelow, evidence: Evidence, beyond: Callable[[float, bool], bool]
) -> Cases | None:
    offers = fresh(evidence.seen.offers, evidence.now, evidence.stale_after)
    prices = [per_gpu_hour(offer, alert.order_type) for offer in offers or () if _is(offer, alert.gpu)]
    price = min((price for price in prices if price is not None), default=None)
    if price is None:
        return None
    price = round(price, 6)
    side = "above" if isinstance(alert, PriceAbove) else "below"
    what = f"{alert.gpu}, {alert.order_type}"
    case = Case(
        beyond(price, evidence.held(alert.gpu)),
        Said(
            f"{what}: {plain(price)} $ per GPU and hour",
            f"The cheapest free {alert.gpu} costs {plain(price)} $ per GPU and hour ({alert.order_type}),"
            f" {side} {plain(alert.level)} $.",
            {
                "gpu": alert.gpu,
                "price": Figure(price),
                "level": Figure(alert.level),
                "order_type": alert.order_type,
            },
        ),
        (
            f"{what}: {plain(price)} $ per GPU and hour",
            f"The cheapest free {alert.gpu} costs {plain(price)} $ per GPU and hour ({alert.order_type}), no"
            f" longer {side} {plain(alert.level)} $.",
        ),
    )
    return {alert.gpu: case}


def _is(offer: Offer, gpu: str) -> bool:
    specs = offer.specs or Specs()
    return gpu.lower() in specs.gpu_model.lower() and not offer.rented and not offer.gigaspot


def per_gpu_hour(offer: Offer, order_type: str) -> float | None:
    """Dollars; None where the offer does not tell."""
    per_day = offer.usd_floor_per_day if order_type == "spot" else offer.usd_per_day
    count = offer.specs.gpu_count if offer.specs else 0
    return per_day / 24 / count if per_day and math.isfinite(per_day) and per_day > 0 and count else None


# Events ---------------------------------------------------------------------------------------------


def _event(alert: Happened, evidence: Evidence, before: Mapping[str, str] | None) -> Happenings | None:
    """Compares with the id of the last event."""
    after = int((before or {}).get(NEWEST, 0))
    new = [event for event in evidence.seen.events if event.id > after]
    said = [(str(event.id), _of(event)) for event in new if event.kind in alert.kinds]
    return Happenings(said, {NEWEST: str(max([after, *(event.id for event in new)]))})


def _of(event: Event) -> Said:
    about = [f"order {event.order_id}"] if event.order_id is not None else []
    about += [f"server {event.server_id}"] if event.server_id is not None else []
    details = ", ".join(f"{name}: {_shown(value)}" for name, value in event.data.items())
    title = f"{event.kind}: {', '.join(about)}" if about else event.kind
    return Said(
        title,
        f"{title} ({details})" if details else title,
        {
            "event": event.kind,
            "order": event.order_id or 0,
            "server": event.server_id or 0,
            "details": details,
        },
    )


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


_TREATMENTS: dict[type, Lasting | Happening] = {
    WalletBelow: Lasting(_wallet_below, "all"),
    WalletHoursBelow: Lasting(_wallet_hours_below, "all"),
    OrderFailed: Happening(_order_failed),
    Outbid: Lasting(_outbid, "orders"),
    HostLost: Lasting(_host_lost, "orders"),
    ServerOffline: Lasting(_server_offline, "changes"),
    ServerRented: Lasting(_server_rented, "changes", reminds=False),
    ServerFree: Lasting(_server_free, "changes", reminds=False),
    PriceAbove: Lasting(_price_above, "all"),
    PriceBelow: Lasting(_price_below, "all"),
    Happened: Happening(_event),
}
