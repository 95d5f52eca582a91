"""Observations made by hand, and what alerts say about a history of them."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from openclore.api.account import FeeTable, RenterFees, RenterFeesReply
from openclore.api.offers import Offer, OfferPrice, UsdPrice
from openclore.api.open.events import Event
from openclore.api.orders import Order
from openclore.api.servers import MyServer, ServerConfig
from openclore.api.specs import Specs
from openclore.api.spot import SpotMarket, SpotOffer
from openclore.autopilot.actions import Note
from openclore.autopilot.alerts import plan_alerts
from openclore.autopilot.file import Alert, File, Messages, Span
from openclore.autopilot.memory import AlertsMemory, Message
from openclore.autopilot.observation import Failed, Observation, Reading

BEGIN = 1_700_000_000
"""A Tuesday, 22:13:20 UTC."""
APART = 60

Look = dict[str, Any]
"""What is seen: members of `Observation` without times, `failed` as part to reason, and `notes`."""


def at(now: int, look: Look) -> Observation:
    """A look as an observation of then."""
    members = {name: value for name, value in look.items() if name != "notes"}
    for name in ("wallets", "offers", "servers", "orders", "ended", "fees"):
        if name in members:
            members[name] = Reading(members[name], now - members.get("age", 0))
    for name in ("configs", "spot"):
        members[name] = {key: Reading(value, now) for key, value in members.get(name, {}).items()}
    members["failed"] = {
        part: reason if isinstance(reason, Failed) else Failed(reason)
        for part, reason in members.get("failed", {}).items()
    }
    members.pop("age", None)
    return Observation(**members)


def file_with(alert: Alert, every: int = APART, **messages: Any) -> File:
    messages = {"digest": Span(0), **messages}
    return File(alerts={"it": alert}, messages=Messages(**messages), every=Span(every))


def remembered(
    file: File, looks: Iterable[Look], *, apart: int = APART, restarts: bool = True, begin: int = BEGIN
) -> AlertsMemory:
    """The memory after so many looks, each so many seconds after the one before."""
    memory = AlertsMemory()
    for number, look in enumerate(looks):
        now = begin + number * apart
        memory = plan_alerts(file, at(now, look), memory, look.get("notes", ()), now)
        if restarts:
            memory = msgspec.json.decode(msgspec.json.encode(memory), type=AlertsMemory)
    return memory


def messages_of(memory: AlertsMemory) -> list[Message]:
    return [*(one for parcel in memory.outbox for one in parcel.messages), *memory.gathering]


def told(file: File, looks: Sequence[Look], **how: Any) -> list[str]:
    """Kinds of what is said in a history."""
    return [message.kind for message in messages_of(remembered(file, looks, **how))]


def wallet(amount: float) -> Look:
    return {"wallets": {"bitcoin": amount}}


def order(number: int = 7, **members: Any) -> Order:
    members = {"si": 3, "image": "ubuntu", "currency": "bitcoin", "price": 2.4, "mon_container": 2, **members}
    return Order(id=number, **members)


def orders(*active: Order, ended: Sequence[Order] | None = None, **more: Any) -> Look:
    look: Look = {"orders": {one.id: one for one in active}, **more}
    if ended is not None:
        look["ended"] = {one.id: one for one in ended}
    return look


def server(online: bool | None = True, name: str = "rig-1", **more: Any) -> Look:
    return {"servers": {name: MyServer(id=3, name=name, online=online)}, **more}


def rented(status: int) -> Look:
    return server(configs={"rig-1": ServerConfig(name="rig-1", rental_status=status)})


def offer(
    usd_per_day: float, number: int = 1, gpu: str = "2x NVIDIA GeForce RTX 4090", **members: Any
) -> Offer:
    return Offer(
        id=number,
        price=OfferPrice(on_demand={"USD-Blockchain": usd_per_day}, usd=UsdPrice(spot=usd_per_day / 2)),
        specs=Specs(gpu=gpu),
        allowed_coins=["USD-Blockchain"],
        **members,
    )


def offers(*listed: Offer) -> Look:
    return {"offers": list(listed)}


def events(*happened: tuple[int, str]) -> Look:
    return {
        "events": tuple(
            Event(id=n, at=BEGIN, kind=kind, order_id=7, data={"reason": "failed"}) for n, kind in happened
        )
    }


def bids(*, active: bool) -> dict[int, SpotMarket]:
    return {3: SpotMarket(offers=[SpotOffer(offer_id=7, bid=1.0, active=active, my=True)])}


def fees(percent: float) -> RenterFeesReply:
    return RenterFeesReply(code=0, renter_fees=RenterFees(on_demand=FeeTable(base={"bitcoin": percent})))


def note(text: str, table: str = "settings.rigs") -> Look:
    return {"notes": (Note(for_=table, text=text, drift=table.startswith("settings.")),)}
