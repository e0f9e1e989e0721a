"""The reaper: what a crash or a lost Redis has left is made good, what is old goes; one worker at a time is it."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from chatkit.types import ThreadMetadata
from redis.asyncio import Redis

from relaykit.api.admission.admission_rows import AdmissionRuns
from relaykit.api.relay.liveness_probe import LivenessProbe
from relaykit.shared.endings import Endings
from relaykit.shared.gone_runs import GoneRuns
from relaykit.shared.identity import RequestContext
from relaykit.shared.journal import Journals, JournalTtl
from relaykit.shared.journal.erasing import JournalEraser
from relaykit.shared.postgres.database import Database
from relaykit.shared.postgres.locks import REAPER_LOCK
from relaykit.shared.queue.job_queue import JobQueue
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import open_redis
from relaykit.shared.runs.awaited_calls import AwaitedCalls
from relaykit.shared.runs.run import Kind, Run, Status, new_run_id
from relaykit.shared.settings import Settings
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from relaykit.worker.reaper import reaper as reaper_module
from relaykit.worker.reaper.queue_audit import QueueAudit
from relaykit.worker.reaper.reaper import Reaper
from relaykit.worker.reaper.sweeps import Sweeps
from tests.support.servers.relay_servers import ScriptedAnswers
from tests.support.system import wait_until

LEASE_SECONDS = 0.4
ALICE = RequestContext(user_id="alice")


@dataclass
class Bench:
    """A reaper and what it works on; nobody claims anything by himself."""

    reaper: Reaper
    database: Database
    runs: AdmissionRuns
    queue: JobQueue
    store: PostgresStore
    redis: Redis

    async def thread(self, thread_id: str, days_old: float = 0) -> str:
        await self.store.save_thread(ThreadMetadata(id=thread_id, created_at=datetime.now()), ALICE)
        await self.execute(
            "UPDATE threads SET updated_at = now() - $2 * interval '1 day' WHERE id = $1", thread_id, days_old
        )
        return thread_id

    async def run(self, thread_id: str, status: Status = Status.QUEUED, *, days_old: float = 0) -> str:
        """A row that was queued, and where it has ended ended, so long ago."""
        run = Run(
            id=new_run_id(),
            owner=ALICE.owner,
            thread_id=thread_id,
            kind=Kind.ACTION,
            status=Status.QUEUED,
            attempt=0,
            handed_back=0,
            anchor_item_id=None,
            input={},
            context={},
            token=None,
            cancel_requested=False,
            error=None,
            request_hash=None,
        )
        async with self.database.transaction():
            await self.runs.admit(run, may_wait=True)
        await self.execute(
            "UPDATE runs SET status = $2, queued_at = now() - ($3 + 0.001) * interval '1 day',"
            " ended_at = CASE WHEN $4 THEN now() - $3 * interval '1 day' END WHERE id = $1",
            run.id,
            status.value,
            days_old,
            status.ended,
        )
        return run.id

    async def execute(self, statement: str, *parameters: object) -> None:
        async with self.database.connection() as connection:
            await connection.execute(statement, *parameters)

    async def ids(self, table: str) -> set[str]:
        async with self.database.connection() as connection:
            return {row["id"] for row in await connection.fetch(f"SELECT id FROM {table}")}

    async def queued(self) -> set[str]:
        return {member.decode() for member in await self.redis.zrange(keys.QUEUE, 0, -1)}


@pytest.fixture
async def bench(settings: Settings) -> AsyncIterator[Bench]:
    changed = settings.model_copy(
        update={"lease_seconds": LEASE_SECONDS, "retention_days": 10, "run_retention_days": 5}
    )
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(changed))
        redis = await stack.enter_async_context(open_redis(settings.redis_url, connections=4))
        runs, queue, store = AdmissionRuns(database), JobQueue(redis), PostgresStore(StoreCalls(database))
        user = UserServer(ScriptedAnswers(store), lambda context: context)
        endings = Endings(
            changed,
            database,
            runs,
            AwaitedCalls(database),
            Journals(redis, JournalTtl.of(changed)),
            queue,
            user,
        )
        gone_runs = GoneRuns(database, JournalEraser(redis))
        yield Bench(
            Reaper(changed, database, Sweeps(database), QueueAudit(redis), endings, gone_runs, None),
            database,
            runs,
            queue,
            store,
            redis,
        )


async def test_a_queued_run_without_a_job_gets_one(bench: Bench) -> None:
    """However many jobs there are before it; what has its job is left as it is."""
    for number in range(30):
        await bench.queue.enqueue(await bench.run(f"thr_{number}"))
    before = await bench.redis.zrange(keys.QUEUE, 0, -1, withscores=True)
    lost = await bench.run("thr_lost", days_old=0.5)
    await bench.reaper.requeue()
    after = await bench.redis.zrange(keys.QUEUE, 0, -1, withscores=True)
    assert [entry for entry in after if entry[0].decode() != lost] == before
    assert lost in await bench.queued()
    assert await bench.redis.exists(keys.job(lost))


async def test_a_run_that_has_just_been_queued_is_on_its_way(bench: Bench) -> None:
    run_id = await bench.run("thr_1")
    await bench.execute("UPDATE runs SET queued_at = now()")
    await bench.reaper.requeue()
    assert run_id not in await bench.queued()


async def test_a_running_run_that_nobody_has_is_queued_after_a_lease(bench: Bench) -> None:
    """Not at once: a worker whose Redis was emptied takes its lease again within a third of it."""
    dead, held, due = [await bench.run(f"thr_{number}", Status.RUNNING) for number in range(3)]
    await bench.redis.set(keys.lease(held), "somebody", ex=60)
    await bench.queue.enqueue(due)
    await bench.reaper.requeue()
    assert await bench.queued() == {due}

    async def requeued() -> bool:
        await bench.reaper.requeue()
        return dead in await bench.queued()

    await wait_until("the dead worker's run has a job", requeued)
    assert await bench.queued() == {dead, due}


async def test_a_lease_that_comes_back_starts_the_count_anew(bench: Bench) -> None:
    run_id = await bench.run("thr_1", Status.RUNNING)
    await bench.reaper.requeue()
    await bench.redis.set(keys.lease(run_id), "somebody", ex=60)
    await bench.reaper.requeue()
    assert not await bench.redis.keys(f"{keys.MISSING_PREFIX}*")


async def test_a_waiting_run_behind_nothing_is_queued(bench: Bench) -> None:
    """No transaction of ours leaves it; a hand on the database may."""
    await bench.thread("thr_1")
    first = await bench.run("thr_1")
    second, third = [await bench.run("thr_1", Status.WAITING) for _ in range(2)]
    await bench.execute("DELETE FROM runs WHERE id = $1", first)
    await bench.reaper.requeue()
    assert await bench.queued() == {second}
    states = await LivenessProbe(bench.redis, bench.database).statuses([second, third])
    assert (states[second][0], states[third][0]) == (Status.QUEUED, Status.WAITING)


async def test_old_runs_are_deleted_but_for_the_newest_of_each_thread(bench: Bench) -> None:
    await bench.thread("thr_1")
    old = [await bench.run("thr_1", Status.COMPLETED, days_old=days) for days in (9, 8, 7)]
    gone = await bench.run("thr_deleted", Status.FAILED, days_old=6)
    young = await bench.run("thr_2", Status.CANCELLED, days_old=4)
    active = await bench.run("thr_3", Status.RUNNING, days_old=9)
    await bench.reaper.delete_old()
    assert await bench.ids("runs") == {old[-1], young, active}
    assert gone not in await bench.ids("runs")


async def test_what_is_old_and_stays_does_not_hide_what_is_to_go(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round looks at a few old rows only, and the next one goes on behind them, in the end from the beginning."""
    monkeypatch.setattr(reaper_module, "DELETE_AT_ONCE", 2)
    monkeypatch.setattr(reaper_module, "DELETE_STEPS", 1)
    for number in range(3):
        stays = await bench.thread(f"thr_{number}", days_old=9)
        await bench.run(stays, Status.COMPLETED, days_old=9)
    gone = [await bench.run(f"thr_gone{number}", Status.FAILED, days_old=8) for number in range(2)]
    seen = []
    for _ in range(3):
        await bench.reaper.delete_old()
        seen.append(len(await bench.ids("runs") & set(gone)))
    assert seen == [2, 1, 0]
    again = await bench.run("thr_gone", Status.FAILED, days_old=10)
    await bench.reaper.delete_old()
    assert again not in await bench.ids("runs")


