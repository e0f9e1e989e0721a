"""A PostgreSQL primary with a standby that can be promoted, both from the programs that the tests use."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from relaykit.local.child import Child
from relaykit.local.data_directory import data_directory
from relaykit.local.postgres_files import postgres_files
from relaykit.local.postgres_server import ENVIRONMENT, postgres_server
from relaykit.local.waiting import StopRequest, wait_until
from relaykit.shared.postgres.migrate import migrate
from tests.support.network.ports import free_port
from tests.support.services.databases import open_folder, remove_data

SECONDS = 60.0


@dataclass(frozen=True)
class PostgresPair:
    primary: Child
    url: str
    standby_url: str

    @property
    def both_url(self) -> str:
        """Of both hosts: a driver takes the one that can be written to."""
        first, second = (url.rpartition("@")[2].partition("/")[0] for url in (self.url, self.standby_url))
        return self.url.replace(first, f"{first},{second}")

    def wait_for_standby(self) -> None:
        """From now on a commit waits until the standby has it on its disk."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")

    @contextmanager
    def cut_off_standby(self) -> Iterator[None]:
        """The standby receives nothing while the block runs."""
        primary = self.cut_off()
        try:
            yield
        finally:
            self._follow(primary)

    def cut_off(self) -> str:
        """The standby receives nothing more; gives what it followed."""
        with psycopg.connect(self.standby_url, autocommit=True) as connection:
            (primary,) = connection.execute("SHOW primary_conninfo").fetchone() or ("",)
        self._follow("")
        return str(primary)

    def _follow(self, primary: str) -> None:
        with psycopg.connect(self.standby_url, autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER SYSTEM SET primary_conninfo = {}").format(sql.Literal(primary)))
            connection.execute("SELECT pg_reload_conf()")
            follows = "SELECT count(*) FROM pg_stat_wal_receiver WHERE pid IS NOT NULL"
            what = "the standby follows" if primary else "the standby follows no more"
            wait_until(
                lambda: connection.execute(follows).fetchone() == (int(bool(primary)),),
                what,
                [],
                StopRequest(),
                SECONDS,
            )

    def kill_primary(self) -> None:
        self.primary.stop(signal.SIGQUIT, SECONDS)

    def is_replayed(self) -> bool:
        """The standby has all that was committed."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            (at,) = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone() or (None,)
        with psycopg.connect(self.standby_url, autocommit=True) as connection:
            (done,) = connection.execute("SELECT pg_last_wal_replay_lsn() >= %s", [at]).fetchone() or (False,)
        return bool(done)

    def promote(self) -> None:
        with psycopg.connect(self.standby_url, autocommit=True) as connection:
            assert connection.execute("SELECT pg_promote()").fetchone() == (True,)


@contextmanager
def postgres_pair() -> Iterator[PostgresPair]:
    """Both are there, the database is migrated, and the standby follows."""
    folders = [open_folder("relaykit-primary-"), open_folder("relaykit-standby-")]
    stop = StopRequest()
    try:
        with (
            data_directory(folders[0]) as primary,
            data_directory(folders[1]) as other,
            postgres_server(primary, stop, durable=False) as (server, url),
        ):
            migrate(url)
            standby, standby_url = _standby(other.path, url, stop)
            try:
                yield PostgresPair(server, url, standby_url)
            finally:
                standby.stop(signal.SIGQUIT, SECONDS)
    finally:
        for folder in folders:
            remove_data(folder)


def _standby(folder: Path, url: str, stop: StopRequest) -> tuple[Child, str]:
    files, port = postgres_files(folder), free_port()
    backup = files.data.with_name("postgres")
    _run(
        "pg_basebackup",
        [files.programs / "pg_basebackup", "-d", url, "-D", backup, "-R", "-X", "stream", "-c", "fast"],
        folder,
        stop,
    )
    if files.user is not None:
        for path in (backup, *backup.rglob("*")):
            shutil.chown(path, files.user.uid, files.user.gid)
    child = Child.start(
        "the standby",
        [
            *(files.programs / "postgres", "-D", backup, "-c", f"port={port}"),
            *(
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
                "-c",
                "max_connections=200",
            ),
            *("-c", "fsync=off"),
        ],
        log=folder / "logs" / "standby.log",
        env=ENVIRONMENT,
        cwd=Path("/"),
        death_signal=signal.SIGINT,
        user=files.user,
    )
    standby_url = url.replace(url.rpartition(":")[2].partition("/")[0], str(port))
    wait_until(lambda: _answers(standby_url), "the standby answers", [child], stop, SECONDS)
    return child, standby_url


def _run(name: str, command: list[str | Path], folder: Path, stop: StopRequest) -> None:
    child = Child.start(
        name,
        command,
        log=folder / "logs" / f"{name}.log",
        env=ENVIRONMENT,
        cwd=Path("/"),
        death_signal=signal.SIGKILL,
    )
    wait_until(lambda: child.exit_code() is not None or child.wait(0), f"{name} is done", [], stop, SECONDS)
    assert child.exit_code() == 0, (folder / "logs" / f"{name}.log").read_text()


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False
