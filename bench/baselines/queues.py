"""The two queues as pickup.py sees them: jobs that hold, and how long one waits until its function begins."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol, cast

import psycopg
from arq.connections import ArqRedis, RedisSettings, create_pool
from chatkit.types import InferenceOptions, ThreadMetadata, UserMessageItem, UserMessageTextContent

from bench.baselines.stock_arq import HOLDING, STARTED
from bench.systems.server import Script
from bench.systems.stack import Stack
from relaykit.api.admission.admission_queue import AdmissionQueue
from relaykit.shared.journal import Journals, JournalTtl
from relaykit.shared.owner import Owner
from relaykit.shared.queue.fair_share import Flow
from relaykit.shared.queue.job_queue import JobQueue
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, open_redis
from relaykit.shared.runs.run import Kind, new_run_id

OWNER = "bench"
HOLD_SECONDS = 3_600.0
LOOK_SECONDS = 0.005
TTL = JournalTtl(unfinished_seconds=3_600, ended_seconds=3_600)
AT_ONCE = 100
CONNECTIONS = 10

THREADS = "INSERT INTO threads (id, tenant, owner, data) VALUES (%s, '', %s, %s)"
ITEMS = "INSERT INTO items (thread_id, tenant, owner, id, data, run_id) VALUES (%s, '', %s, %s, %s, '')"
RUNS = """
INSERT INTO runs (id, tenant, owner, thread_id, kind, input, context, status, anchor_item_id, idempotency_key)
VALUES (%s, '', %s, %s, %s, %s, '{}', 'queued', %s, %s)
"""
STARTED_AT = "SELECT extract(epoch FROM started_at)::float8, status FROM runs WHERE id = %s"


def flow(owner: str) -> Flow:
    """The flow of an owner's rows: the reaper gives another place to a job that it does not find there."""
    return Flow(hashlib.sha256(b"").hexdigest()[:32], Owner(tenant="", user_id=owner).digest)


class PickUp(NamedTuple):
    """Milliseconds from enqueue, to the job's function and, for ours, to the first event of respond()."""

    function_ms: float
    event_ms: float | None


class UnderTest(Protocol):
    async def hold(self, count: int, within_seconds: float) -> int:
        """Has so many more jobs hold; how many do in the end, of all."""

    async def pick_up(self, within_seconds: float) -> PickUp | None:
        """Of one more job; None where it has not begun in time."""


@dataclass
class OurRuns:
    """Runs as admission leaves them: rows, the journal's first entry, the job. The clock is that of this machine."""

    redis: Redis
    database: psycopg.AsyncConnection[Any]
    held: int = 0

    async def hold(self, count: int, within_seconds: float) -> int:
        run_ids = await self.rows(count, Script(hold_seconds=HOLD_SECONDS))
        for first in range(0, count, AT_ONCE):
            await asyncio.gather(*(self._admit(run_id) for run_id in run_ids[first : first + AT_ONCE]))
        self.held += count
        return await _reached(self.held, self._running, within_seconds)

    async def pick_up(self, within_seconds: float) -> PickUp | None:
        (run_id,) = await self.rows(1, Script())
        await Journals(self.redis, TTL).write_first_entries(run_id, [b'{"type":"stream_options"}'])
        at, monotonic_ns = time.time(), time.monotonic_ns()
        await JobQueue(self.redis).enqueue(run_id, flow(OWNER))
        while time.time() - at < within_seconds:
            await asyncio.sleep(LOOK_SECONDS)
            row = await (await self.database.execute(STARTED_AT, (run_id,))).fetchone()
            if row is not None and row[1] == "completed":
                event_ms = (await self._first_stamp(run_id) - monotonic_ns) / 1e6
                return PickUp((row[0] - at) * 1000, event_ms)
        return None

    async def rows(self, count: int, script: Script, owner: str = OWNER) -> list[str]:
        """Ids of new runs, each with a thread and a message of its own."""
        run_ids = [new_run_id() for _ in range(count)]
        async with self.database.transaction(), self.database.cursor() as cursor:
            made = [(run_id, f"thr_{run_id}", f"msg_{run_id}") for run_id in run_ids]
            await cursor.executemany(THREADS, [(thread, owner, _thread(thread)) for _, thread, _ in made])
            await cursor.executemany(
                ITEMS, [(thread, owner, item, _message(thread, item, script)) for _, thread, item in made]
            )
            await cursor.executemany(RUNS, [_run(*ids, owner) for ids in made])
        return run_ids

    async def _admit(self, run_id: str) -> None:
        entries = Journals(self.redis, TTL).first_entries_call(run_id, [b'{"type":"stream_options"}'])
        await AdmissionQueue(self.redis).publish_admitted(entries, run_id, flow(OWNER))

    async def _running(self) -> int:
        statement = "SELECT count(*) FROM runs WHERE status = 'running'"
        row = await (await self.database.execute(statement)).fetchone()
        return int(row[0]) if row is not None else 0

    async def _first_stamp(self, run_id: str) -> int:
        for _, record in await self.redis.xrange(keys.journal(run_id)):
            _, mark, rest = cast(bytes, record.get(b"e", b"")).partition(b'"delta":"~')
            if mark:
                return int(rest[:19])
        raise RuntimeError("the run has said nothing")


