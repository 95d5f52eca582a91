"""What a file may say: the types behind `autopilot.toml`. `reading.py` makes them from text.

Prices, amounts and budgets of pricing groups and fleets are in **dollars**: per day for hosts, as their
settings are; per hour for renters, as their search is. Lengths of time are text: "90s", "5m", "1d12h".
Every table has a name of its own choice ([fleets.train]), by which the memory knows it.
"""

import re
from datetime import datetime
from typing import Literal

import msgspec

from openclore.api.durations import words_of
from openclore.api.orders import OrderType, PortKind

Drift = Literal["repair", "report"]
Orphans = Literal["adopt", "cancel", "leave"]
Spread = Literal["host", "country"]


class Span(int):
    """A length of time in seconds; in the file "90s", "5m", "1d12h"."""

    def __str__(self) -> str:
        return words_of(int(self))


class Coin(str):
    """A currency by wire name; in the file also "btc", "clore" or "usd"."""

    __slots__ = ()


class Hours(str):
    """A part of the week: "22:00-07:00", "Mon-Fri 08:00-20:00", "Sat,Sun 00:00-24:00"; the end is excluded.

    The days are those on which the part begins; it may reach into the next day.

    Raises:
        ValueError: it is none.
    """

    _days: frozenset[int]
    _start: int
    _end: int

    def __new__(cls, text: str) -> "Hours":
        written = _HOURS.fullmatch(text.strip())
        if not written:
            raise ValueError(
                f"{text!r} is no part of a week; write it like 22:00-07:00 or Mon-Fri 08:00-20:00"
            )
        days, *clock = written.groups()
        hours = super().__new__(cls, text.strip())
        hours._days = _days(days or "Mon-Sun")
        hours._start, hours._end = _minute(*clock[:2]), _minute(*clock[2:])
        return hours

    def covers(self, when: datetime) -> bool:
        """Whether a moment of local time lies in it."""
        minute = when.hour * 60 + when.minute
        if self._start < self._end:
            return when.weekday() in self._days and self._start <= minute < self._end
        yesterday = (when.weekday() - 1) % 7
        return (when.weekday() in self._days and minute >= self._start) or (
            yesterday in self._days and minute < self._end
        )


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(
    r"(?:((?:[A-Za-z]{3}(?:-[A-Za-z]{3})?,?)+) +)?(\d{1,2}):(\d{2}) *- *(\d{1,2}):(\d{2})", re.ASCII
)


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.lower().split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise ValueError(f"{text!r} names no days; write Mon, Tue, Wed, Thu, Fri, Sat, Sun")
        day = _DAYS.index(first)
        found.add(day)
        while last and _DAYS[day] != last:
            day = (day + 1) % 7
            found.add(day)
    return frozenset(found)


def _minute(hour: str, minute: str) -> int:
    total = int(hour) * 60 + int(minute)
    if int(minute) > 59 or total > 24 * 60:
        raise ValueError(f"{hour}:{minute} is no time of day; write 00:00 to 24:00")
    return total


class Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What every table is: it knows its members, and refuses others."""


# Messages and alerts --------------------------------------------------------------------------------


class Messages(Table, kw_only=True):
    """How alerts are told.

    Attributes:
        fallback: Apprise addresses to tell when one of `notify` has failed for `fallback_after`.
        digest: after a message, what comes up within so long is sent as one at its end; 0s: in every round.
        quiet: when nothing is sent; what came up is sent afterwards, as one message.
        timezone: of `quiet`, of timetables and schedules: "Europe/Berlin".
        remind_after: what still holds is said again after so long, then after `remind_growth` times as long
            and so on, `remind_max` at the longest; 0s: never again.
        templates: kind of alert to its text, with the names in braces that docs/autopilot.md lists.
    """

    fallback: tuple[str, ...] = ()
    fallback_after: Span = Span(300)
    digest: Span = Span(10)
    quiet: tuple[Hours, ...] = ()
    timezone: str = "UTC"
    remind_after: Span = Span(0)
    remind_growth: float = 2.0
    remind_max: Span = Span(86_400)
    templates: dict[str, str] = {}


class AlertBase(Table, kw_only=True, tag_field="when"):
    """`hold`: it must be so for so long before it is said."""

    hold: Span = Span(0)


class WalletBelow(AlertBase, kw_only=True, tag="wallet_below"):
    """The balance falls below an amount of the wallet's currency; back from `back_above` on (5 % more)."""

    wallet: Coin
    below: float
    back_above: float | None = None


class WalletHoursBelow(AlertBase, kw_only=True, tag="wallet_hours_below"):
    """At the present burn rate of the running orders, the balance lasts for fewer hours than this."""

    wallet: Coin
    hours: float


