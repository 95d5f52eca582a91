"""What all wire types share."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
"""Server, order and account ids: positive integers."""


NO_NUL = r"^[^\x00]*\Z"
"""Text without the one character that databases can't keep."""


class Request(msgspec.Struct, omit_defaults=True):
    """What a caller sends. Types are checked strictly; members it does not know are ignored."""


class Received:
    """Adds to a reply's type what came and has no name in it. The client fills the slots, see `remember`."""

    __slots__ = ("_left_out", "_place")
    _left_out: Callable[[Any], dict[str, Any]]
    _place: Any

    @property
    def extra(self) -> dict[str, Any]:
        """The members that this version has no name for, exactly as they came."""
        left_out = getattr(self, "_left_out", None)
        return left_out(self._place) if left_out else {}


class Part(Received, msgspec.Struct, omit_defaults=True, gc=False):
    """A piece of a reply. Every member but identities may be absent (None); unknown members are in `extra`.

    The garbage collector passes over parts, which makes large replies quicker to read: a part must never
    be made to point to itself.
    """


class Reply(Received, msgspec.Struct, gc=False):
    """The success envelope: payload members at top level next to `code` 0. Nothing is left out."""

    code: int


class Failure(msgspec.Struct, omit_defaults=True):
    """The failure envelope: at least `code`; usually, not always, `error`; for some refusals facts to act on.

    `min_price` and `max_step` are per day in the order's currency, `time_to_lowering` is in seconds,
    `limit` is in orders per day.
    """

    code: int
    error: str | None = None
    status: Any = None
    message: Any = None
    min_price: float | None = None
    max_step: float | None = None
    time_to_lowering: float | None = None
    limit: int | None = None


class Empty(Request):
    """A request without members."""
