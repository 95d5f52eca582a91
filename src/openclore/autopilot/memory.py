"""What a restart must not forget: the second input of every plan. `remember.py` keeps it in a file."""

from collections.abc import Mapping

import msgspec

from openclore.api.orders import OrderType

from .actions import PlaceOrder

# Alerts ---------------------------------------------------------------------------------------------


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """An alert's condition that holds for one subject (a wallet, a server, an order) since then (Unix s).

    `said_at`, `said`: when it was last said, and how often. `found`: it was so when first looked at, which is
    no news.
    """

    since: int
    said_at: int | None = None
    said: int = 0
    found: bool = False


class Blindness(msgspec.Struct, frozen=True, kw_only=True):
    """So many failures in a row to read something, the first at `since` (Unix s)."""

    since: int
    failures: int = 1
    said: bool = False


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Something to tell.

    `kind`: the alert's, or "back", "blind", "sighted", "drift", "strange", "test"; "more": those left out.
    """

    id: int
    kind: str
    at: int
    title: str
    body: str


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that go out together, and which targets (by digest of their address) have it."""

    messages: tuple[Message, ...]
    delivered: tuple[str, ...] = ()


class AlertsMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What was said, and what is to be told.

    Attributes:
        standings: by kind and name of the alert ("wallet_below cash"), then subject.
        seen: other things alerts compare with, in the same order.
        blind: by what can't be read.
        notes: those told, with the time they were last made.
        gathering: not yet in a parcel; the last one was packed at `packed_at` (Unix s).
        failing: targets, by digest of their address, that could not be told since then.
        next_id: of the next message.
    """

    standings: Mapping[str, Mapping[str, Standing]] = {}
    seen: Mapping[str, Mapping[str, str]] = {}
    blind: Mapping[str, Blindness] = {}
    notes: Mapping[str, int] = {}
    gathering: tuple[Message, ...] = ()
    packed_at: int | None = None
    outbox: tuple[Parcel, ...] = ()
    failing: Mapping[str, int] = {}
    next_id: int = 1


# Prices ---------------------------------------------------------------------------------------------


class PriceChange(msgspec.Struct, frozen=True):
    """Dollars per day."""

    at: int
    before: float
    after: float


class PriceMemory(msgspec.Struct, frozen=True, kw_only=True):
    """The changes of the last hour, and the last one ever, of one price of a server in one currency."""

    changes: tuple[PriceChange, ...] = ()


# Fleets ---------------------------------------------------------------------------------------------


class Spent(msgspec.Struct, frozen=True):
    """Dollars spent in an hour and in a day (UTC, by their number since 1970), and ever."""

    hour: int = 0
    in_hour: float = 0.0
    day: int = 0
    in_day: float = 0.0
    total: float = 0.0

    def __add__(self, other: "Spent") -> "Spent":
        """Both together, in the later of their hours and days."""
        hour, day = max(self.hour, other.hour), max(self.day, other.day)
        return Spent(
            hour,
            sum(each.in_hour for each in (self, other) if each.hour == hour),
            day,
            sum(each.in_day for each in (self, other) if each.day == day),
            self.total + other.total,
        )


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """An order that a fleet holds. Times are Unix s, dollars include fees.

    Attributes:
        made_at: not later than the order was made.
        usd_per_hour: what it costs while it runs; `usd_per_hour_max`: the most it ever cost.
        usd_at_once: the fee for its creation, which is no part of `spent`.
        spend: what the market last said it has consumed, in its currency.
        spent: the same in dollars, with fees, as of `spent_at`.
        starting_at: when its time to get ready began; `ready_at`: when its checks first passed.
        checked_at: the last check that counted; `failures`: since they last passed.
        waiting_since: a bid that does not run. `bid_at`: when it was last raised.
        offline_since, missing_since: its host is not there; the order itself is nowhere to be seen.
        leaving_since: when it was first asked to end; `cancelling_since`: when it last was.
    """

    order_id: int
    server_id: int
    type: OrderType
    currency: str
    image: str
    made_at: int
    usd_per_hour: float
    usd_per_hour_max: float
    usd_at_once: float = 0.0
    spend: float = 0.0
    spent: Spent = Spent()
    spent_at: int = 0
    starting_at: int = 0
    ready_at: int | None = None
    checked_at: int | None = None
    failures: int = 0
    waiting_since: int | None = None
    bid_at: int | None = None
    offline_since: int | None = None
    missing_since: int | None = None
    leaving_since: int | None = None
    cancelling_since: int | None = None
    lease_until: int | None = None
    ends_at: int | None = None
    owner: int | None = None
    country: str | None = None

    @property
    def usd_spent(self) -> float:
        """All it has cost."""
        return self.spent.total + self.usd_at_once


class Exclusion(msgspec.Struct, frozen=True):
    """A server not to be rented until then (Unix s), after so many failures in a row."""

    until: int
    failures: int


class FleetMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a fleet.

    Attributes:
        machines: by order id.
        excluded: by server id.
        intents: orders asked for whose outcome is not yet known, by key.
        missed: those that did not show in time, by key; one that shows later is its own.
        orphans: running orders to be taken up once it is known what they cost: those that were there when the
            fleet was first seen to (before that None), and its own that were given up.
        over: what orders that are over have cost.
        wanted: how many machines the fleet's command or address last asked for.
        failed_in_row: machines that did not get ready since one did.
        pause_until: no orders until then (Unix s), because of `pause_reason`.
    """

    machines: Mapping[int, Machine] = {}
    excluded: Mapping[int, Exclusion] = {}
    intents: Mapping[str, "Intent"] = {}
    missed: Mapping[str, "Intent"] = {}
    orphans: tuple[int, ...] | None = None
    over: Spent = Spent()
    wanted: int | None = None
    failed_in_row: int = 0
    pause_until: int = 0
    pause_reason: str = ""

    @property
    def spent(self) -> Spent:
        """Dollars, as far as the market has told, and the fees for creation when they were asked for."""
        spent = self.over
        for machine in self.machines.values():
            fee = machine.usd_at_once
            spent += machine.spent + Spent(machine.made_at // 3_600, fee, machine.made_at // 86_400, fee, fee)
        return spent


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """An order that was about to be made at `at` (Unix s), and may have been.

    `unclear_at`: when it was asked for without learning what became of it.
    """

    at: int
    order: PlaceOrder
    unclear_at: int = 0


class Refusal(msgspec.Struct, frozen=True):
    """Settings that a market did not take, and why; they are tried again then (Unix s)."""

    until: int
    why: str


# All ------------------------------------------------------------------------------------------------


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        name: made up once, it begins the idempotency keys of this memory.
        sequence: numbers what is asked for, so that no two keys are alike.
        events_after: the cursor of the event log; None before the first look, which then begins at its end.
        refused: servers whose settings were refused, and until when they are left alone (Unix s).
        prices: by server name, kind and currency, "rig-1 on-demand bitcoin".
    """

    name: str
    sequence: int = 1
    events_after: int | None = None
    alerts: AlertsMemory = AlertsMemory()
    refused: Mapping[str, "Refusal"] = {}
    prices: Mapping[str, PriceMemory] = {}
    fleets: Mapping[str, FleetMemory] = {}
