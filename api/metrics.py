"""What the API counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

ADMITTED = Counter("relaykit_runs_admitted_total", "Runs that were accepted.", ["kind"])
STREAMS = Gauge("relaykit_streams", "Open streams of this process.")
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
ACCEPT_QUEUE_DROPS = Counter(
    "relaykit_accept_queue_drops_total",
    "Connections that the kernel dropped, because this process did not accept those before them in time.",
)
SERVER_BLOCKED = Counter(
    "relaykit_server_blocked_seconds_total",
    "Seconds for which a call of the server's code has held its loop without a break.",
)
DESCRIPTORS_EXHAUSTED = Counter(
    "relaykit_descriptors_exhausted_total", "Looks, about one a second, that found no descriptor free."
)
