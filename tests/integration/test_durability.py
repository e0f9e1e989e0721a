"""Accepted means on PostgreSQL's disk: `synchronous_commit` is on in every session, unsafe settings are told."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql
from structlog.testing import capture_logs

from relaykit.shared.postgres.database import Database
from tests.integration.persistence import settings_for


def set_for_database(database_url: str, setting: str, value: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET {} = {}").format(name, sql.Identifier(setting), sql.Literal(value))
        )


async def commit_of(url: str) -> set[str]:
    """What a commit waits for, in each of three connections."""
    found = set()
    async with Database(settings_for(url, database_pool_min=1)) as database:
        async with database.connection() as first, database.connection() as second:
            for connection in (first, second):
                found.add(await connection.fetchval("SHOW synchronous_commit"))
        async with database.transaction() as connection:
            found.add(await connection.fetchval("SHOW synchronous_commit"))
    return found


async def test_a_commit_waits_for_the_disk_whatever_server_database_and_url_say(database_url: str) -> None:
    set_for_database(database_url, "synchronous_commit", "off")
    assert await commit_of(database_url) == {"on"}
    assert await commit_of(f"{database_url}?options=-csynchronous_commit%3Doff") == {"on"}


@pytest.mark.parametrize("value", ["local", "remote_write", "on", "remote_apply"])
async def test_what_it_waits_for_at_standbys_is_the_operator_s(database_url: str, value: str) -> None:
    set_for_database(database_url, "synchronous_commit", value)
    assert await commit_of(database_url) == {value}


async def test_unsafe_settings_are_one_line_each_at_the_start(database_url: str) -> None:
    """The server of the tests has all of them."""
    set_for_database(database_url, "synchronous_commit", "off")
    with capture_logs() as logs:
        async with Database(settings_for(database_url, local_issuer_key_file=None)) as database:
            assert list(database.unsafe_settings) == ["fsync", "full_page_writes", "synchronous_commit"]
    told = [line for line in logs if line["action"] == "database_unsafe"]
    assert [line["setting"] for line in told] == ["fsync", "full_page_writes", "synchronous_commit"]
    assert all(line["reason"] for line in told)


async def test_a_safe_setting_is_not_told(database_url: str) -> None:
    set_for_database(database_url, "synchronous_commit", "on")
    async with Database(settings_for(database_url)) as database:
        assert "synchronous_commit" not in database.unsafe_settings
