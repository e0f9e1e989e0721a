"""What one caller may ask of this process, and what the whole of Relaykit takes on."""

from __future__ import annotations

import asyncio
from collections import Counter

import structlog

from api.authentication import Identity
from api.request_gate import Gate, RequestGate
from shared.errors import QueueUnavailable, RateLimited, TenantRateLimited, TooManyQueued, TooManyStreams
from shared.fair_share import Flow, flow_of, weighted
from shared.log import failure
from shared.redis import insist
from shared.settings import Settings

STREAMS_RETRY_SECONDS = 5.0
QUEUED_RETRY_SECONDS = 10.0
COUNT_SECONDS = 6.0

log = structlog.get_logger()


class Slot:
    """One stream of a caller; `release` gives it back, however often it is called."""

    __slots__ = ("_caller", "_held", "_streams")

    def __init__(self, streams: Counter[tuple[str, str]], caller: tuple[str, str]) -> None:
        self._streams, self._caller, self._held = streams, caller, True
        streams[caller] += 1

    def release(self) -> None:
        if not self._held:
            return
        self._held = False
        self._streams[self._caller] -= 1
        if not self._streams[self._caller]:
            del self._streams[self._caller]


class Limits:
    """Counts the requests of a caller and its tenant everywhere, through Redis, and its streams in this process."""

    def __init__(self, settings: Settings, gate: RequestGate) -> None:
        self._settings = settings
        self._gate = gate
        self._streams: Counter[tuple[str, str]] = Counter()

    async def request(self, identity: Identity, *, needs_queue: bool) -> bool:
        """Counts a request; whether the queue is full for this caller.

        Raises RateLimited, TenantRateLimited, TooManyQueued, and QueueUnavailable where the queue is needed. A request
        that needs no queue is answered while Redis is away, and is not counted then.
        """
        settings, flow = self._settings, flow_of(self._settings, identity)
        try:
            gate = await self._count(flow)
        except QueueUnavailable as error:
            if needs_queue:
                raise
            log.warning("a request is not counted", action="limits_uncounted", **failure(error))
            return False
        if gate.caller_wait_seconds > 0:
            raise RateLimited(retry_after_seconds=gate.caller_wait_seconds)
        if gate.tenant_wait_seconds > 0:
            raise TenantRateLimited(retry_after_seconds=gate.tenant_wait_seconds)
        if needs_queue and 0 < weighted(settings.tenant_max_queued, flow) <= gate.depth.of_tenant:
            raise TooManyQueued(retry_after_seconds=QUEUED_RETRY_SECONDS)
        return gate.depth.is_full_for(flow, settings.queue_max_depth)

    async def _count(self, flow: Flow) -> Gate:
        """Also over a connection that has died since; not for long."""
        settings = self._settings
        tenant_per_minute = weighted(settings.tenant_requests_per_minute, flow)
        try:
            async with asyncio.timeout(COUNT_SECONDS):
                return await insist(
                    lambda: self._gate.enter(flow, settings.caller_requests_per_minute, tenant_per_minute)
                )
        except TimeoutError as error:
            raise QueueUnavailable from error

    def stream(self, identity: Identity) -> Slot:
        """Takes a place for a stream; the caller of this releases it. Raises TooManyStreams."""
        caller = (identity.tenant or "", identity.user_id)
        if 0 < self._settings.caller_max_streams <= self._streams[caller]:
            raise TooManyStreams(retry_after_seconds=STREAMS_RETRY_SECONDS)
        return Slot(self._streams, caller)
