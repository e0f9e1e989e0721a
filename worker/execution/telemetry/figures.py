"""What an attempt has come to, in figures: for metrics, and as one line from a cell to its worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from relaykit.shared.metrics import RUN_SECONDS, Bounded, count_ended
from relaykit.worker.execution.attempt import Attempt
from relaykit.worker.execution.verdict import Outcome, Verdict
from relaykit.worker.metrics import ATTEMPTS, FIRST_EVENT_SECONDS, MODEL_CALLS, MODEL_TOKENS, PICKUP_SECONDS

_tenants = Bounded(100)


@dataclass(frozen=True, slots=True)
class AttemptFigures:
    """Of one attempt that has ended. What is not known of it is None."""

    kind: str
    tenant: str
    cause: str
    """Why it was begun: `Beginning.cause`."""
    due_seconds: float | None
    """From when the run was due to its beginning."""
    first_event_seconds: float | None
    """From when the run was accepted to the first event of its server's, where this was its first attempt."""
    run_seconds: float | None
    """From when the run was accepted to its end, where it has ended."""
    status: str | None
    """That of the run, where it has ended."""
    error: str | None
    model_calls: int
    input_tokens: int
    output_tokens: int


Report = Callable[[AttemptFigures], None]
"""Takes the figures of an attempt that has ended."""


def figures_of(attempt: Attempt, outcome: Outcome, verdict: Verdict) -> AttemptFigures:
    run, usage = attempt.run, attempt.usage
    began = run.began
    assert began is not None  # AttemptRuns.start sets it
    ended = outcome is Outcome.DONE
    first = None
    if attempt.first_event_at is not None and run.attempt == 1:
        first = began.age_seconds + attempt.first_event_at - attempt.begun_at
    return AttemptFigures(
        kind=run.kind.value,
        tenant=run.owner.tenant,
        cause=began.cause,
        due_seconds=began.due_seconds,
        first_event_seconds=first,
        run_seconds=began.age_seconds + time.monotonic() - attempt.begun_at if ended else None,
        status=verdict.status.value if ended else None,
        error=verdict.error if ended else None,
        model_calls=usage.calls,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
    )


def observe(figures: AttemptFigures) -> None:
    """Counts an attempt that has ended, here or in a cell."""
    ATTEMPTS.labels(figures.cause).inc()
    if figures.due_seconds is not None:
        PICKUP_SECONDS.observe(max(0.0, figures.due_seconds))
    if figures.first_event_seconds is not None:
        FIRST_EVENT_SECONDS.observe(max(0.0, figures.first_event_seconds))
    if figures.status is not None and figures.run_seconds is not None:
        count_ended(figures.kind, figures.status, figures.error)
        RUN_SECONDS.labels(figures.status).observe(max(0.0, figures.run_seconds))
    if figures.model_calls:
        tenant = _tenants(figures.tenant)
        MODEL_CALLS.labels(tenant).inc(figures.model_calls)
        MODEL_TOKENS.labels(tenant, "input").inc(figures.input_tokens)
        MODEL_TOKENS.labels(tenant, "output").inc(figures.output_tokens)
