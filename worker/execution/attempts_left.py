"""Whether a run has attempts left: by its own number, by RUN_MAX_ATTEMPTS, and by what its server has forbidden."""

from __future__ import annotations

from relaykit.shared.runs.run import Run
from relaykit.shared.settings import Settings
from relaykit.worker.execution.attempt import Attempt


def is_exhausted(run: Run, settings: Settings) -> bool:
    """Whether the attempt that has begun is one too many. One that was handed back does not count."""
    return run.attempt - run.handed_back > _max_attempts(run, settings)


def allows_another(attempt: Attempt, settings: Settings) -> bool:
    """Whether the run may be executed again: always, as long as the server was not called."""
    forbidden = attempt.is_last or _max_attempts(attempt.run, settings) == 1
    return not (attempt.is_server_called and forbidden)


def _max_attempts(run: Run, settings: Settings) -> int:
    return min(run.max_attempts or settings.run_max_attempts, settings.run_max_attempts)
