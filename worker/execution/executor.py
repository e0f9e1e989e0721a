"""From a claim to the end of the run, in steps over one state: start, fence, rewind, prepare, produce, settle.

One task a run. The state is the Attempt; each step takes it and says what came of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from uuid import uuid4

import structlog
from chatkit.types import ErrorEvent

from relaykit.shared.endings import Endings
from relaykit.shared.errors import Fenced, ServerRefused, Stopping
from relaykit.shared.identity import RequestContext, acting_as
from relaykit.shared.journal import Journals
from relaykit.shared.log import failure
from relaykit.shared.runs.context import request_context
from relaykit.shared.runs.run import Run
from relaykit.shared.settings import Settings
from relaykit.shared.site.refusals import stream_error
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.tasks import end_tasks
from relaykit.shared.token_box import TokenBox
from relaykit.worker.execution.attempt import Attempt, failed_event
from relaykit.worker.execution.attempt_rows import AttemptRuns
from relaykit.worker.execution.attempts_left import allows_another, is_exhausted
from relaykit.worker.execution.own_task import failed, isolated
from relaykit.worker.execution.pending_call import find_pending_call
from relaykit.worker.execution.persist import persist
from relaykit.worker.execution.prepare import prepare
from relaykit.worker.execution.produce import produce
from relaykit.worker.execution.restore import admission_events, show_call
from relaykit.worker.execution.rewind import news, read_shown, take_back
from relaykit.worker.execution.server_events import Prepared
from relaykit.worker.execution.stop import Stop
from relaykit.worker.execution.telemetry.figures import Report
from relaykit.worker.execution.telemetry.log_fields import log_fields
from relaykit.worker.execution.telemetry.tell_end import tell_end
from relaykit.worker.execution.verdict import (
    EXHAUSTED,
    HANDED_BACK,
    LOST,
    Exit,
    Outcome,
    Result,
    Verdict,
    decide,
)
from relaykit.worker.leases.claims import Claim
from relaykit.worker.publishing.publisher import Publisher

log = structlog.get_logger()


class Executor:
    """Executes runs, each by its id alone: everything else is in its row."""

    def __init__(
        self,
        settings: Settings,
        runs: AttemptRuns,
        journals: Journals,
        publisher: Publisher,
        endings: Endings,
        user: UserServer,
        box: TokenBox | None,
        report: Report,
    ) -> None:
        self.attempts: dict[str, Attempt] = {}
        self._draining = False
        self._settings = settings
        self._runs = runs
        self._journals = journals
        self._publisher = publisher
        self._endings = endings
        self._user = user
        self._box = box
        self._report = report

    async def execute(self, run_id: str, *, uncounted: bool = False, claim: Claim | None = None) -> Outcome:
        """Executes the next attempt; the claim must be held. `uncounted`: a lost one does not count against the run."""
        with self._registered(run_id, claim) as attempt:
            if not await self._start(attempt, uncounted=uncounted):
                return await self._complete_ended(attempt)
            with self._timed(attempt):
                result = await isolated(attempt, self._run_steps)
            verdict = decide(result, attempt.stopped, allows_another=allows_another(attempt, self._settings))
            outcome = await self._settle(attempt, verdict)
            tell_end(attempt, outcome, verdict, self._report)
            return outcome

    def lose(self, run_id: str) -> None:
        """The run's lease is another's now: its attempt here, if there is one, ends and writes nothing more."""
        attempt = self.attempts.get(run_id)
        if attempt is not None:
            attempt.stop(Stop.LOST)

    def drain(self) -> None:
        """Stops all attempts, and those that are about to begin, so that their runs are handed back."""
        self._draining = True
        for attempt in self.attempts.values():
            attempt.stop(Stop.DRAIN)

    async def _run_steps(self, attempt: Attempt) -> Result:
        """The steps between the row's start and its end. What they raise is a result too."""
        try:
            request = self._request(attempt)
            with acting_as(request):
                refusal = await self._make_context(attempt, request)
                if is_exhausted(attempt.run, self._settings):
                    return await self._exhaust(attempt)
                if refusal is not None:
                    return await self._refuse(attempt, refusal)
                if attempt.run.attempt > 1:
                    await self._fence(attempt)
                    await self._rewind(attempt)
                    prepared = await prepare(attempt, self._user)
                else:  # there is nothing to rewind
                    prepared = await self._fence_and_prepare(attempt)
                await self._show_given_up_call(attempt)
                await produce(attempt, self._user, prepared)
                return Result(Exit.SERVED, attempt.error_code)
        except (Fenced, Stopping):
            return Result(Exit.FENCED)
        except Exception as error:
            return failed(attempt, error)

    # The steps

    async def _start(self, attempt: Attempt, *, uncounted: bool) -> bool:
        """Begins the attempt in the run's row; False where the row has ended, or there is none."""
        by = uuid4()
        run = await persist(attempt, lambda: self._runs.start(attempt.run_id, uncounted=uncounted, by=by))
        if run is None:
            return False
        structlog.contextvars.bind_contextvars(attempt=run.attempt, **log_fields(run))
        log.info("an attempt begins", action="attempt_start", kind=run.kind.value)
        attempt.begin(run, self._publisher.open(run.id, run.attempt, self._user.server._serialize))
        return True

    async def _fence(self, attempt: Attempt) -> None:
        """Writes the attempt's first entry: from then on the attempts before can write no more, to journal or store."""
        admission = partial(admission_events, self._user.server, attempt.run, attempt.context)
        await persist(attempt, lambda: attempt.journal.start_attempt(admission))

    async def _rewind(self, attempt: Attempt) -> None:
        """Takes back what the attempts before stored and showed. Clients have been told of it when this returns."""
        run, context, database = attempt.run, attempt.context, self._endings.database
        shown = await persist(attempt, lambda: read_shown(self._journals, run.id))
        taken = await persist(attempt, lambda: take_back(self._user, database, self._runs, run, context))
        for event in await persist(attempt, lambda: news(self._user.server, run, context, shown, taken)):
            attempt.journal.put(event)
        await attempt.journal.flush()  # there may be no attempt to come that would tell them

    async def _fence_and_prepare(self, attempt: Attempt) -> Prepared:
        """Both at a time, for a first attempt: a round trip less until the server is called."""
        preparing = asyncio.create_task(prepare(attempt, self._user))
        try:
            await self._fence(attempt)
            return await preparing
        finally:
            await end_tasks([preparing])

    async def _settle(self, attempt: Attempt, verdict: Verdict) -> Outcome:
        """Hands the run back or ends it: the row first, then the end entry, then the run that waited behind it."""
        if verdict.shows_error:
            attempt.journal.put(failed_event())
        if verdict == HANDED_BACK:
            await persist(attempt, lambda: self._runs.hand_back(attempt.run))
            log.info("the run is handed back: another worker begins it anew", action="attempt_handed_back")
            return Outcome.AGAIN
        try:
            promoted = await self._end_row(attempt, verdict)
        except Fenced:
            attempt.stop(Stop.LOST)
            attempt.journal.close()
            log.warning("attempt lost: another one has begun, or may begin", action="attempt_lost")
            return Outcome.AGAIN  # where the lease is ours after all, no other worker would claim the run
        attempt.when_lost(None)
        attempt.journal.end(verdict.status.value)
        with suppress(Fenced):  # the row has ended: the worker that has the lease now writes the same end
            await attempt.journal.flush()
        if promoted is not None:
            await persist(attempt, partial(self._endings.enqueue, promoted))
        log.info("the run has ended", action="attempt_end", status=verdict.status.value, error=verdict.error)
        return Outcome.DONE

    # What a step consists of, and the ways around the server

    @contextmanager
    def _registered(self, run_id: str, claim: Claim | None) -> Iterator[Attempt]:
        structlog.contextvars.bind_contextvars(run_id=run_id)
        attempt = self.attempts[run_id] = Attempt(run_id, claim)
        if self._draining:
            attempt.stop(Stop.DRAIN)
        try:
            yield attempt
        finally:
            del self.attempts[run_id]

    @contextmanager
    def _timed(self, attempt: Attempt) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._settings.run_timeout_seconds, attempt.stop, Stop.TIMEOUT)
        try:
            yield
        finally:
            timer.cancel()

    def _request(self, attempt: Attempt) -> RequestContext:
        run = attempt.run
        token = self._box.open(run.id, run.token) if self._box and run.token else None
        return request_context(run, bearer_token=token, forbid=lambda: self._forbid(attempt))

    async def _make_context(self, attempt: Attempt, request: RequestContext) -> ServerRefused | None:
        """Asks the site for the context that its server gets; the refusal, where it refuses the caller."""
        attempt.context = request
        try:
            attempt.context = await persist(attempt, lambda: self._user.context(request))
        except ServerRefused as refusal:
            return refusal
        return None

    async def _refuse(self, attempt: Attempt, refusal: ServerRefused) -> Result:
        """Shows the refusal. Our store takes back without the site's context what the attempts before left."""
        if attempt.stopped is Stop.USER:
            return Result(Exit.SERVED)
        refused = {"status": refusal.status, **failure(refusal.__cause__ or refusal)}
        log.warning("the server refuses the caller: the run ends as failed", action="run_refused", **refused)
        if self._user.is_store_ours:
            await self._fence(attempt)
            if attempt.run.attempt > 1:
                await self._rewind(attempt)
        shown = stream_error(refusal)
        attempt.journal.put(ErrorEvent(code="custom", message=shown.message, allow_retry=shown.allow_retry))
        return Result(Exit.REFUSED, refusal.code)

    async def _exhaust(self, attempt: Attempt) -> Result:
        """Shows that the run has no attempt left."""
        with suppress(Fenced):  # a journal that refuses every attempt is no reason for another
            await self._fence(attempt)
            attempt.journal.put(failed_event())
            await attempt.journal.flush()
        return Result(Exit.EXHAUSTED, EXHAUSTED)

    async def _show_given_up_call(self, attempt: Attempt) -> None:
        run, context = attempt.run, attempt.context
        if run.given_up_call is not None:
            await persist(attempt, lambda: show_call(self._user.server, run, attempt.journal, context))

    async def _end_row(self, attempt: Attempt, verdict: Verdict) -> Run | None:
        """Ends the row once the journal has all events; returns the run that is queued then. Raises Fenced."""
        status, error, _ = verdict
        run, journal = attempt.run, attempt.journal
        if verdict == LOST:
            raise Fenced
        if error != EXHAUSTED:  # that one's journal has them, or has refused them
            await journal.flush()
        call = await persist(attempt, lambda: find_pending_call(attempt, self._user, verdict))
        if call is None:
            return await persist(attempt, lambda: self._endings.finish_row(run, status, error))
        return await persist(
            attempt, lambda: self._endings.finish_with_call(run, status, error, call, journal.put)
        )

    async def _complete_ended(self, attempt: Attempt) -> Outcome:
        """The row had ended: the end entry that a worker died before writing is written now."""
        if (ended := await persist(attempt, lambda: self._runs.status(attempt.run_id))) is None:
            return Outcome.FOREIGN
        status, number, _ = ended
        if status.ended:
            await persist(attempt, lambda: self._journals.end(attempt.run_id, number, status))
        return Outcome.DONE

    async def _forbid(self, attempt: Attempt) -> None:
        run = attempt.run
        if not await persist(attempt, lambda: self._runs.forbid_next_attempt(run.id, run.attempt)):
            attempt.overtaken()
            raise Fenced
        attempt.is_last = True
