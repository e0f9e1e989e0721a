"""Brings the database's schema up to date: `python -m shared.migrate`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import Migration

from shared.errors import DatabaseUnavailable, MigrationFailed, RelaykitError, SettingsError

MIGRATIONS = Path(__file__).parent / "migrations"
ADVISORY_LOCK = 0x52454C41594B4954
"""Postgres' key of the lock that one migrating host holds: "RELAYKIT" in ASCII."""
CONNECT_TIMEOUT_SECONDS = 10
LOCK_TIMEOUT_SECONDS = 600
SESSION = f"""
    SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s';
    SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3
"""
"""The keepalives let the server see within a minute that a host went away without a word."""


def migrate(database_url: str) -> list[str]:
    """Applies the migrations that the database does not have yet, and returns their ids in order.

    Any number of hosts may call this at once: one works, the others wait and then find nothing to do.
    The lock belongs to the connection that also does the work, so a host that dies frees it and leaves
    nothing half done. Needs a direct connection or a pooler in session mode.

    Raises SettingsError for a malformed URL, DatabaseUnavailable when the server cannot be reached, refuses
    or is locked for LOCK_TIMEOUT_SECONDS, MigrationFailed. None shows the password.
    """
    with _connected(database_url) as backend:
        try:
            backend.take_lock()
            migrations = backend.to_apply(read_migrations(str(MIGRATIONS)))
            for migration in migrations:
                backend.apply_whole(migration)
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(_line(error)) from error
        except psycopg.Error as error:
            raise MigrationFailed(_line(error)) from error
        return [migration.id for migration in migrations]


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo is not typed
    """yoyo without its lock table, whose row would outlive a host that dies."""

    @contextmanager
    def lock(self, timeout: float = 0) -> Iterator[None]:
        yield

    def take_lock(self) -> None:
        """Waits for the lock of this database, which lasts as long as the connection."""
        self.execute(SESSION)
        self.execute("SELECT pg_advisory_lock(:key)", {"key": ADVISORY_LOCK})
        self.execute("SET lock_timeout = 0")

    def apply_whole(self, migration: Migration) -> None:
        """Applies `migration` and notes it as applied, in one transaction where the file allows one."""
        migration.load()
        with self.transaction() if migration.use_transactions else nullcontext():
            migration.process_steps(self, "apply")
            self.mark_one(migration, log=False)


def _connected(database_url: str) -> _Backend:
    try:
        parameters = conninfo_to_dict(database_url, connect_timeout=CONNECT_TIMEOUT_SECONDS)
    except psycopg.Error:  # its text may hold a part of the password
        raise SettingsError("DATABASE_URL: is not a PostgreSQL URL") from None
    try:
        return _Backend(DatabaseURI("postgresql+psycopg", *[None] * 5, parameters), "_yoyo_migration")
    except psycopg.Error as error:
        raise DatabaseUnavailable(f"DATABASE_URL: cannot connect ({_line(error)})") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def main() -> int:
    """Migrates DATABASE_URL and says in one line what was done, or what was wrong; the process's status."""
    database_url = os.environ.get("DATABASE_URL", "")
    try:
        if not database_url:
            raise SettingsError("DATABASE_URL: Field required")
        applied = migrate(database_url)
    except RelaykitError as error:
        print(f"migrate: {error.message}", file=sys.stderr)
        return 1
    print(f"migrate: applied {', '.join(applied)}" if applied else "migrate: nothing to do")
    return 0


if __name__ == "__main__":
    sys.exit(main())
