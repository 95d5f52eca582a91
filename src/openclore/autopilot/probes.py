"""Checks of machines, and numbers from outside: everything at once, nothing for longer than its time.

What is said about a failure names the check, never an address's query, a program's arguments or its output,
since those may hold secrets.
"""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, assert_never

import httpx2

from openclore.api.orders import Order

from .file import Check, CommandCheck, HttpCheck, Scale, TcpCheck
from .observation import Failed, Probe

K = TypeVar("K", bound=Hashable)
A = TypeVar("A")
T = TypeVar("T")

SECONDS = 10.0
"""For one check."""
SCALE_SECONDS = 20.0
AT_ONCE_MAX = 32
ANSWER_BYTES_MAX = 65_536
HTTPS_PORT = 443


class _No(Exception):
    """Why a check failed."""


class Prober:
    """Carries them out.

    Args:
        seconds: for one check.
        scale_seconds: for one number.
    """

    def __init__(self, seconds: float = SECONDS, scale_seconds: float = SCALE_SECONDS) -> None:
        self._seconds = seconds
        self._scale_seconds = scale_seconds

    def check(self, machines: Mapping[int, tuple[Order, tuple[Check, ...]]]) -> Mapping[int, Probe]:
        """By order id, whether all checks of a machine pass; the first that does not is named."""
        return _at_once(lambda one: self._probe(*one), machines)

    def numbers(self, scales: Mapping[str, Scale]) -> Mapping[str, int | Failed]:
        """By fleet, how many machines its command or address asks for."""
        return _at_once(self._number, scales)

    def _probe(self, order: Order, checks: Sequence[Check]) -> Probe:
        for check in checks:
            try:
                self._check(order, check)
            except _No as why:
                return Probe(passed=False, detail=f"{_named(check)}: {why}")
        return Probe(passed=True)

    def _check(self, order: Order, check: Check) -> None:
        match check:
            case TcpCheck():
                _connect(*_endpoint(order, check.port), self._seconds)
            case HttpCheck():
                _get(*_endpoint(order, check.port), check.path, self._seconds)
            case CommandCheck():
                _run(check.command, _environment(order), self._seconds)
            case _:
                assert_never(check)

    def _number(self, scale: Scale) -> int | Failed:
        try:
            text = (
                _run(scale.command, {}, self._scale_seconds)
                if scale.command
                else _fetch(scale.url or "", self._scale_seconds)
            )
            return _integer(text)
        except _No as why:
            return Failed(f"the {'command' if scale.command else 'address'} of its scale: {why}")


def _at_once(work: Callable[[A], T], asked: Mapping[K, A]) -> dict[K, T]:
    if not asked:
        return {}
    with ThreadPoolExecutor(min(AT_ONCE_MAX, len(asked)), thread_name_prefix="probe") as pool:
        return dict(zip(asked, pool.map(work, asked.values()), strict=True))


def _named(check: Check) -> str:
    match check:
        case TcpCheck():
            return f"TCP port {check.port}"
        case HttpCheck():
            return f"HTTP port {check.port}"
        case CommandCheck():
            return f"command {Path(check.command[0]).name}" if check.command else "command"
        case _:
            assert_never(check)


def _endpoint(order: Order, port: int) -> tuple[str, int]:
    found = order.endpoints.get(port)
    if found is None:
        raise _No("the order has no such port")
    return found


def _environment(order: Order) -> dict[str, str]:
    """What a command learns of its machine."""
    known = {"ORDER_ID": str(order.id)}
    for inner, (host, port) in order.endpoints.items():
        known |= {f"HOST_{inner}": host, f"PORT_{inner}": str(port)}
    return known


def _connect(host: str, port: int, seconds: float) -> None:
    try:
        socket.create_connection((host, port), seconds).close()
    except TimeoutError:
        raise _No(f"no answer within {seconds:g} s") from None
    except (OSError, UnicodeError, OverflowError) as error:
        raise _No(_short(error)) from None


def _get(host: str, port: int, path: str, seconds: float) -> None:
    scheme = "https" if port == HTTPS_PORT else "http"
    url = f"{scheme}://{host}:{port}/{path.removeprefix('/')}"
    with _answer(url, seconds) as answer:
        if answer.status_code >= httpx2.codes.BAD_REQUEST:
            raise _No(f"HTTP {answer.status_code}")


def _fetch(url: str, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    body = b""
    with _answer(url, seconds) as answer:
        if answer.status_code >= httpx2.codes.BAD_REQUEST:
            raise _No(f"HTTP {answer.status_code}")
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > ANSWER_BYTES_MAX:
                raise _No("the answer is no number")
            if time.monotonic() > deadline:
                raise _No(f"no answer within {seconds:g} s")
    return body.decode(errors="replace")


@contextlib.contextmanager
def _answer(url: str, seconds: float) -> Iterator[httpx2.Response]:
    """The beginning of an answer; its body is read by whoever needs it."""
    try:
        # Certificates are read from disk only where they are needed.
        with httpx2.stream("GET", url, timeout=seconds, verify=url.startswith("https:")) as answer:
            yield answer
    except httpx2.TimeoutException:
        raise _No(f"no answer within {seconds:g} s") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        raise _No(_short(error)) from None


def _run(command: Sequence[str], known: Mapping[str, str], seconds: float) -> str:
    """What a program prints if it ends with 0; it and its children are ended when their time is over."""
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **known},
                start_new_session=True,
            )
        except (OSError, ValueError, IndexError) as error:
            raise _No(_short(error)) from None
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise _No(f"did not end within {seconds:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if status:
            raise _No(f"ended with {status}")
        output.seek(max(0, output.seek(0, os.SEEK_END) - ANSWER_BYTES_MAX))
        return output.read().decode(errors="replace")


def _integer(text: str) -> int:
    lines = text.strip().splitlines()
    last = lines[-1].strip() if lines else ""
    if not (last.isascii() and last.isdecimal() and len(last) < 10):
        raise _No("the last line is no number of machines")
    return int(last)


def _short(error: Exception) -> str:
    """An error without what it is about."""
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
