"""What can go wrong on demand: answers that a market's edge spoils, and mishaps of the market itself.

Each fault waits for a number of requests, to one endpoint or to any, and does the same to each of them.
Those that concern the market itself (a host is lost, a floor moves) happen at once unless they wait for an
endpoint.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Literal, get_args

import msgspec

from ..api.codes import Refusal
from ..api.endpoints import ENDPOINTS
from ..api.open.endpoints import OPEN_ENDPOINTS, STREAM_EVENTS

ReplyKind = Literal[
    "too_many_requests",
    "error_before",
    "error_after",
    "timeout_before",
    "timeout_after",
    "forbidden",
    "bad_gateway",
    "refused",
    "cut_off",
    "lingering_cancel",
]
"""What a request meets.

too_many_requests: HTTP 429, code 5; nothing happens.
error_before, error_after: HTTP 500, code 1; the request was not, or was carried out.
timeout_before, timeout_after: no answer at all; the request was not, or was carried out.
forbidden: HTTP 403 with an HTML page, as a bot filter sends it; nothing happens.
bad_gateway: HTTP 502 with an HTML page; nothing happens.
refused: code 6 with the error `reason`, whether or not it is one that this market sends; nothing happens.
cut_off: it is carried out, and the connection breaks in the middle of the answer.
lingering_cancel: it is carried out, and for `seconds` the order stays in `my_orders` as it was.
"""

MarketKind = Literal[
    "outbid", "floor_moved", "host_lost", "host_back", "slow_image", "failing_image", "never_deploys"
]
"""What happens on the market.

outbid: somebody bids `factor` times the highest bid on `server_id`.
floor_moved: the host of `server_id` sets its lowest bid to `factor` times what it was.
host_lost: `server_id` falls silent, for `seconds` (None: until host_back).
host_back: it is heard of again.
slow_image: deployments of `image` (any, if empty) on `server_id` (any, if None) take `seconds` longer.
failing_image: they fail, saying `reason`.
never_deploys: they never end.
"""

REPLY_KINDS: tuple[str, ...] = get_args(ReplyKind)
MARKET_KINDS: tuple[str, ...] = get_args(MarketKind)
_REASONS = {
    "refused": str(Refusal.COMPUTE_NOT_AVAILABLE),
    "failing_image": "the image was not found in its registry",
}
OF_SERVERS = frozenset({"outbid", "floor_moved", "host_lost", "host_back"})
CANCEL = "cancel_order"
_SPOILED = [each.name for each in (*ENDPOINTS, *OPEN_ENDPOINTS) if each is not STREAM_EVENTS]
"""Endpoints that faults can wait for; a stream passes through."""


class Fault(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One fault; what its members mean is said where its kind is.

    Attributes:
        kind: one of `ReplyKind` or `MarketKind`.
        endpoint: the name of the endpoint it waits for; empty: any, or, of the market's own, none.
        count: how many requests (of deployments: how many of those) it concerns.
        skip: how many requests it lets pass first.
    """

    kind: str
    endpoint: str = ""
    count: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    skip: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    seconds: Annotated[int, msgspec.Meta(ge=0, le=10**9)] | None = None
    server_id: int | None = None
    image: str = ""
    factor: Annotated[float, msgspec.Meta(gt=0, le=1_000)] = 1.05
    reason: Annotated[str, msgspec.Meta(max_length=256)] = ""

    def __post_init__(self) -> None:
        if self.kind not in REPLY_KINDS + MARKET_KINDS:
            known = ", ".join(REPLY_KINDS + MARKET_KINDS)
            raise ValueError(f"kind: must be one of {known}, not {self.kind!r}")
        if self.endpoint and self.endpoint not in _SPOILED:
            like = get_close_matches(self.endpoint, _SPOILED, n=1)
            perhaps = f"; do you mean {like[0]}?" if like else ""
            raise ValueError(f"endpoint: there is no endpoint {self.endpoint!r} that can fail{perhaps}")
        self.reason = self.reason or _REASONS.get(self.kind, "")
        if self.kind in OF_SERVERS and self.server_id is None:
            raise ValueError(f"server_id: {self.kind} needs one")
        if self.kind == "lingering_cancel":
            self.endpoint = CANCEL

    @property
    def spoils_answers(self) -> bool:
        return self.kind in REPLY_KINDS

    @property
    def happens_at_once(self) -> bool:
        return not (self.spoils_answers or self.endpoint)


class Faults:
    """Those that wait, in the order they were put."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    @property
    def waiting(self) -> Sequence[Fault]:
        return tuple(self._waiting)

    def put(self, fault: Fault) -> None:
        self._waiting.append(msgspec.structs.replace(fault))

    def clear(self) -> None:
        self._waiting.clear()

    def meet(self, endpoint: str) -> list[Fault]:
        """What a request to this endpoint meets: of those that spoil its answer, the first."""
        met: list[Fault] = []
        for fault in list(self._waiting):
            if fault.endpoint not in ("", endpoint) or (
                fault.spoils_answers and any(other.spoils_answers for other in met)
            ):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            met.append(fault)
            fault.count -= 1
            if not fault.count:
                self._waiting.remove(fault)
        return met
