"""Admission: everything that happens before a run is queued. What it refuses, it refuses with nothing written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog
from chatkit.types import (
    StreamOptionsEvent,
    ThreadsAddClientToolOutputReq,
    ThreadsAddUserMessageReq,
    ThreadsCreateReq,
    ThreadsRetryAfterItemReq,
)

from relaykit.api.admission.admission_queue import AdmissionQueue
from relaykit.api.admission.admission_rows import TOO_MANY_RETRY_SECONDS, AdmissionRuns
from relaykit.api.admission.idempotency import EarlierRuns
from relaykit.api.admission.request_intake import Admitted, Calls, admit, store_message
from relaykit.api.admission.submission import Submission, Submitted, row_of
from relaykit.api.metrics import ADMITTED
from relaykit.api.receipts import REPEAT_SECONDS
from relaykit.api.site.server_code import reaches_code
from relaykit.shared.endings import Endings
from relaykit.shared.errors import (
    BodyRepeated,
    IdempotencyMismatch,
    QueueFull,
    QueueUnavailable,
    RelaykitError,
    ThreadBusy,
    TooManyRuns,
)
from relaykit.shared.identity import acting_as
from relaykit.shared.journal import Cursor, Journals
from relaykit.shared.log import failure
from relaykit.shared.postgres.database import Database
from relaykit.shared.queue.fair_share import flow_of_run
from relaykit.shared.redis.client import retry_briefly
from relaykit.shared.runs.given_up import GivenUp
from relaykit.shared.runs.run import Kind, Run, Status
from relaykit.shared.settings import Settings
from relaykit.shared.site.refusals import server_refusals
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.thread_merge import thread_json

MAY_WAIT = frozenset({Kind.MESSAGE, Kind.ACTION})
"""Kinds that make sense behind another run; the others answer something that the active run may change."""

QUEUE_FULL_RETRY_SECONDS = 10.0

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Made:
    """A request on its way to a run."""

    run: Run
    admitted: Admitted
    events: list[bytes]
    status: Status = Status.QUEUED


@dataclass(frozen=True, slots=True)
class Admission:
    settings: Settings
    database: Database
    runs: AdmissionRuns
    journals: Journals
    queue: AdmissionQueue
    endings: Endings
    user: UserServer
    earlier: EarlierRuns

    async def submit(self, submission: Submission) -> Submitted:
        """Admits the request and queues its run; accepted means that the row is committed.

        A repeated Idempotency-Key gives the run that it made the first time; so does the same body without a key, as
        long as no client has had anything of that run. Raises the errors that docs/protocol.md lists for
        POST /chatkit; after each of them nothing is written.
        """
        at_once = self._fits_one_statement(submission)
        if submission.queue_is_full or not at_once:
            earlier = await self.earlier.repeated(submission) or await self.earlier.answering(submission)
            if earlier is not None:
                return Submitted(earlier)
        if submission.queue_is_full:
            raise QueueFull(retry_after_seconds=QUEUE_FULL_RETRY_SECONDS)
        try:
            with acting_as(submission.context), server_refusals():
                made = await (self._write_at_once(submission) if at_once else self._write(submission))
        except RelaykitError:
            # the same request may have been admitted before or meanwhile, which is why this one was refused
            earlier = await self.earlier.repeated(submission)
            if earlier is None:
                raise
            return Submitted(earlier)
        if isinstance(made, Submitted):
            return made
        ADMITTED.labels(made.run.kind.value).inc()
        return await self._publish(made, submission.place)

    async def resume(self, submission: Submission, cursor: Cursor) -> Submitted:
        """The run whose stream the client goes on with after the cursor; nothing is written.

        Raises NothingToResume, IdempotencyMismatch.
        """
        return Submitted(await self.earlier.resumed(submission, cursor))

    def _fits_one_statement(self, submission: Submission) -> bool:
        request = submission.request
        return (
            isinstance(request, (ThreadsCreateReq, ThreadsAddUserMessageReq))
            and not request.params.input.attachments
            and self.user.is_store_ours
        )

    async def _with_code(self, submission: Submission, call: Callable[[], Awaitable[T]]) -> T:
        """Where the call reaches code of the site's, all of it runs there: a transaction does not change loops."""
        return await self.user.run(call, reaches_code=reaches_code(self.user, submission.request))

    async def _write(self, submission: Submission) -> _Made:
        if self.user.is_store_ours:
            return await self._with_code(submission, lambda: self._write_together(submission))
        context = await self.user.context(submission.context)
        async with self._alone(submission):
            calls = await self._calls(submission)
            made = await self._with_code(submission, lambda: self._make_and_store(submission, context, calls))
            async with self.database.transaction():
                return replace(made, status=await self._insert(made.run))

    async def _write_together(self, submission: Submission) -> _Made:
        """The thread, the item and the row are one transaction."""
        context = await self.user.context(submission.context)
        async with self.database.transaction():
            made = await self._make_and_store(submission, context, await self._calls(submission))
            return replace(made, status=await self._insert(made.run))

    async def _make_and_store(self, submission: Submission, context: Any, calls: Calls) -> _Made:
        made = await self._make(submission, context, calls)
        await store_message(self.user.server, made.admitted, context)
        return made

    async def _write_at_once(self, submission: Submission) -> _Made | Submitted:
        made = await self._with_code(submission, lambda: self._make_message(submission))
        try:
            status = await self._insert_message(made, REPEAT_SECONDS)
        except BodyRepeated:
            # decided here, once: asked again, the answer may be another
            earlier = await self.earlier.repeated(submission)
            if earlier is not None:
                return Submitted(earlier)
            status = await self._insert_message(made, 0)
        return replace(made, status=status)

    async def _make_message(self, submission: Submission) -> _Made:
        return await self._make(submission, await self.user.context(submission.context), Calls())

    async def _make(self, submission: Submission, context: Any, calls: Calls) -> _Made:
        server = self.user.server
        admitted = await admit(self.user, submission.request, context, calls)
        options = server.get_stream_options(admitted.thread, context)
        events = [*admitted.events, StreamOptionsEvent(stream_options=options)]
        return _Made(row_of(submission, admitted, options), admitted, [server._serialize(e) for e in events])

    async def _calls(self, submission: Submission) -> Calls:
        """The calls that an output may be for. What writes older items keeps other admissions and ends out first."""
        request = submission.request
        if not isinstance(request, (ThreadsAddClientToolOutputReq, ThreadsRetryAfterItemReq)):
            return Calls()
        owner, thread_id = submission.context.owner, request.params.thread_id
        if self.database.in_transaction:
            await self.endings.calls.lock_thread(owner, thread_id)
        return Calls(await self.endings.calls.item_of(owner, thread_id), submission.call_id)

    @asynccontextmanager
    async def _alone(self, submission: Submission) -> AsyncIterator[None]:
        """A foreign store writes its own way and takes nothing back.

        What can be seen to be refused is refused before, and of simultaneous requests with one key only the first gets
        to write.
        """
        context = submission.context
        if submission.idempotency_key is not None:
            async with self.queue.idempotency_lock(context.owner, submission.idempotency_key):
                if await self.earlier.repeated(submission) is not None:
                    raise IdempotencyMismatch  # admitted meanwhile, which `submit` finds out
                await self._refuse_what_can_be_seen(submission)
                yield
        else:
            await self._refuse_what_can_be_seen(submission)
            yield

    async def _refuse_what_can_be_seen(self, submission: Submission) -> None:
        request, context = submission.request, submission.context
        limit = self.settings.caller_max_runs
        if limit and await self.runs.count_unfinished(context.owner) >= limit:
            raise TooManyRuns(retry_after_seconds=TOO_MANY_RETRY_SECONDS)
        if isinstance(request, ThreadsCreateReq) or self._may_wait(Kind(request.type)):
            return
        active = await self.runs.active(context.owner, request.params.thread_id)
        is_output = isinstance(request, ThreadsAddClientToolOutputReq)
        if active is not None and not (is_output and active.awaited is not None):
            raise ThreadBusy(active.id)

    def _may_wait(self, kind: Kind) -> bool:
        return self.settings.thread_policy != "reject" and kind in MAY_WAIT

    async def _insert(self, run: Run) -> Status:
        return await self.runs.admit(
            run, may_wait=self._may_wait(run.kind), caller_runs=self.settings.caller_max_runs
        )

    async def _insert_message(self, made: _Made, repeat_seconds: float) -> Status:
        message = made.admitted.message
        assert message is not None
        return await self.runs.admit_message(
            made.run,
            may_wait=self._may_wait(made.run.kind),
            caller_runs=self.settings.caller_max_runs,
            new_thread=thread_json(made.admitted.metadata) if made.admitted.is_new_thread else None,
            item=message.model_dump_json(),
            repeat_seconds=repeat_seconds,
        )

    async def _publish(self, made: _Made, place: str) -> Submitted:
        """Accepted is accepted: where Redis is away the reaper queues the run, whose worker writes what is missing."""
        run, events = made.run, made.events
        entries = self.journals.admission_call(run.id, events)
        try:
            if made.status is Status.QUEUED:
                flow = flow_of_run(self.settings, run)
                await retry_briefly(lambda: self.queue.publish_admitted(entries, run.id, flow, place))
            else:
                await retry_briefly(lambda: self.journals.admission(run.id, events))
                if self.settings.thread_policy == "interrupt":
                    await self._interrupt(run)
        except QueueUnavailable as error:
            log.warning("queued later", action="admission_unpublished", run_id=run.id, **failure(error))
            return Submitted(run)
        return Submitted(run, events, is_queued=made.status is Status.QUEUED)

    async def _interrupt(self, run: Run) -> None:
        """Stops what stands before the run; where that fails the run waits, as with `queue`."""
        try:
            for other in await self.runs.unfinished(run.owner, run.thread_id, before=run.id):
                await self.endings.cancel(other)
            await self.endings.end_wait(run.owner, run.thread_id, GivenUp.INTERRUPTED)
        except Exception as error:  # the run is accepted: no error of the POST's
            log.error("not interrupted", action="admission_interrupt", run_id=run.id, **failure(error))  # noqa: TRY400
