"""What admission takes, and what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chatkit.types import StreamingReq

from relaykit.shared.errors import QueueFull, TooManyQueued
from relaykit.shared.identity import RequestContext
from relaykit.shared.runs.run import Run


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
    queue_refusal: QueueFull | TooManyQueued | None
    """Why the queue has no place for another run. A repeat, or a resume, asks for none."""
    place: str = ""
    """The one that the request holds in the queue."""
    call_id: str | None = None
    """The client tool call that the output is for, where the client says so."""
    newest_run_id: str | None = None
    """The run that has to be its thread's newest, where the request means nothing otherwise."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The run that a request became, or attached to."""

    run: Run
    events: Sequence[bytes] = ()
    """The first of its journal, where this request has just written it."""
    is_queued: bool = False
    """Whether its job has taken over the place that the request held."""
