"""What a writer of admissions promises, and what both of them do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from chatkit.types import ThreadsAddClientToolOutputReq, ThreadsCreateReq, ThreadsRetryAfterItemReq

from relaykit.api.admission.admission_rows import AdmissionRuns
from relaykit.api.admission.candidate import Candidate
from relaykit.api.admission.request_intake import Calls
from relaykit.api.admission.submission import Submission
from relaykit.shared.errors import ItemMismatch
from relaykit.shared.runs.awaited_calls import AwaitedCalls
from relaykit.shared.runs.run import Kind, Run
from relaykit.shared.settings import Settings

MAY_WAIT = frozenset({Kind.MESSAGE, Kind.ACTION})
"""Kinds that make sense behind another run; the others answer something that the active run may change."""

FindRepeat = Callable[[], Awaitable[Run | None]]
"""The run that the request being written has made before."""


class AdmissionWriter(Protocol):
    """Accepts a request and writes its message and its row."""

    async def accept_and_write(self, submission: Submission, find_repeat: FindRepeat) -> Candidate | Run:
        """The candidate that is written, or the run of which the request turned out to be a repeat.

        The writer calls `find_repeat` before it writes what a repeat must not write again. Raises what `accept_request`
        and `AdmissionRuns.admit` raise: then our store holds nothing of the request, and a foreign one its message at
        most.
        """


def may_wait(settings: Settings, kind: Kind) -> bool:
    return settings.thread_policy != "reject" and kind in MAY_WAIT


async def refuse_unless_newest(runs: AdmissionRuns, submission: Submission) -> None:
    """Raises ItemMismatch where the thread has a newer run than the one that the submission needs to be its newest."""
    if submission.newest_run_id is None:
        return
    request = submission.request
    assert not isinstance(request, ThreadsCreateReq)
    newest_id = await runs.newest_id(submission.context.owner, request.params.thread_id)
    if newest_id != submission.newest_run_id:
        raise ItemMismatch("The thread has gone on since: a retry would delete what came after.")


async def answerable_calls(calls: AwaitedCalls, submission: Submission, *, lock: bool) -> Calls:
    """The client tool calls that an output may be for. A retry deletes them, so it is treated alike.

    With `lock`, which needs a transaction, other admissions to the thread and ends of its runs wait.
    """
    request = submission.request
    if not isinstance(request, (ThreadsAddClientToolOutputReq, ThreadsRetryAfterItemReq)):
        return Calls()
    owner, thread_id = submission.context.owner, request.params.thread_id
    if lock:
        await calls.lock_thread(owner, thread_id)
    return Calls(await calls.item_of(owner, thread_id), submission.call_id)
