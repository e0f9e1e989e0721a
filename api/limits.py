"""What one caller may ask of this process, and what the whole of Relaykit takes on."""

from __future__ import annotations

import asyncio
from collections import Counter

import structlog

from api.authentication import Identity
from shared.errors import QueueUnavailable, RateLimited, TooManyStreams
from shared.identity import caller_digest
from shared.log import failure
from shared.queue import Gate, Queue
from shared.redis import insist
from shared.settings import Settings

STREAMS_RETRY_SECONDS = 5.0
COUNT_SECONDS = 6.0

log = structlog.get_logger()


class Slot:
    """One stream or body of a caller; `release` gives it back, however often it is called."""

    __slots__ = ("_caller", "_counts", "_held")

    def __init__(self, counts: Counter[tuple[str, str]], caller: tuple[str, str]) -> None:
        self._counts, self._caller, self._held = counts, caller, True
        counts[caller] += 1

    def release(self) -> None:
        if not self._held:
            return
        self._held = False
        self._counts[self._caller] -= 1
        if not self._counts[self._caller]:
            del self._counts[self._caller]


class Limits:
    """Counts the requests of a caller everywhere, through Redis, and its streams in this process."""

    def __init__(self, settings: Settings, queue: Queue) -> None:
        self._settings = settings
        self._queue = queue
        self._streams: Counter[tuple[str, str]] = Counter()

    async def request(self, identity: Identity, *, needs_queue: bool) -> bool:
        """Counts a request; whether the queue is full. Raises RateLimited, and QueueUnavailable where it is needed.

        What needs no queue is answered while Redis is away, and is not counted then.
        """
        caller = caller_digest(identity.tenant, identity.user_id)
        try:
            wait_seconds, due = await self._count(caller)
        except QueueUnavailable as error:
            if needs_queue:
                raise
            log.warning("a request is not counted", action="limits_uncounted", **failure(error))
            return False
        if wait_seconds > 0:
            raise RateLimited(retry_after_seconds=wait_seconds)
        return 0 < self._settings.queue_max_depth <= due

    async def _count(self, caller: str) -> Gate:
        """Also over a connection that has died since; not for long."""
        try:
            async with asyncio.timeout(COUNT_SECONDS):
                return await insist(
                    lambda: self._queue.gate(caller, self._settings.caller_requests_per_minute)
                )
        except TimeoutError as error:
            raise QueueUnavailable from error

    def stream(self, identity: Identity) -> Slot:
        """Takes a place for a stream; the caller of this releases it. Raises TooManyStreams."""
        caller = (identity.tenant or "", identity.user_id)
        if 0 < self._settings.caller_max_streams <= self._streams[caller]:
            raise TooManyStreams(retry_after_seconds=STREAMS_RETRY_SECONDS)
        return Slot(self._streams, caller)
