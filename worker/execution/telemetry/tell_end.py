"""Metrics and traces are told what an attempt has come to."""

from __future__ import annotations

import structlog

from relaykit.shared.log import failure
from relaykit.worker.execution.attempt import Attempt
from relaykit.worker.execution.telemetry.attempt_trace import end_trace
from relaykit.worker.execution.telemetry.figures import Report, figures_of
from relaykit.worker.execution.verdict import Outcome, Verdict

log = structlog.get_logger()


def tell_end(attempt: Attempt, outcome: Outcome, verdict: Verdict, report: Report) -> None:
    """Never raises: the run is settled, and a failed metric or trace must not fail its job."""
    try:
        report(figures_of(attempt, outcome, verdict))
        end_trace(attempt, outcome, verdict)
    except Exception as error:
        log.error(  # noqa: TRY400
            "the end of an attempt could not be told: it is missing in metrics or traces",
            action="attempt_untold",
            **failure(error),
        )
