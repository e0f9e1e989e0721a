"""The end of a run: its row, the run that waited behind it, its end entry. The row comes first and is the truth."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import structlog
from chatkit.store import NotFoundError

from shared.chatkit import UserServer
from shared.database import Database
from shared.errors import ContextTimeout, DatabaseUnavailable, Fenced, ServerRefused
from shared.fair_share import flow_of_run
from shared.identity import set_current
from shared.journal import Journals
from shared.log import failure
from shared.queue import Queue
from shared.redis import insist
from shared.refusals import server_refusals
from shared.run_context import request_context
from shared.run_rows import Runs
from shared.runs import Kind, Run, Status
from shared.settings import Settings
from shared.store import PostgresStore

UNKNOWN_ANCHOR = ""
"""The anchor of a run in a foreign store that could not be asked for it: no item has it, so nothing is newer."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Endings:
    """Ends runs, from either side."""

    settings: Settings
    database: Database
    runs: Runs
    journals: Journals
    queue: Queue
    user: UserServer

    async def finish_row(self, run: Run, status: Status, error: str | None = None) -> Run | None:
        """Ends the row and queues the run that waited behind it, in one transaction; returns the latter.

        Raises Fenced where a newer attempt has begun or the run has ended already.
        """
        ended = await self.runs.finish_alone(run, status, error)
        if ended is not None:
            if not ended:
                raise Fenced
            return None
        async with self.database.transaction():
            await self.runs.lock_thread(run)
            if not await self.runs.finish(run, status, error):
                raise Fenced
            return await self._promoted(run)

    async def write_end(self, run: Run, status: Status) -> None:
        """Writes the end entry; once, however often it is called. Raises QueueUnavailable."""
        await self.journals.end(run.id, run.attempt, status, self.settings.journal_ended_ttl_seconds)

    async def promote(self, run: Run) -> Run | None:
        """Queues the run that has waited longest in the thread of `run`, where nothing is active; returns it."""
        async with self.database.transaction():
            await self.runs.lock_thread(run)
            return await self._promoted(run)

    async def cancel(self, run: Run) -> Status:
        """The user's stop. A run that has not started ends here; a running one ends in its worker.

        Returns the status after it. Repeating it does no harm.
        """
        async with self.database.transaction():
            await self.runs.lock_thread(run)
            status = await self.runs.request_cancel(run.id)
            promoted = None
            if status is Status.CANCELLED:
                # a run that was handed back has come to a later attempt than the caller may know
                run = await self.runs.get(run.id, run.tenant, run.owner)
                promoted = await self._promoted(run)
        if status is None:
            return (await self.runs.get(run.id, run.tenant, run.owner)).status
        if status is Status.RUNNING:
            await insist(lambda: self.queue.signal_cancel(run.id, self.settings.run_timeout_seconds))
            return status
        await self._note_cancelled(run)
        await insist(lambda: self.write_end(run, Status.CANCELLED))
        await insist(lambda: self.queue.discard(run.id, flow_of_run(self.settings, run)))
        if promoted is not None:
            await self.enqueue(promoted)
        return status

    async def enqueue(self, run: Run) -> None:
        """Gives a queued run its job, and its place in the fair order. Raises QueueUnavailable."""
        flow = flow_of_run(self.settings, run)
        await insist(lambda: self.queue.enqueue(run.id, flow))

    async def _promoted(self, run: Run) -> Run | None:
        """The end of a run does not depend on who waits behind it: what cannot be promoted, the reaper tries again."""
        try:
            async with self.database.transaction():
                return await self._promote(run)
        except DatabaseUnavailable:
            raise
        except Exception as error:
            log.error("not promoted", action="promotion_failed", thread_id=run.thread_id, **failure(error))  # noqa: TRY400
            return None

    async def _promote(self, run: Run) -> Run | None:
        promoted = await self.runs.promote_waiting(run)
        if promoted is None:
            return None
        request = request_context(promoted)
        set_current(request)
        store = self.user.server.store
        try:
            # our store needs no context of the site's, whose code would run while the thread is locked
            context = request if isinstance(store, PostgresStore) else await self.user.context(request)
            if promoted.kind is Kind.MESSAGE and isinstance(store, PostgresStore):
                await store.move_to_end(promoted.thread_id, promoted.input["item_id"], context)
            newest = await store.load_thread_items(promoted.thread_id, None, 1, "desc", context)
        except NotFoundError:
            return promoted  # the thread was deleted: its attempt finds that out
        except ServerRefused:  # its attempt is refused too; were it not, it would take nothing back
            await self.runs.set_anchor(promoted.id, UNKNOWN_ANCHOR)
            return promoted
        await self.runs.set_anchor(promoted.id, newest.data[0].id if newest.data else None)
        return promoted

    async def _note_cancelled(self, run: Run) -> None:
        """What the SDK does for a stream that is cancelled before its first event, and no run did for it."""
        request = request_context(run)
        set_current(request)
        try:
            with suppress(NotFoundError), server_refusals():  # the thread was deleted
                context = await self.user.context(request)
                thread = await self.user.server.store.load_thread(run.thread_id, context)
                await self.user.server.handle_stream_cancelled(thread, [], context)
        except (ServerRefused, ContextTimeout) as error:  # the run is cancelled all the same
            log.warning(
                "the server does not hear of a stop",
                action="cancel_unheard",
                run_id=run.id,
                **failure(error.__cause__ or error),
            )
