"""The marketplace reply, kept as bytes: rows encoded once per change, the whole compressed once per change.

Only the tail, `my_servers`, differs by caller. It is appended to the compressed rows as one more block
of the same stream, so that a reply costs a concatenation.
"""

import hashlib
import struct
import threading
import zlib
from dataclasses import dataclass, field
from functools import cached_property

import msgspec
import zstandard

from ..usecases.servers import Listing

_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_GZIP_LEVEL = 5
_ZSTD_LEVEL = 3
_ZSTD_BLOCK_BYTES_MAX = 100_000


@dataclass(frozen=True)
class View:
    """The rows at one moment: JSON from the opening brace to the comma before `my_servers`."""

    rows: bytes
    _once: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    def prepare(self, encoding: str) -> None:
        """Compress and digest; simultaneous callers wait for the first one's work."""
        with self._once:
            _ = self.digest, self.body(encoding, b" ")

    @cached_property
    def digest(self) -> str:
        return hashlib.blake2b(self.rows, digest_size=12).hexdigest()

    @cached_property
    def deflated(self) -> tuple[bytes, int]:
        """The rows as whole deflate blocks, and their CRC."""
        packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        return packer.compress(self.rows) + packer.flush(zlib.Z_FULL_FLUSH), zlib.crc32(self.rows)

    @cached_property
    def zstandard(self) -> bytes:
        """The rows as whole blocks of a zstd frame that has no end yet."""
        packer = zstandard.ZstdCompressor(
            level=_ZSTD_LEVEL, write_content_size=False, write_checksum=False
        ).compressobj()
        return packer.compress(self.rows) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def etag(self, tail: bytes) -> str:
        return f'W/"{self.digest}-{zlib.crc32(tail):08x}"'

    def body(self, encoding: str, tail: bytes) -> bytes:
        """The whole reply in an encoding: "zstd", "gzip" or "" for none."""
        if encoding == "zstd":
            return self.zstandard + _zstd_last_blocks(tail)
        if encoding == "gzip":
            blocks, crc = self.deflated
            packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
            last = packer.compress(tail) + packer.flush(zlib.Z_FINISH)
            size = (len(self.rows) + len(tail)) & 0xFFFFFFFF
            return _GZIP_HEADER + blocks + last + struct.pack("<II", zlib.crc32(tail, crc), size)
        return self.rows + tail

    def ready(self, encoding: str) -> bool:
        """Whether `body` would be a mere concatenation."""
        needed = {"zstd": "zstandard", "gzip": "deflated"}.get(encoding, "rows")
        return needed in self.__dict__ and "digest" in self.__dict__


class Snapshot:
    """The current rows by server id, and who owns which server."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()
        self._rows: dict[int, bytes] = {}
        self._servers_of: dict[int, set[int]] = {}
        self._view: View | None = None
        self._lock = threading.Lock()

    def put(self, listings: dict[int, Listing]) -> None:
        """Take in changed servers."""
        with self._lock:
            for server_id, (owner, offer) in listings.items():
                self._servers_of.setdefault(owner, set()).add(server_id)
                row = None if offer is None else self._encoder.encode(offer)
                if row != self._rows.get(server_id):
                    self._view = None
                    if row is None:
                        del self._rows[server_id]
                    else:
                        self._rows[server_id] = row

    def view(self) -> View:
        with self._lock:
            if self._view is None:
                self._view = View(b'{"servers":[' + b",".join(self._rows.values()) + b"],")
            return self._view

    def tail(self, account_id: int | None) -> bytes:
        """What follows the rows for this caller."""
        mine = [] if account_id is None else sorted(self._servers_of.get(account_id, ()))
        return b'"my_servers":' + self._encoder.encode(mine) + b',"code":0}'


def preferred_encoding(accept_encoding: str) -> str:
    """The best of "zstd", "gzip" and "" that an Accept-Encoding header allows."""
    accepted: set[str] = set()
    for item in accept_encoding.lower().split(","):
        name, _, parameter = item.strip().partition(";")
        if parameter.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            accepted.add(name.strip())
    return next((encoding for encoding in ("zstd", "gzip") if encoding in accepted), "")


def _zstd_last_blocks(tail: bytes) -> bytes:
    """Raw blocks that end a zstd frame (RFC 8878, section 3.1.1.2)."""
    pieces = [tail[i : i + _ZSTD_BLOCK_BYTES_MAX] for i in range(0, len(tail), _ZSTD_BLOCK_BYTES_MAX)]
    return b"".join(
        ((len(piece) << 3) | (index == len(pieces) - 1)).to_bytes(3, "little") + piece
        for index, piece in enumerate(pieces)
    )
