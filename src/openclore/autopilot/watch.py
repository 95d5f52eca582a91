"""Watching a wallet: read, decide (`alerts`), write down, deliver; again and again.

What was decided is on disk before it is delivered, and leaves only when it was: an alert is not lost by a
restart or a failed delivery, and is said twice only if the machine stops between a delivery and noting it.
"""

import contextlib
import fcntl
import hashlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec

from openclore.api.wallets import Wallet
from openclore.client.errors import CloreError, NotFoundError, SetupError, SignInError
from openclore.client.profiles import replace_file

from .alerts import (
    BACK_ABOVE_FACTOR,
    Balance,
    Memory,
    Rule,
    Unreadable,
    delivered,
    observe,
    plain,
    without_delivered,
)

IMPATIENT_SECONDS = 60.0
"""While something fails, the next try comes no later than this."""


class Reader(Protocol):
    """The part of `Clore` a watch needs."""

    def wallets(self) -> list[Wallet]: ...


@dataclass(frozen=True, slots=True)
class Target:
    """Somewhere to send alerts. `id` names it in the memory without its address, which holds secrets."""

    id: str
    label: str
    send: Callable[[str, str], bool] = field(repr=False)


class AlreadyWatchedError(SetupError):
    """Another process watches the same."""


def targets_of(urls: Sequence[str]) -> list[Target]:
    """Apprise addresses as targets.

    Raises:
        SetupError: one of them is none. Only its scheme is named.
    """
    import apprise

    # Apprise logs addresses, and Python prints warnings nobody asked for.
    logging.getLogger("apprise").handlers[:] = [logging.NullHandler()]
    logging.getLogger("apprise").propagate = False
    found = []
    for number, url in enumerate(urls, 1):
        scheme = url.partition("://")[0] if "://" in url else ""
        channel = apprise.Apprise()
        if not channel.add(url) or len(channel) != 1:
            known = f"of kind {scheme!r} " if scheme.isalnum() and len(scheme) < 20 else ""
            raise SetupError(
                f"Notification address {number} {known}can't be used. It must be an Apprise URL, such as"
                " mailtos://user:password@example.org or json://host/path, one at a time."
            )
        found.append(Target(_digest(url), f"{scheme} ({number})", _sender(channel)))
    if not found:
        raise SetupError("Nobody to tell: give --notify URL or OPENCLORE_NOTIFY.")
    return found


def _sender(channel: object) -> Callable[[str, str], bool]:
    def send(title: str, body: str) -> bool:
        try:
            return bool(channel.notify(title=title, body=body))  # type: ignore[attr-defined]
        except Exception:  # a plug-in's bug must not end the watch
            return False

    return send


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:24]


def rule_for(wallet: str, below: float, back_above: float | None) -> Rule:
    """The rule, with its usual upper mark.

    Raises:
        SetupError: the marks make no sense.
    """
    upper = below * BACK_ABOVE_FACTOR if back_above is None else back_above
    if not (math.isfinite(below) and below > 0):
        raise SetupError("The amount to alert below must be above 0.")
    if not (math.isfinite(upper) and upper >= below):
        raise SetupError(
            "The amount from which the balance is back must not be less than the one to alert below."
        )
    return Rule(wallet=wallet, below=below, back_above=upper)


# Memory ---------------------------------------------------------------------------------------------


def default_state_directory() -> Path:
    """`$XDG_STATE_HOME/openclore/watch`."""
    root = os.environ.get("XDG_STATE_HOME", "")
    base = Path(root) if Path(root).is_absolute() else Path("~/.local/state").expanduser()
    return base / "openclore" / "watch"


def memory_path(directory: Path, rule: Rule, base_url: str, key_digest: str) -> Path:
    """Where a watch keeps its memory: one file per wallet, threshold, address and key."""
    name = "".join(c if c.isalnum() else "-" for c in rule.wallet)[:40]
    return directory / f"{name}-{_digest(rule.wallet, rule.below, base_url, key_digest)}.json"


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Keep a second watch from using the same memory.

    Raises:
        AlreadyWatchedError: there is one.
        SetupError: the directory can't be used.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise SetupError(f"{path.parent} can't be used: {problem.strerror}") from problem
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyWatchedError("This wallet is already watched with this threshold.") from None
        yield
    finally:
        os.close(lock)


