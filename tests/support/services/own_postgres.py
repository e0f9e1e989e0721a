"""A PostgreSQL server of a test's own: for what would harm the tests that share one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from relaykit.local.data_directory import data_directory
from relaykit.local.postgres_files import postgres_files
from relaykit.local.postgres_server import postgres_server
from relaykit.local.waiting import StopRequest
from relaykit.shared.postgres.migrate import migrate
from tests.support.services.databases import open_folder, remove_data

DISK_MB = 48


@dataclass
class OwnPostgres:
    url: str
    folder: Path
    taken: list[psycopg.Connection] = field(default_factory=list)

    def execute(self, statement: str, database: str | None = None) -> None:
        url = self.url if database is None else f"{self.url.rpartition('/')[0]}/{database}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    def set_read_only(self, is_read_only: bool) -> None:
        value = "on" if is_read_only else "off"
        self.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        self.execute("SELECT pg_reload_conf()")

    def take_connections(self) -> None:
        """All that the server gives to such a role as the URL's, until `give_connections`."""
        refused = ""
        while not refused:
            try:
                self.taken.append(psycopg.connect(self.url))
            except psycopg.OperationalError as error:
                refused = str(error)
        assert "slots are reserved" in refused or "too many clients" in refused, refused

    def give_connections(self) -> None:
        while self.taken:
            self.taken.pop().close()


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """Its database is migrated."""
    folder = open_folder("relaykit-own-")
    try:
        with (
            data_directory(folder) as directory,
            postgres_server(directory, StopRequest(), durable=False) as (_, url),
        ):
            migrate(url)
            server = OwnPostgres(url, folder)
            try:
                yield server
            finally:
                server.give_connections()
    finally:
        remove_data(folder)


@contextmanager
def small_disk(server: OwnPostgres) -> Iterator[None]:
    """The database stands on a file system of DISK_MB while the block runs. Skips where none can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a file system")
    with ExitStack() as stack:
        place = open_folder("relaykit-disk-")
        stack.callback(place.rmdir)
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(place)],
            capture_output=True,
            text=True,
            check=False,
        )
        if mounted.returncode != 0:
            pytest.skip(f"no file system can be mounted: {mounted.stderr.strip()}")
        stack.callback(subprocess.run, ["umount", "--lazy", str(place)], check=True)
        user = postgres_files(server.folder).user
        if user is not None:
            os.chown(place, user.uid, user.gid)
        server.execute(f"CREATE TABLESPACE small LOCATION '{place}'", "postgres")
        server.execute("ALTER DATABASE relaykit SET TABLESPACE small", "postgres")
        yield


def fill_disk(server: OwnPostgres) -> None:
    """Until not one block is left. `DROP TABLE filler` makes room again."""
    server.execute("CREATE TABLE filler (text text); ALTER TABLE filler ALTER text SET STORAGE PLAIN")
    with psycopg.connect(server.url, autocommit=True) as connection:
        for rows in (100, 1):
            is_full = False
            while not is_full:
                try:
                    connection.execute(
                        "INSERT INTO filler SELECT repeat('x', 7000) FROM generate_series(1, %s)", [rows]
                    )
                except psycopg.errors.DiskFull:
                    is_full = True