class OrderFailed(AlertBase, tag="order_failed"):
    """An order of this account could not be deployed, or ended without having been cancelled."""


class Outbid(AlertBase, tag="outbid"):
    """A spot order of this account no longer runs because somebody bids more."""


class HostLost(AlertBase, tag="host_lost"):
    """The machine of a running order went offline."""


class ServerOffline(AlertBase, tag="server_offline"):
    """A server of this account is offline; `servers` are patterns of names."""

    servers: tuple[str, ...] = ("*",)


class ServerRented(AlertBase, tag="server_rented"):
    """A server of this account was rented."""

    servers: tuple[str, ...] = ("*",)


class ServerFree(AlertBase, tag="server_free"):
    """A server of this account is no longer rented."""

    servers: tuple[str, ...] = ("*",)


class PriceAbove(AlertBase, kw_only=True, tag="price_above"):
    """The cheapest free machine of a GPU model costs more than `level` dollars per GPU and hour."""

    gpu: str
    level: float
    order_type: OrderType = "on-demand"


class PriceBelow(AlertBase, kw_only=True, tag="price_below"):
    """The cheapest free machine of a GPU model costs less than `level` dollars per GPU and hour."""

    gpu: str
    level: float
    order_type: OrderType = "on-demand"


class Happened(AlertBase, kw_only=True, tag="event"):
    """An event of one of these kinds was written down; needs a market with /open/v1."""

    kinds: tuple[str, ...]


Alert = (
    WalletBelow
    | WalletHoursBelow
    | OrderFailed
    | Outbid
    | HostLost
    | ServerOffline
    | ServerRented
    | ServerFree
    | PriceAbove
    | PriceBelow
    | Happened
)


# Hosts ----------------------------------------------------------------------------------------------


class PricingBase(Table, kw_only=True, tag_field="strategy"):
    """Prices of a group of servers, in dollars per day for the whole machine, in every accepted currency.

    Attributes:
        servers: patterns of names.
        prices: which prices: "on-demand", "spot" (the lowest bid), or both.
        floor, ceiling: never below, never above.
        step_per_hour: by which share the price may change within an hour: 0.1 is a tenth.
        dead_band: a change by a smaller share is not made.
        every: at least so long between two changes.
        power_watts, power_price_per_kwh: what running costs is a floor, too.
        host_fee_percent: what the market keeps of the price; counts for the floor of power.
    """

    servers: tuple[str, ...]
    prices: tuple[OrderType, ...] = ("on-demand",)
    floor: float
    ceiling: float
    step_per_hour: float = 0.1
    dead_band: float = 0.02
    every: Span = Span(1_800)
    power_watts: float = 0.0
    power_price_per_kwh: float = 0.0
    host_fee_percent: float = 5.0


class Comparing(PricingBase, kw_only=True):
    """What counts as comparable: the same GPU model and count, and a reliability at most so far below."""

    reliability_slack: float = 0.05


class Percentile(Comparing, kw_only=True, tag="percentile"):
    """The price below which so many percent of the comparable offers are."""

    percentile: float = 50.0


class Undercut(Comparing, kw_only=True, tag="undercut"):
    """The cheapest comparable free offer, less a share."""

    share: float = 0.02


class Occupancy(PricingBase, kw_only=True, tag="occupancy"):
    """Raise by `step` while a larger share of the group is rented than `target`, lower while a smaller is."""

    target: float = 0.8
    step: float = 0.03


class Period(Table, kw_only=True):
    """A price within some hours of the week."""

    hours: Hours
    price: float


class Timetable(PricingBase, kw_only=True, tag="timetable"):
    """A price by the hour of the week: the first of `periods` that holds, else `otherwise`."""

    periods: tuple[Period, ...]
    otherwise: float


class Fixed(PricingBase, kw_only=True, tag="fixed"):
    """A price in dollars, whatever the rates do."""

    price: float


Pricing = Percentile | Undercut | Occupancy | Timetable | Fixed


class BackgroundJob(Table, kw_only=True):
    """A container that runs on a server while nobody rents it; needs a market with /open/v1."""

    image: str
    command: str = ""
    env: dict[str, str] = {}


class Dollars(Table, kw_only=True):
    """Prices per day that the market itself converts at its rates."""

    on_demand: float
    spot: float


