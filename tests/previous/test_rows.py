"""APIs and workers of the release before and of this one at the same rows, on the newest schema."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import product
from typing import Any

import asyncpg
import pytest

from relaykit.shared.endings import Endings
from relaykit.shared.journal import Journals, JournalTtl
from relaykit.shared.postgres.database import Database
from relaykit.shared.queue.job_queue import JobQueue
from relaykit.shared.redis.client import open_redis
from relaykit.shared.runs.awaited_calls import AwaitedCalls
from relaykit.shared.settings import Settings
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from tests.previous.rows import OWNER, CurrentRows, Rows, input_item
from tests.previous.rows_before import PreviousRows
from tests.support.both_sides import WholeRuns
from tests.support.servers.relay_servers import ScriptedAnswers
from tests.support.system import WAIT_SECONDS

SIDES = ("previous", "current")


@dataclass(frozen=True)
class Bench:
    sides: dict[str, Rows]
    pool: asyncpg.Pool

    async def states(self, thread_id: str) -> dict[str, tuple[str, int]]:
        """Status and attempt of the thread's runs, in the order of their admission."""
        rows = await self.pool.fetch(
            "SELECT id, status, attempt FROM runs WHERE thread_id = $1 ORDER BY seq", thread_id
        )
        return {row["id"]: (row["status"], row["attempt"]) for row in rows}

    async def items(self, thread_id: str) -> list[str]:
        rows = await self.pool.fetch("SELECT id FROM items WHERE thread_id = $1 ORDER BY seq", thread_id)
        return [row["id"] for row in rows]

    async def row(self, run_id: str) -> dict[str, Any]:
        return dict(await self.pool.fetchrow("SELECT * FROM runs WHERE id = $1", run_id))


@pytest.fixture
async def bench(settings: Settings) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(settings))
        redis = await stack.enter_async_context(open_redis(settings.redis_url, connections=4))
        pool = await stack.enter_async_context(asyncpg.create_pool(settings.database_url, min_size=2))
        runs, store = WholeRuns(database), PostgresStore(StoreCalls(database))
        user = UserServer(ScriptedAnswers(store), lambda context: context)
        endings = Endings(
            settings,
            database,
            runs,
            AwaitedCalls(database),
            Journals(redis, JournalTtl.of(settings)),
            JobQueue(redis),
            user,
        )
        current = CurrentRows(database, runs, store, endings)
        yield Bench({"previous": PreviousRows(pool), "current": current}, pool)


async def test_a_life_that_passes_from_one_to_the_other(bench: Bench) -> None:
    """Two APIs and two workers, each of either release: admitted, waiting, handed back, lost, finished, stopped."""
    lives = list(product(SIDES, repeat=4))
    done = await asyncio.gather(*(life(bench, sides) for sides in lives), return_exceptions=True)
    failed = {"-".join(sides): error for sides, error in zip(lives, done, strict=True) if error is not None}
    assert not failed


async def life(bench: Bench, sides: Sequence[str]) -> None:
    api, other_api, worker, other_worker = (bench.sides[side] for side in sides)
    thread = f"thr_{'_'.join(sides)}"
    a, b, c, d = (f"run_{letter}_{thread}" for letter in "abcd")
    await api.open_thread(thread)
    assert await api.admit(a, thread) == "queued"
    assert await other_api.admit(b, thread) == "waiting"
    assert await api.admit(c, thread) == "waiting"
    assert await other_api.admit(d, thread, may_wait=False) == "busy"

    assert await worker.start(a) == 1
    assert await worker.write(a, 1, thread, "answer_1")
    assert await worker.hand_back(a, 1)
    assert await other_worker.start(a) == 2
    assert not await worker.write(a, 1, thread, "late"), "fenced by the other's attempt"
    assert not await worker.finish(a, 1, thread)
    assert not await worker.hand_back(a, 1)
    await other_worker.take_back(a, 2, thread)
    assert await bench.items(thread) == [input_item(run_id) for run_id in (a, b, c)]
    assert await other_worker.write(a, 2, thread, "answer_2")
    assert await other_worker.finish(a, 2, thread)
    assert await bench.states(thread) == {a: ("completed", 2), b: ("queued", 0), c: ("waiting", 0)}
    assert (await bench.items(thread))[-1] == input_item(b), "it comes after the answer that it waited for"
    assert (await bench.row(b))["anchor_item_id"] == input_item(b)

    assert await worker.start(b) == 1
    await other_api.stop(b, thread)
    assert (await bench.row(b))["cancel_requested"]
    await api.stop(c, thread)
    assert await worker.finish(b, 1, thread)
    assert await other_worker.start(c) is None
    assert await bench.states(thread) == {a: ("completed", 2), b: ("completed", 1), c: ("cancelled", 0)}
    assert (await bench.row(a))["handed_back"] == 1


