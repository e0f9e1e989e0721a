"""The five steps of admission: find a repeat, refuse, accept, write, publish. What is refused leaves nothing behind."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import structlog

from relaykit.api.admission.admission_queue import AdmissionQueue
from relaykit.api.admission.admission_rows import AdmissionRuns
from relaykit.api.admission.candidate import Candidate
from relaykit.api.admission.idempotency import EarlierRuns
from relaykit.api.admission.submission import Submission, Submitted
from relaykit.api.admission.writers.writer import AdmissionWriter
from relaykit.api.metrics import ADMITTED
from relaykit.shared.endings import Endings
from relaykit.shared.errors import QueueUnavailable, RelaykitError
from relaykit.shared.identity import acting_as
from relaykit.shared.journal import Cursor, Journals
from relaykit.shared.log import failure
from relaykit.shared.queue.fair_share import flow_of_run
from relaykit.shared.redis.client import retry_briefly
from relaykit.shared.runs.given_up import GivenUp
from relaykit.shared.runs.run import Run, Status
from relaykit.shared.settings import Settings
from relaykit.shared.site.refusals import server_refusals

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Admission:
    settings: Settings
    runs: AdmissionRuns
    journals: Journals
    queue: AdmissionQueue
    endings: Endings
    earlier: EarlierRuns
    writer: AdmissionWriter

    async def submit(self, submission: Submission) -> Submitted:
        """Admits the request and queues its run; accepted means that the row is committed.

        A repeated Idempotency-Key gives the run that it made the first time; so does the same body without a key, as
        long as no client has had anything of that run. Raises the errors that docs/protocol.md lists for
        POST /chatkit; after each of them nothing is written.

        Accepting and writing are the writer's, because they are one transaction. So is the moment of the first look for
        a repeat: before an ordinary message it would cost a round trip, and the statement that writes it looks itself.
        """
        find_repeat = partial(self.earlier.find_repeat, submission)
        written: Candidate | Run | None
        try:
            if submission.queue_refusal is not None:
                raise submission.queue_refusal
            with acting_as(submission.context), server_refusals():
                written = await self.writer.accept_and_write(submission, find_repeat)
        except RelaykitError:
            # the same request may have been admitted before or meanwhile, which is why this one was refused
            written = await find_repeat()
            if written is None:
                raise
        if isinstance(written, Run):
            return Submitted(written)
        return await self._publish(written, submission.place)

    async def resume(self, submission: Submission, cursor: Cursor) -> Submitted:
        """The run whose stream the client goes on with after the cursor; nothing is written.

        Raises NothingToResume, IdempotencyMismatch.
        """
        return Submitted(await self.earlier.find_resumed(submission, cursor))

    async def _publish(self, candidate: Candidate, place: str) -> Submitted:
        """Writes the first entries and the job.

        Does not fail for an outage of Redis: the reaper then queues the run, and its worker writes the entries.
        """
        run, events, is_queued = candidate.run, candidate.events, candidate.status is Status.QUEUED
        ADMITTED.labels(run.kind.value).inc()
        try:
            if is_queued:
                entries, flow = (
                    self.journals.first_entries_call(run.id, events),
                    flow_of_run(self.settings, run),
                )
                await retry_briefly(lambda: self.queue.publish_admitted(entries, run.id, flow, place))
            else:
                await retry_briefly(lambda: self.journals.write_first_entries(run.id, events))
                if self.settings.thread_policy == "interrupt":
                    await self._interrupt(run)
        except QueueUnavailable as error:
            log.warning(
                "an accepted run could not be put on the queue: the reaper does it",
                action="admission_unpublished",
                run_id=run.id,
                **failure(error),
            )
            return Submitted(run)
        return Submitted(run, events, is_queued=is_queued)

    async def _interrupt(self, run: Run) -> None:
        """Stops what stands before the run; where that fails the run waits, as with `queue`."""
        try:
            for other in await self.runs.unfinished(run.owner, run.thread_id, before=run.id):
                await self.endings.cancel(other)
            await self.endings.end_wait(run.owner, run.thread_id, GivenUp.INTERRUPTED)
        except Exception as error:  # the run is accepted: no error of the POST's
            log.error(  # noqa: TRY400
                "the runs before could not be interrupted: the new run waits for their end",
                action="admission_interrupt",
                run_id=run.id,
                **failure(error),
            )
