"""PostgreSQL ends a session: an outage wherever it is noticed, and a run waits for its end from its first read on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg
from chatkit.types import ThreadMetadata
from redis.asyncio import Redis

from relaykit.shared.errors import DatabaseUnavailable
from relaykit.shared.identity import RequestContext
from relaykit.shared.postgres.database import Database
from relaykit.shared.redis import keys
from relaykit.shared.settings import Settings
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from tests.integration.persistence import settings_for
from tests.support.clients.stream_clients import asking
from tests.support.servers.relay_servers import Script, ScriptedAnswers
from tests.support.services.redis_clients import connections
from tests.support.system import WAIT_SECONDS, create, running, wait_until

ALICE = RequestContext(user_id="alice")
KILLS = 40
TRIES = 300
NOT_SOON_MS = 10**14


@asynccontextmanager
async def other_session(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url, server_settings={"application_name": "other"})
    try:
        yield connection
    finally:
        await connection.close()


async def end_those_that_wait(other: asyncpg.Connection) -> int:
    """Ends the sessions that wait for a lock; how many there were."""
    return int(
        await other.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'relaykit' AND wait_event_type = 'Lock'"
        )
    )


async def test_an_idle_session_that_is_ended_is_an_outage_at_every_moment(database_url: str) -> None:
    """In between, asyncpg has heard of the end and still takes the connection for good."""
    seen: Counter[str] = Counter()
    settings = settings_for(database_url, database_pool_min=2, database_pool_max=2)
    async with Database(settings) as database, other_session(database_url) as other:
        for _ in range(KILLS):
            async with database.connection() as connection:
                pid = await connection.fetchval("SELECT pg_backend_pid()")
            await other.fetchval("SELECT pg_terminate_backend($1)", pid)
            for _ in range(TRIES):
                try:
                    await database.check()
                except DatabaseUnavailable:
                    seen["unavailable"] += 1
                    break
                await asyncio.sleep(0)
        await database.check()
    assert seen["unavailable"] > KILLS / 2


async def test_a_deletion_whose_session_is_ended_is_repeated_as_a_whole(database_url: str) -> None:
    """A transaction is lost with its session: repeating a statement of it would repeat for ever."""
    async with Database(settings_for(database_url)) as database, other_session(database_url) as other:
        store = PostgresStore(StoreCalls(database, waits=lambda: True))
        await store.save_thread(ThreadMetadata(id="thr_1", created_at=datetime.now()), ALICE)
        async with other.transaction():
            await other.execute("SELECT id FROM threads FOR UPDATE")
            deleting = asyncio.create_task(store.delete_thread("thr_1", ALICE))
            await wait_until("the deletion waits for the thread", lambda: end_those_that_wait(other))
        async with asyncio.timeout(WAIT_SECONDS):
            await deleting
        assert await other.fetchval("SELECT count(*) FROM threads") == 0


async def test_a_run_whose_first_read_is_cut_off_waits_for_postgresql(settings: Settings) -> None:
    """The thread is read before the server is called, which is as much a part of the run as what the server reads."""
    async with (
        running(settings, ScriptedAnswers, workers=0) as system,
        other_session(settings.database_url) as other,
        Redis.from_url(settings.redis_url) as redis,
    ):
        alice = await system.caller()
        async with asking(alice, create(str(Script(deltas=4)))) as asker:
            await asker.until("the message is admitted", lambda answer: answer.of_type("thread.item.done"))
            await redis.zadd(keys.QUEUE, {asker.run_id: NOT_SOON_MS})
            async with running(settings, ScriptedAnswers, apis=0, workers=1):
                await wait_until("the worker has its connections", lambda: is_polling(redis))
                async with other.transaction():
                    await other.execute("LOCK TABLE threads IN ACCESS EXCLUSIVE MODE")
                    await redis.zadd(keys.QUEUE, {asker.run_id: 0})
                    await wait_until("the worker reads the thread", lambda: end_those_that_wait(other))
                answer = await asker.finished()
        rows = await other.fetch("SELECT status, attempt FROM runs")
    assert answer.end == "completed"
    assert list(map(tuple, rows)) == [("completed", 1)]
    assert not answer.of_type("error")


async def is_polling(redis: Redis) -> bool:
    return any(client["cmd"] == "blpop" for client in await connections(redis))
