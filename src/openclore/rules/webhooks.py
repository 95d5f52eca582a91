"""Webhooks: which addresses they may have, and when a message is tried again."""

import re
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import msgspec

from .refused import InvalidInput

RETRY_SECONDS = (5, 60, 300, 1_800, 7_200, 18_000, 36_000, 50_400)
"""After the first failed attempt, the second, and so on; nearly 32 hours in all."""

SECRET_OVERLAP_SECONDS = 86_400
"""How long the previous secret signs beside a new one."""

GONE = 410
"""The HTTP status of a receiver that wants no more messages, ever."""

PRIVATE_ALLOWED_BY = "policy.webhooks.allow_private_addresses"
"""The operator's setting that lets private addresses have webhooks."""

_PORTS = {"http": 80, "https": 443}
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(#.*)?")
_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]{1,63})*")
_PROTOCOL_ASSIGNMENTS = IPv4Network("192.0.0.0/24")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_SIX_TO_FOUR = IPv6Network("2002::/16")


class State(StrEnum):
    """Of a message to a receiver."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class Target(msgspec.Struct, frozen=True):
    """Where a webhook's messages go. `path` begins with "/" and ends with the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """As the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """What a log may say: the rest may be secret."""
        return f"{self.scheme}://{self.authority}"


def target(url: str, *, private_allowed: bool) -> Target:
    """A webhook's address taken apart.

    Names are not resolved here; what they resolve to is for `is_public`, whenever they are.

    Raises:
        InvalidInput: it is no address that messages can be sent to.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidInput("url: must be printable ASCII without spaces, other characters percent-encoded")
    parts = _ADDRESS.fullmatch(url)
    if parts is None or parts[1].lower() not in _PORTS:
        raise InvalidInput("url: must begin with https:// or http://")
    scheme, authority, path, fragment = parts[1].lower(), parts[2], parts[3], parts[4]
    if "@" in authority:
        raise InvalidInput("url: must have no user name or password")
    if fragment is not None:
        raise InvalidInput("url: must have no fragment (#...)")
    host, port = _host_and_port(authority, _PORTS[scheme])
    if not private_allowed and _is_known_private(host):
        raise InvalidInput(
            f"url: must not be a private address unless the operator sets {PRIVATE_ALLOWED_BY}"
        )
    return Target(scheme, host, port, path if path.startswith("/") else f"/{path}")


def _host_and_port(authority: str, default_port: int) -> tuple[str, int]:
    if authority.startswith("["):
        literal, bracket, rest = authority[1:].partition("]")
        host = _address(literal)
        if not bracket or not isinstance(host, IPv6Address) or host.scope_id:
            raise InvalidInput("url: an address in brackets must be IPv6")
        name = str(host)
        colon, port = rest[:1], rest[1:]
    else:
        name, colon, port = authority.partition(":")
        if not _NAME.fullmatch(name):
            raise InvalidInput("url: must name a host")
    if colon not in ("", ":") or (colon and not (port.isdigit() and len(port) <= 5)):
        raise InvalidInput("url: the port must be a number")
    if colon and not 1 <= int(port) <= 65_535:
        raise InvalidInput("url: the port must be 1 to 65535")
    return name.lower(), int(port) if colon else default_port


def _is_known_private(host: str) -> bool:
    """Whether a host is private as it is written; most names say nothing."""
    if _address(host) is not None:
        return not is_public(host)
    return host == "localhost" or host.endswith(".localhost")


def is_public(address: str) -> bool:
    """Whether an IP address is one that everybody on the internet reaches, and only as itself.

    So neither private, shared, local, multicast and reserved addresses, nor those that stand for an IPv4
    address which others would have to judge again (mapped, NAT64, 6to4, Teredo).
    """
    parsed = _address(address)
    if isinstance(parsed, IPv4Address):
        special = parsed.is_multicast or parsed.is_reserved or parsed in _PROTOCOL_ASSIGNMENTS
        return parsed.is_global and not special
    if isinstance(parsed, IPv6Address):
        return parsed.is_global and parsed in _GLOBAL_UNICAST and parsed not in _SIX_TO_FOUR
    return False


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def is_delivered(status: int | None) -> bool:
    """Whether an attempt that got this HTTP status (None: no answer) needs no other."""
    return status is not None and 200 <= status < 300


def next_attempt_at(attempts: int, now: int) -> int | None:
    """When to try again after so many attempts, the last of which failed at `now`; None: never."""
    return now + RETRY_SECONDS[attempts - 1] if attempts <= len(RETRY_SECONDS) else None
