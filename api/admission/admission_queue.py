"""Admission's half of the queue: it publishes what was accepted, and lets one of equal requests write at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.owner import Owner
from relaykit.shared.queue.fair_share import Flow
from relaykit.shared.queue.job_queue import JobQueue
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import redis_errors
from relaykit.shared.redis.scripts import Call, call

LOCK_SECONDS = 30.0
"""A lock lapses after this time, and a request waits no longer for it."""
LOCK_POLL_SECONDS = 0.05


class AdmissionQueue(JobQueue):
    """What the API does with the queue. All raise QueueUnavailable."""

    async def publish_admitted(self, first_entries: Call, run_id: str, flow: Flow, place: str = "") -> None:
        """Writes a journal's first entries, then makes the run due in its place, in one round trip."""
        await call(self._redis, first_entries, self.enqueue_call(run_id, flow, place))

    def idempotency_lock(self, owner: Owner, idempotency_key: str) -> AbstractAsyncContextManager[None]:
        """Held while a request with this key is written to a store that is not ours, which takes nothing back."""
        return self._lock(keys.admitting(owner.digest, idempotency_key))

    def widget_lock(self, owner: Owner, thread_id: str, item_id: str) -> AbstractAsyncContextManager[None]:
        """Held while an action is answered at once, which loads its widget and writes it again as a whole."""
        return self._lock(keys.acting(owner.digest, thread_id, item_id))

    @asynccontextmanager
    async def _lock(self, key: str) -> AsyncIterator[None]:
        """Raises QueueUnavailable also where the lock is not to be had within LOCK_SECONDS."""
        lock = self._redis.lock(
            self._named(key), timeout=LOCK_SECONDS, sleep=LOCK_POLL_SECONDS, blocking_timeout=LOCK_SECONDS
        )
        with redis_errors():
            acquired = await lock.acquire()
        if not acquired:
            raise QueueUnavailable
        try:
            yield
        finally:
            with suppress(QueueUnavailable), redis_errors():
                await lock.release()
