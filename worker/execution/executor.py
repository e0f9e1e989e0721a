"""From a claim to the end of the run: begin the attempt, execute it, end it. One task a run."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum

import structlog
from chatkit.errors import ErrorCode
from chatkit.store import NotFoundError
from chatkit.types import ErrorEvent

from relaykit.shared.endings import Endings
from relaykit.shared.errors import ContextTimeout, Fenced, ServerRefused, Stopping
from relaykit.shared.identity import RequestContext, acting_as
from relaykit.shared.journal import Journals
from relaykit.shared.log import failure
from relaykit.shared.queue.job_queue import JobQueue
from relaykit.shared.runs.awaited_calls import find_left_call
from relaykit.shared.runs.context import request_context
from relaykit.shared.runs.run import Run, Status
from relaykit.shared.settings import Settings
from relaykit.shared.site.refusals import stream_error
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.tasks import end_tasks
from relaykit.shared.token_box import TokenBox
from relaykit.worker.execution.attempt import Attempt
from relaykit.worker.execution.attempt_rows import AttemptRuns
from relaykit.worker.execution.persist import persist
from relaykit.worker.execution.restore import admission_events, show_call
from relaykit.worker.execution.rewind import news, read_shown, take_back
from relaykit.worker.execution.server_events import Prepared
from relaykit.worker.execution.stop import Stop
from relaykit.worker.publishing.publisher import Publisher, RunJournal

EXHAUSTED = "attempts_exhausted"
"""The error of a run whose workers were lost too often."""

log = structlog.get_logger()


class Outcome(Enum):
    """What is to become of the job."""

    DONE = "done"
    AGAIN = "again"
    FOREIGN = "foreign"  # no run has the job's id


class Executor:
    """Executes runs, each by its id alone: everything else is in its row."""

    def __init__(
        self,
        settings: Settings,
        runs: AttemptRuns,
        journals: Journals,
        queue: JobQueue,
        publisher: Publisher,
        endings: Endings,
        user: UserServer,
        box: TokenBox | None,
    ) -> None:
        self.attempts: dict[str, Attempt] = {}
        self._draining = False
        self._settings = settings
        self._runs = runs
        self._journals = journals
        self._queue = queue
        self._publisher = publisher
        self._endings = endings
        self._user = user
        self._box = box

    async def execute(self, run_id: str, *, uncounted: bool = False) -> Outcome:
        """Executes the next attempt; the claim must be held. `uncounted`: a lost one does not count against the run."""
        structlog.contextvars.bind_contextvars(run_id=run_id)
        attempt = Attempt(run_id)
        if self._draining:
            attempt.stop(Stop.DRAIN)
        self.attempts[run_id] = attempt
        try:
            return await self._execute(attempt, uncounted)
        finally:
            del self.attempts[run_id]

    def lose(self, run_id: str) -> None:
        """The run's lease is another's now: its attempt here, if there is one, ends and writes nothing more."""
        attempt = self.attempts.get(run_id)
        if attempt is not None:
            attempt.stop(Stop.LOST)

    def drain(self) -> None:
        """Stops all attempts, and those that are about to begin: their runs are handed back."""
        self._draining = True
        for attempt in self.attempts.values():
            attempt.stop(Stop.DRAIN)

    async def _execute(self, attempt: Attempt, uncounted: bool) -> Outcome:
        run = await persist(attempt, lambda: self._runs.start(attempt.run_id, uncounted=uncounted))
        if run is None:
            return await self._complete_ended(attempt)
        structlog.contextvars.bind_contextvars(thread_id=run.thread_id, attempt=run.attempt)
        log.info("an attempt begins", action="attempt_start", kind=run.kind.value)
        if run.cancel_requested:
            attempt.stop(Stop.USER)
        journal = self._publisher.open(run.id, run.attempt, self._user.server._serialize)
        attempt.when_lost(journal.close)  # what it has not taken by then, it never takes
        timeout = asyncio.get_running_loop().call_later(
            self._settings.run_timeout_seconds, attempt.stop, Stop.TIMEOUT
        )
        try:
            status, error = await self._attempt(attempt, run, journal)
        except (Fenced, Stopping):
            attempt.stop(Stop.LOST)
            status, error = Status.FAILED, None
        finally:
            timeout.cancel()
        return await self._end(attempt, run, journal, status, error)

    async def _attempt(self, attempt: Attempt, run: Run, journal: RunJournal) -> tuple[Status, str | None]:
        """Status and error code of the run after it."""
        try:
            token = self._box.open(run.id, run.token) if self._box and run.token else None
            request = request_context(run, bearer_token=token, forbid=lambda: self._forbid(attempt, run))
            with acting_as(request):
                is_exhausted = run.attempt - run.handed_back > self._max_attempts(run)
                try:
                    context = await persist(attempt, lambda: self._user.context(request))
                except ServerRefused as error:
                    if not is_exhausted:
                        return await self._refused(attempt, run, journal, request, error)
                    context = request
                if is_exhausted:
                    with suppress(Fenced):  # a journal that refuses every attempt is no reason for another
                        await persist(attempt, lambda: self._mark(run, journal, context))
                        journal.put(ErrorEvent(code=ErrorCode.STREAM_ERROR, allow_retry=True))
                        await journal.flush()
                    store = self._user.server.store
                    attempt.pending_call = await persist(attempt, lambda: find_left_call(store, run, context))
                    return Status.FAILED, EXHAUSTED
                prepared = await self._begin(attempt, run, journal, context)
                if run.given_up_call is not None:
                    await persist(attempt, lambda: show_call(self._user.server, run, journal, context))
                await attempt.execute(prepared, run, self._user, context, journal)
        except (Fenced, Stopping):
            raise
        except Exception as error:
            if attempt.stopped is Stop.USER and isinstance(error, NotFoundError):
                return Status.CANCELLED, None  # the thread was deleted
            log.error("executing the run failed: the run ends", action="run_failed", **failure(error))  # noqa: TRY400
            if attempt.stopped is None:  # else it is what the server made of the stop
                journal.put(ErrorEvent(code=ErrorCode.STREAM_ERROR, allow_retry=True))
                return Status.FAILED, error.code if isinstance(error, ContextTimeout) else "internal"
        return self._status(attempt, journal)

    async def _refused(
        self, attempt: Attempt, run: Run, journal: RunJournal, request: RequestContext, error: ServerRefused
    ) -> tuple[Status, str | None]:
        """The site's context refuses the caller. Our store takes back without it what the attempts before left."""
        if attempt.stopped is Stop.USER:
            return Status.CANCELLED, None
        place = failure(error.__cause__ or error)
        log.warning(
            "the server refuses the caller: the run ends as failed",
            action="run_refused",
            status=error.status,
            **place,
        )
        if self._user.is_store_ours:
            await self._fence(attempt, run, journal, request)
        refusal = stream_error(error)
        journal.put(ErrorEvent(code="custom", message=refusal.message, allow_retry=refusal.allow_retry))
        return Status.FAILED, error.code

    def _status(self, attempt: Attempt, journal: RunJournal) -> tuple[Status, str | None]:
        match attempt.stopped:
            case Stop.USER:
                return Status.CANCELLED, None
            case Stop.ABANDONED:
                return Status.CANCELLED, "abandoned"
            case Stop.TIMEOUT:
                journal.put(ErrorEvent(code=ErrorCode.STREAM_ERROR, allow_retry=True))
                return Status.FAILED, "timeout"
            case _ if attempt.last_error is not None:
                return Status.FAILED, _code(attempt.last_error)
            case _:
                return Status.COMPLETED, None

    async def _begin(self, attempt: Attempt, run: Run, journal: RunJournal, context: object) -> Prepared:
        """Fences the attempt before, takes back what it left, and loads what the server is called with."""
        if run.attempt > 1:
            await self._fence(attempt, run, journal, context)
            return await attempt.prepare(run, self._user, context)
        # nothing is there to take back
        preparing = asyncio.create_task(attempt.prepare(run, self._user, context))
        try:
            await persist(attempt, lambda: self._mark(run, journal, context))
            return await preparing
        finally:
            await end_tasks([preparing])

    async def _fence(self, attempt: Attempt, run: Run, journal: RunJournal, context: object) -> None:
        await persist(attempt, lambda: self._mark(run, journal, context))
        if run.attempt > 1:
            await self._rewind(attempt, run, journal, context)

    async def _mark(self, run: Run, journal: RunJournal, context: object) -> None:
        """The attempt's first entry, which fences the one before, and only then the store."""
        await journal.mark(lambda: admission_events(self._user.server, run, context))

    async def _rewind(self, attempt: Attempt, run: Run, journal: RunJournal, context: object) -> None:
        """Takes back what the attempts before stored and showed."""
        server, database = self._user.server, self._endings.database
        shown = await persist(attempt, lambda: read_shown(self._journals, run.id))
        taken = await persist(attempt, lambda: take_back(self._user, database, self._runs, run, context))
        for event in await persist(attempt, lambda: news(server, run, context, shown, taken)):
            journal.put(event)

    def _max_attempts(self, run: Run) -> int:
        return min(run.max_attempts or self._settings.run_max_attempts, self._settings.run_max_attempts)

    async def _forbid(self, attempt: Attempt, run: Run) -> None:
        if not await persist(attempt, lambda: self._runs.forbid_next_attempt(run.id, run.attempt)):
            attempt.overtaken()
            raise Fenced
        attempt.is_last = True

    async def _end(
        self, attempt: Attempt, run: Run, journal: RunJournal, status: Status, error: str | None
    ) -> Outcome:
        if (
            attempt.stopped is Stop.DRAIN
            and attempt.began
            and (attempt.is_last or self._max_attempts(run) == 1)
        ):
            journal.put(ErrorEvent(code=ErrorCode.STREAM_ERROR, allow_retry=True))
            status, error = Status.FAILED, "interrupted"
        elif attempt.stopped is Stop.DRAIN:
            await persist(attempt, lambda: self._runs.hand_back(run))
            log.info(
                "the worker drains: the run is handed back, and another worker begins it anew",
                action="attempt_handed_back",
            )
            return Outcome.AGAIN
        try:
            if attempt.stopped is Stop.LOST:
                raise Fenced
            if error != EXHAUSTED:
                await journal.flush()
            promoted = await persist(attempt, lambda: self._finish_row(attempt, run, journal, status, error))
        except Fenced:
            attempt.stop(Stop.LOST)
            journal.close()
            log.warning("attempt lost: another one has begun, or may begin", action="attempt_lost")
            return Outcome.AGAIN  # where the lease is ours after all, no other worker would claim the run
        attempt.when_lost(None)
        journal.end(status.value)
        with suppress(Fenced):  # the row has ended: the worker that has the lease now writes the same end
            await journal.flush()
        if promoted is not None:
            next_run = promoted
            await persist(attempt, lambda: self._endings.enqueue(next_run))
        log.info("the run has ended", action="attempt_end", status=status.value, error=error)
        return Outcome.DONE

    async def _finish_row(
        self, attempt: Attempt, run: Run, journal: RunJournal, status: Status, error: str | None
    ) -> Run | None:
        if attempt.pending_call is None:
            return await self._endings.finish_row(run, status, error)
        return await self._endings.finish_with_call(run, status, error, attempt.pending_call, journal.put)

    async def _complete_ended(self, attempt: Attempt) -> Outcome:
        """The row had ended: what a worker died before writing of it is written now."""
        if (ended := await persist(attempt, lambda: self._runs.status(attempt.run_id))) is None:
            return Outcome.FOREIGN
        status, number, _ = ended
        if status.ended:
            await persist(attempt, lambda: self._journals.end(attempt.run_id, number, status))
        return Outcome.DONE


def _code(error: ErrorEvent) -> str:
    return error.code.value if isinstance(error.code, ErrorCode) else error.code
