"""A call that Redis or PostgreSQL fails is counted, by what is wrong with the service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from structlog.testing import capture_logs

from relaykit.shared.errors import DatabaseUnavailable, QueueUnavailable
from relaykit.shared.postgres.database import Database
from relaykit.shared.redis.client import open_redis, redis_errors
from relaykit.shared.redis.pubsub import messages, subscribed
from tests.integration.persistence import settings_for
from tests.support.network.links import Link
from tests.support.services.redis_nodes import redis_node
from tests.support.services.roles import limited_role
from tests.support.system import free_port, wait_until


def failures(of: str) -> dict[str, float]:
    """How many there were, by their code; without those that stand at 0."""
    return {
        sample.labels["code"]: sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == f"relaykit_{of}_failures_total" and sample.value
    }


def since(before: dict[str, float], of: str) -> dict[str, float]:
    return {
        code: value - before.get(code, 0) for code, value in failures(of).items() if value != before.get(code)
    }


def waits() -> float:
    """For a connection, for longer than a quarter of a second."""
    values = [
        REGISTRY.get_sample_value("relaykit_database_wait_seconds_bucket", {"le": bound})
        for bound in ("+Inf", "0.25")
    ]
    return (values[0] or 0) - (values[1] or 0)


async def write(redis: Redis) -> None:
    with redis_errors():
        await redis.set("relaykit:test", "x", ex=60)


async def read(news: AsyncIterator[object]) -> None:
    async for _ in news:
        pass


async def test_of_a_redis_that_gives_no_answer() -> None:
    before = failures("redis")
    async with open_redis(f"redis://127.0.0.1:{free_port()}/0", connections=1) as redis:
        with pytest.raises(QueueUnavailable):
            await write(redis)
    assert since(before, "redis") == {"unreachable": 1}


async def test_of_a_redis_that_is_full_by_the_word_of_its_reply(tmp_path: Path) -> None:
    with redis_node(tmp_path) as node:
        await wait_until("Redis answers", node.answers)
        async with open_redis(node.url, connections=1) as redis, node.client() as admin:
            await admin.config_set("maxmemory", "1")
            before = failures("redis")
            with pytest.raises(QueueUnavailable):
                await write(redis)
    assert since(before, "redis") == {"OOM": 1}


async def test_of_a_redis_that_is_left_by_the_word_for_which_it_is_left(tmp_path: Path) -> None:
    """Its connections that listen are closed by the process itself: nothing is unreachable."""
    with redis_node(tmp_path) as node:
        await wait_until("Redis answers", node.answers)
        async with (
            open_redis(node.url, connections=1) as redis,
            open_redis(node.url, connections=1, reply_timeout_seconds=None) as listening,
            subscribed(listening, lambda pubsub: pubsub.subscribe("relaykit:test")) as pubsub,
            node.client() as admin,
        ):
            news = messages(pubsub)
            await anext(news)
            await admin.replicaof("127.0.0.1", str(free_port()))
            before = failures("redis")
            with pytest.raises(QueueUnavailable):
                await write(redis)
            with pytest.raises(QueueUnavailable):
                await read(news)
    assert since(before, "redis") == {"READONLY": 2}


async def test_of_a_postgresql_that_is_away(database_url: str) -> None:
    async with Link(database_url) as link, Database(settings_for(link.url)) as database:
        before = failures("database")
        link.refuse()
        with pytest.raises(DatabaseUnavailable):
            await database.check()
    assert set(since(before, "database")) == {"unreachable"}


async def test_of_a_postgresql_that_is_read_only_by_its_sqlstate(database_url: str) -> None:
    async with Database(settings_for(database_url)) as database:
        before = failures("database")
        async with database.connection() as connection:
            await connection.execute("SET default_transaction_read_only = on")
            deleted = connection.execute("DELETE FROM runs")
            with pytest.raises(DatabaseUnavailable):
                await deleted
    assert since(before, "database") == {"25006": 1}


async def test_of_a_pool_whose_connections_are_all_in_use(database_url: str) -> None:
    """The wait counts too: where no connection ever comes back, a quantile of the waits would have nothing else."""
    given = settings_for(database_url, database_pool_min=1, database_pool_max=2, database_timeout_seconds=0.3)
    with capture_logs() as logs:
        async with Database(given) as database, database.connection(), database.connection():
            before, waited = failures("database"), waits()
            with pytest.raises(DatabaseUnavailable):
                await database.check()
    assert since(before, "database") == {"none_free": 1}
    assert waits() == waited + 1
    [line] = [line for line in logs if line["action"] != "database_unsafe"]
    assert (line["action"], line["used"], line["waiting"]) == ("database_none_free", 2, 0)


async def test_of_a_server_that_gives_no_further_connection(database_url: str) -> None:
    with limited_role(database_url, 2) as url:
        given = settings_for(url, database_pool_min=2, database_pool_max=4, database_timeout_seconds=0.5)
        async with Database(given) as database, database.connection(), database.connection():
            before = failures("database")
            with pytest.raises(DatabaseUnavailable):
                await database.check()
    assert since(before, "database") == {"53300": 1, "none_free": 1}


async def test_the_end_of_a_process_is_no_failure(database_url: str) -> None:
    database = Database(settings_for(database_url))
    async with database:
        before = failures("database")
        await database._pools[next(iter(database._pools))].close()
        with pytest.raises(DatabaseUnavailable):
            await database.check()
    assert since(before, "database") == {}
