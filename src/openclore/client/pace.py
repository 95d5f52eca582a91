"""One queue per API key, so that a market never has a reason to answer code 5.

The market admits one call per key and second. Counted from the end of the previous call, no delay on the
way can bring two calls closer together than that: the previous one was admitted before it was answered.
(Counting from the start can: a slow first call and a quick second one arrive together.)

The times of the last calls stand in a small file, locked while a call is under way. So threads, tasks and
processes that share a key on one machine share its queue; two command lines in a row do, too. Where no file
can be written, the queue is kept in memory and holds for this process only. Waiting calls of one process go
in the order they came, except that one which may not go yet (`create_order` has to wait longer) lets others
pass.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from openclore.api.endpoints import BASE_PATH, ENDPOINTS, SPACING_SECONDS
from openclore.api.open.endpoints import OPEN_PATH, OPEN_SPACING_SECONDS

ANY = "*"
MARGIN_SECONDS = 0.005
POLL_SECONDS = 0.05
ABANDONED_SECONDS = 2.0
"""A waiting call that does not come back for its turn so long after it was due is gone."""
PATIENCE_SECONDS = 180.0
"""A call that holds the queue longer than any call may take belongs to a stopped process: go ahead."""

LIVE_HOST = "api.clore.ai"
LIVE_SPACING_SECONDS = 1.2
LIVE_CREATE_SPACING_SECONDS = 5.2


@dataclass(frozen=True, slots=True)
class Spacing:
    """Seconds from the end of one call to the start of the next, per API key.

    Attributes:
        every: after any call.
        after: endpoint name to seconds after a call of that endpoint, before the next of the same.
    """

    every: float
    after: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, base_url: str, below: str = BASE_PATH) -> "Spacing":
        """What a market needs: its documented limits, and a little more for the live service.

        There, calls 1.1 s apart failed and 1.2 s from the end of the previous one did not.
        """
        if below == OPEN_PATH:
            return cls(OPEN_SPACING_SECONDS + MARGIN_SECONDS)
        if urlsplit(base_url).hostname == LIVE_HOST:
            return cls(LIVE_SPACING_SECONDS, {"create_order": LIVE_CREATE_SPACING_SECONDS})
        own = {e.name: e.spacing_seconds + MARGIN_SECONDS for e in ENDPOINTS if e.spacing_seconds}
        return cls(SPACING_SECONDS + MARGIN_SECONDS, own)

    def wait(self, ends: Mapping[str, float], endpoint: str, now: float) -> float:
        """Seconds until `endpoint` may be called, 0 for now.

        `ends` says when calls ended, on the clock of `now`; a time to come is from before a restart of the
        machine and says nothing.
        """
        due = (
            ends[name] + seconds
            for name, seconds in ((ANY, self.every), (endpoint, self.after.get(endpoint, 0.0)))
            if name in ends and ends[name] <= now
        )
        return max(0.0, max(due, default=now) - now)


@dataclass(eq=False, slots=True)
class Ticket:
    """A call in the queue."""

    endpoint: str
    back_at: float
    going: bool = False


class Pace:
    """The queue of one key as one client sees it: `join`, `ask` until it says 0, call, `leave`.

    Nothing here sleeps, so that threads and tasks share it.
    """

    def __init__(
        self, spacing: Spacing, turn: "Turn | None" = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.spacing = spacing
        self._turn = turn or Turn()
        self._clock = clock
        self._poll = max(0.001, min(POLL_SECONDS, spacing.every / 4))

    def join(self, endpoint: str) -> Ticket:
        ticket = Ticket(endpoint, self._clock())
        self._turn.append(ticket)
        return ticket

    def ask(self, ticket: Ticket) -> float:
        """0: go, and `leave` afterwards. Else: sleep so many seconds and ask again."""
        seconds = self._ask(ticket)
        ticket.back_at = self._clock() + seconds
        return seconds

    def _ask(self, ticket: Ticket) -> float:
        with self._turn.mutex:
            ends = self._turn.take(self._clock())
            if ends is None:
                return self._poll
            # Read after the lock was taken: the call before may have ended while it was waited for.
            now = self._clock()
            seconds = self.spacing.wait(ends, ticket.endpoint, now)
            if seconds == 0 and self._somebody_ahead(ticket, ends, now):
                seconds = self._poll
            if seconds > 0:
                self._turn.put_back()
                return seconds
            ticket.going = True
            self._turn.note(ends, ticket.endpoint, now)
            return 0.0

    def _somebody_ahead(self, ticket: Ticket, ends: Mapping[str, float], now: float) -> bool:
        for other in self._turn.waiting():
            if other is ticket:
                return False
            present = now <= other.back_at + ABANDONED_SECONDS
            if present and self.spacing.wait(ends, other.endpoint, now) == 0:
                return True
        return False

    def leave(self, ticket: Ticket) -> None:
        """The call ended, or the caller gave up waiting."""
        with self._turn.mutex:
            if ticket.going:
                now = self._clock()
                self._turn.note(self._turn.read(), ticket.endpoint, now)
                self._turn.put_back()
            self._turn.remove(ticket)


class Turn:
    """Whose turn it is, in memory: one taker at a time, and when the last calls ended."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self._queue: list[Ticket] = []
        self._taken = False
        self._ends: dict[str, float] = {}

    def append(self, ticket: Ticket) -> None:
        with self.mutex:
            self._queue.append(ticket)

    def remove(self, ticket: Ticket) -> None:
        if ticket in self._queue:
            self._queue.remove(ticket)

    def waiting(self) -> list[Ticket]:
        return [ticket for ticket in self._queue if not ticket.going]

    def take(self, now: float) -> dict[str, float] | None:
        """When calls ended; None while a call is under way."""
        if self._taken and now - self._ends.get(ANY, now) < PATIENCE_SECONDS:
            return None
        self._taken = True
        return self.read()

    def put_back(self) -> None:
        self._taken = False

    def read(self) -> dict[str, float]:
        return dict(self._ends)

    def note(self, ends: dict[str, float], endpoint: str, now: float) -> None:
        self._ends = {**ends, ANY: now, endpoint: now}

    def forget(self) -> None:
        """After a fork: nobody of the parent waits here."""
        self.mutex = threading.Lock()
        self._queue = []
        self._taken = False


