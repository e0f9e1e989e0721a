"""A run is made again by an operator, in its user's name: as ChatKit does with `threads.retry_after_item`."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from uuid import uuid4

from chatkit.types import ThreadRetryAfterItemParams, ThreadsRetryAfterItemReq

from relaykit.api.admission.admission import Admission
from relaykit.api.admission.submission import Submission
from relaykit.shared.crashes import site_code
from relaykit.shared.errors import RelaykitError, ServerRefused
from relaykit.shared.log import failure
from relaykit.shared.operating.act_errors import ActRefused, RetryFailed
from relaykit.shared.operating.audit import Audit
from relaykit.shared.operating.run_details import RunReader
from relaykit.shared.runs.context import request_context
from relaykit.shared.runs.run import Kind, Run, new_run_id

RETRIED = frozenset({Kind.CREATE, Kind.MESSAGE, Kind.RETRY})
"""The kinds that answer a user's message. The others answer something that has been used up."""


async def retry(admission: Admission, run: Run) -> tuple[Run, bool]:
    """The run that answers the same message again, and whether it is new: a run is retried once.

    What its thread has after the message is deleted, as by the user's own retry; so the run must be the newest of its
    thread. The context is that of the first request, without the caller's token, which has ended with the run. Raises
    ActRefused and what `Admission.submit` raises.
    """
    check_retried(run)
    submission = _submission(run)
    submitted = await admission.submit(submission)
    return submitted.run, submitted.run.id == submission.context.run_id


async def retry_noted(
    audit: Audit, reader: RunReader, admission: Admission, run_id: str, actor: str
) -> tuple[Run, bool, str]:
    """The same as an act in the audit, and its outcome. Raises RunNotFound and RetryFailed besides.

    What the site's code says is about the message, which its operator may not be one to read.
    """
    run = await reader.row(run_id)
    check_retried(run)
    async with audit.doing(actor, "retry", run_id) as act:
        try:
            with site_code:
                made, is_new = await retry(admission, run)
        except ServerRefused as error:
            raise ActRefused(f"The site's code refuses the message, with {error.status}.") from error
        except RelaykitError:
            raise
        except Exception as error:
            raise RetryFailed(f"The site's code raised {_place(error)}.") from error
        act.outcome = f"run {made.id}" if is_new else f"run {made.id} answers it already"
        return made, is_new, act.outcome


def _place(error: Exception) -> str:
    """The type and the place, without the text, which may quote a user."""
    told = failure(error)
    frames = [frame for frame in told["frames"] if isinstance(frame, str)]  # type: ignore[attr-defined]
    return f"{told['error_type']} at {frames[-1]}" if frames else str(told["error_type"])


def check_retried(run: Run) -> None:
    """Raises ActRefused for a run that is none to be retried, as far as its row says so."""
    if not run.status.ended:
        raise ActRefused(f"The run has not ended: it is {run.status.value}.")
    if run.kind not in RETRIED:
        raise ActRefused(f"A run of the kind {run.kind.value} answers no message, and cannot be retried.")


def _submission(run: Run) -> Submission:
    params = ThreadRetryAfterItemParams(thread_id=run.thread_id, item_id=run.input["item_id"])
    context = replace(request_context(run), run_id=new_run_id(), attempt=None, request_id=uuid4().hex)
    return Submission(
        request=ThreadsRetryAfterItemReq(params=params),
        context=context,
        request_hash=hashlib.sha256(f"retry\x00{run.id}".encode()).digest(),
        idempotency_key=f"retry of {run.id}",  # no client's: theirs have no space
        token=None,
        max_attempts=run.max_attempts,
        queue_refusal=None,
        newest_run_id=run.id,
    )