@dataclass
class StockJobs:
    """arq's own."""

    redis: ArqRedis
    held: int = 0

    async def hold(self, count: int, within_seconds: float) -> int:
        for first in range(0, count, AT_ONCE):
            jobs = min(AT_ONCE, count - first)
            await asyncio.gather(*(self.redis.enqueue_job("hold") for _ in range(jobs)))
        self.held += count
        return await _reached(self.held, self._holding, within_seconds)

    async def pick_up(self, within_seconds: float) -> PickUp | None:
        at = time.time()
        await self.redis.enqueue_job("start")
        found = await cast(Any, self.redis.blpop([STARTED], timeout=int(within_seconds)))
        return None if found is None else PickUp((float(found[1]) - at) * 1000, None)

    async def _holding(self) -> int:
        return int(await self.redis.get(HOLDING) or 0)


@asynccontextmanager
async def our_runs(stack: Stack) -> AsyncIterator[OurRuns]:
    url, database_url = stack.services.redis_url, stack.services.database_url
    async with (
        open_redis(url, connections=CONNECTIONS) as redis,
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as database,
    ):
        yield OurRuns(redis, database)


@asynccontextmanager
async def stock_jobs(stack: Stack) -> AsyncIterator[StockJobs]:
    redis = await create_pool(RedisSettings.from_dsn(stack.services.redis_url))
    try:
        yield StockJobs(redis)
    finally:
        await redis.aclose()


async def _reached(target: int, count: Callable[[], Awaitable[int]], within_seconds: float) -> int:
    """What was counted when it had come to the target, or the time was over."""
    deadline = time.monotonic() + within_seconds
    while True:
        found = int(await count())
        if found >= target or time.monotonic() > deadline:
            return found
        await asyncio.sleep(20 * LOOK_SECONDS)


def _run(run_id: str, thread_id: str, item_id: str, owner: str) -> tuple[str, ...]:
    given = {"item_id": item_id, "stream_options": {"allow_cancel": True}}
    return run_id, owner, thread_id, Kind.CREATE.value, json.dumps(given), item_id, run_id


def _thread(thread_id: str) -> str:
    return ThreadMetadata(id=thread_id, created_at=datetime.now()).model_dump_json()


def _message(thread_id: str, item_id: str, script: Script) -> str:
    return UserMessageItem(
        id=item_id,
        thread_id=thread_id,
        created_at=datetime.now(),
        content=[UserMessageTextContent(text=str(script))],
        attachments=[],
        inference_options=InferenceOptions(),
    ).model_dump_json()
