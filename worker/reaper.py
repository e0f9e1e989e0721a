"""The reaper: queues again the rows that have no live job. arq's cron runs it on one worker at a time."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from shared.attachments import ObjectAttachmentStore
from shared.queue import Queue
from shared.runs import Runs

QUEUED_SECONDS = 10.0
"""A run that was queued this long ago and has not begun may have lost its job."""
BATCH = 200

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reaper:
    """The row is the truth: a Redis that was emptied loses no accepted run."""

    runs: Runs
    queue: Queue
    attachments: ObjectAttachmentStore | None

    async def reap(self) -> None:
        """Enqueues the oldest queued rows; a job that is there is left as it is. Safe to run anywhere, at any time.

        Also removes the bytes of attachments that are gone.
        """
        requeued = 0
        for run_id in await self.runs.queued_longer_than(QUEUED_SECONDS, BATCH):
            requeued += await self.queue.enqueue(run_id)
        if requeued:
            log.warning("runs queued again", action="reaper_requeued", runs=requeued)
        if self.attachments is not None:
            await self.attachments.sweep()
