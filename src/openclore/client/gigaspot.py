"""The GigaSPOT auction as one value: what the market says of it, and the snapshot it points to."""

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec

from openclore.api.endpoints import GET_GIGASPOT
from openclore.api.gigaspot import GigaspotReply, Snapshot, SnapshotServer

from ._extra import remember
from ._lenient import Mismatch, lenient
from .errors import ReplyError


@dataclass(frozen=True, slots=True)
class Gigaspot:
    """The auction at one time.

    Attributes:
        my_user_id: the account; bids of `servers` with this `owner` are its own.
        clore_price: dollars per CLORE.
        taken_at: when the snapshot was taken (Unix s), where its address says so.
        servers: by server id.
        creation_fees: currency to amount per order, where the market names them.
    """

    my_user_id: int | None
    clore_price: float | None
    taken_at: int | None
    servers: dict[int, SnapshotServer]
    creation_fees: dict[str, float | None] | None = None


def snapshot_url(reply: GigaspotReply, base_url: str) -> str:
    """Where the snapshot is.

    Raises:
        ReplyError: the reply does not say.
    """
    url = urljoin(f"{base_url}/", reply.v1_snapshot_url or "")
    if not reply.v1_snapshot_url or urlsplit(url).scheme not in ("http", "https"):
        raise ReplyError("get_gigaspot: the reply names no snapshot.", endpoint=GET_GIGASPOT.name)
    return url


def gigaspot_of(reply: GigaspotReply, url: str, servers: dict[int, SnapshotServer]) -> Gigaspot:
    taken_at = re.search(r"_(\d{1,12})\.json$", urlsplit(url).path)
    return Gigaspot(
        my_user_id=reply.my_user_id,
        clore_price=reply.clore_price,
        taken_at=int(taken_at.group(1)) if taken_at else None,
        servers=servers,
        creation_fees=reply.creation_fees,
    )


def servers_in(snapshot: bytes) -> dict[int, SnapshotServer]:
    """The servers of a snapshot; what is none is left out.

    Raises:
        ReplyError: it is no snapshot.
    """
    try:
        rows = msgspec.json.decode(snapshot, type=Snapshot, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        rows = _read_leniently(snapshot)
    else:
        remember(rows, lambda: json.loads(snapshot))
    return {int(name): server for name, server in rows.items() if name.isascii() and name.isdigit()}


def _read_leniently(snapshot: bytes) -> Any:
    try:
        return lenient(Snapshot, json.loads(snapshot.decode("utf-8-sig", "replace")))
    except (ValueError, Mismatch, RecursionError) as problem:
        raise ReplyError(
            "get_gigaspot: what is at the snapshot's address is no snapshot.", endpoint=GET_GIGASPOT.name
        ) from problem
