"""The queue for tests that play the API and a worker in one process."""

from __future__ import annotations

from relaykit.api.admission.admission_queue import AdmissionQueue
from relaykit.worker.leases.claim_queue import ClaimQueue


class WholeQueue(AdmissionQueue, ClaimQueue):
    """Publishes and claims."""
