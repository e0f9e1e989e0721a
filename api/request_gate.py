"""Counts a request of a caller and looks at the queue, in one round trip."""

from __future__ import annotations

from typing import NamedTuple

from shared import keys
from shared.fair_share import Flow, QueueDepth
from shared.redis import Redis, names_of, script, translated

BURSTS_PER_MINUTE = 4
"""A quarter of a minute's requests may come at once."""


class Gate(NamedTuple):
    """How long a request's caller and tenant have to wait, and what is in the queue."""

    caller_wait_seconds: float
    tenant_wait_seconds: float
    depth: QueueDepth


class RequestGate:
    """The rates of callers and tenants, which all API processes count together in Redis."""

    def __init__(self, redis: Redis) -> None:
        self._named = names_of(redis)
        self._gate = redis.register_script(script("fair", "gate"))

    async def enter(self, flow: Flow, caller_per_minute: int, tenant_per_minute: int) -> Gate:
        """Counts a request where neither has to wait; 0 is no limit. Raises QueueUnavailable."""
        arguments: list[str | int] = []
        for per_minute in (caller_per_minute, tenant_per_minute):
            arguments += [per_minute, max(1, per_minute // BURSTS_PER_MINUTE)]
        with translated():
            caller_ms, tenant_ms, *depth = await self._gate(
                keys=self._named.each(
                    keys.rate(flow.caller), keys.tenant_rate(flow.tenant), keys.QUEUE, keys.FAIR_PREFIX
                ),
                args=[*arguments, flow.path, keys.FAIR_TTL_SECONDS * 1000],
            )
        return Gate(caller_ms / 1000, tenant_ms / 1000, QueueDepth(*depth))
