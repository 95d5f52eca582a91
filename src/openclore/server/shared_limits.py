"""The pace of a key over all processes of a market, counted in Valkey; the same arithmetic as in `limits`.

Libraries for this count calls in windows of whole seconds; a pace is a spacing, down to tenths of a second,
with a leeway that is not forgotten.
"""

import time
from typing import Any

import structlog
from valkey.asyncio import BlockingConnectionPool, Valkey
from valkey.asyncio.retry import Retry
from valkey.backoff import NoBackoff
from valkey.exceptions import ValkeyError

from ..api.endpoints import Endpoint
from .limits import LEEWAY_SECONDS, Limits
from .settings import Pace

TIMEOUT_SECONDS = 0.25
"""How long a request waits for Valkey."""
RETRY_SECONDS = 1.0
CONNECTIONS_MAX = 32
_MICRO = 1_000_000

# Times in microseconds by Valkey's clock. KEYS: a slot for each scope; ARGV: what to do ("admit", "strict":
# a refusal restarts the wait, "restart"), the leeway, the spacing of each scope. Returns the wait.
_SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local what, leeway, wait, longest = ARGV[1], tonumber(ARGV[2]), 0, 0
local free_at = {}
for i, slot in ipairs(KEYS) do
    free_at[i] = tonumber(redis.call('GET', slot) or 0)
    wait = math.max(wait, free_at[i] - leeway - now)
    longest = math.max(longest, tonumber(ARGV[i + 2]))
end
if what == 'admit' and wait > 0 then
    return wait
end
local from_now = what == 'restart' or wait > 0
for i, slot in ipairs(KEYS) do
    local start = from_now and now or math.max(now, free_at[i])
    local next_at = start + tonumber(ARGV[i + 2])
    redis.call('SET', slot, string.format('%.0f', next_at), 'PX', math.ceil((next_at - now) / 1000) + 1)
end
if wait > 0 and what == 'strict' then
    return longest
end
return 0
"""

log = structlog.get_logger()


class SharedLimits:
    """Asks Valkey; while it does not answer, this process minds the pace alone, and no request fails."""

    def __init__(self, url: str, pace: Pace, own: Limits) -> None:
        """`own` counts while Valkey is gone.

        Raises:
            ValueError: the address can't be one.
        """
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=TIMEOUT_SECONDS,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._valkey = Valkey.from_pool(pool)
        self._script = self._valkey.register_script(_SCRIPT)
        self._pace = pace
        self._own = own
        self._gone = False
        self._ask_at = 0.0

    async def admit(self, key_id: int, endpoint: Endpoint[Any, Any]) -> float:
        """Let a call in (0.0), or say in how many seconds it could be."""
        scopes = self._own.scopes(endpoint)
        if not scopes:
            return 0.0
        wait = await self._ask("strict" if self._pace.refusals_count else "admit", key_id, scopes)
        return self._own.admit(key_id, endpoint, time.monotonic()) if wait is None else wait

    async def completed(self, key_id: int, endpoint: Endpoint[Any, Any]) -> None:
        """A call that was let in has been answered."""
        scopes = self._own.scopes(endpoint)
        if self._pace.from_completion and scopes:
            await self._ask("restart", key_id, scopes)
            self._own.completed(key_id, endpoint, time.monotonic())

    async def close(self) -> None:
        await self._valkey.aclose()

    async def _ask(self, what: str, key_id: int, scopes: dict[str, float]) -> float | None:
        """The seconds to wait; None if Valkey does not say."""
        now = time.monotonic()
        if self._gone:
            if now < self._ask_at:
                return None
            self._ask_at = now + RETRY_SECONDS
        slots = [f"openclore:pace:{{{key_id}}}:{scope}" for scope in scopes]
        times = [round(seconds * _MICRO) for seconds in (LEEWAY_SECONDS, *scopes.values())]
        try:
            wait = await self._script(keys=slots, args=[what, *times])
        except (ValkeyError, OSError, TimeoutError) as error:
            if not self._gone:
                log.error("Valkey fails, this process minds the pace alone", error=type(error).__name__)
            self._gone, self._ask_at = True, now + RETRY_SECONDS
            return None
        if self._gone:
            log.info("Valkey answers again, the pace is shared")
            self._gone = False
        return int(wait) / _MICRO
