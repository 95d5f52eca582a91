"""What a restart must not forget: the second input of every plan. `remember.py` keeps it in a file."""

from collections.abc import Mapping

import msgspec

from .actions import PlaceOrder

# Alerts ---------------------------------------------------------------------------------------------


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one alert about one subject (a wallet, a server, an order).

    `since`: when its condition began to hold (Unix s), None while it does not. `said_at`, `said`: when it was
    last said, and how often since it began.
    """

    since: int | None = None
    said_at: int | None = None
    said: int = 0


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Something to tell. `kind`: the alert's, or "back", "blind", "sighted", "drift", "strange", "test"."""

    id: int
    kind: str
    at: int
    title: str
    body: str


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that go out together, which targets (by digest of their address) have it, and since when
    delivery fails (Unix s).
    """

    messages: tuple[Message, ...]
    delivered: tuple[str, ...] = ()
    failing_since: int | None = None


class AlertsMemory(msgspec.Struct, frozen=True, kw_only=True):
    """`standings`: alert name, then subject. `gathering`: not yet in a parcel. `next_id` numbers messages.

    `seen`: other things alerts compare with, such as what an order's state was, by alert name and subject.
    """

    standings: Mapping[str, Mapping[str, Standing]] = {}
    seen: Mapping[str, Mapping[str, str]] = {}
    gathering: tuple[Message, ...] = ()
    outbox: tuple[Parcel, ...] = ()
    next_id: int = 1


# Prices ---------------------------------------------------------------------------------------------


class PriceChange(msgspec.Struct, frozen=True):
    """Dollars per day."""

    at: int
    before: float
    after: float


class PriceMemory(msgspec.Struct, frozen=True, kw_only=True):
    """The changes of the last hour, and the last one ever, of one server's price of one kind."""

    changes: tuple[PriceChange, ...] = ()


# Fleets ---------------------------------------------------------------------------------------------


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """An order that a fleet holds.

    `usd_per_hour` with fees; `usd_spent` what it has cost so far, `usd_spent_at` as of when. `ready_at`: when
    its checks first passed; `failures`: of the checks since they last passed.
    """

    order_id: int
    server_id: int
    type: str
    currency: str
    made_at: int
    usd_per_hour: float
    usd_spent: float = 0.0
    usd_spent_at: int = 0
    ready_at: int | None = None
    checked_at: int | None = None
    failures: int = 0
    lease_until: int | None = None
    bid_at: int | None = None
    owner: int | None = None
    country: str | None = None
    cancelling_since: int | None = None


class Exclusion(msgspec.Struct, frozen=True):
    """A server not to be rented until then (Unix s), after so many failures in a row."""

    until: int
    failures: int


class Spent(msgspec.Struct, frozen=True):
    """Dollars spent in the present hour and day (UTC, by their number since 1970), and ever."""

    hour: int = 0
    in_hour: float = 0.0
    day: int = 0
    in_day: float = 0.0
    total: float = 0.0


class FleetMemory(msgspec.Struct, frozen=True, kw_only=True):
    """`machines` by order id, `excluded` by server id. `known`: ids of orders this fleet is done with.

    `intents`: orders asked for whose outcome is not yet known, with the time they were asked for.
    """

    machines: Mapping[int, Machine] = {}
    excluded: Mapping[int, Exclusion] = {}
    intents: Mapping[str, "Intent"] = {}
    spent: Spent = Spent()


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """An order that was about to be made at `at` (Unix s), and may have been."""

    at: int
    order: PlaceOrder


# All ------------------------------------------------------------------------------------------------


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        name: made up once, it begins the idempotency keys of this memory.
        sequence: numbers what is asked for, so that no two keys are alike.
        events_after: the cursor of the event log; None before the first look, which then begins at its end.
        prices: by server name and kind, "rig-1 on-demand".
    """

    name: str
    sequence: int = 1
    events_after: int | None = None
    alerts: AlertsMemory = AlertsMemory()
    prices: Mapping[str, PriceMemory] = {}
    fleets: Mapping[str, FleetMemory] = {}
