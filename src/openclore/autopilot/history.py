"""Histories: what a market looked like over time, in a file that grows.

A file is zstd frames one after the other, each with one line of JSON, so that `zstd -dc FILE` shows it. The
first line is the header; every other is a time and what differs from the line before it (the first: from
nothing), as a JSON merge patch (RFC 7396). What follows from the rest is left out: prices restated in dollars
are the prices times `rates`.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
import zstandard

from openclore.api.offers import Offer
from openclore.api.servers import MyServer
from openclore.client._lenient import Mismatch, lenient
from openclore.client.errors import SetupError

from .observation import rates_of

FORMAT = 1
LEVEL = 9
CHUNK_BYTES = 65_536
RATE_DIGITS = 7
"""Rates are medians of rounded prices; digits beyond these are noise."""

Document = dict[str, Any]


class HistoryError(SetupError):
    """The file is no history, or damaged; the message says where."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """`market` is the address that was recorded; `note` says how the file was made, if not by recording."""

    openclore_history: int = FORMAT
    market: str
    note: str = ""


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """A market at one moment (Unix s).

    Attributes:
        offers: by server id, without prices restated in dollars.
        servers: the account's own, by name.
        wallets: currency to what could be spent.
        rates: dollars for one unit, by currency, as far as the market told.
        changed: ids of offers that are new, gone or different from the scene before.
    """

    at: int
    offers: Mapping[int, Offer]
    servers: Mapping[str, MyServer] = {}
    wallets: Mapping[str, float] = {}
    rates: Mapping[str, float] = {}
    changed: frozenset[int] = frozenset()


class History(NamedTuple):
    """`torn_bytes` at the end of the file were not written to their end, and left out; maybe the header."""

    header: Header | None
    scenes: list[Scene]
    torn_bytes: int = 0


class Line(msgspec.Struct, frozen=True):
    at: int
    patch: Document


# What is in a file, pure ----------------------------------------------------------------------------


def document(
    offers: Iterable[Offer], servers: Iterable[MyServer] = (), wallets: Mapping[str, float] | None = None
) -> Document:
    """What is kept of a market. Nothing secret of `servers` is."""
    listed = list(offers)
    rates = {name: float(f"{rate:.{RATE_DIGITS}g}") for name, rate in rates_of(listed).items()}
    return {
        "offers": {str(offer.id): _offer(offer) for offer in listed},
        "servers": {server.name: _server(server) for server in servers if server.name},
        "wallets": dict(wallets or {}),
        "rates": rates,
    }


def difference(before: Document, after: Document) -> Document:
    """The merge patch that makes `after` of `before`; neither has nulls."""
    patch: Document = {name: None for name in before if name not in after}
    for name, value in after.items():
        if name not in before:
            patch[name] = value
        elif isinstance(value, dict) and isinstance(before[name], dict):
            if inner := difference(before[name], value):
                patch[name] = inner
        elif value != before[name] or type(value) is not type(before[name]):
            patch[name] = value
    return patch


def patched(before: Document, patch: Document) -> Document:
    """A patch applied; `before` stays as it is, and what does not change is shared with it."""
    after = dict(before)
    for name, value in patch.items():
        if value is None:
            after.pop(name, None)
        elif isinstance(value, dict):
            present = after.get(name)
            after[name] = patched(present if isinstance(present, dict) else {}, value)
        else:
            after[name] = value
    return after


def _offer(offer: Offer) -> Document:
    row: Document = _without_nulls(msgspec.to_builtins(offer))
    row.get("price", {}).pop("usd", None)
    row.get("specs", {}).get("net", {}).pop("test_history", None)
    return row


def _server(server: MyServer) -> Document:
    row: Document = _without_nulls(msgspec.to_builtins(server))
    row.pop("init_token", None)
    return row


def _without_nulls(value: Any) -> Any:
    """A merge patch has no word for them; absent says the same."""
    if not isinstance(value, dict):
        return value
    return {str(name): _without_nulls(member) for name, member in value.items() if member is not None}


class _Scenes:
    """Scenes from patches: only what a patch touches is decoded again."""

    def __init__(self) -> None:
        self.document: Document = {}
        self._offers: dict[int, Offer] = {}
        self._servers: dict[str, MyServer] = {}

    def after(self, line: Line) -> Scene:
        self.document = patched(self.document, line.patch)
        changed = frozenset(int(name) for name in _part(line.patch, "offers") if name.isdecimal())
        self._offers = _redone(self._offers, changed, _part(self.document, "offers"), Offer)
        self._servers = _redone(
            self._servers, _part(line.patch, "servers"), _part(self.document, "servers"), MyServer
        )
        return Scene(
            at=line.at,
            offers=self._offers,
            servers=self._servers,
            wallets=_numbers(self.document, "wallets"),
            rates=_numbers(self.document, "rates"),
            changed=changed,
        )


def _part(whole: Document, name: str) -> Document:
    part = whole.get(name)
    return part if isinstance(part, dict) else {}


def _numbers(whole: Document, name: str) -> dict[str, float]:
    return {key: value for key, value in _part(whole, name).items() if isinstance(value, int | float)}


def _redone(before: dict[Any, Any], changed: Iterable[Any], rows: Document, kind: Any) -> dict[Any, Any]:
    """Rows by key, those that changed decoded anew; one that makes no sense is left out."""
    keys = list(changed)
    if not keys:
        return before
    after = dict(before)
    for key in keys:
        after.pop(key, None)
        row = rows.get(str(key))
        if row is not None and (found := _decoded(kind, row)) is not None:
            after[key] = found
    return after


def _decoded(kind: Any, row: Any) -> Any:
    try:
        return msgspec.convert(row, kind)
    except (msgspec.ValidationError, ValueError):
        pass
    try:
        return lenient(kind, row)
    except Mismatch:
        return None


# Files ----------------------------------------------------------------------------------------------


def read(path: Path) -> History:
    """
    Raises:
        HistoryError: the file can't be read, is no history, or is damaged before its end.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path, _Scenes())
    except OSError as problem:
        raise HistoryError(f"{path} can't be read: {problem.strerror}") from None


