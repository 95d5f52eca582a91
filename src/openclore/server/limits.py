"""How often a key may call."""

from typing import Any

from ..api.endpoints import BASE_PATH, CREATE_ORDER, Endpoint
from .settings import Pace

LEEWAY_SECONDS = 0.05
"""Forgiven between two calls, so that a client that keeps the pace isn't refused for the network's jitter.

What a call takes early is missing for the next, so the pace holds over time.
"""
_KEYS_MAX = 100_000


class Limits:
    """The pace of every key, over all endpoints of an API and for those with a pace of their own."""

    def __init__(self, pace: Pace = Pace()) -> None:  # noqa: B008 -- frozen
        self._pace = pace
        self._free_at: dict[tuple[int, str], float] = {}

    def admit(self, key_id: int, endpoint: Endpoint[Any, Any], now: float) -> float:
        """Let a call in (0.0), or say in how many seconds it could be. `now` in seconds of a steady clock."""
        scopes = self.scopes(endpoint)
        if not scopes:
            return 0.0
        wait = max(self._free_at.get((key_id, scope), 0.0) - LEEWAY_SECONDS - now for scope in scopes)
        if wait > 0:
            if self._pace.refusals_count:
                self._restart(key_id, scopes, now)
                return max(scopes.values())
            return wait
        if len(self._free_at) > _KEYS_MAX:
            self._free_at = {slot: at for slot, at in self._free_at.items() if at > now}
        for scope, spacing_seconds in scopes.items():
            slot = (key_id, scope)
            self._free_at[slot] = max(now, self._free_at.get(slot, 0.0)) + spacing_seconds
        return 0.0

    def completed(self, key_id: int, endpoint: Endpoint[Any, Any], now: float) -> None:
        """A call that was let in has been answered."""
        if self._pace.from_completion:
            self._restart(key_id, self.scopes(endpoint), now)

    def scopes(self, endpoint: Endpoint[Any, Any]) -> dict[str, float]:
        """What a call of this endpoint is counted in, and the seconds between two calls there."""
        public = endpoint.below == BASE_PATH
        found = {endpoint.below: self._pace.spacing_seconds if public else self._pace.open_spacing_seconds}
        if endpoint is CREATE_ORDER:
            found[endpoint.name] = self._pace.create_order_seconds
        return {scope: seconds for scope, seconds in found.items() if seconds}

    def _restart(self, key_id: int, scopes: dict[str, float], now: float) -> None:
        self._free_at.update({(key_id, scope): now + seconds for scope, seconds in scopes.items()})
