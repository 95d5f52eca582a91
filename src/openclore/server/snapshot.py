"""The market, kept in memory: the marketplace reply as bytes, and the rows that are searched and counted.

Rows are encoded once per change and compressed in pieces, so that a change costs a row and its piece.
Only the tail, `my_servers`, differs by caller. It follows the compressed rows as one more block of the same
stream, so that a reply costs its tail: the rows are sent as they lie.
"""

import hashlib
import struct
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import msgspec
import zstandard

from ..rules.listings import Listed, listed
from ..usecases.servers import Listing

_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_GZIP_LEVEL = 5
_ZSTD_LEVEL = 1
"""Of such rows it makes a smaller reply than levels 2 and 3, and sooner."""
_ZSTD_BLOCK_BYTES_MAX = 100_000
_PIECE_ROWS = 256


@dataclass(frozen=True)
class Piece:
    """Some bytes of the reply, digested and compressed at most once."""

    text: bytes

    @cached_property
    def digest(self) -> bytes:
        return hashlib.blake2b(self.text, digest_size=12).digest()

    @cached_property
    def deflated(self) -> bytes:
        """Whole deflate blocks that refer to nothing before them."""
        packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        return packer.compress(self.text) + packer.flush(zlib.Z_FULL_FLUSH)


@dataclass(frozen=True)
class View:
    """The rows at one moment: JSON from the opening brace to the last row."""

    pieces: Sequence[Piece]
    _once: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    def prepare(self, encoding: str) -> None:
        """Compress and digest; simultaneous callers wait for the first one's work."""
        with self._once:
            _ = self.digest, self.parts(encoding, b" ")

    @cached_property
    def digest(self) -> str:
        return hashlib.blake2b(b"".join(piece.digest for piece in self.pieces), digest_size=12).hexdigest()

    @cached_property
    def text(self) -> bytes:
        return b"".join(piece.text for piece in self.pieces)

    @cached_property
    def gzipped(self) -> tuple[bytes, int]:
        """A gzip stream with the rows as whole deflate blocks, which has no end yet, and the rows' CRC."""
        return b"".join([_GZIP_HEADER, *(piece.deflated for piece in self.pieces)]), zlib.crc32(self.text)

    @cached_property
    def zstandard(self) -> bytes:
        """The rows as whole blocks of a zstd frame that has no end yet.

        Unlike deflate's, blocks of zstd lean on those before them, so that pieces can't be packed apart.
        """
        packer = zstandard.ZstdCompressor(
            level=_ZSTD_LEVEL, write_content_size=False, write_checksum=False
        ).compressobj()
        return packer.compress(self.text) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def etag(self, tail: bytes) -> str:
        return f'W/"{self.digest}-{zlib.crc32(tail):08x}"'

    def parts(self, encoding: str, tail: bytes) -> tuple[bytes, bytes]:
        """The reply in an encoding ("zstd", "gzip" or "" for none): what all callers share, and the tail."""
        if encoding == "zstd":
            return self.zstandard, _zstd_last_blocks(tail)
        if encoding == "gzip":
            blocks, crc = self.gzipped
            packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
            last = packer.compress(tail) + packer.flush(zlib.Z_FINISH)
            size = (len(self.text) + len(tail)) & 0xFFFFFFFF
            return blocks, last + struct.pack("<II", zlib.crc32(tail, crc), size)
        return self.text, tail

    def ready(self, encoding: str) -> bool:
        """Whether `parts` would have nothing to pack but the tail."""
        needed = {"zstd": "zstandard", "gzip": "gzipped"}.get(encoding, "text")
        return needed in self.__dict__ and "digest" in self.__dict__


class Snapshot:
    """The current rows, and who owns which server."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()
        self._opening = Piece(b'{"servers":[')
        self._listed: dict[int, Listed] = {}
        self._owners: dict[int, int] = {}
        self._servers_of: dict[int, set[int]] = {}
        # Rows by server id, so many together; a server that was listed once keeps its place.
        self._places: dict[int, int] = {}
        self._rows: list[dict[int, bytes]] = []
        self._pieces: dict[int, Piece] = {}
        self._view: View | None = None
        self._lock = threading.Lock()

    def put(self, listings: dict[int, Listing]) -> None:
        """Take in changed servers; one caller at a time. Readers wait only while the rows are exchanged."""
        changed: list[tuple[int, Listed | None, bytes | None]] = []
        for server_id, (_, offer, held) in listings.items():
            known = self._listed.get(server_id)
            if offer is None:
                changed.append((server_id, None, None))
            elif known is None or (known.offer, known.held) != (offer, held):
                changed.append((server_id, listed(offer, held), self._encoder.encode(offer)))
        with self._lock:
            for server_id, listing in listings.items():
                self._put_owner(server_id, listing.owner)
            for server_id, one, row in changed:
                if one is None:
                    self._listed.pop(server_id, None)
                else:
                    self._listed[server_id] = one
                self._put_row(server_id, row)

    def _put_owner(self, server_id: int, owner: int | None) -> None:
        before = self._owners.pop(server_id, None)
        if before is not None:
            self._servers_of[before].discard(server_id)
        if owner is not None:
            self._owners[server_id] = owner
            self._servers_of.setdefault(owner, set()).add(server_id)

    def _put_row(self, server_id: int, row: bytes | None) -> None:
        place = self._places.get(server_id)
        if place is None:
            if row is None:
                return
            place = self._places[server_id] = len(self._places) // _PIECE_ROWS
            if place == len(self._rows):
                self._rows.append({})
        rows = self._rows[place]
        if rows.get(server_id) != row:
            if row is None:
                del rows[server_id]
            else:
                rows[server_id] = row
            self._pieces.pop(place, None)
            self._view = None

    def listed(self) -> list[Listed]:
        """What is on the market, in no order."""
        with self._lock:
            return list(self._listed.values())

    def view(self) -> View:
        with self._lock:
            if self._view is None:
                self._view = View([self._opening, *self._row_pieces()])
            return self._view

    def _row_pieces(self) -> list[Piece]:
        pieces: list[Piece] = []
        for place, rows in enumerate(self._rows):
            if rows:
                before = b"," if pieces else b""
                kept = self._pieces.get(place)
                if kept is None or kept.text.startswith(b",") != bool(before):
                    kept = self._pieces[place] = Piece(before + b",".join(rows.values()))
                pieces.append(kept)
        return pieces

    def tail(self, account_id: int | None) -> bytes:
        """What follows the rows for this caller."""
        with self._lock:
            mine = [] if account_id is None else sorted(self._servers_of.get(account_id, ()))
        return b'],"my_servers":' + self._encoder.encode(mine) + b',"code":0}'


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