class Recorder:
    """Appends to a file, which is made if there is none; what a crash tore off is cut off first.

        with Recorder(path, Header(market=clore.base_url)) as recorder:
            recorder.append(now, document(clore.marketplace()))

    Attributes:
        torn_bytes: how much was cut off.
        scenes: how many there are.

    Raises:
        HistoryError: it can't be written, is no history or that of another market, or somebody writes to it.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self._path = path
        self._document: Document = {}
        self._at = 0
        try:
            self._file = path.open("a+b", buffering=0)
        except OSError as problem:
            raise HistoryError(f"{path} can't be written: {problem.strerror}") from None
        try:
            self._take_over(header)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self._file.close()

    def append(self, at: int, found: Document) -> int:
        """Write down what is different now; how many bytes that took. It is on the disk afterwards.

        Times rise: one that is not after the last is put right after it.

        Raises:
            HistoryError: it can't be written; the file is as it was.
        """
        at = max(at, self._at + 1)
        size = self._write(Line(at, difference(self._document, found)))
        self._at = at
        self._document = found
        self.scenes += 1
        return size

    def _take_over(self, header: Header) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HistoryError(f"another process records to {self._path}") from None
        self._file.seek(0)
        size = os.fstat(self._file.fileno()).st_size
        past = _Scenes()
        history = _read(self._file, self._path, past) if size else None
        torn = history.torn_bytes if history else 0
        self._file.truncate(size - torn)
        if history is None or history.header is None:
            self._write(header)
        elif history.header.market != header.market:
            raise HistoryError(
                f"{self._path} is a history of {history.header.market}, not of {header.market};"
                " name another file"
            )
        self.torn_bytes = torn
        self.scenes = len(history.scenes) if history else 0
        if history and history.scenes:
            self._at = history.scenes[-1].at
        self._document = past.document

    def _write(self, line: Header | Line) -> int:
        text = msgspec.json.encode(line) + b"\n"
        frame = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(text)
        size = os.fstat(self._file.fileno()).st_size
        try:
            whole = self._file.write(frame) == len(frame)
            os.fsync(self._file.fileno())
        except OSError as problem:
            self._file.truncate(size)
            raise HistoryError(f"{self._path} can't be written: {problem.strerror}") from None
        if not whole:
            self._file.truncate(size)
            raise HistoryError(f"{self._path} can't be written: the disk is full")
        return len(frame)


def _read(file: Any, path: Path, scenes: _Scenes) -> History:
    """
    Raises:
        HistoryError: see `read`.
    """
    header: Header | None = None
    found: list[Scene] = []
    end = 0
    for number, (text, end) in enumerate(_lines(file, path), 1):  # noqa: B007 -- `end` is asked for below
        try:
            if header is None:
                header = msgspec.json.decode(text, type=Header)
            else:
                found.append(scenes.after(msgspec.json.decode(text, type=Line)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise HistoryError(f"{path} is no history: line {number}: {error}") from None
        if header.openclore_history != FORMAT:
            raise HistoryError(f"{path} is of format {header.openclore_history}; this version reads {FORMAT}")
    torn = os.fstat(file.fileno()).st_size - end
    return History(header, found, torn)


def _lines(file: Any, path: Path) -> Iterator[tuple[bytes, int]]:
    """The text of each whole frame, and where in the file it ends.

    Raises:
        HistoryError: something in it is no frame.
    """
    end = 0
    waiting = b""
    while True:
        frame = zstandard.ZstdDecompressor().decompressobj()
        text: list[bytes] = []
        while not frame.eof:
            chunk = waiting or file.read(CHUNK_BYTES)
            waiting = b""
            if not chunk:
                return
            try:
                text.append(frame.decompress(chunk))
            except zstandard.ZstdError:
                raise HistoryError(_damaged(path, end)) from None
            end += len(chunk)
        waiting = frame.unused_data
        end -= len(waiting)
        yield b"".join(text), end


def _damaged(path: Path, end: int) -> str:
    if end == 0:
        return f"{path} is no history; openclore market record FILE writes one"
    return (
        f"{path} is damaged after byte {end}; what comes before can be kept in another file:"
        f" head -c {end} {path} > FILE"
    )
