"""relaykit.shared.postgres.migrate: any number of hosts at once, a host that dies, files that fail."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from relaykit.shared.errors import DatabaseUnavailable, MigrationFailed
from relaykit.shared.postgres import migrate as module
from relaykit.shared.postgres.locks import MIGRATION_LOCK
from relaykit.shared.postgres.migrate import APPLICATION_NAME, MIGRATIONS, migrate
from tests.support.services.databases import Databases
from tests.support.system import START_SECONDS

ROOT = Path(__file__).parents[2]
IDS = sorted(path.stem for path in MIGRATIONS.glob("*.sql"))


@pytest.fixture
def empty(databases: Databases) -> Iterator[str]:
    with databases.fresh(migrated=False) as url:
        yield url


def _start(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "relaykit.shared.postgres.migrate"],
        env={"DATABASE_URL": url},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {row[0] for row in rows}


def _applied(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT migration_id FROM _yoyo_migration ORDER BY applied_at_utc"
        ).fetchall()
    return [row[0] for row in rows]


def _waiting(url: str) -> int:
    """Hosts that have asked for the lock, and will again; none waits inside its statement."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = %s AND query LIKE '%%pg_try_advisory_lock%%'",
            [APPLICATION_NAME],
        ).fetchone()
    assert row is not None
    return int(row[0])


def _until_waiting(url: str, count: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while _waiting(url) < count:
        assert time.monotonic() < deadline, f"never came true: {count} hosts wait for the lock"
        time.sleep(0.02)


class TestOnce:
    def test_it_applies_all_and_then_nothing(self, empty: str) -> None:
        assert migrate(empty) == IDS
        assert {"threads", "items", "attachments", "runs"} <= _tables(empty)
        assert migrate(empty) == []
        assert _applied(empty) == IDS

    def test_hosts_that_start_together_apply_each_migration_once(self, empty: str) -> None:
        """They meet at the lock, which we hold until all of them wait."""
        with psycopg.connect(empty, autocommit=True) as holder:
            holder.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
            hosts = [_start(empty) for _ in range(5)]
            _until_waiting(empty, 5)
        outputs = [host.communicate(timeout=START_SECONDS) for host in hosts]
        assert [host.returncode for host in hosts] == [0] * 5, outputs
        lines = sorted(output for output, _ in outputs)
        assert lines == [f"migrate: applied {', '.join(IDS)}\n"] + ["migrate: nothing to do\n"] * 4
        assert _applied(empty) == IDS

    def test_a_host_that_dies_with_the_lock_leaves_it_free(self, empty: str) -> None:
        holder = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import os, sys, time; from relaykit.shared.postgres import migrate as m;"
                "b = m._connected(os.environ['DATABASE_URL']); b.take_lock(); b.begin();"
                "b.execute('CREATE TABLE half_done (id integer)'); print('held', flush=True); time.sleep(600)",
            ],
            env={"DATABASE_URL": empty},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            next_host = _start(empty)
            _until_waiting(empty, 1)
            holder.send_signal(signal.SIGKILL)
            output, errors = next_host.communicate(timeout=START_SECONDS)
        finally:
            holder.kill()
            holder.communicate()
        assert (next_host.returncode, errors) == (0, "")
        assert output == f"migrate: applied {', '.join(IDS)}\n"
        assert "half_done" not in _tables(empty)

    def test_a_lock_that_is_never_freed_is_an_error(
        self, empty: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.1)
        with psycopg.connect(empty, autocommit=True) as holder:
            holder.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
            with pytest.raises(DatabaseUnavailable, match="another host has been migrating"):
                migrate(empty)
        assert migrate(empty) == IDS

    def test_the_lock_of_one_database_does_not_hold_up_another(self, empty: str, database_url: str) -> None:
        with psycopg.connect(database_url, autocommit=True) as holder:
            holder.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
            assert migrate(empty) == IDS


class TestFailure:
    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(module, "MIGRATIONS", tmp_path)
        return tmp_path

    def test_a_migration_that_fails_leaves_nothing_and_is_tried_again(self, empty: str, folder: Path) -> None:
        name = folder.name  # yoyo keeps ids apart by nothing else
        (folder / f"{name}_1.sql").write_text("CREATE TABLE one (id integer);")
        (folder / f"{name}_2.sql").write_text(
            "CREATE TABLE two (id integer);\nCREATE TABLE one (id integer);"
        )
        with pytest.raises(MigrationFailed, match='relation "one" already exists'):
            migrate(empty)
        assert {"one", "two"} & _tables(empty) == {"one"}
        assert _applied(empty) == [f"{name}_1"]
        (folder / f"{name}_2.sql").write_text("CREATE TABLE two (id integer);")
        assert migrate(empty) == [f"{name}_2"]

    def test_a_migration_outside_a_transaction_is_possible(self, empty: str, folder: Path) -> None:
        name = folder.name
        (folder / f"{name}_1.sql").write_text("CREATE TABLE one (id integer);")
        (folder / f"{name}_2.sql").write_text(
            "-- transactional: false\nCREATE INDEX CONCURRENTLY one_id ON one (id);"
        )
        assert migrate(empty) == [f"{name}_1", f"{name}_2"]
        assert _applied(empty) == [f"{name}_1", f"{name}_2"]

    def test_an_index_that_was_not_completed_is_made_anew(self, empty: str, folder: Path) -> None:
        """CREATE INDEX CONCURRENTLY leaves an invalid one behind: the file drops it first, and is run as a whole."""
        name = folder.name
        (folder / f"{name}_1.sql").write_text(
            "CREATE TABLE one (id integer); INSERT INTO one VALUES (1), (1);"
        )
        (folder / f"{name}_2.sql").write_text(
            "-- transactional: false\nDROP INDEX CONCURRENTLY IF EXISTS one_id;\n"
            "CREATE UNIQUE INDEX CONCURRENTLY one_id ON one (id);"
        )
        with pytest.raises(MigrationFailed, match="could not create unique index"):
            migrate(empty)
        assert _applied(empty) == [f"{name}_1"]
        with psycopg.connect(empty) as connection:
            assert connection.execute("SELECT indisvalid FROM pg_index WHERE NOT indisvalid").fetchall()
            connection.execute("DELETE FROM one")
        assert migrate(empty) == [f"{name}_2"]
        with psycopg.connect(empty) as connection:
            assert not connection.execute("SELECT FROM pg_index WHERE NOT indisvalid").fetchall()
