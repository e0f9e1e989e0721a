"""The writer for a store of the site's own, which writes in its own way and takes nothing back."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from chatkit.types import ThreadsAddClientToolOutputReq, ThreadsCreateReq

from relaykit.api.admission.admission_queue import AdmissionQueue
from relaykit.api.admission.admission_rows import TOO_MANY_RETRY_SECONDS, AdmissionRuns
from relaykit.api.admission.candidate import Candidate, make_candidate
from relaykit.api.admission.request_intake import Calls, store_message
from relaykit.api.admission.submission import Submission
from relaykit.api.admission.writers.writer import FindRepeat, answerable_calls, may_wait, refuse_unless_newest
from relaykit.api.site.server_code import reaches_code
from relaykit.shared.errors import ThreadBusy, TooManyRuns
from relaykit.shared.postgres.database import Database
from relaykit.shared.runs.awaited_calls import AwaitedCalls
from relaykit.shared.runs.run import Kind, Run
from relaykit.shared.settings import Settings
from relaykit.shared.site.user_server import UserServer


@dataclass(frozen=True, slots=True)
class ForeignWriter:
    settings: Settings
    database: Database
    runs: AdmissionRuns
    queue: AdmissionQueue
    calls: AwaitedCalls
    user: UserServer

    async def accept_and_write(self, submission: Submission, find_repeat: FindRepeat) -> Candidate | Run:
        """Of simultaneous requests with one key only the first gets to write; what can be refused is refused before."""
        context = await self.user.context(submission.context)  # before the lock, which has a time
        async with self._hold_key(submission):
            repeat = await find_repeat()
            if repeat is not None:
                return repeat
            await self._refuse_what_can_be_seen(submission)
            calls = await answerable_calls(self.calls, submission, lock=False)
            candidate = await self.user.run(
                lambda: self._accept_and_store(submission, context, calls),
                reaches_code=reaches_code(self.user, submission.request),
            )
            async with self.database.transaction():
                status = await self.runs.admit(
                    candidate.run,
                    may_wait=may_wait(self.settings, candidate.run.kind),
                    caller_runs=self.settings.caller_max_runs,
                )
            return replace(candidate, status=status)

    def _hold_key(self, submission: Submission) -> AbstractAsyncContextManager[None]:
        key = submission.idempotency_key
        if key is None:
            return nullcontext()
        return self.queue.idempotency_lock(submission.context.owner, key)

    async def _refuse_what_can_be_seen(self, submission: Submission) -> None:
        """What is refused once the row is written, as far as it is so already.

        Raises TooManyRuns, ThreadBusy, ItemMismatch.
        """
        await refuse_unless_newest(self.runs, submission)
        request, owner = submission.request, submission.context.owner
        limit = self.settings.caller_max_runs
        if limit and await self.runs.count_unfinished(owner) >= limit:
            raise TooManyRuns(retry_after_seconds=TOO_MANY_RETRY_SECONDS)
        if isinstance(request, ThreadsCreateReq) or may_wait(self.settings, Kind(request.type)):
            return
        active = await self.runs.active(owner, request.params.thread_id)
        is_output = isinstance(request, ThreadsAddClientToolOutputReq)
        if active is not None and not (is_output and active.awaited is not None):
            raise ThreadBusy(active.id)

    async def _accept_and_store(self, submission: Submission, context: Any, calls: Calls) -> Candidate:
        candidate = await make_candidate(self.user, submission, context, calls)
        await store_message(self.user, candidate.accepted, context)
        return candidate
