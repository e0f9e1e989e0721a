"""The run that a request has made already: it comes again, or its client reconnects."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from chatkit.types import ThreadsRetryAfterItemReq

from relaykit.api.admission.admission_rows import AdmissionRuns
from relaykit.api.admission.submission import Submission
from relaykit.api.receipts import REPEAT_SECONDS, Receipts
from relaykit.shared.errors import IdempotencyMismatch, NothingToResume
from relaykit.shared.journal import Cursor, Journals
from relaykit.shared.runs.run import Run

_KEYLESS = b"keyless\x00"


def request_hash(body: bytes, key: str | None) -> bytes:
    """The hash of a keyless request differs from that of a keyed one.

    A keyless request finds the run that the same body has made already, but no run of an API that does not note what
    its clients have received, because such an API hashes the body alone.
    """
    digest = hashlib.sha256(b"" if key is not None else _KEYLESS)
    digest.update(body)
    return digest.digest()


@dataclass(frozen=True, slots=True)
class EarlierRuns:
    runs: AdmissionRuns
    journals: Journals
    receipts: Receipts
    ended_seconds: float
    """How long the journal of an ended run is kept: JOURNAL_ENDED_TTL_SECONDS."""

    async def find_repeat(self, submission: Submission) -> Run | None:
        """The run that the same request has made before.

        With a key it is the key's run. Without one it is the newest of the same body, as long as no client has had
        anything of it: the row says so, and Redis until the row is written. An ended run is given only where its
        journal has its beginning; otherwise the request is another message. A retry also repeats the run that answers
        its message already. The run is accepted with the answer to this request, if it was not before, so its row is
        made durable first. Raises IdempotencyMismatch.
        """
        if submission.idempotency_key is not None:
            repeat = await self._find_run_of_key(submission, submission.idempotency_key)
        else:
            repeat = await self._find_unreceived(submission)
        repeat = repeat or await self._find_run_answering(submission)
        if repeat is not None:
            await self.runs.make_durable(repeat)
        return repeat

    async def find_resumed(self, submission: Submission, cursor: Cursor) -> Run:
        """The run whose stream the client had up to the cursor: that of the key, or of the same body.

        Without a key the same body may have made several runs, for instance by the same words again, or a suggested
        prompt in two tabs. Then it is the one that has the entry that the cursor names and was not sent to its end.
        Raises NothingToResume where that is none or several, IdempotencyMismatch.
        """
        found = await self._find_resumable(submission)
        if len(found) > 1:
            run_ids = [run.id for run in found]
            possible = await self.journals.holding(run_ids, cursor) - await self.receipts.delivered(run_ids)
            found = [run for run in found if run.id in possible]
        if len(found) != 1:
            raise NothingToResume
        return found[0]

    async def _find_resumable(self, submission: Submission) -> list[Run]:
        if submission.idempotency_key is not None:
            run = await self._find_run_of_key(submission, submission.idempotency_key)
            if run is not None:
                return [run]
            found = []
        else:
            found = await self._find_same_body(submission)
        answering = await self._find_run_answering(submission)
        if answering is not None and all(run.id != answering.id for run in found):
            found.append(answering)
        return found

    async def _find_run_of_key(self, submission: Submission, key: str) -> Run | None:
        run = await self.runs.find_by_key(submission.context.owner, key)
        if run is not None and run.request_hash != submission.request_hash:
            raise IdempotencyMismatch
        return run

    async def _find_unreceived(self, submission: Submission) -> Run | None:
        """The newest run of the same body, where no client has had anything of it."""
        run = await self.runs.find_unreceived(
            submission.context.owner, submission.request_hash, REPEAT_SECONDS
        )
        if run is None:
            return None
        received, is_whole = await self.receipts.was_received(run.id)
        return None if received or (run.status.ended and not is_whole) else run

    async def _find_same_body(self, submission: Submission) -> list[Run]:
        """All runs of the same body whose journals may still be there."""
        return await self.runs.find_same_body(
            submission.context.owner, submission.request_hash, self.ended_seconds
        )

    async def _find_run_answering(self, submission: Submission) -> Run | None:
        """The run that a retry asks for again: the stock widget's Retry after a lost network."""
        request = submission.request
        if not isinstance(request, ThreadsRetryAfterItemReq):
            return None
        params = request.params
        return await self.runs.find_run_answering(submission.context.owner, params.thread_id, params.item_id)
