"""What a worker counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from relaykit.shared.metrics import WAIT_SECONDS, begin_at_zero

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
LEASES = Gauge("relaykit_worker_leases", "Leases that this worker holds, without those of its cells.")
ATTEMPTS = Counter(
    "relaykit_attempts_total",
    "Attempts that have come to an end, by why they were begun: first, handed_back, lost.",
    ["cause"],
)
PICKUP_SECONDS = Histogram(
    "relaykit_pickup_seconds",
    "From when a run was due to the beginning of its attempt.",
    buckets=WAIT_SECONDS,
)
FIRST_EVENT_SECONDS = Histogram(
    "relaykit_first_event_seconds",
    "From when a run was accepted to the first event of its server, in its first attempt.",
    buckets=WAIT_SECONDS,
)
PUBLISH_SECONDS = Histogram(
    "relaykit_publish_seconds",
    "From when the oldest event of a batch was made to its being in the journal.",
    buckets=WAIT_SECONDS,
)
MODEL_CALLS = Counter("relaykit_model_calls_total", "Model calls of the agents SDK.", ["tenant"])
MODEL_TOKENS = Counter("relaykit_model_tokens_total", "Tokens of these calls.", ["tenant", "direction"])

begin_at_zero(ATTEMPTS, "first", "handed_back", "lost")
