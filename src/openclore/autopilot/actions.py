"""What a plan can ask for. Each action says for which table of the file, and why."""

import re
from collections.abc import Collection, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from openclore.api.orders import Order, OrderType

from .file import BackgroundJob

M = TypeVar("M")


class Action(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag=True):
    """Something to do. `for_` is the table that wants it ("fleets.train"), `reason` a sentence."""

    for_: str
    reason: str


class PlaceOrder(Action, frozen=True, kw_only=True):
    """Rent a machine. `key` names this order for ever: it is the idempotency key.

    `price` is per day in `currency`: what the offer asks, or the bid. `usd_per_hour` is what it costs with
    fees, `usd_at_once` what it costs besides; `spend_max` (in `currency`) and `lease_seconds` are for markets
    with /open/v1. `known` are the ids of all orders that existed before.
    """

    key: str
    fleet: str
    server_id: int
    type: OrderType
    currency: str
    image: str
    price: float
    usd_per_hour: float
    usd_at_once: float = 0.0
    spend_max: float | None = None
    lease_seconds: int | None = None
    known: tuple[int, ...] = ()


class CancelOrder(Action, frozen=True, kw_only=True):
    """`issue` tells the market what was wrong with it."""

    order_id: int
    issue: str | None = None


class Rebid(Action, frozen=True, kw_only=True):
    """`price` per day in the order's currency; `before` is the present bid."""

    order_id: int
    price: float
    before: float | None = None


class RenewLease(Action, frozen=True, kw_only=True):
    """The order ends by itself in so many seconds."""

    order_id: int
    seconds: int


class Change(msgspec.Struct, frozen=True):
    """A member of `SetServerSettings` ("clore_on_demand"); `before` is what it is now."""

    member: str
    before: Any
    after: Any


class SetSettings(Action, frozen=True, kw_only=True):
    """Change some of a server's settings; what is not named stays as it is."""

    server: str
    changes: tuple[Change, ...]


class SetBackgroundJob(Action, frozen=True, kw_only=True):
    """What a server runs while nobody rents it; None: nothing."""

    server: str
    server_id: int
    job: BackgroundJob | None


AnyAction = PlaceOrder | CancelOrder | Rebid | RenewLease | SetSettings | SetBackgroundJob


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Why something was not done, or what differs and is only reported. `drift`: settings differ."""

    for_: str
    text: str
    drift: bool = False


def not_about(notes: Iterable[Note], reasons: Collection[str]) -> tuple[Note, ...]:
    """Those that repeat none of the reasons why something can't be read, which are told by themselves."""
    return tuple(note for note in notes if not any(reason and reason in note.text for reason in reasons))


def without_figures(text: str) -> str:
    """What tells a note from others: the same for one in which only figures and lengths of time changed."""
    return _FIGURE.sub("#", text)


_FIGURE = re.compile(r"(?<!order )(?<!server )(?<![^\s(])\d[\d.]*[dhms%]?(?![^\s,;:)])(?: \d+[dhms]\b)*")
"""A number or a length of time, not the id of something or part of a name."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an action at `at` (Unix s).

    `done`: it was carried out. Else `detail` says why not, `error` is the market's own name of the refusal
    where there is one, `refused` that it can't be done as it stands, and `unknown` that it may have been done
    all the same. `order` was made.
    """

    action: AnyAction
    at: int
    done: bool
    detail: str = ""
    error: str | None = None
    refused: bool = False
    unknown: bool = False
    order: Order | None = None


class Part(NamedTuple, Generic[M]):
    """What one of the planners decided; `memory` is its own part as it is to be from now on."""

    actions: tuple[AnyAction, ...]
    memory: M
    notes: tuple[Note, ...] = ()
