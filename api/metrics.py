"""What the API counts, for Prometheus."""

from __future__ import annotations

import math
from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

from relaykit.shared.metrics import begin_at_zero
from relaykit.shared.runs.run import Kind

ADMITTED = Counter("relaykit_runs_admitted_total", "Runs that were accepted.", ["kind"])
STREAMS = Gauge("relaykit_streams", "Open streams of this process.")
STREAMS_OPENED = Counter(
    "relaykit_streams_opened_total",
    "Streams by where they begin: the start of their run, or a cursor, of a client that has come again.",
    ["at"],
)
STREAM_SENDS = Counter(
    "relaykit_stream_sends_total", "Pieces that were sent on streams: as many entries as were ready at once."
)
RELAY_SECONDS = Histogram(
    "relaykit_relay_seconds",
    "From when this process heard of a run's newest entries to their being sent, of each sixteenth piece.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
STREAMS_CLOSED = Counter(
    "relaykit_streams_closed_total",
    "Streams by why they closed: the run's end, the client's leaving, or one of ours.",
    ["reason"],
)
REFUSED = Counter("relaykit_requests_refused_total", "Requests that were answered with an error.", ["code"])
QUIET = Counter(
    "relaykit_quiet_runs_total",
    "Runs of which nothing was heard, by what was found: the end was missing, the journal gone, no worker had it.",
    ["found"],
)
CONNECTIONS = Gauge("relaykit_connections", "Open connections of clients to this process.")
CONNECTIONS_DROPPED = Counter(
    "relaykit_connections_dropped_total",
    "Connections that were closed unanswered: nothing came in time, nothing was taken, or another got the place.",
    ["reason"],
)
WEBSOCKETS = Gauge("relaykit_websockets", "Open WebSockets of the site's application.")
ACCEPT_QUEUE_DROPS = Counter(
    "relaykit_accept_queue_drops_total",
    "Connections that the kernel dropped, because this process did not accept those before them in time.",
)
SERVER_BLOCKED = Counter(
    "relaykit_server_blocked_seconds_total",
    "Seconds for which a call of the server's code has held its loop without a break.",
)
AUTHENTICATE_CALLS = Counter(
    "relaykit_authenticate_calls_total",
    "Calls of the site's AUTHENTICATE by what came of them: known, unknown, refused, failed, timeout.",
    ["outcome"],
)
DESCRIPTORS_EXHAUSTED = Counter(
    "relaykit_descriptors_exhausted_total", "Looks, about one a second, that found no descriptor free."
)

begin_at_zero(ADMITTED, *(kind.value for kind in Kind))
begin_at_zero(STREAMS_OPENED, "start", "cursor")
begin_at_zero(
    STREAMS_CLOSED, "ended", "left", "token", "drain", "failed", "journal_gone", "queue_unavailable"
)
begin_at_zero(QUIET, "ended", "gone", "nobody")
begin_at_zero(CONNECTIONS_DROPPED, "silent", "stalled", "evicted")
begin_at_zero(AUTHENTICATE_CALLS, "known", "unknown", "refused", "failed", "timeout")

# Of the whole deployment, the same in every API process: a query takes the maximum. NaN where no API could ask.
DUE_RUNS = Gauge("relaykit_due_runs", "Runs that a free worker would take now.")
OLDEST_DUE = Gauge("relaykit_oldest_due_run_seconds", "For how long the oldest due run has been due.")
WAITING_RUNS = Gauge("relaykit_waiting_runs", "Runs that wait behind another of their thread.")
RUNNING_RUNS = Gauge("relaykit_running_runs", "Runs that a worker has begun, and that have not ended.")
WORKERS = Gauge("relaykit_workers", "Workers that are there: claiming, or draining.", ["state"])
SLOTS = Gauge("relaykit_slots", "Slots of all workers: used, or free.", ["state"])


def note_queue(state: Mapping[str, float] | None) -> None:
    """Sets the gauges of the whole deployment from the fields of a QueueState; None: no API could ask."""
    known = state or {}
    for gauge, value in (
        (DUE_RUNS, known.get("due")),
        (OLDEST_DUE, known.get("oldest_due_seconds")),
        (WAITING_RUNS, known.get("waiting")),
        (RUNNING_RUNS, known.get("running")),
    ):
        gauge.set(math.nan if value is None else value)
    workers, draining = known.get("workers", math.nan), known.get("draining", math.nan)
    slots, used = known.get("slots", math.nan), known.get("used", math.nan)
    WORKERS.labels("claiming").set(workers - draining)
    WORKERS.labels("draining").set(draining)
    SLOTS.labels("used").set(used)
    SLOTS.labels("free").set(max(0.0, slots - used) if state else math.nan)
