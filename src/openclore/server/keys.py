"""Whose key a request carries, without asking the database twice."""

import time
from collections.abc import Mapping

from ..store import accounts
from ..store.accounts import ApiKey
from ..usecases.market import Market
from ..usecases.secrets import hashed

_KNOWN_MAX = 100_000
_KEY_LENGTH_MAX = 256
_TRUST_SECONDS = 4.0
"""How long a process that can't follow the event log goes on believing that no key was revoked elsewhere."""


class Keys:
    """Keys that were good when last looked at; `forget` them when one is revoked."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._known: dict[str, ApiKey] = {}
        self._confirmed_at = time.monotonic()

    def recall(self, secret: str) -> ApiKey | None:
        """The key with this secret, if it is known; asks nobody."""
        if self._market.store.shared and time.monotonic() - self._confirmed_at > _TRUST_SECONDS:
            return None
        return self._known.get(hashed(secret))

    def confirm(self, at: float) -> None:
        """What is known was still good then, in seconds of `time.monotonic`."""
        self._confirmed_at = at

    def look_up(self, secret: str) -> ApiKey | None:
        """The key with this secret, if there is one and it is not revoked. Asks the database."""
        if not secret or len(secret) > _KEY_LENGTH_MAX:
            return None
        digest, known = hashed(secret), self._known
        with self._market.store.reading() as tx:
            key = accounts.key_by_hash(tx, digest)
        if len(known) >= _KNOWN_MAX:
            self.forget()
        if key is not None:
            # What was known when the database was asked: a key revoked meanwhile is not remembered.
            known[digest] = key
        return key

    def forget(self) -> None:
        self._known = {}


def presented(headers: Mapping[str, str]) -> str | None:
    """The key in `auth: KEY` or `Authorization: Bearer KEY`; None without either, "" if malformed."""
    secret = headers.get("auth")
    if secret is None and (authorization := headers.get("authorization")) is not None:
        scheme, _, secret = authorization.partition(" ")
        return secret.strip() if scheme.lower() == "bearer" else ""
    return secret and secret.strip()
