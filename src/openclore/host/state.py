"""What the agent remembers across restarts: its credential, the last word of the market, and what to undo.

Some of it is secret, so the directory is readable by its owner alone. Files are replaced whole.
"""

import fcntl
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from openclore.api.hostlink import Assignment, BackgroundJob

from .logs import get_logger
from .runtime import HostError

T = TypeVar("T")

GpuSettings = dict[str, int | None]
"""By the names of `GpuClocks`, `pl` in mW, and "persistence". A lock of None: not locked."""
Before = dict[str, GpuSettings]
"""What GPUs were set to before an order had them set otherwise, by UUID."""
PrivateImages = dict[int, str]
"""Order id to the image that was pulled for it with the renter's credentials."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who this agent is. `market` is the address it registered at; it never changes afterwards."""

    market: str
    server_id: int
    server_name: str
    credential: str


class LastWord(msgspec.Struct, frozen=True, kw_only=True):
    """What the market wanted last, and by how much its clock was ahead of this machine's."""

    orders: list[Assignment] = []
    background: BackgroundJob | None = None
    clock_ahead_seconds: float = 0.0


class State:
    """A directory for one server on one market; only one agent can hold it open."""

    def __init__(self, directory: Path) -> None:
        """Raises `HostError` where the directory can't be used or another agent uses it."""
        self.directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
            self._lock = (directory / "lock").open("w")
        except OSError as error:
            raise HostError(f"the state directory {directory} can't be used: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise HostError(f"another agent is using the state directory {directory}") from error

    def close(self) -> None:
        self._lock.close()

    def identity(self) -> Identity | None:
        """None before registration. Raises `HostError` where the file can't be read."""
        path = self.directory / "identity.json"
        try:
            return _read(path, Identity)
        except (OSError, msgspec.DecodeError) as error:
            raise HostError(
                f"{path} can't be read: {error}. Move it away and register again with a fresh init token."
            ) from error

    def save_identity(self, identity: Identity) -> None:
        """Raises `HostError` where it can't be written."""
        self._write("identity.json", identity)

    def last_word(self) -> LastWord:
        return self._recall("assignments.json", LastWord) or LastWord()

    def save_last_word(self, word: LastWord) -> None:
        self._keep("assignments.json", word)

    def gpus_before(self) -> Before:
        return self._recall("gpus.json", Before) or {}

    def save_gpus_before(self, before: Before) -> None:
        self._keep("gpus.json", before)

    def private_images(self) -> PrivateImages:
        return self._recall("images.json", PrivateImages) or {}

    def save_private_images(self, images: PrivateImages) -> None:
        self._keep("images.json", images)

    def _recall(self, name: str, kind: type[T]) -> T | None:
        """Nothing where it can't be read: the market will speak again, and most is as it should be."""
        path = self.directory / name
        try:
            return _read(path, kind)
        except (OSError, msgspec.DecodeError) as error:
            get_logger().warning("what the agent noted can't be read", path=str(path), error=str(error))
            return None

    def _keep(self, name: str, value: object) -> None:
        """A failure is logged, not raised: the containers matter more than the memory of them."""
        try:
            self._write(name, value)
        except HostError as error:
            get_logger().error(str(error))

    def _write(self, name: str, value: object) -> None:
        path = self.directory / name
        temporary = self.directory / f".{name}.new"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(value))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_directory(self.directory)
        except OSError as error:
            raise HostError(f"{path} can't be written: {error.strerror}") from error


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return msgspec.json.decode(content, type=kind)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
