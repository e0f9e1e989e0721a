"""What admission takes, and what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chatkit.types import StreamingReq

from shared.identity import RequestContext
from shared.runs import Run


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


@dataclass(frozen=True, slots=True)
class Submitted:
    """The run that a request became, or attached to."""

    run: Run
    events: Sequence[bytes] = ()
    """The first of its journal, where this request has just written it."""
