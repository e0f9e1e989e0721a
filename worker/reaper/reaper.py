"""The reaper: makes good what a crash or a lost Redis has left, and deletes what is old. One worker at a time is it.

However many workers there are, the runs are looked at once every few seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from relaykit.shared.attachments.store import ObjectAttachmentStore
from relaykit.shared.endings import Endings
from relaykit.shared.errors import DatabaseUnavailable, QueueUnavailable, StorageUnavailable
from relaykit.shared.gone_runs import GoneRuns
from relaykit.shared.log import failure
from relaykit.shared.postgres.database import Database
from relaykit.shared.postgres.locks import REAPER_LOCK
from relaykit.shared.queue.fair_share import flow_of
from relaykit.shared.redis.check import RedisCheck
from relaykit.shared.runs.given_up import GivenUp
from relaykit.shared.runs.run import Run
from relaykit.shared.settings import Settings
from relaykit.worker.reaper.queue_audit import QueueAudit
from relaykit.worker.reaper.sweeps import OLDEST, OwnedRun, PageCursor, SweepResult, Sweeps

ROUND_INTERVAL_SECONDS = 5.0
ROUND_SLACK = 0.1
"""The round's key in Redis expires this part of ROUND_INTERVAL_SECONDS early: otherwise a single worker would find its
own key still there, and skip every second round."""
QUEUED_SECONDS = 2.0
"""A run that was queued this long ago has its job by now, or has lost it."""
STRANDED_AT_ONCE = 500
OVERDUE_AT_ONCE = 500
ASKED_AT_ONCE = 100
"""Runs in one call, which takes a fraction of a millisecond of Redis: thousands would hold up all its clients."""
REST_FACTOR = 4.0
"""The reaper rests this many times as long as a page took, so that it never has more than a fifth of its worker."""
DELETE_AT_ONCE = 500
DELETE_STEPS = 20
"""A round that deletes reads this many pages of DELETE_AT_ONCE old rows, and the next such round continues after them:
a round costs the same however many old rows stay."""
DELETE_EVERY_ROUNDS = 12
"""One of this many rounds deletes what is old."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reaper:
    """The row is the truth: a Redis that was emptied loses no accepted run. Safe to run everywhere, at any time."""

    settings: Settings
    database: Database
    sweeps: Sweeps
    audit: QueueAudit
    endings: Endings
    gone_runs: GoneRuns
    attachments: ObjectAttachmentStore | None
    redis_check: RedisCheck | None = None
    cursors: dict[str, PageCursor] = field(default_factory=dict)
    """Where the next page of old rows begins, by what is deleted."""

    async def run(self) -> None:
        """Makes a round every few seconds until cancelled; an outage is waited out."""
        number = 0
        while True:
            await asyncio.sleep(ROUND_INTERVAL_SECONDS)
            number += 1
            try:
                async with self._leading() as leads:
                    if leads:
                        if await self.audit.take_round(ROUND_INTERVAL_SECONDS * (1 - ROUND_SLACK)):
                            if self.redis_check is not None:
                                await self.redis_check.renew()
                            await self.requeue()
                            await self.erase_gone()
                        if number % DELETE_EVERY_ROUNDS == 0:
                            await self.delete_old()
            except (DatabaseUnavailable, QueueUnavailable, StorageUnavailable) as error:
                log.warning(
                    "the reaper's round failed because a service is away: it is tried again",
                    action="reaper_retry",
                    code=error.code,
                    **failure(error),
                )
            except Exception as error:  # a defect here must not take the runs with it
                log.error(  # noqa: TRY400
                    "the reaper's round failed: it is tried again",
                    action="reaper_failed",
                    **failure(error),
                )

    @asynccontextmanager
    async def _leading(self) -> AsyncIterator[bool]:
        """Whether no other worker reaps. The lock is a transaction's, so that it goes with the worker that dies."""
        async with self.database.connection() as connection, connection.transaction():
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = '10min'")
            yield await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", REAPER_LOCK)

    async def requeue(self) -> None:
        """Gives a job to each run that has none: queued, or running and without a lease for as long as one lasts.

        Also gives up the client tool calls that no browser has answered in time, and queues the first of those that
        wait in a thread where nothing is active. Raises DatabaseUnavailable, QueueUnavailable.
        """
        sweeps = self.sweeps
        async for page in _with_rests(sweeps.queued(QUEUED_SECONDS, ASKED_AT_ONCE)):
            await self._enqueue_missing(page, 0, "queued")
        async for page in _with_rests(sweeps.running(ASKED_AT_ONCE)):
            await self._enqueue_missing(page, self.settings.lease_seconds, "running")
        for run in await sweeps.overdue(OVERDUE_AT_ONCE):
            promoted = await self.endings.give_up(run, GivenUp.LATE)
            if promoted is not None:
                await self.endings.enqueue(promoted)
        for run in await sweeps.stranded(STRANDED_AT_ONCE):
            promoted = await self.endings.promote(run)
            if promoted is not None:
                await self._enqueue(promoted, "waiting")
        corrected = await self.audit.recount()
        if corrected:
            log.info("counts of running runs corrected", action="reaper_recounted", count=corrected)

    async def erase_gone(self) -> None:
        """Erases what is left of the runs of deleted threads. Raises DatabaseUnavailable, QueueUnavailable."""
        count = 0
        for _ in range(DELETE_STEPS):
            due = await self.gone_runs.due(ASKED_AT_ONCE)
            left = (await self.gone_runs.erase(due)).left
            if left:
                await self.gone_runs.postpone(left)
            count += len(due) - len(left)
            if len(due) < ASKED_AT_ONCE:
                break
        if count:
            log.info(
                "what was left of runs of deleted threads was erased",
                action="reaper_erased",
                count=count,
            )

    async def delete_old(self) -> None:
        """Deletes threads and runs past their time, the next ones of them, and the bytes of attachments that are gone.

        Raises DatabaseUnavailable, StorageUnavailable.
        """
        sweeps, settings = self.sweeps, self.settings
        if settings.retention_days and settings.chatkit_store == "postgres":
            days = settings.retention_days
            await self._delete("threads", lambda cursor: sweeps.delete_threads(days, cursor, DELETE_AT_ONCE))
        if settings.run_retention_days:
            days_of_runs = settings.run_retention_days
            await self._delete(
                "runs", lambda cursor: sweeps.delete_runs(days_of_runs, cursor, DELETE_AT_ONCE)
            )
        if self.attachments is not None:
            await self.attachments.sweep()

    async def _enqueue_missing(self, page: list[OwnedRun], patience_seconds: float, status: str) -> None:
        # a page does not have the tiers; they change the weight of a flow, and `find_missing` needs its path alone
        flow_by_owner = {owner: flow_of(self.settings, owner, None) for owner in {run.owner for run in page}}
        flows = {run.run_id: flow_by_owner[run.owner] for run in page}
        missing = await self.audit.find_missing(flows, patience_seconds)
        for run in await self.sweeps.runs(missing):
            await self._enqueue(run, status)

    async def _enqueue(self, run: Run, status: str) -> None:
        log.warning(
            "a run had no job: it was queued again",
            action="reaper_requeued",
            run_id=run.id,
            status=status,
        )
        await self.endings.enqueue(run)

    async def _delete(self, what: str, step: Callable[[PageCursor], Awaitable[SweepResult]]) -> None:
        for _ in range(DELETE_STEPS):
            deleted, cursor = await step(self.cursors.get(what, OLDEST))
            self.cursors[what] = cursor
            if deleted:
                log.info(
                    "rows past their time were deleted",
                    action="reaper_deleted",
                    what=what,
                    count=deleted,
                )
            if cursor == OLDEST:
                return


async def _with_rests(pages: AsyncIterator[list[OwnedRun]]) -> AsyncIterator[list[OwnedRun]]:
    """The pages, each followed by a rest before the next is read."""
    began_at = time.monotonic()
    async for page in pages:
        yield page
        await asyncio.sleep(REST_FACTOR * (time.monotonic() - began_at))
        began_at = time.monotonic()
