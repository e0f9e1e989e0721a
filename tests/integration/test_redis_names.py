"""Who else uses the same Redis: another arq application, another deployment. Nobody takes what is another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.worker import Worker, func
from redis.asyncio import Redis
from structlog.testing import capture_logs

from relaykit.shared.errors import SettingsError
from relaykit.shared.redis import check as redis_check
from relaykit.shared.redis import keys
from relaykit.shared.settings import Settings
from relaykit.worker.main import create_worker
from tests.support.servers.relay_servers import Script, ScriptedAnswers
from tests.support.services.databases import Databases
from tests.support.system import create, free_port, keyed, running, wait_until

JOBS = 10


class Invoices:
    """Another application on arq, with its defaults: its queue is `arq:queue`."""

    def __init__(self, pool: ArqRedis) -> None:
        self.pool = pool
        self.sent: list[int] = []

    async def send_invoice(self, ctx: dict[Any, Any], number: int) -> None:
        self.sent.append(number)

    async def ask(self) -> set[bytes]:
        jobs = [await self.pool.enqueue_job("send_invoice", number) for number in range(JOBS)]
        assert all(jobs)
        return {job.job_id.encode() for job in jobs if job is not None}

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        worker = Worker(
            [func(self.send_invoice, name="send_invoice")],
            redis_pool=self.pool,
            handle_signals=False,
            poll_delay=0.05,
        )
        task = asyncio.create_task(worker.async_run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await worker.close()


@pytest.fixture
async def invoices(redis_url: str) -> AsyncIterator[Invoices]:
    pool = await create_pool(RedisSettings.from_dsn(redis_url))
    try:
        yield Invoices(pool)
    finally:
        await pool.aclose()


async def test_a_named_deployment_and_another_arq_application_do_not_see_each_other(
    settings: Settings, redis_url: str, invoices: Invoices
) -> None:
    """Its worker is up beside ours, with the same Redis database; each gets its own ten jobs done, once."""
    named = settings.model_copy(update={"deployment": "shop"})
    with capture_logs() as lines:
        async with running(named, ScriptedAnswers) as system, invoices.working():
            alice = await system.caller()
            await invoices.ask()
            for number in range(JOBS):
                answer = await alice.stream(create(str(Script())), keyed(number))
                assert answer.end == "completed"
                assert (await alice.get(f"/runs/{answer.run_id}")).json()["attempt"] == 1
            await wait_until("the invoices are sent", lambda: len(invoices.sent) >= JOBS)
    assert sorted(invoices.sent) == list(range(JOBS))
    assert not {line["action"] for line in lines} & {"foreign_jobs", "reaper_requeued"}


async def test_without_a_name_the_jobs_of_another_arq_application_are_left_alone_and_told_once(
    settings: Settings, redis_url: str, invoices: Invoices
) -> None:
    ids = await invoices.ask()
    with capture_logs() as lines:
        async with running(settings, ScriptedAnswers) as system, Redis.from_url(redis_url) as redis:
            due = await redis.zrange(keys.QUEUE, 0, -1, withscores=True)
            alice = await system.caller()
            for number in range(3):
                assert (await alice.stream(create(str(Script())), keyed(number))).end == "completed"
            left = await redis.zrange(keys.QUEUE, 0, -1, withscores=True)
            assert [job for job in left if job[0] in ids] == due
    assert [line["count"] for line in lines if line["action"] == "foreign_jobs"] == [JOBS]
    async with invoices.working():
        await wait_until("the invoices are sent", lambda: len(invoices.sent) == JOBS)


async def test_named_deployments_on_one_redis_have_no_key_in_common(
    settings: Settings, redis_url: str, databases: Databases
) -> None:
    async with AsyncExitStack() as stack:
        lines = stack.enter_context(capture_logs())
        redis = await stack.enter_async_context(Redis.from_url(redis_url, decode_responses=True))
        callers = []
        for name in ("one", "two"):
            database_url = stack.enter_context(databases.fresh())
            port = free_port()
            own = settings.model_copy(
                update={
                    "deployment": name,
                    "database_url": database_url,
                    "port": port,
                    "jwks_url": f"http://127.0.0.1:{port}/dev/jwks.json",
                }
            )
            system = await stack.enter_async_context(running(own, ScriptedAnswers))
            callers.append(await system.caller())
        for number in range(5):
            for caller in callers:
                assert (await caller.stream(create(str(Script())), keyed(number))).end == "completed"
        found = {key.partition(":")[0] for key in await redis.keys("*")}
        channels = {channel.partition(":")[0] for channel in await redis.pubsub_channels("*")}
    assert found == {"one", "two"}
    assert {"one", "two"} <= channels
    assert not [line for line in lines if line["action"] in ("foreign_jobs", "reaper_requeued")]


async def test_a_second_database_on_the_same_keys_is_refused_at_start(
    settings: Settings, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_check, "FREE_SECONDS", 1.0)
    async with running(settings, ScriptedAnswers):
        with databases.fresh() as another:
            second = create_worker(settings.model_copy(update={"database_url": another}), ScriptedAnswers())
            with pytest.raises(SettingsError, match=r"^DEPLOYMENT: "):
                await second.run()
        named = settings.model_copy(update={"deployment": "second"})
        async with running(named, ScriptedAnswers, apis=0):
            pass


async def test_the_keys_of_a_deployment_that_has_ended_are_free_for_another(
    settings: Settings, redis_url: str, databases: Databases
) -> None:
    """A start waits for its note to end; here it is deleted instead."""
    async with running(settings, ScriptedAnswers, workers=0):
        pass
    with databases.fresh() as another, capture_logs() as lines:
        second = create_worker(settings.model_copy(update={"database_url": another}), ScriptedAnswers())
        task = asyncio.create_task(second.run())
        await wait_until("it waits", lambda: "deployment_waits" in {line["action"] for line in lines})
        async with Redis.from_url(redis_url) as redis:
            assert 0 < await redis.ttl(keys.DATABASE) <= keys.DATABASE_TTL_SECONDS
            await redis.delete(keys.DATABASE)
        await wait_until("it works", lambda: "worker_start" in {line["action"] for line in lines})
        second.drain()
        await task


async def test_a_run_of_another_database_is_left_to_its_workers(settings: Settings, redis_url: str) -> None:
    """Such as one of the release before, which does not note whose its keys are."""
    with capture_logs() as lines:
        async with running(settings, ScriptedAnswers) as system, Redis.from_url(redis_url) as redis:
            theirs = "run_0123456789abcdef0123456789abcdef"
            await redis.set(keys.job(theirs), b'{"f":"run"}', px=86_400_000)
            await redis.zadd(keys.QUEUE, {theirs: 7})
            await redis.rpush(keys.BELL, "1")
            await redis.expire(keys.BELL, 60)
            await wait_until("it is told", lambda: "foreign_jobs" in {line["action"] for line in lines})

            async def put_aside() -> bool:
                return float(await redis.zscore(keys.QUEUE, theirs)) > 7 and not await redis.exists(
                    keys.lease(theirs)
                )

            await wait_until("it is put aside", put_aside)
            assert await redis.exists(keys.job(theirs)) == 1
            assert (await (await system.caller()).stream(create(str(Script())))).end == "completed"
            await redis.zrem(keys.QUEUE, theirs)
