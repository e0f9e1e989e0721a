"""What admission takes, and what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chatkit.types import StreamingReq, StreamOptions

from relaykit.api.admission.request_intake import AcceptedRequest
from relaykit.shared.identity import RequestContext
from relaykit.shared.runs.context import stored_context
from relaykit.shared.runs.run import Kind, Run, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One streaming request of an authenticated caller."""

    request: StreamingReq
    context: RequestContext
    """With the run's id, which is new."""
    request_hash: bytes
    idempotency_key: str | None
    token: bytes | None
    max_attempts: int | None
    queue_is_full: bool
    place: str = ""
    """The one that the request holds in the queue."""
    call_id: str | None = None
    """The client tool call that the output is for, where the client says so."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The run that a request became, or attached to."""

    run: Run
    events: Sequence[bytes] = ()
    """The first of its journal, where this request has just written it."""
    is_queued: bool = False
    """Whether its job has taken over the place that the request held."""


def row_of(submission: Submission, accepted: AcceptedRequest, options: StreamOptions) -> Run:
    """The row of the run that the submission becomes."""
    context = submission.context
    if context.run_id is None:
        raise ValueError("the context of a submission carries the id of its run")
    return Run(
        id=context.run_id,
        owner=context.owner,
        thread_id=accepted.thread.id,
        kind=Kind(submission.request.type),
        status=Status.QUEUED,
        attempt=0,
        handed_back=0,
        anchor_item_id=accepted.anchor_item_id,
        input={**accepted.input, "stream_options": options.model_dump()},
        context=stored_context(context),
        token=submission.token,
        cancel_requested=False,
        error=None,
        request_hash=submission.request_hash,
        idempotency_key=submission.idempotency_key,
        max_attempts=submission.max_attempts,
    )
