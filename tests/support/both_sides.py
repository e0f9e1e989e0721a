"""The queue and the rows for tests that play the API and a worker in one process."""

from __future__ import annotations

from relaykit.api.admission.admission_queue import AdmissionQueue
from relaykit.api.admission.admission_rows import AdmissionRuns
from relaykit.worker.execution.attempt_rows import AttemptRuns
from relaykit.worker.leases.claim_queue import ClaimQueue


class WholeQueue(AdmissionQueue, ClaimQueue):
    """Publishes and claims."""


class WholeRuns(AdmissionRuns, AttemptRuns):
    """Admits runs and begins their attempts."""
