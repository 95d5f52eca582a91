"""What the agent remembers across restarts: its credential and the last word of the market.

Both hold secrets, so the directory is readable by its owner alone. Files are replaced whole.
"""

import fcntl
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from openclore.api.hostlink import Assignment

from .logs import get_logger
from .runtime import HostError

T = TypeVar("T")


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who this agent is. `market` is the address it registered at; it never changes afterwards."""

    market: str
    server_id: int
    server_name: str
    credential: str


class LastWord(msgspec.Struct, frozen=True, kw_only=True):
    """What the market wanted last, and by how much its clock was ahead of this machine's."""

    orders: list[Assignment] = []
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
        """What the market wanted last; nothing where that can't be read, for the market will say it again."""
        path = self.directory / "assignments.json"
        try:
            return _read(path, LastWord) or LastWord()
        except (OSError, msgspec.DecodeError) as error:
            get_logger().warning("the last assignments can't be read", path=str(path), error=str(error))
            return LastWord()

    def save_last_word(self, word: LastWord) -> None:
        """A failure is logged, not raised: the containers matter more than the memory of them."""
        try:
            self._write("assignments.json", word)
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
