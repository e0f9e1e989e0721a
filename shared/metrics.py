"""What every process counts of the services it uses, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

NONE_FREE = "none_free"
"""A failure's code where no connection became free in time."""
CALL_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
WAIT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
RUN_LENGTHS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
OTHER = "other"
"""Stands for what a label has no more room for."""

REDIS_SECONDS = Histogram(
    "relaykit_redis_seconds",
    "Calls of Redis, with the wait for a connection; without those that wait for news on purpose.",
    buckets=CALL_SECONDS,
)
DATABASE_SECONDS = Histogram(
    "relaykit_database_seconds",
    "Uses of a connection to PostgreSQL: a statement, or a transaction.",
    buckets=CALL_SECONDS,
)
DATABASE_WAIT_SECONDS = Histogram(
    "relaykit_database_wait_seconds",
    "Waits for a connection to PostgreSQL out of the pool.",
    buckets=CALL_SECONDS,
)
DATABASE_CONNECTIONS = Gauge(
    "relaykit_database_connections",
    "Connections to PostgreSQL: open, and of these used; waiting: callers that wait for one.",
    ["state"],
)
DATABASE_POOL_MAX = Gauge(
    "relaykit_database_connections_max", "Connections to PostgreSQL that this process may open."
)
REDIS_FAILURES = Counter(
    "relaykit_redis_failures_total",
    "Calls of Redis that failed, by the word of its reply; unreachable: it gave none.",
    ["code"],
)
DATABASE_FAILURES = Counter(
    "relaykit_database_failures_total",
    "Uses of PostgreSQL that failed, by SQLSTATE; unreachable: no answer; none_free: no connection of the pool's.",
    ["code"],
)
CLOCK_OFFSET_SECONDS = Gauge(
    "relaykit_clock_offset_seconds",
    "By how much the clock of this process is ahead of a service's; negative: behind.",
    ["service"],
)
REMOVALS_FAILED = Counter(
    "relaykit_removals_failed_total",
    "Removals of what was deleted that failed, of an attachment's object or of a run's journal.",
    ["of"],
)
RUNS_ENDED = Counter("relaykit_runs_ended_total", "Runs that have ended.", ["kind", "status", "error"])
RUN_SECONDS = Histogram(
    "relaykit_run_seconds",
    "From when a run was accepted to its end, with what it waited.",
    ["status"],
    buckets=RUN_LENGTHS,
)


class Bounded:
    """A label's values as they come, the first `most` of them; every later one is OTHER.

    So that what a site, or a token, can name without end does not fill memory.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value


_errors = Bounded(50)
_codes = Bounded(50)


def count_failure(failures: Counter, code: str) -> None:
    """Counts a failure of Redis' or PostgreSQL's; either makes words of its own."""
    failures.labels(_codes(code)).inc()


def begin_at_zero(metric: Counter | Histogram | Gauge, *values: str) -> None:
    """Shows the label's values before they are first counted: a rate does not see a series begin."""
    for value in values:
        metric.labels(value)


for _failures in (REDIS_FAILURES, DATABASE_FAILURES):
    begin_at_zero(_failures, "unreachable")
begin_at_zero(DATABASE_FAILURES, NONE_FREE)
begin_at_zero(REMOVALS_FAILED, "object", "journal")
begin_at_zero(RUN_SECONDS, "completed", "failed", "cancelled")


def count_ended(kind: str, status: str, error: str | None) -> None:
    """Counts a run that has ended; the site may make codes of errors of its own."""
    RUNS_ENDED.labels(kind, status, "" if error is None else _errors(error)).inc()
