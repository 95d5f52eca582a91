"""The GigaSPOT snapshot as a file that anybody may fetch. Its name changes only when its content does."""

import gzip
import hashlib
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import zstandard
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from ..api.codes import Code
from ..store import events
from ..usecases import gigaspot
from ..usecases.market import Market
from .snapshot import preferred_encoding

if TYPE_CHECKING:  # the service holds the files
    from .service import Service

PATH = "/gigaspot"
KEPT = 30
"""How many former files stay readable."""
_NAME = re.compile(r"v1_[0-9a-f]{16}_[0-9]{1,12}\.json")
_GZIP_LEVEL = 5


@dataclass(frozen=True)
class File:
    """`name` is "v1_<digest>_<unix seconds>.json": its time is when the content was first seen.

    `bodies` is encoding ("" for none) to content.
    """

    name: str
    bodies: dict[str, bytes]


class Files:
    """The present snapshot and some former ones. It is looked at anew when the event log has grown."""

    def __init__(self, market: Market, fresh_seconds: float) -> None:
        self._market = market
        self._fresh_seconds = fresh_seconds
        self._files: dict[str, File] = {}
        self._current = File("", {})
        self._newest_event = -1
        self._looked_at = 0.0
        self._lock = threading.Lock()

    def current(self, now: int) -> File:
        """The present file, at most `fresh_seconds` old: no longer than a key must wait between two calls, so
        that it sees what it did.
        """
        with self._lock:
            if time.monotonic() - self._looked_at >= self._fresh_seconds:
                self._look(now)
            return self._current

    def named(self, name: str, now: int) -> File:
        """The file of this name; the present one where another process named it."""
        with self._lock:
            if name not in self._files:
                self._look(now)
            return self._files.get(name, self._current)

    def _look(self, now: int) -> None:
        self._looked_at = time.monotonic()
        with self._market.store.reading() as tx:
            newest = events.newest(tx)
        if newest == self._newest_event:
            return
        body = msgspec.json.encode(gigaspot.snapshot(self._market, now), order="deterministic")
        self._newest_event = newest
        if body == self._current.bodies.get(""):
            return
        digest = hashlib.blake2b(body, digest_size=8).hexdigest()
        packed = {
            "": body,
            "gzip": gzip.compress(body, _GZIP_LEVEL, mtime=0),
            "zstd": zstandard.compress(body),
        }
        self._current = File(f"v1_{digest}_{now}.json", packed)
        self._files[self._current.name] = self._current
        while len(self._files) > KEPT:
            del self._files[next(iter(self._files))]


def address(service: "Service", request: Request[Any, Any, Any], file: File) -> str:
    """Where a caller fetches the file: at the market's public address, or at the one the caller named."""
    base = service.settings.public_url or str(request.base_url)
    return f"{base.rstrip('/')}{PATH}/{file.name}"


def routes(service: "Service") -> list[HTTPRouteHandler]:
    @get(PATH + "/{name:str}")
    async def snapshot(request: Request[Any, Any, Any]) -> Response[Any]:
        name = request.path_params["name"]
        if not _NAME.fullmatch(name):
            return service.voice(PATH).failure(Code.INVALID_ENDPOINT, "there is no such file")
        file = await service.read(service.gigaspot.named, name, service.clock())
        encoding = preferred_encoding(request.headers.get("accept-encoding", ""))
        forever = file.name == name
        headers = {
            "Cache-Control": "public, max-age=86400, immutable" if forever else "no-cache",
            "Vary": "Accept-Encoding",
        }
        if encoding:
            headers["Content-Encoding"] = encoding
        return Response(file.bodies[encoding], media_type="application/json", headers=headers)

    return [snapshot]
