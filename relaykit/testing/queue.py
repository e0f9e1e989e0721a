"""The queue's stand-in: a job is executed at once, by a task of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

from relaykit.api.admission.admission_queue import AdmissionQueue
from relaykit.shared.owner import Owner
from relaykit.shared.queue.fair_share import UNKNOWN_FLOW, Flow
from relaykit.shared.redis.scripts import Call


class MemoryQueue(AdmissionQueue):
    """Gives runs to `execute`, and stops to `stop`."""

    def __init__(self, execute: Callable[[str], None], stop: Callable[[str], None]) -> None:
        self._execute = execute
        self._stop = stop
        self._locks: dict[object, asyncio.Lock] = {}

    async def enqueue(self, run_id: str, flow: Flow = UNKNOWN_FLOW) -> bool:
        self._execute(run_id)
        return True

    async def publish_admitted(self, first_entries: Call, run_id: str, flow: Flow, place: str = "") -> None:
        write = cast(Callable[[], Any], first_entries)  # of MemoryJournals
        write()
        self._execute(run_id)

    async def discard(self, run_id: str, flow: Flow) -> None:
        """The run has ended: its execution finds that out."""

    async def signal_cancel(self, run_id: str, flag_seconds: float) -> None:
        self._stop(run_id)

    def idempotency_lock(self, owner: Owner, idempotency_key: str) -> AbstractAsyncContextManager[None]:
        return self._locked((owner, idempotency_key))

    def widget_lock(self, owner: Owner, thread_id: str, item_id: str) -> AbstractAsyncContextManager[None]:
        return self._locked((owner, thread_id, item_id))

    @asynccontextmanager
    async def _locked(self, key: object) -> AsyncIterator[None]:
        async with self._locks.setdefault(key, asyncio.Lock()):
            yield
