"""What a worker counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

RUNS = Gauge("relaykit_worker_runs", "Runs that this worker executes.")
SLOTS = Gauge("relaykit_worker_slots", "Runs that this worker may execute at once: MAX_RUNS.")
BLOCKED = Counter(
    "relaykit_worker_blocked_total", "Calls in which the event loop of this worker stood still for a second."
)
BLOCKED_SECONDS = Counter(
    "relaykit_worker_blocked_seconds_total", "Seconds that the event loop stood still in them."
)
RENEWALS_FAILED = Counter(
    "relaykit_worker_renewals_failed_total", "Beats in which leases could not be renewed."
)
LEASES_RETAKEN = Counter(
    "relaykit_worker_leases_retaken_total", "Leases that had lapsed and that no other worker had taken."
)
LEASES_LOST = Counter(
    "relaykit_worker_leases_lost_total",
    "Leases that another worker has, or may have, and whose attempts end.",
)
