"""A worker's publisher by itself, and the two ways to publish that it is compared with: a process of its own.

`python -m bench.systems.publishing` takes jobs on stdin, one JSON a line, and answers each with JSON on stdout once
its events are published. They are made beforehand, the same for all ways. Each run is a task that lets the others go on
after each event, as an agent does that waits for its model.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast
from uuid import uuid4

import uvloop
from chatkit.store import Store
from chatkit.types import AssistantMessageContentPartTextDelta, ThreadItemUpdatedEvent

from bench.systems.server import BenchServer
from bench.systems.timestamps import stamp
from relaykit.shared.journal import Journals, JournalTtl
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, open_redis
from relaykit.shared.settings import load_settings
from relaykit.worker.publishing.publisher import Publisher

Way = Literal["publisher", "xadd", "xadd_publish", "nothing"]
Publish = Callable[[ThreadItemUpdatedEvent], Awaitable[None]]

WORKER_CONNECTIONS = 4
TTL_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to publish, and how. `nothing` makes the events and their pace, and publishes none."""

    way: Way
    runs: int
    events: int
    """Of each run."""
    per_second: float = 0
    """Of all runs together; 0: as fast as they go."""
    parts: int = 1
    """With 2, no two neighbours can be merged."""


@dataclass(frozen=True)
class Published:
    """Over all runs, from the first event until the last one is in Redis."""

    events: int
    entries: int
    """That the journals hold of them."""
    seconds: float
    cpu_seconds: float
    """Of this process."""


async def run(job: Job) -> Published:
    settings = load_settings()
    server = BenchServer(cast(Store[Any], None))
    run_ids = [f"run_{uuid4().hex}" for _ in range(job.runs)]
    connections = WORKER_CONNECTIONS if job.way == "publisher" else job.runs
    async with open_redis(settings.redis_url, connections=connections) as redis:
        async with _ways(job.way, redis, server) as opened:
            ways = [await opened(run_id) for run_id in run_ids]
            started_at, used = time.monotonic(), _cpu_seconds()
            await asyncio.gather(*(_speak(job, number, publish) for number, publish in enumerate(ways)))
        seconds, cpu_seconds = time.monotonic() - started_at, _cpu_seconds() - used
        entries = 0
        for run_id in run_ids:
            entries += await redis.xlen(keys.journal(run_id))
            await redis.delete(keys.journal(run_id))
    return Published(job.runs * job.events, entries, seconds, cpu_seconds)


async def _speak(job: Job, number: int, publish: Publish) -> None:
    made = [_delta(number, part) for part in range(job.parts)]
    started_at = time.monotonic()
    for count in range(job.events):
        if job.per_second:
            due_at = started_at + (count * job.runs + number) / job.per_second
            await asyncio.sleep(max(0.0, due_at - time.monotonic()))
        else:
            await asyncio.sleep(0)
        await publish(made[count % job.parts])


def _delta(number: int, part: int) -> ThreadItemUpdatedEvent:
    return ThreadItemUpdatedEvent(
        item_id=f"msg_{number:032d}",
        update=AssistantMessageContentPartTextDelta(content_index=part, delta=stamp()),
    )


@asynccontextmanager
async def _ways(
    way: Way, redis: Redis, server: BenchServer
) -> AsyncIterator[Callable[[str], Awaitable[Publish]]]:
    """Gives for each run what publishes an event of it; all are in Redis after the block."""
    match way:
        case "publisher":
            async with _publisher(redis, server) as opened:
                yield opened
        case "xadd" | "xadd_publish":
            yield lambda run_id: _one_by_one(redis, server, run_id, notify=way == "xadd_publish")
        case "nothing":

            async def nothing(run_id: str) -> Publish:
                async def publish(event: ThreadItemUpdatedEvent) -> None:
                    return

                return publish

            yield nothing


@asynccontextmanager
async def _publisher(redis: Redis, server: BenchServer) -> AsyncIterator[Callable[[str], Awaitable[Publish]]]:
    """The product's: an event is put, and the agent held where too many wait."""
    settings = load_settings()
    journals = Journals(redis, JournalTtl.of(settings))
    await journals.load_scripts()
    publisher = Publisher(redis, journals, settings)
    opened = []

    async def open_run(run_id: str) -> Publish:
        journal = publisher.open(run_id, 1, server._serialize)
        opened.append(journal)

        async def publish(event: ThreadItemUpdatedEvent) -> None:
            await journal.wait_for_capacity()
            journal.put(event)

        return publish

    flushing = asyncio.create_task(publisher.run())
    try:
        yield open_run
        await asyncio.gather(*(journal.flush() for journal in opened))
    finally:
        flushing.cancel()
        await asyncio.gather(flushing, return_exceptions=True)


async def _one_by_one(redis: Redis, server: BenchServer, run_id: str, *, notify: bool) -> Publish:
    """As most do it: each event is written, and told, before the agent goes on."""
    journal, channel = keys.journal(run_id), keys.notices(run_id)

    async def publish(event: ThreadItemUpdatedEvent) -> None:
        await redis.xadd(journal, {"e": server._serialize(event)})
        if notify:
            await redis.publish(channel, "")

    return publish


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(asdict(uvloop.run(run(Job(**json.loads(line)))))), flush=True)


if __name__ == "__main__":
    main()
