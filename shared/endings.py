"""The end of a run: its row, the run that waited behind it, its end entry. The row comes first and is the truth.

The turn of a run that ends with a client tool call goes on until the call has its output. What waited behind the run
goes on waiting, until the run of the output ends (`finish_row`) or the call is given up (`give_up`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog
from chatkit.store import NotFoundError
from chatkit.types import ThreadItemReplacedEvent, ThreadStreamEvent

from relaykit.shared.crashes import in_own_task
from relaykit.shared.errors import (
    ContextTimeout,
    DatabaseUnavailable,
    Fenced,
    RelaykitError,
    ServerBlocked,
    ServerRefused,
    Stopping,
)
from relaykit.shared.identity import RequestContext, acting_as
from relaykit.shared.journal import Journals
from relaykit.shared.log import failure
from relaykit.shared.metrics import count_ended
from relaykit.shared.owner import Owner
from relaykit.shared.postgres.database import Database
from relaykit.shared.queue.fair_share import flow_of_run
from relaykit.shared.queue.job_queue import JobQueue
from relaykit.shared.redis.client import retry_briefly
from relaykit.shared.runs.awaited_calls import AwaitedCalls, find_left_call
from relaykit.shared.runs.context import request_context
from relaykit.shared.runs.given_up import GivenUp, complete_call
from relaykit.shared.runs.rows import Runs
from relaykit.shared.runs.run import Kind, Run, Status
from relaykit.shared.settings import Settings
from relaykit.shared.site.refusals import server_refusals
from relaykit.shared.site.store_extras import ABSENT
from relaykit.shared.site.user_server import UserServer

UNKNOWN_ANCHOR = ""
"""The anchor of a run in a foreign store that could not be asked for it: no item has it, so nothing is newer."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Endings:
    """Ends runs, from either side."""

    settings: Settings
    database: Database
    runs: Runs
    calls: AwaitedCalls
    journals: Journals
    queue: JobQueue
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

    async def finish_with_call(
        self,
        run: Run,
        status: Status,
        error: str | None,
        call_id: str,
        show: Callable[[ThreadStreamEvent], None],
    ) -> Run | None:
        """Ends the row and begins the wait for the output of the client tool call that the run ended with.

        A turn that was stopped or has failed waits for nothing: the call is given up, the run's clients are to be shown
        that, and what waited is queued and returned. Raises Fenced as `finish_row` does.
        """
        seconds = self.settings.client_tool_seconds if status is Status.COMPLETED else 0
        async with self.database.transaction():
            await self.runs.lock_thread(run)
            is_due = await self.calls.finish(run, status, error, call_id, seconds)
        if is_due is None:
            raise Fenced
        if not is_due:
            return None
        # where this is not reached, the reaper does it
        reason = GivenUp.FAILED if status is Status.FAILED else GivenUp.STOPPED
        return await self.give_up(run, reason, show)

    async def give_up(
        self, run: Run, reason: GivenUp, show: Callable[[ThreadStreamEvent], None] = lambda _: None
    ) -> Run | None:
        """Ends the wait for the client tool call of `run`, if its thread still awaits it.

        The call is completed with the reason as its error; what waited is queued and returned, and tells its clients
        of the call. All in one transaction, but for a foreign store's part. `show` gets the call after it.
        """
        return await self.user.run(
            lambda: self._give_up(run, reason, show), reaches_code=self._code_completes_calls
        )

    async def _give_up(
        self, run: Run, reason: GivenUp, show: Callable[[ThreadStreamEvent], None]
    ) -> Run | None:
        async with self.database.transaction():
            await self.calls.lock_thread(run.owner, run.thread_id)
            call_id = await self.calls.end(run)
            if call_id is None:
                return None
            call = await complete_call(self.user, self.database, run, call_id, reason)
            promoted = await self._promoted(run)
            if promoted is not None and call is not None:
                await self.runs.note_given_up(promoted, call_id)
        if call is not None:
            show(ThreadItemReplacedEvent(item=call))
        log.info(
            "a client tool call was given up: the thread goes on without its output",
            action="client_tool_given_up",
            run_id=run.id,
            reason=reason.name.lower(),
        )
        return promoted

    async def _give_up_left_call(self, run: Run, promoted: Run | None) -> None:
        """The run was handed back, and is stopped before its next attempt could take back what the last one called."""
        try:
            await self.user.run(
                lambda: self._complete_left_call(run, promoted), reaches_code=self._code_completes_calls
            )
        except (ServerRefused, ContextTimeout, ServerBlocked) as error:  # the run is cancelled all the same
            self._note_unheard(run, error)

    async def _complete_left_call(self, run: Run, promoted: Run | None) -> None:
        request = request_context(run)
        with acting_as(request):
            try:
                context = await in_own_task(lambda: self.user.store_context(request))
            except Exception as error:  # the run is cancelled all the same
                self._note_unheard(run, error)
                return
            call_id = await find_left_call(self.user.server.store, run, context)
        if (
            call_id is not None
            and await complete_call(self.user, self.database, run, call_id, GivenUp.STOPPED)
            and promoted is not None
        ):
            await self.runs.note_given_up(promoted, call_id)

    async def promote(self, run: Run) -> Run | None:
        """Queues the run that has waited longest in the thread of `run`, where nothing is active; returns it."""
        return await self.user.run(lambda: self._promote_alone(run), reaches_code=not self.user.is_store_ours)

    async def _promote_alone(self, run: Run) -> Run | None:
        async with self.database.transaction():
            await self.runs.lock_thread(run)
            return await self._promoted(run)

    async def cancel(self, run: Run) -> Status:
        """The user's stop. A run that has not started ends here; a running one ends in its worker.

        Returns the status after it. Repeating it does no harm.
        """
        async with self.database.transaction():
            await self.runs.lock_thread(run)
            status = await self.runs.request_cancel(run)
            promoted = None
            if status is Status.CANCELLED:
                # a run that was handed back has come to a later attempt than the caller may know
                run = await self.runs.get(run.owner, run.id)
                if self.user.is_store_ours:
                    promoted = await self._promoted(run)
        if status is None:
            await self._enqueued(await self.give_up(run, GivenUp.STOPPED))
            return (await self.runs.get(run.owner, run.id)).status
        if status is Status.RUNNING:
            await retry_briefly(lambda: self.queue.signal_cancel(run.id, self.settings.run_timeout_seconds))
            return status
        count_ended(run.kind.value, Status.CANCELLED.value, None)
        if not self.user.is_store_ours:
            promoted = await self._promoted_apart(run)
        if run.attempt:
            await self._give_up_left_call(run, promoted)
        await self._note_cancelled(run)
        await retry_briefly(lambda: self.journals.end(run.id, run.attempt, Status.CANCELLED))
        await retry_briefly(lambda: self.queue.discard(run.id, flow_of_run(self.settings, run)))
        await self._enqueued(promoted)
        return status

    async def end_wait(self, owner: Owner, thread_id: str, reason: GivenUp) -> None:
        """Gives up the client tool call that the thread awaits, if it awaits one."""
        run = await self.runs.active(owner, thread_id)
        if run is not None and run.awaited is not None:
            await self._enqueued(await self.give_up(run, reason))

    async def enqueue(self, run: Run) -> None:
        """Gives a queued run its job, and its position in the fair order. Raises QueueUnavailable."""
        flow = flow_of_run(self.settings, run)
        await retry_briefly(lambda: self.queue.enqueue(run.id, flow))

    async def _enqueued(self, run: Run | None) -> None:
        if run is not None:
            await self.enqueue(run)

    @property
    def _code_completes_calls(self) -> bool:
        is_own = "_cleanup_pending_client_tool_call" in self.user.own_methods
        return is_own or not self.user.is_store_ours

    async def _promoted_apart(self, run: Run) -> Run | None:
        """Where a foreign store is asked for the anchor the transaction of the stop does not wait for it."""
        try:
            return await self.promote(run)
        except RelaykitError as error:  # the reaper tries again
            log.warning(
                "the run that waits could not be promoted: the reaper tries again",
                action="promotion_failed",
                thread_id=run.thread_id,
                **failure(error),
            )
            return None

    async def _promoted(self, run: Run) -> Run | None:
        """The end of a run does not depend on who waits behind it: what cannot be promoted, the reaper tries again."""
        try:
            return await in_own_task(lambda: self._promote(run))
        except (DatabaseUnavailable, Stopping):
            raise
        except Exception as error:
            log.error(  # noqa: TRY400
                "the run that waits could not be promoted: the reaper tries again",
                action="promotion_failed",
                thread_id=run.thread_id,
                **failure(error),
            )
            return None

    async def _promote(self, run: Run) -> Run | None:
        async with self.database.transaction():
            promoted = await self.runs.promote_waiting(run)
            if promoted is None:
                return None
            request = request_context(promoted)
            # where the thread was deleted, the attempt finds that out
            with acting_as(request), suppress(*ABSENT):
                await self.runs.set_anchor(promoted, await self._new_anchor(promoted, request))
            return promoted

    async def _new_anchor(self, promoted: Run, request: RequestContext) -> str | None:
        """The thread's last item, which in our store is the run's own message, if it has one."""
        try:
            context = await in_own_task(lambda: self.user.store_context(request))
        except ContextTimeout:
            raise
        except Exception:  # its attempt fails too; were it not to, it would take nothing back
            return UNKNOWN_ANCHOR
        if promoted.kind is Kind.MESSAGE:
            await self.user.extras.move_to_end(promoted.thread_id, promoted.input["item_id"], context)
        newest = await self.user.server.store.load_thread_items(promoted.thread_id, None, 1, "desc", context)
        return newest.data[0].id if newest.data else None

    async def _note_cancelled(self, run: Run) -> None:
        """What the SDK does for a stream that is cancelled before its first event, and no run did for it."""
        user = self.user
        is_own = user.has_own_context or "handle_stream_cancelled" in user.own_methods
        try:
            await user.run(lambda: self._cancel(run), reaches_code=is_own or not user.is_store_ours)
        except (DatabaseUnavailable, Stopping):
            raise
        except Exception as error:  # the run is cancelled all the same
            self._note_unheard(run, error)

    async def _cancel(self, run: Run) -> None:
        request = request_context(run)
        with acting_as(request), suppress(NotFoundError), server_refusals():  # the thread was deleted
            context = await self.user.context(request)
            thread = await self.user.server.store.load_thread(run.thread_id, context)
            await self.user.server.handle_stream_cancelled(thread, [], context)

    def _note_unheard(self, run: Run, error: Exception) -> None:
        log.warning(
            "telling the server of a stop failed: the run is stopped all the same",
            action="cancel_unheard",
            run_id=run.id,
            **failure(error.__cause__ or error),
        )