async def test_a_key_is_one_run_s_whoever_admits_it(bench: Bench) -> None:
    for first, second in product(SIDES, repeat=2):
        key = f"{first}-{second}"
        threads = [f"thr_{key}_{number}" for number in range(2)]
        for thread_id in threads:
            await bench.sides[first].open_thread(thread_id)
        assert await bench.sides[first].admit(f"run_1_{key}", threads[0], key=key) == "queued"
        assert await bench.sides[second].admit(f"run_2_{key}", threads[1], key=key) == "key_taken"
        assert [await bench.states(thread_id) for thread_id in threads] == [
            {f"run_1_{key}": ("queued", 0)},
            {},
        ]
        assert await bench.items(threads[1]) == []


async def test_what_a_row_of_the_release_before_does_not_say(bench: Bench) -> None:
    """Columns that it does not know are what this release takes for `nothing was said`."""
    await bench.sides["previous"].open_thread("thr_1")
    await bench.sides["previous"].admit("run_1", "thr_1")
    current = bench.sides["current"]
    assert isinstance(current, CurrentRows)
    run = await current.runs.get(OWNER, "run_1")
    assert run.max_attempts is None


async def test_both_keep_the_order_of_a_thread_under_load(bench: Bench) -> None:
    """Eight APIs admit into three threads while six workers work: one run at a time, in order, none left behind."""
    threads = [f"thr_{number}" for number in range(3)]
    sides = [bench.sides[side] for side in SIDES]
    for thread_id in threads:
        await sides[0].open_thread(thread_id)
    admitted: Counter[str] = Counter()
    admitting = True

    async def api(number: int) -> None:
        for count in range(15):
            thread_id = random.choice(threads)
            outcome = await sides[number % 2].admit(f"run_{number}_{count}", thread_id)
            admitted[outcome] += 1

    async def worker(number: int) -> None:
        rows = sides[number % 2]
        while True:
            unfinished = await bench.pool.fetch(
                "SELECT id, thread_id, status FROM runs WHERE status IN ('waiting', 'queued', 'running')"
            )
            if not unfinished and not admitting:
                return
            queued = [row for row in unfinished if row["status"] == "queued"]
            if not queued:
                await asyncio.sleep(0.002)
                continue
            row = random.choice(queued)
            attempt = await rows.start(row["id"])
            if attempt is not None and await rows.write(
                row["id"], attempt, row["thread_id"], f"of_{row['id']}"
            ):
                await rows.finish(row["id"], attempt, row["thread_id"])

    async with asyncio.timeout(WAIT_SECONDS), asyncio.TaskGroup() as tasks:
        workers = [tasks.create_task(worker(number)) for number in range(6)]
        await asyncio.gather(*(api(number) for number in range(8)))
        admitting = False
        await asyncio.wait(workers)
    assert set(admitted) == {"queued", "waiting"}
    assert sum(admitted.values()) == 8 * 15
    for thread_id in threads:
        states = await bench.states(thread_id)
        assert {status for status, _ in states.values()} == {"completed"}
        answers = [item for item in await bench.items(thread_id) if item.startswith("of_")]
        assert answers == [f"of_{run_id}" for run_id in states], "answered in the order of admission"
