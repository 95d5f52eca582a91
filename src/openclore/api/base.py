"""What all wire types share."""

from typing import Annotated, Any

import msgspec

Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
"""Server, order and account ids: positive integers."""


NO_NUL = r"^[^\x00]*\Z"
"""Text without the one character that databases can't keep."""


class Request(msgspec.Struct, omit_defaults=True):
    """What a caller sends. Types are checked strictly; members it does not know are ignored."""


class Part(msgspec.Struct, omit_defaults=True):
    """A piece of a reply. Every member but identities may be absent (None); unknown members are ignored."""


class Reply(msgspec.Struct):
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