async def test_threads_that_nobody_uses_are_deleted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old by its own change and by its newest run; more than one go takes."""
    monkeypatch.setattr(reaper_module, "DELETE_AT_ONCE", 2)
    for number in range(5):
        await bench.run(await bench.thread(f"thr_old{number}", days_old=11), Status.COMPLETED, days_old=11)
    await bench.run(await bench.thread("thr_used", days_old=11), Status.COMPLETED, days_old=9)
    await bench.run(await bench.thread("thr_active", days_old=11), Status.WAITING, days_old=11)
    await bench.thread("thr_changed", days_old=9)
    await bench.reaper.delete_old()
    assert await bench.ids("threads") == {"thr_used", "thr_active", "thr_changed"}


async def test_a_message_to_an_old_thread_saves_it_or_is_refused(bench: Bench) -> None:
    """The admission that has begun before the deletion is not overlooked by it."""
    await bench.thread("thr_old", days_old=11)
    async with bench.database.transaction():
        await bench.store.load_thread("thr_old", ALICE)
        async with asyncio.TaskGroup() as tasks:
            await bench.execute("SELECT FROM threads WHERE id = 'thr_old' FOR NO KEY UPDATE")
            deleting = tasks.create_task(in_no_transaction(bench.reaper.delete_old))
            await bench.run("thr_old")
            await deleting
    assert await bench.ids("threads") == {"thr_old"}


async def in_no_transaction(call: Any) -> None:
    await asyncio.create_task(call(), context=contextvars.Context())


async def test_nothing_is_deleted_unless_it_is_asked_for(bench: Bench) -> None:
    await bench.run(await bench.thread("thr_old", days_old=1000), Status.COMPLETED, days_old=1000)
    await bench.run("thr_old", Status.COMPLETED, days_old=999)
    keeps = bench.reaper.settings.model_copy(update={"retention_days": 0, "run_retention_days": 0})
    await replace(bench.reaper, settings=keeps).delete_old()
    assert (len(await bench.ids("threads")), len(await bench.ids("runs"))) == (1, 2)


async def test_one_reaper_at_a_time_and_the_next_when_it_dies(
    bench: Bench, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader's lock goes with its connection."""
    monkeypatch.setattr(reaper_module, "ROUND_INTERVAL_SECONDS", 0.05)
    leader = await asyncpg.connect(settings.database_url)
    await leader.execute("BEGIN")
    assert await leader.fetchval("SELECT pg_try_advisory_xact_lock($1)", REAPER_LOCK)
    run_id = await bench.run("thr_1", days_old=0.5)
    reaping = [asyncio.create_task(bench.reaper.run()) for _ in range(2)]
    try:
        await asyncio.sleep(0.5)
        assert run_id not in await bench.queued()
        leader.terminate()

        async def requeued() -> bool:
            return run_id in await bench.queued()

        await wait_until("another reaper has queued the run", requeued)
    finally:
        for task in reaping:
            task.cancel()
        await asyncio.gather(*reaping, return_exceptions=True)


async def test_many_reapers_look_at_the_runs_as_often_as_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = 0

    class Counted(Reaper):
        async def requeue(self) -> None:
            nonlocal rounds
            rounds += 1
            await super().requeue()

    monkeypatch.setattr(reaper_module, "ROUND_INTERVAL_SECONDS", 0.4)
    reaper = bench.reaper
    parts = {part.name: getattr(reaper, part.name) for part in fields(reaper)}
    many = [Counted(**parts) for _ in range(10)]
    reaping: list[asyncio.Task[None]] = []
    began_at = time.monotonic()
    try:
        for one in many:
            reaping.append(asyncio.create_task(one.run()))
            await asyncio.sleep(0.04)
        await wait_until("five rounds were taken", lambda: rounds >= 5)
        least = 0.4 * (1 - reaper_module.ROUND_SLACK)
        assert (rounds - 1) * least <= time.monotonic() - began_at, rounds
    finally:
        for task in reaping:
            task.cancel()
        await asyncio.gather(*reaping, return_exceptions=True)
