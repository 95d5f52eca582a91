"""How often a key may call."""

from typing import Any

from ..api.endpoints import SPACING_SECONDS, Endpoint

LEEWAY_SECONDS = 0.05
"""Forgiven between two calls, so that a client that keeps the pace isn't refused for the network's jitter.

What a call takes early is missing for the next, so the pace holds over time.
"""
_KEYS_MAX = 100_000


class Limits:
    """The pace of every key, over all endpoints and for those with a pace of their own."""

    def __init__(self) -> None:
        self._free_at: dict[tuple[int, str], float] = {}

    def admit(self, key_id: int, endpoint: Endpoint[Any, Any], now: float) -> float:
        """Let a call in (0.0), or say in how many seconds it could be. `now` in seconds of a steady clock.

        A refused call counts for nothing.
        """
        scopes = {"": SPACING_SECONDS}
        if endpoint.spacing_seconds:
            scopes[endpoint.name] = endpoint.spacing_seconds
        wait = max(self._free_at.get((key_id, scope), 0.0) - LEEWAY_SECONDS - now for scope in scopes)
        if wait > 0:
            return wait
        if len(self._free_at) > _KEYS_MAX:
            self._free_at = {scope: at for scope, at in self._free_at.items() if at > now}
        for scope, spacing_seconds in scopes.items():
            slot = (key_id, scope)
            self._free_at[slot] = max(now, self._free_at.get(slot, 0.0)) + spacing_seconds
        return 0.0
