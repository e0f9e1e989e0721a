"""What Prometheus has scraped in each incident: a healthy deployment, what of it changes, and the alerts that fire."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

STEP_SECONDS, LONG_STEP_SECONDS = 15, 60
LONG_MINUTES = 60
"""An incident that takes longer is scraped at the longer step, which its alerts do not need to be shorter."""
API, WORKER = ("a1", "a2"), ("w1", "w2")
GONE = None
"""The series is not scraped any more."""
Value = float | None


def of_api(name: str, **labels: str) -> list[str]:
    return [series(name, job="relaykit-api", instance=instance, **labels) for instance in API]


def of_worker(name: str, **labels: str) -> list[str]:
    return [series(name, job="relaykit-worker", instance=instance, **labels) for instance in WORKER]


def of_both(name: str, **labels: str) -> list[str]:
    return [*of_api(name, **labels), *of_worker(name, **labels)]


def series(name: str, **labels: str) -> str:
    given = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{given}}}"


def _histogram(of: object, name: str, **rates: float) -> dict[str, float]:
    """Buckets by their upper bounds (`le_0_25`), the last of which is that of all."""
    found = {}
    for bound, rate in rates.items():
        le = bound.removeprefix("le_").replace("_", ".").replace("inf", "+Inf")
        found |= dict.fromkeys(of(f"{name}_bucket", le=le), rate)  # type: ignore[operator]
    return found | dict.fromkeys(of(f"{name}_count"), rate)  # type: ignore[operator]


PICKUPS_SLOW = _histogram(of_worker, "relaykit_pickup_seconds", le_0_1=0, le_5_0=0, le_10_0=1, le_inf=1)

GAUGES: Mapping[str, float] = {
    **dict.fromkeys(of_both("up"), 1),
    **dict.fromkeys(of_api("relaykit_due_runs"), 1),
    **dict.fromkeys(of_api("relaykit_oldest_due_run_seconds"), 0.2),
    **dict.fromkeys(of_api("relaykit_waiting_runs"), 0),
    **dict.fromkeys(of_api("relaykit_running_runs"), 10),
    **dict.fromkeys(of_api("relaykit_workers", state="claiming"), 2),
    **dict.fromkeys(of_api("relaykit_workers", state="draining"), 0),
    **dict.fromkeys(of_api("relaykit_slots", state="used"), 10),
    **dict.fromkeys(of_api("relaykit_slots", state="free"), 90),
    **dict.fromkeys(of_both("relaykit_clock_offset_seconds", service="redis"), 0.002),
    **dict.fromkeys(of_both("relaykit_clock_offset_seconds", service="postgresql"), -0.003),
}
REFUSED = (
    "queue_full",
    "unauthenticated",
    "internal",
    "too_many_connections",
    "issuer_unavailable",
    "storage_unavailable",
    "context_timeout",
    "authentication_failed",
    "authentication_timeout",
    "queue_unavailable",
    "database_unavailable",
    "server_blocked",
)
COUNTERS: Mapping[str, float] = {
    **dict.fromkeys(of_worker("relaykit_run_seconds_count", status="completed"), 1),
    **dict.fromkeys(of_worker("relaykit_run_seconds_count", status="failed"), 0.001),
    **dict.fromkeys(of_worker("relaykit_run_seconds_count", status="cancelled"), 0.05),
    **_histogram(of_worker, "relaykit_pickup_seconds", le_0_1=0.99, le_5_0=0.999, le_10_0=1, le_inf=1),
    **_histogram(of_worker, "relaykit_first_event_seconds", le_1_0=0.9, le_10_0=0.99, le_inf=1),
    **_histogram(of_worker, "relaykit_publish_seconds", le_0_01=19.9, le_1_0=20, le_5_0=20, le_inf=20),
    **_histogram(of_api, "relaykit_relay_seconds", le_0_01=19.9, le_1_0=20, le_5_0=20, le_inf=20),
    **_histogram(of_both, "relaykit_redis_seconds", le_0_01=99.9, le_0_25=100, le_2_5=100, le_inf=100),
    **_histogram(of_both, "relaykit_database_seconds", le_0_1=9.99, le_1_0=10, le_5_0=10, le_inf=10),
    **_histogram(of_both, "relaykit_database_wait_seconds", le_0_01=10, le_0_25=10, le_2_5=10, le_inf=10),
    **dict.fromkeys(of_both("relaykit_redis_failures_total", code="unreachable"), 0),
    **dict.fromkeys(of_both("relaykit_database_failures_total", code="unreachable"), 0),
    **dict.fromkeys(of_both("relaykit_database_failures_total", code="none_free"), 0),
    **dict.fromkeys(of_worker("relaykit_attempts_total", cause="first"), 1),
    **dict.fromkeys(of_worker("relaykit_attempts_total", cause="handed_back"), 0),
    **dict.fromkeys(of_worker("relaykit_attempts_total", cause="lost"), 0),
    **dict.fromkeys(of_worker("relaykit_worker_blocked_seconds_total"), 0),
    **dict.fromkeys(of_api("relaykit_server_blocked_seconds_total"), 0),
    **{each: 0.0 for code in REFUSED for each in of_api("relaykit_requests_refused_total", code=code)},
    **dict.fromkeys(of_api("relaykit_streams_opened_total", at="start"), 1),
    **dict.fromkeys(of_api("relaykit_streams_opened_total", at="cursor"), 0.1),
    **dict.fromkeys(of_api("relaykit_streams_closed_total", reason="ended"), 1.1),
    **dict.fromkeys(of_api("relaykit_streams_closed_total", reason="failed"), 0),
    **dict.fromkeys(of_api("relaykit_accept_queue_drops_total"), 0),
    **dict.fromkeys(of_api("relaykit_descriptors_exhausted_total"), 0),
    **dict.fromkeys(of_api("relaykit_quiet_runs_total", found="gone"), 0),
}
"""By the second, of each process."""


@dataclass(frozen=True)
class Incident:
    """`changes` gives each series that changes a value, or one for each of the `minutes` of its phases.

    A counter's value is its rate. Before the first phase all was healthy for `healthy_minutes`.
    """

    fires: set[str]
    changes: Mapping[str, Value | tuple[Value, ...]] = field(default_factory=dict)
    minutes: tuple[float, ...] = (12,)
    healthy_minutes: float = 10

    @property
    def all_minutes(self) -> float:
        return self.healthy_minutes + sum(self.minutes)

    @property
    def step_seconds(self) -> int:
        return LONG_STEP_SECONDS if self.all_minutes > LONG_MINUTES else STEP_SECONDS

    def input_series(self) -> list[dict[str, str]]:
        found = []
        names = {**dict.fromkeys(self.changes, 0.0), **GAUGES, **COUNTERS}
        for name, healthy in names.items():
            changed = self.changes.get(name, healthy)
            after = changed if isinstance(changed, tuple) else (changed,) * len(self.minutes)
            phases = list(zip((self.healthy_minutes, *self.minutes), (healthy, *after), strict=True))
            found.append(
                {"series": name, "values": _values(phases, self.step_seconds, is_counter=name not in GAUGES)}
            )
        return found


def _values(phases: list[tuple[float, Value]], step_seconds: int, *, is_counter: bool) -> str:
    parts, at = [], 0.0
    for minutes, value in phases:
        steps = round(minutes * 60 / step_seconds)
        if value is None:
            parts.append(f"_x{steps}")
        elif math.isnan(value):
            parts.append(" ".join(["NaN"] * steps))
        elif is_counter:
            rise = value * step_seconds
            parts.append(f"{at:.6f}+{rise:.6f}x{steps - 1}")
            at += rise * steps
        else:
            parts.append(f"{value}x{steps - 1}")
    return " ".join(parts)


def _each(names: list[str], value: Value | tuple[Value, ...]) -> dict[str, Value | tuple[Value, ...]]:
    return dict.fromkeys(names, value)


def _refused(code: str, rate: float) -> dict[str, Value | tuple[Value, ...]]:
    return _each(of_api("relaykit_requests_refused_total", code=code), rate)


def _failing(service: str, code: str, *rates: float) -> dict[str, Value | tuple[Value, ...]]:
    return _each(of_both(f"relaykit_{service}_failures_total", code=code), rates)


def _all(job: str) -> list[str]:
    return [name for name in (*GAUGES, *COUNTERS) if f'job="relaykit-{job}"' in name]


def _ends(completed: float, failed: float) -> dict[str, Value | tuple[Value, ...]]:
    return {
        **_each(of_worker("relaykit_run_seconds_count", status="completed"), completed),
        **_each(of_worker("relaykit_run_seconds_count", status="failed"), failed),
    }


NOBODY_KNOWS = {name: math.nan for name in GAUGES if name.startswith("relaykit_")}
NO_SLOT = {
    **_each(of_api("relaykit_slots", state="used"), 100),
    **_each(of_api("relaykit_slots", state="free"), 0),
    **_each(of_api("relaykit_due_runs"), 400),
    **_each(of_api("relaykit_oldest_due_run_seconds"), 40),
}
NO_WORKER = {
    **_each(of_api("relaykit_workers", state="claiming"), 0),
    **_each(of_api("relaykit_slots", state="used"), 0),
    **_each(of_api("relaykit_slots", state="free"), 0),
    **_each(of_api("relaykit_oldest_due_run_seconds"), 600),
    **_each(_all("worker"), GONE),
}
FROZEN = {
    **_each([name for name in _all("worker") if 'instance="w2"' in name], GONE),
    **_each(of_worker("up")[1:], 0),
    **_each(of_api("relaykit_workers", state="claiming"), 1),
}

INCIDENTS: Mapping[str, Incident] = {
    "nothing": Incident(set()),
    "every API is down": Incident({"RelaykitNoApi"}, {**_each(_all("api"), GONE), **_each(of_api("up"), 0)}),
    "every API is gone": Incident({"RelaykitNoApi"}, _each(_all("api"), GONE)),
    "every worker is down": Incident({"RelaykitNoWorker"}, NO_WORKER | _each(of_worker("up"), 0)),
    "every worker is gone": Incident({"RelaykitNoWorker"}, NO_WORKER),
    "workers that Prometheus does not reach": Incident(
        {"RelaykitProcessDown"}, {**_each(_all("worker"), GONE), **_each(of_worker("up"), 0)}
    ),
    "an idle worker is frozen": Incident({"RelaykitProcessDown"}, FROZEN),
    "a worker with runs is frozen": Incident(
        {"RelaykitProcessDown", "RelaykitAttemptsLost"},
        {**FROZEN, **_each(of_worker("relaykit_attempts_total", cause="lost")[:1], (0.5, 0))},
        minutes=(1, 6),
    ),
    "workers die again and again": Incident(
        {"RelaykitAttemptsLost"}, _each(of_worker("relaykit_attempts_total", cause="lost")[:1], 0.01)
    ),
    "a rolling deploy": Incident(
        set(),
        {
            **_each(of_worker("relaykit_attempts_total", cause="handed_back"), 0.5),
            **_each(of_api("relaykit_workers", state="draining"), 2),
        },
        minutes=(1,),
    ),
    "a call blocks a worker's loop": Incident(
        {"RelaykitWorkerBlocked"}, _each(of_worker("relaykit_worker_blocked_seconds_total")[:1], 0.9)
    ),
    "a call blocks the server's code of an API": Incident(
        {"RelaykitServerBlocked"},
        _each(of_api("relaykit_server_blocked_seconds_total")[:1], 1) | _refused("server_blocked", 1),
    ),
    "workers do not claim what is due": Incident(
        {"RelaykitRunsNotTaken"}, _each(of_api("relaykit_oldest_due_run_seconds"), 120)
    ),
    "more runs than slots": Incident(
        {"RelaykitSlotsTaken"}, NO_SLOT | PICKUPS_SLOW, minutes=(8,), healthy_minutes=360
    ),
    "more runs than slots for most of an hour": Incident(
        # the slow one too, because there were only six hours before
        {"RelaykitSlotsTaken", "RelaykitPickupBurnFast", "RelaykitPickupBurnSlow"},
        NO_SLOT | PICKUPS_SLOW,
        minutes=(40,),
        healthy_minutes=360,
    ),
    "a tenant fills the queue": Incident(
        {"RelaykitQueueFull"}, NO_SLOT | _refused("queue_full", 1), minutes=(4,)
    ),
    "Redis is away": Incident(
        {"RelaykitRedisUnavailable"},
        NOBODY_KNOWS | _failing("redis", "unreachable", 1) | _refused("queue_unavailable", 1),
    ),
    "Redis' password was changed": Incident(
        {"RelaykitRedisUnavailable"}, NOBODY_KNOWS | _failing("redis", "WRONGPASS", 1)
    ),
    "Redis fails over in 20 seconds": Incident(
        set(),
        {**_failing("redis", "READONLY", 0, 5, 0), **_failing("redis", "unreachable", 5, 0, 0)},
        minutes=(0.25, 0.5, 5),
    ),
    "REDIS_URL leads to a replica": Incident(
        {"RelaykitRedisRefusesWrites"}, NOBODY_KNOWS | _failing("redis", "READONLY", 1)
    ),
    "Redis is full": Incident(
        {"RelaykitRedisFull"}, NOBODY_KNOWS | _failing("redis", "OOM", 1) | _refused("queue_unavailable", 1)
    ),
    "Redis is slow": Incident(
        {"RelaykitRedisSlow"},
        _histogram(of_both, "relaykit_redis_seconds", le_0_01=50, le_0_25=90, le_2_5=100, le_inf=100),
        minutes=(20,),
    ),
    "Redis came back empty": Incident(
        {"RelaykitJournalsLost"}, _each(of_api("relaykit_quiet_runs_total", found="gone"), (0.5, 0)), (1, 4)
    ),
    "PostgreSQL is away": Incident(
        {"RelaykitDatabaseUnavailable"},
        NOBODY_KNOWS | _failing("database", "unreachable", 1) | _refused("database_unavailable", 1),
    ),
    "PostgreSQL fails over in 20 seconds": Incident(
        set(),
        {**_failing("database", "25006", 0, 5, 0), **_failing("database", "57P01", 5, 0, 0)},
        minutes=(0.25, 0.5, 5),
    ),
    "PostgreSQL is read-only": Incident({"RelaykitDatabaseReadOnly"}, _failing("database", "25006", 1)),
    "PostgreSQL's disk is full": Incident(
        {"RelaykitDatabaseOutOfResources"}, _failing("database", "53100", 1)
    ),
    "deadlocks": Incident(set(), _failing("database", "40P01", 0.1)),
    "PostgreSQL is slow": Incident(
        {"RelaykitDatabaseSlow"},
        _histogram(of_both, "relaykit_database_seconds", le_0_1=5, le_1_0=8, le_5_0=10, le_inf=10),
        minutes=(20,),
    ),
    "all connections of a process are held, and none comes back": Incident(
        {"RelaykitDatabasePoolExhausted"},
        _each(of_api("relaykit_database_failures_total", code="none_free")[:1], 0.2),
    ),
    "the clock of an API is ahead": Incident(
        {"RelaykitClockSkew"}, _each(of_api("relaykit_clock_offset_seconds", service="redis")[:1], 300)
    ),
    "PostgreSQL's clock is ahead": Incident(
        {"RelaykitClockSkew"}, _each(of_both("relaykit_clock_offset_seconds", service="postgresql"), -7)
    ),
    "a pool is exhausted": Incident(
        {"RelaykitDatabasePoolExhausted"},
        _histogram(of_both, "relaykit_database_wait_seconds", le_0_01=5, le_0_25=6, le_2_5=10, le_inf=10)
        | _failing("database", "none_free", 0.2),
    ),
    "the issuer does not answer": Incident({"RelaykitDependencyFails"}, _refused("issuer_unavailable", 1)),
    "an API's clock is wrong": Incident(
        {"RelaykitCallersRefused"},
        _refused("unauthenticated", 20) | _each(of_api("relaykit_streams_opened_total", at="start"), 0.1),
    ),
    "an exception that nothing expects": Incident({"RelaykitInternalErrors"}, _refused("internal", 0.1)),
    "a defect of the relay": Incident(
        {"RelaykitStreamsFail"}, _each(of_api("relaykit_streams_closed_total", reason="failed"), 0.1)
    ),
    "no place for connections": Incident({"RelaykitConnectionsFull"}, _refused("too_many_connections", 1)),
    "no descriptor": Incident(
        {"RelaykitConnectionsFull"}, _each(of_api("relaykit_descriptors_exhausted_total"), 1)
    ),
    "an API is out of CPU": Incident(
        {"RelaykitAcceptQueueDrops"}, _each(of_api("relaykit_accept_queue_drops_total"), 3)
    ),
    "a busy loop": Incident(
        {"RelaykitEventsLate"},
        _histogram(of_api, "relaykit_relay_seconds", le_0_01=10, le_1_0=15, le_5_0=20, le_inf=20),
        minutes=(20,),
    ),
    "half the runs fail": Incident({"RelaykitFailedRunsBurnFast"}, _ends(0.5, 0.5), (14,)),
    "two of a hundred runs fail": Incident({"RelaykitFailedRunsBurnSlow"}, _ends(0.98, 0.02), (180,), 60),
    "one of two runs fails, once": Incident(
        set(),
        _ends(0, 0)
        | _each(of_worker("relaykit_run_seconds_count", status="failed")[:1], (0, 0.02, 0))
        | _each(of_worker("relaykit_run_seconds_count", status="completed")[:1], (0, 0.02, 0)),
        minutes=(400, 1, 10),
        healthy_minutes=5,
    ),
    "pick-up is slow": Incident({"RelaykitPickupBurnFast"}, PICKUPS_SLOW, (15,), 60),
    "two of a hundred pick-ups are slow": Incident(
        {"RelaykitPickupBurnSlow"},
        _histogram(of_worker, "relaykit_pickup_seconds", le_0_1=0.9, le_5_0=0.98, le_10_0=1, le_inf=1),
        (180,),
        60,
    ),
    "the model is slow": Incident(
        {"RelaykitFirstEventBurnFast"},
        _histogram(of_worker, "relaykit_first_event_seconds", le_1_0=0, le_10_0=0.05, le_inf=1),
        (14,),
    ),
    "the model is slow for some": Incident(
        {"RelaykitFirstEventBurnSlow"},
        _histogram(of_worker, "relaykit_first_event_seconds", le_1_0=0.5, le_10_0=0.88, le_inf=1),
        (180,),
        60,
    ),
}
