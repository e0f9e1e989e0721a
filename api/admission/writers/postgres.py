"""The writer for our store: the thread, the item and the run's row are written together, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from chatkit.types import ThreadsAddUserMessageReq, ThreadsCreateReq

from relaykit.api.admission.admission_rows import AdmissionRuns
from relaykit.api.admission.candidate import Candidate, make_candidate
from relaykit.api.admission.request_intake import store_message
from relaykit.api.admission.submission import Submission
from relaykit.api.admission.writers.writer import FindRepeat, answerable_calls, may_wait, refuse_unless_newest
from relaykit.api.receipts import REPEAT_SECONDS
from relaykit.api.site.server_code import reaches_code
from relaykit.shared.errors import BodyRepeated
from relaykit.shared.postgres.database import Database
from relaykit.shared.runs.awaited_calls import AwaitedCalls
from relaykit.shared.runs.run import Run, Status
from relaykit.shared.settings import Settings
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.thread_merge import thread_json

MESSAGES = (ThreadsCreateReq, ThreadsAddUserMessageReq)
"""Requests whose acceptance writes nothing yet. Without attachments one statement is all that is left to write."""


@dataclass(frozen=True, slots=True)
class PostgresWriter:
    settings: Settings
    database: Database
    runs: AdmissionRuns
    calls: AwaitedCalls
    user: UserServer

    async def accept_and_write(self, submission: Submission, find_repeat: FindRepeat) -> Candidate | Run:
        """Where code of the site's is reached, it runs on that code's loop, a transaction with all that is in it."""
        request = submission.request
        run = partial(self.user.run, reaches_code=reaches_code(self.user, request))
        if isinstance(request, MESSAGES) and not request.params.input.attachments:
            candidate = await run(lambda: self._accept_message(submission))
            return await self._write_message(candidate, find_repeat)
        repeat = await find_repeat()
        if repeat is not None:
            return repeat
        return await run(lambda: self._write_together(submission))

    async def _accept_message(self, submission: Submission) -> Candidate:
        return await make_candidate(self.user, submission, await self.user.context(submission.context))

    async def _write_message(self, candidate: Candidate, find_repeat: FindRepeat) -> Candidate | Run:
        """One statement, which also refuses. It finds a repeat by itself, so that no question goes before it."""
        try:
            status = await self._insert_message(candidate, REPEAT_SECONDS)
        except BodyRepeated:
            # the same body came a moment ago: a repeat, or another message if that run's client had something of it
            repeat = await find_repeat()
            if repeat is not None:
                return repeat
            status = await self._insert_message(candidate, 0)
        return replace(candidate, status=status)

    async def _insert_message(self, candidate: Candidate, repeat_seconds: float) -> Status:
        accepted, run = candidate.accepted, candidate.run
        assert accepted.message is not None
        return await self.runs.admit_message(
            run,
            may_wait=may_wait(self.settings, run.kind),
            caller_runs=self.settings.caller_max_runs,
            new_thread=thread_json(accepted.metadata) if accepted.is_new_thread else None,
            item=accepted.message.model_dump_json(),
            repeat_seconds=repeat_seconds,
        )

    async def _write_together(self, submission: Submission) -> Candidate:
        """One transaction. The server's context is made before it, since that may take long."""
        context = await self.user.context(submission.context)
        async with self.database.transaction():
            calls = await answerable_calls(self.calls, submission, lock=True)
            await refuse_unless_newest(self.runs, submission)
            candidate = await make_candidate(self.user, submission, context, calls)
            await store_message(self.user, candidate.accepted, context)
            status = await self.runs.admit(
                candidate.run,
                may_wait=may_wait(self.settings, candidate.run.kind),
                caller_runs=self.settings.caller_max_runs,
            )
        return replace(candidate, status=status)
