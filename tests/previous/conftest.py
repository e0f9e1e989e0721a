"""A database as the release before left it, a Redis, and what processes of either release are started with."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from relaykit.shared.postgres import migrate as module
from relaykit.shared.redis.client import open_redis
from relaykit.shared.settings import Settings
from tests import previous
from tests.previous.code import previous_code
from tests.previous.real_redis import Real
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import free_port, make_settings


@pytest.fixture
def previous_database_url(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty database with the schema of the release before."""
    with databases.fresh(migrated=False) as url:
        with monkeypatch.context() as patch:
            patch.setattr(module, "MIGRATIONS", previous.MIGRATIONS)
            module.migrate(url)
        yield url


@pytest.fixture
def real(redis_url: str) -> Iterator[Real]:
    with asyncio.Runner() as runner:
        opened = open_redis(redis_url, connections=2)
        client = runner.run(opened.__aenter__())
        try:
            yield Real(runner, client)
        finally:
            runner.run(opened.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What a process of either release has in its environment."""
    return {"previous": previous_code(tmp_path_factory.mktemp("previous")), "current": {}}


@pytest.fixture
def deployed(
    redis_databases: RedisDatabases, previous_database_url: str, issuer_key_file: Path
) -> Iterator[Settings]:
    """On the schema of the release before."""
    with redis_databases.fresh() as redis_url:
        yield make_settings(
            redis_url,
            previous_database_url,
            issuer_key_file,
            free_port(),
            chatkit_server="tests.support.servers.relay_servers:ScriptedAnswers",
            run_max_attempts=2,
            drain_seconds=3,
        )
