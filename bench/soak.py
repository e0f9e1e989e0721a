"""`python -m bench.soak`: half or more of what an API and a worker hold, for SOAK_SECONDS (3600), and what grows.

In every minute RUNS_AT_ONCE clients ask for answers of ten seconds, one after the other, while as many others wait half
a minute for theirs. What is printed for each minute is measured a moment after it, with no client connected, and stands
in bench/results/soak.json. Ends with 1 where a process holds more in the last quarter than it did in the second one by
more than GROWTH_ALLOWED.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import psutil
import redis

from bench.load.clients import load, loading, posts
from bench.load.jobs import Job
from bench.output.record import SOAK
from bench.output.results import percentile
from bench.systems.machine import describe
from bench.systems.server import Script
from bench.systems.stack import Process, Stack, stack
from bench.systems.usage import resident_bytes

RUNS_AT_ONCE = 150
"""Of PER_SECOND deltas/s: half, or three quarters, of what one worker holds on two cores (docs/performance.md)."""
PER_SECOND = 50
ANSWER_SECONDS = 10
ROUND_SECONDS = 60
REST_SECONDS = 2.0
GROWTH_ALLOWED = 0.05
TTL_SECONDS = 120
"""Of an ended journal: short, so that the soak sees Redis level off."""


@dataclass(frozen=True, slots=True)
class Minute:
    """What is there after one minute."""

    runs: int
    """Since the beginning."""
    api_mb: float
    worker_mb: float
    redis_mb: float
    """Of Redis's data."""
    redis_keys: int
    api_files: int
    worker_files: int
    p50_ms: float
    """Of the ages of the oldest delta in each read, of this minute."""
    p99_ms: float
    first_event_ms: float
    """From POST to the first event of respond(), median."""


def soak(seconds: float) -> list[Minute]:
    minutes: list[Minute] = []
    with stack(JOURNAL_ENDED_TTL_SECONDS=str(TTL_SECONDS)) as services:
        with services.starting():
            api, worker = services.api(), services.worker()
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            minutes.append(_minute(services, api, worker, minutes))
            print(_line(minutes[-1]), flush=True)
    return minutes


def _minute(services: Stack, api: Process, worker: Process, before: list[Minute]) -> Minute:
    answer = Script(deltas=ANSWER_SECONDS * PER_SECOND, per_second=PER_SECOND)
    count = RUNS_AT_ONCE * ROUND_SECONDS // ANSWER_SECONDS
    quiet = Script(hold_seconds=ROUND_SECONDS / 2)
    with loading(Job(posts(api.url, quiet, RUNS_AT_ONCE, services), at_once=RUNS_AT_ONCE)) as finish:
        seen = load(Job(posts(api.url, answer, count, services), at_once=RUNS_AT_ONCE))
        finish()
    time.sleep(REST_SECONDS)
    with redis.Redis.from_url(services.services.redis_url) as client:
        used, keys = client.info("memory")["used_memory"], client.dbsize()
    return Minute(
        runs=(before[-1].runs if before else 0) + count + RUNS_AT_ONCE,
        api_mb=resident_bytes(api.pid) / 1e6,
        worker_mb=resident_bytes(worker.pid) / 1e6,
        redis_mb=used / 1e6,
        redis_keys=keys,
        api_files=psutil.Process(api.pid).num_fds(),
        worker_files=psutil.Process(worker.pid).num_fds(),
        p50_ms=percentile(seen.late, 0.5),
        p99_ms=percentile(seen.late, 0.99),
        first_event_ms=statistics.median(seen.first_delta),
    )


def _line(minute: Minute) -> str:
    return "  ".join(
        f"{name} {value:.1f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in asdict(minute).items()
    )


def grown(minutes: list[Minute]) -> dict[str, float]:
    """The medians of the last quarter over those of the second, which the start no longer shows in."""
    quarter = max(1, len(minutes) // 4)
    second, last = minutes[quarter : 2 * quarter] or minutes, minutes[-quarter:]
    names = ("api_mb", "worker_mb", "redis_mb", "redis_keys", "api_files", "worker_files", "p50_ms", "p99_ms")
    return {
        name: statistics.median(getattr(each, name) for each in last)
        / max(1e-9, statistics.median(getattr(each, name) for each in second))
        for name in names
    }


def main() -> int:
    minutes = soak(float(os.environ.get("SOAK_SECONDS") or 3600))
    growth = grown(minutes)
    print(
        "last quarter to second quarter: "
        + ", ".join(f"{name} {value:.2f}x" for name, value in growth.items())
    )
    result = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe(),
        "minutes": [asdict(each) for each in minutes],
        "growth": growth,
    }
    SOAK.write_text(json.dumps(result, indent=1) + "\n")
    held = ("api_mb", "worker_mb", "redis_mb", "redis_keys", "api_files", "worker_files")
    too_much = [name for name in held if growth[name] > 1 + GROWTH_ALLOWED]
    if too_much:
        print(f"grew: {', '.join(too_much)}")
    return 1 if too_much else 0


if __name__ == "__main__":
    sys.exit(main())
