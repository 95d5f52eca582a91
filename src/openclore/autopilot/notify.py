"""Telling people: parcels of messages go to Apprise addresses, each until it has them.

Addresses hold passwords: they are in no memory, log or error. A target is named by its kind and number,
"json (1)", and remembered by a digest of its address.
"""

import logging
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from openclore.client.errors import SetupError

from .file import File, Messages
from .memory import AlertsMemory, Parcel
from .outbox import (
    delivered,
    first_for_fallback,
    first_lacking,
    has_failed_long,
    is_quiet,
    local,
    not_delivered,
    packed,
    rendered,
    tidy,
)
from .remember import digest

EXAMPLES = "mailtos://user:password@example.org or json://host/path"

ROUND_SECONDS = 15.0
"""A round waits no longer for deliveries; what is under way then is asked about in the next."""
SENDING_SECONDS_MAX = 300.0
"""A delivery that takes longer is given up."""
PAUSE_SECONDS = 15
PAUSE_SECONDS_MAX = 600
TEST_SECONDS = 30.0
CONNECT_SECONDS = 3.0
UNUSABLE = "its address can't be used"
NO_ANSWER = "its host does not answer in time"
REACH_SECONDS = 6.0
"""To find a host's address, and connect to it."""


Tone = Literal["info", "success", "warning", "failure"]
"""What Apprise calls the type of a notification; each is worse than those before it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Somewhere to send messages. `id` names it in the memory without its address, which holds secrets.

    `send` takes a title, a text and their tone; it returns why they were not taken, "" if they were.
    """

    id: str
    label: str
    send: Callable[[str, str, "Tone"], str] = field(repr=False)
    host: tuple[str, int] | None = field(repr=False)


def targets_of(urls: Sequence[str], which: str = "") -> list[Target]:
    """Apprise addresses as targets, labelled "json (1)", or "json (fallback 1)" for `which` "fallback ".

    Raises:
        SetupError: one of them is none. Only its kind is named.
    """
    return [_target(url, f"{which}{number}") for number, url in enumerate(urls, 1)]


def _target(url: str, number: str) -> Target:
    channel = _channel(url)
    scheme = url.partition("://")[0] if "://" in url else ""
    known = scheme.isalnum() and len(scheme) < 20
    if channel is None:
        raise SetupError(
            f"Notification address {number}{f' of kind {scheme!r}' if known else ''} can't be used."
            f" It must be an Apprise URL, such as {EXAMPLES}, one at a time."
        )
    host = _host(channel[0])
    return Target(digest(url), f"{scheme} ({number})", _sender(channel, host), host)


def _channel(url: str) -> Any:
    """What sends to one address; None if it is no address."""
    import apprise

    # These log addresses or parts of them.
    for name in ("apprise", "urllib3", "requests"):
        logging.getLogger(name).handlers[:] = [logging.NullHandler()]
        logging.getLogger(name).propagate = False
    channel = apprise.Apprise()
    if not channel.add(url) or len(channel) != 1:
        return None
    if "overflow=" not in url:  # what is too long for a service goes as several, and not as none
        channel[0].overflow_mode = apprise.OverflowMode.SPLIT
    return channel


def _sender(channel: Any, host: tuple[str, int] | None) -> Callable[[str, str, Tone], str]:
    def send(title: str, body: str, tone: Tone) -> str:
        try:
            result = channel.notify(title=title, body=body, notify_type=tone)
        except Exception as error:  # a plug-in's bug must not end what uses it
            return f"its plug-in failed ({type(error).__name__})"
        return "" if result else _why(result, host)

    return send


def _why(result: Any, host: tuple[str, int] | None) -> str:
    """Why a service did not take a message: its words may repeat the address, so only figures are taken."""
    statuses = [found[1] for entry in result.logs() if (found := _STATUS.search(entry.message))]
    if statuses:
        return f"it answered HTTP {statuses[-1]}"
    return reached(host) or "it did not take it"


_STATUS = re.compile(r"\berror=(\d{3})\b")


def _host(plugin: Any) -> tuple[str, int] | None:
    """Where a plug-in connects to, None where it does not tell."""
    if mail := getattr(plugin, "smtp_host", None):
        return str(mail), int(plugin.port)
    names_host = all("{host}" in template for template in plugin.templates)
    url = getattr(plugin, "cloud_notify_url", None) if getattr(plugin, "mode", None) == "cloud" else None
    url = url or getattr(plugin, "notify_url", None)
    if not names_host and isinstance(url, str) and url.startswith("http"):
        parts = urlsplit(url)
        return (parts.hostname, parts.port or _port(parts.scheme == "https")) if parts.hostname else None
    if names_host or getattr(plugin, "mode", None) == "private":
        return str(plugin.host), int(plugin.port or _port(plugin.secure))
    return None