class Settings(Table, kw_only=True):
    """How servers should be set. What is not named here stays as it is.

    Attributes:
        servers: patterns of names.
        mrl_hours: the longest rental.
        currencies: those accepted; all others are not.
        on_demand, spot: prices per day by currency, in that currency.
        dollars: prices by currency which the market keeps at so many dollars, whatever the rates do.
        background_job: false: none.
        drift: "repair" what differs and report it, or only "report" it.
    """

    servers: tuple[str, ...]
    public: bool | None = None
    mrl_hours: int | None = None
    currencies: tuple[Coin, ...] | None = None
    on_demand: dict[str, float] = {}
    spot: dict[str, float] = {}
    dollars: dict[str, Dollars] = {}
    background_job: BackgroundJob | Literal[False] | None = None
    drift: Drift = "repair"


# Renters --------------------------------------------------------------------------------------------


class Budget(Table, kw_only=True):
    """Dollars, fees included, that may be spent per hour and per day (UTC), and in total."""

    per_hour: float | None = None
    per_day: float | None = None
    total: float | None = None


class TcpCheck(Table, kw_only=True, tag_field="kind", tag="tcp"):
    """A connection to the container's port is accepted."""

    port: int


class HttpCheck(Table, kw_only=True, tag_field="kind", tag="http"):
    """The container's port answers `path` with a status below 400."""

    port: int
    path: str = "/"


class CommandCheck(Table, kw_only=True, tag_field="kind", tag="command"):
    """A program of this machine ends with 0; it finds ORDER_ID and, for each port, HOST_22 and PORT_22."""

    command: tuple[str, ...]


Check = TcpCheck | HttpCheck | CommandCheck


class Scale(Table, kw_only=True):
    """How many machines: the number that a command prints or an address answers, within bounds."""

    command: tuple[str, ...] = ()
    url: str | None = None
    minimum: int = 0
    maximum: int


class Fleet(Table, kw_only=True):
    """So many machines that match, running an image. Prices in dollars per hour for a whole machine.

    Attributes:
        machines: how many to keep; or `scale` says.
        gpu: part of the model's name, "4090".
        reliability_min: 0 to 1.
        countries: ISO codes; empty: any.
        exclude_servers: ids never to rent.
        currency: the wallet that pays.
        order_type: "on-demand", "spot", or "cheapest" of both at the moment of ordering.
        price_per_hour_max: the price without fees; also as far as a bid may rise.
        bid_step: a bid that is outbid rises above the winner's by this share.
        ready: all must hold within `ready_within` of the order; without any, a deployed order is ready.
        check_every: between two checks of a machine that is ready; `unhealthy_after` failures in a row
            and it is replaced.
        exclude_for: a server whose order failed is not rented again for so long, then for twice as long.
        spread: at most `spread_max` machines of one host or in one country.
        schedule: hours in which there should be machines; empty: always. `until`: not after.
        orphans: what to do with running orders of this image that the memory does not know.
        lease: on markets with /open/v1 an order ends by itself unless it is seen to for so long.
    """

    image: str
    machines: int | None = None
    scale: Scale | None = None
    gpu: str | None = None
    gpu_count: int | None = None
    gpu_count_min: int | None = None
    vram_gb_min: float | None = None
    ram_gb_min: float | None = None
    reliability_min: float = 0.0
    countries: tuple[str, ...] = ()
    exclude_servers: tuple[int, ...] = ()
    currency: Coin = Coin("USD-Blockchain")
    order_type: Literal["on-demand", "spot", "cheapest"] = "on-demand"
    price_per_hour_max: float
    bid_step: float = 0.02
    ports: dict[str, PortKind] = {}
    env: dict[str, str] = {}
    command: str | None = None
    ssh_key: str | None = None
    ssh_password: str | None = None
    jupyter_token: str | None = None
    autossh_entrypoint: bool | None = None
    dockerhub_auth: str | None = None
    ready: tuple[Check, ...] = ()
    ready_within: Span = Span(1_200)
    check_every: Span = Span(60)
    unhealthy_after: int = 3
    exclude_for: Span = Span(21_600)
    spread: Spread | None = None
    spread_max: int = 1
    schedule: tuple[Hours, ...] = ()
    until: datetime | None = None
    orphans: Orphans = "adopt"
    lease: Span = Span(900)
    budget: Budget = msgspec.field(default_factory=Budget)


# All ------------------------------------------------------------------------------------------------


class File(Table, kw_only=True):
    """A whole file.

    Attributes:
        notify: Apprise addresses to tell.
        every: between two rounds.
        stale_after: nothing is done on the strength of what was read longer ago.
        budget: of all fleets together.
    """

    notify: tuple[str, ...] = ()
    every: Span = Span(60)
    stale_after: Span = Span(300)
    messages: Messages = msgspec.field(default_factory=Messages)
    alerts: dict[str, Alert] = {}
    pricing: dict[str, Pricing] = {}
    settings: dict[str, Settings] = {}
    fleets: dict[str, Fleet] = {}
    budget: Budget = msgspec.field(default_factory=Budget)
