"""The bytes a minute that the bodies of one caller may have, counted for all API processes in Redis."""

from __future__ import annotations

from pathlib import Path

from relaykit.api.limits.request_gate import BURSTS_PER_MINUTE
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, names_of, redis_errors
from relaykit.shared.redis.scripts import script


class ByteBudget:
    """Counts the bytes of each caller; a part of a minute's bytes may come at once, as with requests."""

    def __init__(self, redis: Redis, bytes_per_minute: int) -> None:
        self.bytes_per_minute = bytes_per_minute
        """0: no limit."""
        self._named = names_of(redis)
        self._spend = redis.register_script(script(Path(__file__).parent / "spend.lua"))

    async def spend(self, caller: str, size: int) -> float:
        """Seconds to wait; with 0 the bytes are spent. One round trip. Raises QueueUnavailable."""
        at_once = max(1, self.bytes_per_minute // BURSTS_PER_MINUTE)
        with redis_errors():
            wait_ms = await self._spend(
                keys=[self._named(keys.spent_bytes(caller))], args=[self.bytes_per_minute, at_once, size]
            )
        return float(wait_ms) / 1000