def _port(secure: bool) -> int:
    return 443 if secure else 80


_TONES: dict[str, Tone] = {
    **dict.fromkeys(("test", "more", "event", "server_rented", "server_free"), "info"),
    **dict.fromkeys(("back", "sighted"), "success"),
    **dict.fromkeys(("blind", "host_lost", "order_failed", "server_offline"), "failure"),
}
"""By kind of message; those of the other kinds are warnings."""


def tone_of(parcel: Parcel) -> Tone:
    """That of its worst message."""
    return max((_TONES.get(one.kind, "warning") for one in parcel.messages), key=get_args(Tone).index)


# Delivery -------------------------------------------------------------------------------------------


class Postman:
    """Delivers what waits in the outbox; what fails is tried again after growing pauses.

    At most one message is on its way to a target, so that each gets them in order.

    Args:
        tell: hears what happens, for a log.
        date: Unix seconds; pauses are counted in these.
        round_seconds: how long `deliver` may take.
    """

    def __init__(
        self,
        tell: Callable[[str], None] = lambda text: None,
        *,
        date: Callable[[], float] = time.time,
        round_seconds: float = ROUND_SECONDS,
    ) -> None:
        self._tell = tell
        self._date = date
        self._round_seconds = round_seconds
        self._lines: dict[str, _Line] = {}
        self._results: queue.Queue[tuple[_Sending, str]] = queue.Queue()

    def deliver(self, file: File, memory: AlertsMemory, keep: Callable[[AlertsMemory], None]) -> None:
        """Tell everybody what they lack, oldest first; `keep` hears of each delivery right after it."""
        targets = self._present(file.notify, "")
        fallbacks = self._present(file.messages.fallback, "fallback ")
        ids = frozenset(line.target.id for line in targets)
        known = ids, frozenset(line.target.id for line in fallbacks)
        deadline = time.monotonic() + self._round_seconds
        kept = memory
        while True:
            now = int(self._date())
            memory = tidy(packed(file.messages, self._with_results(memory), now), *known, now)
            if memory != kept:
                keep(memory)
                kept = memory
            if not is_quiet(file.messages, now):
                self._send_all(targets, fallbacks, file.messages, memory, now)
            busy = [line for line in (*targets, *fallbacks) if line.sending]
            if not busy:
                return
            if not self._wait(deadline - time.monotonic()):
                break
        for line in busy:
            memory = self._give_up_waiting(line, memory)
        if memory != kept:
            keep(memory)

    def _present(self, urls: Sequence[str], which: str) -> list["_Line"]:
        lines = []
        for number, url in enumerate(dict.fromkeys(urls), 1):
            name = digest(url)
            if name not in self._lines:
                try:
                    target = _target(url, f"{which}{number}")
                except SetupError as problem:
                    self._tell(str(problem))
                    target = Target(name, f"address {which}{number}", lambda *_: UNUSABLE, None)
                self._lines[name] = _Line(target)
            lines.append(self._lines[name])
        return lines

    def _send_all(
        self,
        targets: Sequence["_Line"],
        fallbacks: Sequence["_Line"],
        messages: Messages,
        memory: AlertsMemory,
        now: int,
    ) -> None:
        for line in targets:
            self._send(line, first_lacking(memory, line.target.id), messages, "")
        ids = [line.target.id for line in targets]
        for line in fallbacks:
            late = first_for_fallback(messages, memory, line.target.id, ids, now)
            self._send(line, late, messages, _excuse(messages, memory, targets, now))

    def _send(self, line: "_Line", parcel: Parcel | None, messages: Messages, excuse: str) -> None:
        if parcel is None or line.sending or line.rests(self._date()):
            return
        title, body = rendered(messages, parcel)
        sending = _Sending(line, parcel)
        line.sending = sending

        def send() -> None:
            self._results.put((sending, line.target.send(title, body + excuse, tone_of(parcel))))

        threading.Thread(target=send, daemon=True, name=f"tell {line.target.label}").start()

    def _wait(self, seconds: float) -> bool:
        """Until a delivery ends; whether one did in time."""
        try:
            result = self._results.get(timeout=max(seconds, 0))
        except queue.Empty:
            return False
        self._results.put(result)
        return True

    def _with_results(self, memory: AlertsMemory) -> AlertsMemory:
        """With all deliveries that ended, of this round or of one before."""
        while True:
            try:
                sending, why_not = self._results.get_nowait()
            except queue.Empty:
                return memory
            line = sending.line
            if line.sending is not sending:  # given up before; it may be told twice
                continue
            line.sending = None
            if not why_not:
                line.failures = 0
                memory = delivered(memory, sending.parcel, line.target.id)
                self._tell(f"Told {line.target.label}: {sending.title}")
            else:
                memory = self._failed(line, memory)
                self._tell(
                    f"Could not tell {line.target.label}: {sending.title} ({why_not}); trying again later."
                )

    def _give_up_waiting(self, line: "_Line", memory: AlertsMemory) -> AlertsMemory:
        sending = line.sending
        if sending is None:
            return memory
        if time.monotonic() - sending.began < SENDING_SECONDS_MAX:
            self._tell(f"{line.target.label} has not taken it yet: {sending.title}")
            return not_delivered(memory, line.target.id, int(self._date()))
        line.sending = None
        self._tell(f"{line.target.label} does not take it: {sending.title}; trying again later.")
        return self._failed(line, memory)

    def _failed(self, line: "_Line", memory: AlertsMemory) -> AlertsMemory:
        line.failures += 1
        line.failed_at = self._date()
        return not_delivered(memory, line.target.id, int(line.failed_at))


