"""A marketplace read by our client against the official SDK's: bytes of an answer to a list of typed offers.

Measured: milliseconds of one call of the public `marketplace()` of each client, on the same bytes. Each
client's own HTTP library does its work, but its transport answers from memory, so there is no network, no
server and no compression in the figure. The pace that both keep between calls is set to zero, and the SDK is
asked for all rows, as ours always returns.

Before measuring, ours is checked to have every row with the values that came; members it has no name for
are in `extra`, and named in the row.

The bytes are those of a made-up market in the shape of a recorded one, and of a recording where there is one
(the file in OPENCLORE_BENCH_MARKETPLACE, or a folder `shared` next to the repository).
"""

import json
import math
import os
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import httpx2
import msgspec

from openclore.api.offers import Offer
from openclore.client import Clore, Spacing

from .marketplace import reply_bytes
from .measure import NotMeasured, Row, Scale, in_turns, milliseconds
from .processes import ROOT

WHAT = "marketplace() of the client"
RECORDED = ROOT.parent / "shared" / "data" / "marketplace-recorded.json"
NAMES = {field.encode_name for field in msgspec.structs.fields(Offer)}
BASE_URL = "http://market.invalid/v1"


def measure(scale: Scale) -> list[Row | NotMeasured]:
    made_up = _measured(f"{WHAT}, {scale.servers:,} servers", reply_bytes(scale.servers), "made up", scale)
    recorded = _recorded()
    if recorded is None:
        return [made_up]
    return [made_up, _measured(f"{WHAT}, a recording", recorded, "recorded", scale)]


def _measured(what: str, body: bytes, source: str, scale: Scale) -> Row | NotMeasured:
    ours = _ours(body)
    unknown = _check(body, ours())
    rows = len(ours())
    try:
        theirs = _sdk(body)
    except ModuleNotFoundError:
        return NotMeasured(what=what, against="the official SDK", reason="clore-ai is not installed")
    theirs_rows = len(theirs())
    samples = in_turns(lambda: milliseconds(ours), lambda: milliseconds(theirs), scale.decoding_turns)
    return Row(
        what=what,
        against=f"the official SDK, clore-ai {version('clore-ai')}",
        unit="ms",
        ours=samples[0],
        theirs=samples[1],
        note=f"{source}, {len(body) / 1e6:.2f} MB;"
        f" ours returns {rows:,}, the SDK {theirs_rows:,}{_told(unknown)}",
        target=0.1,
    )


def _told(unknown: list[str]) -> str:
    return f"; ours has {', '.join(unknown)} in `extra`" if unknown else ""


def _recorded() -> bytes | None:
    """A recorded answer, where there is one."""
    chosen = os.environ.get("OPENCLORE_BENCH_MARKETPLACE")
    file = ROOT / chosen if chosen else RECORDED
    return file.read_bytes() if chosen or file.exists() else None


def _ours(body: bytes) -> Callable[[], list[Offer]]:
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(200, headers={"Content-Type": "application/json"}, content=body)
    )
    return Clore(base_url=BASE_URL, spacing=Spacing(every=0.0), transport=transport).marketplace


def _sdk(body: bytes) -> Callable[[], list[Any]]:
    """
    Raises:
        ModuleNotFoundError: it is not installed.
    """
    import httpx
    from clore_ai.client import CloreAI, RateLimiter

    sdk = CloreAI(base_url=BASE_URL)
    sdk.rate_limiter = RateLimiter(requests_per_second=math.inf)
    sdk.client.close()
    sdk.client = httpx.Client(
        transport=httpx.MockTransport(
            lambda _: httpx.Response(200, headers={"Content-Type": "application/json"}, content=body)
        )
    )
    return lambda: sdk.marketplace(available_only=False)


def _check(body: bytes, offers: list[Offer]) -> list[str]:
    """Every row is there and says what came; the members that ours has no name for."""
    came = json.loads(body)["servers"]
    kept = msgspec.to_builtins(offers)
    assert [row["id"] for row in kept] == [row["id"] for row in came], "rows are lost"
    for offer, original in zip(offers, came, strict=True):
        assert offer.extra == {name: original[name] for name in original.keys() - NAMES}, "members are lost"
    unknown = {name for row, original in zip(kept, came, strict=True) for name in _left_out(row, original)}
    return sorted(unknown)


def _left_out(kept: Any, came: Any) -> Iterator[str]:
    """Names of members that did not get through; what did must be unchanged."""
    if not isinstance(came, dict):
        assert kept == came, f"{came!r} became {kept!r}"
        return
    for name, value in came.items():
        if name in kept:
            yield from _left_out(kept[name], value)
        elif value is not None:
            yield name
