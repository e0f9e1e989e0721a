"""A real PgBouncer on loopback, in front of the tests' PostgreSQL."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.support.processes.programs import required
from tests.support.services.databases import open_folder, remove_data
from tests.support.system import free_port

START_SECONDS = 20.0
SETTINGS = {"listen_addr": "127.0.0.1", "unix_socket_dir": "", "auth_type": "any", "default_pool_size": "30"}


@contextmanager
def pgbouncer(server_url: str, pool_mode: str, **settings: str) -> Iterator[str]:
    """The URL of the same database through a PgBouncer of its own. Whoever comes gets in, as the URL's user."""
    program, port, folder = required("pgbouncer"), free_port(), open_folder("relaykit-pgbouncer-")
    given = {**SETTINGS, "listen_port": str(port), "pool_mode": pool_mode, **settings}
    config = folder / "pgbouncer.ini"
    config.write_text(f"[databases]\n* = {_server(server_url)}\n[pgbouncer]\n{_lines(given)}")
    config.chmod(0o644)
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None  # it does not run as root
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=user and user.pw_uid,
            group=user and user.pw_gid,
            extra_groups=[] if user else None,
        )
    try:
        url = _through(server_url, port)
        _wait(url, process, folder / "log")
        yield url
    finally:
        process.kill()
        process.wait()
        remove_data(folder)


def _server(url: str) -> str:
    target = conninfo_to_dict(url)
    return " ".join(
        f"{name}='{target[name]}'" for name in ("host", "port", "user", "password") if name in target
    )


def _through(url: str, port: int) -> str:
    parts = urlsplit(url)
    user = conninfo_to_dict(url)["user"]
    return urlunsplit(parts._replace(netloc=f"{user}:any@127.0.0.1:{port}", query=""))


def _lines(settings: dict[str, str]) -> str:
    return "".join(f"{name} = {value}\n" for name, value in settings.items())


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"PgBouncer never answered: {log.read_text()}"
            time.sleep(0.05)
        else:
            return
