"""A request on its way to a run: what it becomes if nothing refuses it any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chatkit.types import StreamOptions, StreamOptionsEvent

from relaykit.api.admission.request_intake import AcceptedRequest, Calls, accept_request
from relaykit.api.admission.submission import Submission
from relaykit.shared.runs.context import stored_context
from relaykit.shared.runs.run import Kind, Run, Status
from relaykit.shared.site.user_server import UserServer


@dataclass(frozen=True, slots=True)
class Candidate:
    run: Run
    accepted: AcceptedRequest
    events: Sequence[bytes]
    """The first of the run's journal."""
    status: Status = Status.QUEUED
    """Of the row: waiting, where it was written behind another run."""


async def make_candidate(
    user: UserServer, submission: Submission, context: Any, calls: Calls = Calls()
) -> Candidate:
    """Accepts the request, and makes the row and the first events of its run.

    Raises as `accept_request` does, and what the server's `get_stream_options` raises.
    """
    server = user.server
    accepted = await accept_request(user, submission.request, context, calls)
    options = server.get_stream_options(accepted.thread, context)
    events = [*accepted.events, StreamOptionsEvent(stream_options=options)]
    return Candidate(
        _row_of(submission, accepted, options), accepted, [server._serialize(event) for event in events]
    )


def _row_of(submission: Submission, accepted: AcceptedRequest, options: StreamOptions) -> Run:
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
