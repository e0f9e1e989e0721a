"""`python -m shared.migrate` while the release before works on the same database."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

import asyncpg
import pytest

from relaykit.shared.postgres.migrate import MIGRATIONS, migrate
from tests import previous
from tests.previous.rows_before import PreviousRows
from tests.support.system import wait_until

THREADS = 6
ROWS = int(os.environ.get("MIGRATION_ROWS", "30000"))
LOCK_WAIT_SECONDS = 0.5
LONGEST_WAIT_MS = 20_000
"""For a lock, after which PostgreSQL gives up a step of a run. Whatever else makes it slow does not count."""

NEWER = sorted(
    {path.stem for path in MIGRATIONS.glob("*.sql")} - {path.stem for path in previous.MIGRATIONS.glob("*")}
)

T = TypeVar("T")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relaykit.shared.postgres.migrate.LOCK_WAIT_SECONDS", LOCK_WAIT_SECONDS)
    monkeypatch.setattr("relaykit.shared.postgres.migrate.LOCK_PAUSE_SECONDS", 0.3)


@dataclass
class Load:
    """Runs that live their lives, one after the other in each thread, until they are told to stop."""

    rows: PreviousRows
    ended: list[str] = field(default_factory=list)
    longest_seconds: float = 0.0
    """Told by the first test, for a person; a busy machine makes it any length."""
    stopping: bool = False

    async def live(self, thread_id: str) -> None:
        await self.rows.open_thread(thread_id)
        for number in count():
            if self.stopping:
                return
            run_id = f"run_{thread_id}_{number}"
            assert await self._timed(self.rows.admit(run_id, thread_id)) == "queued"
            assert await self._timed(self.rows.start(run_id)) == 1
            assert await self._timed(self.rows.write(run_id, 1, thread_id, f"answer_{number}"))
            assert await self._timed(self.rows.finish(run_id, 1, thread_id))
            self.ended.append(run_id)

    async def _timed(self, step: Awaitable[T]) -> T:
        began_at = time.monotonic()
        result = await step
        self.longest_seconds = max(self.longest_seconds, time.monotonic() - began_at)
        return result

    async def go_on(self) -> None:
        done = len(self.ended)
        await wait_until("the runs go on", lambda: len(self.ended) > done + 10 * THREADS)


@asynccontextmanager
async def loaded(database_url: str) -> AsyncIterator[Load]:
    """The old rows, and what goes on; each of its connections has long prepared its statements."""
    patience = {"lock_timeout": str(LONGEST_WAIT_MS)}
    async with asyncpg.create_pool(database_url, min_size=THREADS + 2, server_settings=patience) as pool:
        await pool.execute(
            "INSERT INTO runs (id, tenant, owner, thread_id, kind, input, context, status, attempt, ended_at)"
            " SELECT 'old_' || n, '', 'bob', 'thr_' || n / 10, 'threads.create', '{}', '{}', 'completed', 1, now()"
            f" FROM generate_series(1, {ROWS}) n",
            timeout=600,
        )
        load = Load(PreviousRows(pool))
        async with asyncio.TaskGroup() as tasks:
            for number in range(THREADS):
                tasks.create_task(load.live(f"thr_load_{number}"))
            await wait_until("every statement was used", lambda: len(load.ended) > 10 * THREADS)
            yield load
            load.stopping = True
        found = await pool.fetch(
            "SELECT id FROM runs WHERE status = 'completed' AND NOT starts_with(id, 'old_')"
        )
        assert {row["id"] for row in found} == set(load.ended), "what was accepted is there, and ended"
        assert await pool.fetchval("SELECT count(*) FROM runs") == len(load.ended) + ROWS
        assert not await pool.fetch("SELECT FROM pg_index WHERE NOT indisvalid")


async def test_nobody_notices_a_migration(previous_database_url: str) -> None:
    async with loaded(previous_database_url) as load:
        before, load.longest_seconds = len(load.ended), 0.0
        assert await asyncio.to_thread(migrate, previous_database_url) == NEWER
        assert len(load.ended) > before
        print(f"the longest step of a run took {load.longest_seconds:.3f} s")
        await load.go_on()


async def test_a_migration_that_has_to_wait_lets_the_others_pass(previous_database_url: str) -> None:
    """Behind a long transaction: it stands in everybody's way for as long as one try for its lock, and tries again.

    Runs go on while the transaction is open, which they could not behind a migration that waits for its lock.
    """
    async with loaded(previous_database_url) as load:
        holder = await asyncpg.connect(previous_database_url)
        async with holder.transaction():
            await holder.fetch("SELECT FROM runs LIMIT 1")
            migrating = asyncio.create_task(asyncio.to_thread(migrate, previous_database_url))
            await wait_until("it waits for its lock", lambda: is_awaited(holder))
            for _ in range(3):
                await load.go_on()
            assert not migrating.done()
        await holder.close()
        assert await migrating == NEWER


async def is_awaited(holder: asyncpg.Connection[asyncpg.Record]) -> bool:
    await holder.execute("SELECT pg_stat_clear_snapshot()")  # else its transaction sees what it saw first
    found: bool = await holder.fetchval(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
    )
    return found