class _Line:
    """The way to one target."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.sending: _Sending | None = None
        self.failures = 0
        self.failed_at = 0.0

    def rests(self, now: float) -> bool:
        pause = min(PAUSE_SECONDS * 2 ** min(self.failures - 1, 16), PAUSE_SECONDS_MAX)
        return self.failures > 0 and 0 <= now - self.failed_at < pause


class _Sending:
    """A parcel on its way."""

    def __init__(self, line: _Line, parcel: Parcel) -> None:
        self.line = line
        self.parcel = parcel
        self.title = parcel.messages[0].title
        self.began = time.monotonic()


def _excuse(messages: Messages, memory: AlertsMemory, targets: Sequence[_Line], now: int) -> str:
    late = [line.target for line in targets if has_failed_long(messages, memory, line.target.id, now)]
    told = [
        f"{target.label} could not be told since"
        f" {local(memory.failing[target.id], messages):%Y-%m-%d %H:%M %Z}, so you are."
        for target in late
    ]
    return "".join(f"\n\n{sentence}" for sentence in told)


# Trying ---------------------------------------------------------------------------------------------


def try_all(file: File) -> list[tuple[str, str]]:
    """Send one message to every target and fallback; by label why it was not taken, "" if it was.

    Raises:
        SetupError: an address can't be used.
    """
    targets = [*targets_of(file.notify), *targets_of(file.messages.fallback, "fallback ")]
    title, body = "A test by openclore", "If you can read this, alerts reach you."
    told = _at_once([partial(target.send, title, body, "info") for target in targets], TEST_SECONDS)
    return [
        (target.label, NO_ANSWER if why_not is None else why_not)
        for target, why_not in zip(targets, told, strict=True)
    ]


def examined(file: File) -> tuple[list[str], list[str]]:
    """What of its addresses can't be used, and which targets can't be reached now; nothing is sent.

    Targets whose host nobody knows are not looked for.
    """
    unusable, targets = [], []
    for which, urls in (("", file.notify), ("fallback ", file.messages.fallback)):
        for number, url in enumerate(urls, 1):
            try:
                targets.append(_target(url, f"{which}{number}"))
            except SetupError as refusal:
                unusable.append(str(refusal))
    found = _at_once([partial(reach, target) for target in targets], REACH_SECONDS)
    away = [(target.label, why or NO_ANSWER) for target, why in zip(targets, found, strict=True) if why != ""]
    return unusable, [f"{label} can't be reached: {why}" for label, why in away]


def reach(target: Target) -> str:
    """Connect to a target's host; why that fails, "" if it does not."""
    return reached(target.host)


def reached(place: tuple[str, int] | None) -> str:
    """The same of a host and port; nothing is known of None."""
    if place is None:
        return ""
    host, port = _by_way_of(*place)
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except TimeoutError:
        return NO_ANSWER
    except (OSError, ValueError, OverflowError) as problem:
        return getattr(problem, "strerror", None) or "its host has no valid name"
    return ""


def _by_way_of(host: str, port: int) -> tuple[str, int]:
    """The proxy that the environment names for a web address, else the host itself."""
    scheme = {443: "https", 80: "http"}.get(port)
    proxy = getproxies().get(scheme) if scheme and not proxy_bypass(host) else None
    parts = urlsplit(proxy or "")
    return (parts.hostname, parts.port or 80) if parts.hostname else (host, port)


def _at_once(calls: Sequence[Callable[[], Any]], seconds: float) -> list[Any]:
    """What each call returns; None for one that takes longer than all have together."""
    results: list[Any] = [None] * len(calls)

    def run(index: int, call: Callable[[], Any]) -> None:
        results[index] = call()

    threads = [
        threading.Thread(target=run, args=(index, call), daemon=True) for index, call in enumerate(calls)
    ]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return list(results)
