"""A pooler in front of PostgreSQL: session mode works, transaction mode is refused at the start by all three."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from relaykit.shared.errors import SettingsError
from relaykit.shared.postgres.database import Database
from relaykit.shared.postgres.migrate import MIGRATIONS, migrate
from relaykit.shared.postgres.pooler import NO_SESSIONS
from relaykit.shared.settings import Settings
from tests.integration.persistence import settings_for
from tests.support.servers.relay_servers import ScriptedAnswers
from tests.support.services.databases import Databases
from tests.support.services.pgbouncer import pgbouncer
from tests.support.system import ROOT, START_SECONDS, create, keyed, running, start_process, wait_until

IDS = sorted(path.stem for path in MIGRATIONS.glob("*.sql"))


@pytest.fixture
def empty(databases: Databases) -> Iterator[str]:
    with databases.fresh(migrated=False) as url:
        yield url


def _migrate(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relaykit.shared.postgres.migrate"],
        env={"DATABASE_URL": url, "PATH": os.environ["PATH"]},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class TestTransactionMode:
    def test_a_migration_is_refused_in_one_line_and_leaves_no_lock_behind(self, empty: str) -> None:
        with pgbouncer(empty, "transaction") as url:
            done = _migrate(url)
            assert (done.returncode, done.stdout, done.stderr) == (2, "", f"migrate: {NO_SESSIONS}\n")
            assert migrate(empty) == IDS  # beside the sessions that the pooler still has

    @pytest.mark.parametrize("module", ["api", "worker"])
    async def test_a_process_is_refused_in_one_line(
        self, settings: Settings, tmp_path: Path, module: str
    ) -> None:
        with pgbouncer(settings.database_url, "transaction") as url:
            process = start_process(module, settings, tmp_path / "log", DATABASE_URL=url)
            try:
                await wait_until(
                    f"the {module} has ended", lambda: process.popen.poll() is not None, START_SECONDS
                )
            finally:
                process.kill()
        assert process.popen.returncode == 2
        assert process.output.count(NO_SESSIONS) == 1
        assert "Traceback" not in process.output

    @pytest.mark.parametrize(
        "more",
        [{}, {"default_pool_size": "1"}, {"default_pool_size": "2"}, {"server_round_robin": "1"}],
        ids=["last used first", "one session", "two sessions", "longest rested first"],
    )
    @pytest.mark.parametrize("smallest", [1, 4])
    async def test_it_is_recognised_however_sessions_are_given_out(
        self, database_url: str, more: dict[str, str], smallest: int
    ) -> None:
        with pgbouncer(database_url, "transaction", **more) as url:
            with pytest.raises(SettingsError, match="transaction mode"):
                async with Database(settings_for(url, database_pool_min=smallest)):
                    pass
            with pytest.raises(SettingsError, match="transaction mode"):
                migrate(url)

    @pytest.mark.parametrize("round_robin", ["0", "1"])
    async def test_it_is_recognised_among_clients_that_are_busy(
        self, database_url: str, round_robin: str
    ) -> None:
        with pgbouncer(database_url, "transaction", server_round_robin=round_robin) as url, _busy(url, 4):
            for _ in range(10):
                with pytest.raises(SettingsError, match="transaction mode"):
                    async with Database(settings_for(url, database_pool_min=1)):
                        pass

    async def test_statement_mode_is_refused_too(self, database_url: str) -> None:
        with pgbouncer(database_url, "statement") as url:
            with pytest.raises(SettingsError, match="transaction mode"):
                async with Database(settings_for(url)):
                    pass
            with pytest.raises(SettingsError, match="transaction mode"):
                migrate(url)


class TestSessionMode:
    async def test_messages_are_answered_through_it(self, settings: Settings) -> None:
        with pgbouncer(settings.database_url, "session") as url:
            through = settings.model_copy(update={"database_url": url})
            async with running(through, ScriptedAnswers) as system:
                alice = await system.caller()
                answers = await asyncio.gather(
                    *(alice.stream(create("hi"), headers=keyed(number)) for number in range(24))
                )
        assert [answer.end for answer in answers] == ["completed"] * 24

    def test_a_second_migration_finds_the_lock_of_the_first_free(self, empty: str) -> None:
        """Though the pooler neither ends the session of the first nor resets it."""
        with pgbouncer(empty, "session", server_reset_query="") as url:
            assert migrate(url) == IDS
            assert migrate(url) == []
            assert migrate(empty) == []

    async def test_it_is_recognised_among_clients_that_are_busy(self, database_url: str) -> None:
        with pgbouncer(database_url, "session", default_pool_size="60") as url, _busy(url, 4):
            for _ in range(10):
                async with Database(settings_for(url, database_pool_min=4)) as database:
                    await database.check()


@contextmanager
def _busy(url: str, clients: int) -> Iterator[None]:
    """Clients that open and end transactions without a pause."""
    stop = threading.Event()

    def work() -> None:
        with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
            while not stop.is_set():
                with connection.transaction():
                    connection.execute("SELECT 1")

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