def load(path: Path, tell: Callable[[str], None]) -> Memory:
    """What the last watch left; nothing if there was none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Memory)
    except FileNotFoundError:
        return Memory()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as problem:
        tell(f"{path} can't be read ({problem}); starting afresh, a message may come twice.")
        return Memory()


# The watch ------------------------------------------------------------------------------------------


class Watch:
    """One wallet, one rule, some targets.

    Args:
        tell: hears what happens, for a log.
        date: Unix seconds.
    """

    def __init__(
        self,
        clore: Reader,
        rule: Rule,
        targets: Sequence[Target],
        path: Path,
        *,
        tell: Callable[[str], None],
        date: Callable[[], float] = time.time,
    ) -> None:
        self.rule = rule
        self.memory = load(path, tell)
        self._clore = clore
        self._targets = list(targets)
        self._path = path
        self._tell = tell
        self._date = date

    def once(self) -> bool:
        """Read, decide, write down, deliver. Whether all went well.

        Raises:
            SignInError: the key is not accepted; said to the targets if it was before.
            NotFoundError: the account has no such wallet, and never had as far as this watch knows.
        """
        problem: CloreError | None = None
        seen: Balance | Unreadable
        try:
            seen = self._read()
        except CloreError as error:
            problem = error
            never_read = self.memory.standing.low is None
            if never_read and isinstance(error, SignInError | NotFoundError):
                raise
            seen = Unreadable(str(error), final=isinstance(error, SignInError))
            self._tell(f"Can't read {self.rule.wallet}: {error}")
        self._keep(observe(self.rule, self.memory, seen, self._date()))
        done = self._deliver()
        if isinstance(problem, SignInError):
            raise problem
        return done and problem is None

    def run(self, every: float, sleep: Callable[[float], None] = time.sleep) -> None:
        """Watch until something raises; a failed round is followed by an earlier one."""
        while True:
            well = self.once()
            sleep(every if well else min(every, IMPATIENT_SECONDS))

    def _read(self) -> Balance:
        found = self._clore.wallets()
        wallet = next((w for w in found if w.wire_name == self.rule.wallet), None)
        if wallet is None:
            names = ", ".join(w.wire_name for w in found) or "none"
            raise NotFoundError(f"There is no wallet {self.rule.wallet!r} here; there is: {names}.")
        if wallet.available is None or not math.isfinite(wallet.available):
            raise NotFoundError(f"The wallet {self.rule.wallet!r} has no balance.")
        self._tell(f"{self.rule.wallet}: {plain(wallet.available)}")
        return Balance(wallet.available)

    def _deliver(self) -> bool:
        """Try every target that lacks something, oldest first; whether nothing is left."""
        present = frozenset(target.id for target in self._targets)
        self._keep(without_delivered(self.memory, present))
        for target in self._targets:
            index = 0
            while index < len(self.memory.outbox):
                parcel = self.memory.outbox[index]
                if target.id in parcel.delivered:
                    index += 1
                    continue
                when = datetime.fromtimestamp(parcel.alert.at, UTC).strftime("%Y-%m-%d %H:%M UTC")
                if not target.send(parcel.alert.title, f"{parcel.alert.body} ({when})"):
                    self._tell(f"Could not tell {target.label}: {parcel.alert.title}; trying again later.")
                    break
                self._tell(f"Told {target.label}: {parcel.alert.title}")
                before = len(self.memory.outbox)
                self._keep(delivered(self.memory, index, target.id, present))
                index += len(self.memory.outbox) == before
        return not self.memory.outbox

    def _keep(self, memory: Memory) -> None:
        if memory == self.memory:
            return
        self.memory = memory
        try:
            replace_file(self._path, msgspec.json.encode(memory))
        except OSError as problem:
            self._tell(f"{self._path} can't be written ({problem.strerror}); a restart would forget.")
