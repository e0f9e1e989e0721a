"""The services that local mode and the tests run on: real, private, and gone when asked."""

from __future__ import annotations

import psycopg
import pytest
import redis

from tests.services import Databases, RedisDatabases


def test_redis_answers_and_is_empty(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("x", 1, ex=60)


def test_a_key_left_without_ttl_fails_the_test(redis_databases: RedisDatabases) -> None:
    with pytest.raises(AssertionError, match="leaked-key"):
        leave_a_key(redis_databases)
    with redis_databases.fresh() as url, redis.Redis.from_url(url) as client:
        assert client.dbsize() == 0, "what a test left behind reached the next"


def leave_a_key(redis_databases: RedisDatabases) -> None:
    with redis_databases.fresh() as url, redis.Redis.from_url(url) as client:
        client.set("leaked-key", 1)


def test_the_queue_may_stay(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.zadd("arq:queue", {"run": 1})


def test_database_is_migrated_and_empty(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)


def test_databases_share_nothing(databases: Databases) -> None:
    with databases.fresh() as one, databases.fresh() as other:
        with psycopg.connect(one) as connection:
            connection.execute("CREATE TABLE mark ()")
        with psycopg.connect(other) as connection:
            assert connection.execute("SELECT to_regclass('mark')").fetchone() == (None,)