class FileTurn(Turn):
    """Whose turn it is, among all processes: a locked file with the times of the last calls, as JSON."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._file: int | None = None
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(self._open())

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def take(self, now: float) -> dict[str, float] | None:
        if self._taken:
            return super().take(now)
        try:
            file = self._open()
        except OSError:
            return super().take(now)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._ends = _times(file)
            os.close(file)
            if now - self._ends.get(ANY, now) < PATIENCE_SECONDS:
                return None
            return super().take(now)
        except OSError:  # a file system without locks
            os.close(file)
            return super().take(now)
        self._file = file
        self._ends = _times(file)
        return super().take(now)

    def put_back(self) -> None:
        super().put_back()
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def note(self, ends: dict[str, float], endpoint: str, now: float) -> None:
        super().note(ends, endpoint, now)
        if self._file is not None:
            content = json.dumps(self._ends).encode()
            with contextlib.suppress(OSError):  # a full disk must not stop a call
                os.pwrite(self._file, content, 0)
                os.ftruncate(self._file, len(content))

    def forget(self) -> None:
        super().forget()
        file, self._file = self._file, None
        if file is not None:
            os.close(file)  # the lock itself is the parent's and stays with it


def _times(file: int) -> dict[str, float]:
    try:
        content = json.loads(os.pread(file, 65_536, 0))
        return {str(name): float(at) for name, at in content.items()}
    except (ValueError, AttributeError, TypeError, OSError):
        return {}


# One Turn per key and address in this process -------------------------------------------------------

_turns: dict[Path, FileTurn] = {}
_turns_mutex = threading.Lock()


def shared_turn(key: str, base_url: str) -> Turn:
    """The turn of a key at an address, shared on this machine; in memory where no file can be written."""
    name = hashlib.sha256(f"{key}\0{base_url}".encode()).hexdigest()[:32]
    path = cache_directory() / "pace" / name
    with _turns_mutex:
        if path not in _turns:
            try:
                _turns[path] = FileTurn(path)
            except OSError:
                return Turn()
        return _turns[path]


def cache_directory() -> Path:
    """Where this user's programs keep what may be lost."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if Path(root).is_absolute() else Path("~/.cache").expanduser()) / "openclore"


def _after_fork() -> None:
    global _turns_mutex
    _turns_mutex = threading.Lock()
    for turn in _turns.values():
        turn.forget()


os.register_at_fork(after_in_child=_after_fork)
