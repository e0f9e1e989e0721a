"""Brings the database's schema up to date: `relaykit migrate`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg.errors import DeadlockDetected, LockNotAvailable
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import Migration

from relaykit.shared.errors import DatabaseUnavailable, MigrationFailed, RelaykitError, SettingsError
from relaykit.shared.postgres.database_url import read_database_url
from relaykit.shared.postgres.locks import MIGRATION_LOCK
from relaykit.shared.postgres.pooler import NO_SESSIONS, keeps_sessions

MIGRATIONS = Path(__file__).parent / "migrations"
APPLICATION_NAME = "relaykit-migrate"
CONNECT_TIMEOUT_SECONDS = 10
BAD_SETTING = 2
"""The process's status where DATABASE_URL is missing or wrong."""
CHECKED_CONNECTIONS = 2
"""This many connections are open for a moment at the start, to find out whether a pooler keeps sessions."""
PATIENCE_SECONDS = 600.0
"""How long a migration waits for another host to be done, and for its own locks."""
POLL_SECONDS = 0.25
LOCK_WAIT_SECONDS = 1.0
"""How long one try waits for the lock of a table. Every later statement on that table waits behind it meanwhile."""
LOCK_PAUSE_SECONDS = 2.0
"""The pause between two tries for such a lock, in which the statements that have gathered behind it go first."""
KNOWN_REASONS = (
    "connection refused",
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "failed to resolve host",
    "timeout expired",
    "no such file or directory",
    "does not exist",
    "too many",
    "certificate",
    "ssl",
    "server closed the connection",
    "terminating connection",
)
"""What is told of a connection that failed, where its text holds it. The text itself may quote a part of the URL: where
the password has an unescaped @, the rest of the password stands where the host belongs."""
SESSION = """
    SET statement_timeout = 0;
    SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3
"""
"""The keepalives let the server see within a minute that a host went away without a word."""


def migrate(database_url: str) -> list[str]:
    """Applies the migrations that the database does not have yet, and returns their ids in order.

    Any number of hosts may call this at once: one works, the others wait and then find nothing to do.
    The lock belongs to the connection that also does the work, so a host that dies frees it and leaves
    nothing half done. Needs a direct connection or a pooler in session mode. The release that is running goes on
    meanwhile: docs/migrations.md.

    Raises SettingsError for a malformed URL, DatabaseUnavailable when the server cannot be reached, refuses
    or is locked for PATIENCE_SECONDS, MigrationFailed. None shows the password.
    """
    with _connected(database_url) as backend:
        try:
            backend.take_lock()
            migrations = backend.to_apply(read_migrations(str(MIGRATIONS)))
            for migration in migrations:
                backend.apply_patiently(migration)
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(f"DATABASE_URL: the connection failed ({_cause(error)})") from error
        except psycopg.Error as error:
            raise MigrationFailed(_line(error)) from error
        finally:
            backend.free_lock()
        return [migration.id for migration in migrations]


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo is not typed
    """yoyo without its lock table, whose row would outlive a host that dies."""

    @contextmanager
    def lock(self, timeout: float = 0) -> Iterator[None]:
        yield

    def take_lock(self) -> None:
        """Waits for the lock of this database, which lasts as long as the connection.

        By asking again: a host that waited inside a statement would have a snapshot, whose end is what CREATE INDEX
        CONCURRENTLY of the host with the lock waits for.
        """
        self.execute(SESSION)
        gives_up_at = time.monotonic() + PATIENCE_SECONDS
        while not self._has_lock():
            if time.monotonic() > gives_up_at:
                raise DatabaseUnavailable(f"another host has been migrating for {PATIENCE_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    def free_lock(self) -> None:
        """Frees the lock at once: the end of a connection to a pooler is not always that of its session."""
        with suppress(psycopg.Error):
            self.execute("SELECT pg_advisory_unlock_all()")

    def _has_lock(self) -> bool:
        cursor = self.execute("SELECT pg_try_advisory_lock(:key)", {"key": MIGRATION_LOCK})
        return bool(cursor.fetchone()[0])

    def apply_patiently(self, migration: Migration) -> None:
        """Applies `migration` in short tries for its locks, so that no statement waits longer than one of them."""
        migration.load()
        gives_up_at = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self._apply(migration)
            except (LockNotAvailable, DeadlockDetected):
                if time.monotonic() > gives_up_at:
                    raise
                time.sleep(LOCK_PAUSE_SECONDS)
            else:
                return

    def _apply(self, migration: Migration) -> None:
        """Applies `migration` and notes it as applied, in one transaction where the file allows one.

        Outside a transaction the locks are those of CREATE INDEX CONCURRENTLY: no statement waits behind them.
        """
        if migration.use_transactions:
            self._wait_for_locks(LOCK_WAIT_SECONDS)
            with self.transaction():
                migration.process_steps(self, "apply")
                self.mark_one(migration, log=False)
        else:
            self._wait_for_locks(PATIENCE_SECONDS)
            migration.process_steps(self, "apply")
            self.mark_one(migration, log=False)

    def _wait_for_locks(self, seconds: float) -> None:
        self.execute(f"SET lock_timeout = '{int(seconds * 1000)}ms'")


def _connected(database_url: str) -> _Backend:
    url = read_database_url(database_url)
    parameters = url.for_libpq(APPLICATION_NAME, CONNECT_TIMEOUT_SECONDS)
    try:
        if not _keeps_sessions(parameters):
            raise SettingsError(NO_SESSIONS)
        return _Backend(DatabaseURI("postgresql+psycopg", *[None] * 5, parameters), "_yoyo_migration")
    except (psycopg.Error, OSError, ValueError) as error:  # a host that no name can be is a ValueError
        raise DatabaseUnavailable(f"DATABASE_URL: cannot connect ({_cause(error)})") from None


def _keeps_sessions(parameters: dict[str, str]) -> bool:
    """False for a pooler in transaction mode, which would leave the lock to another client's session."""
    with ExitStack() as stack:
        connections = [
            stack.enter_context(
                psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)  # type: ignore[arg-type]
            )
            for _ in range(CHECKED_CONNECTIONS)
        ]
        steps, value = keeps_sessions(CHECKED_CONNECTIONS), None
        while True:
            try:
                place, statement = steps.send(value)
            except StopIteration as end:
                return bool(end.value)
            cursor = connections[place].execute(statement)
            row = cursor.fetchone() if cursor.description else None
            value = row[0] if row else None


def _cause(error: Exception) -> str:
    """The error's type, and of its text no more than KNOWN_REASONS."""
    text = str(error).lower()
    reason = next((reason for reason in KNOWN_REASONS if reason in text), None)
    return ": ".join(filter(None, (type(error).__name__, reason)))


def _line(error: psycopg.Error) -> str:
    """What PostgreSQL says of a statement of a migration, without the detail, which may quote rows."""
    return " ".join((error.diag.message_primary or type(error).__name__).split())


def main() -> int:
    """Migrates DATABASE_URL and says in one line what was done, or what was wrong.

    The process's status: 0, 1 where the database cannot be reached or a migration fails, 2 where the URL is wrong.
    """
    database_url = os.environ.get("DATABASE_URL", "")
    try:
        if not database_url:
            raise SettingsError("DATABASE_URL: is not set")
        for name, reason in read_database_url(database_url).left_out.items():
            print(f"migrate: DATABASE_URL: {name} is left out: {reason}", file=sys.stderr)
        applied = migrate(database_url)
    except RelaykitError as error:
        print(f"migrate: {error.message}", file=sys.stderr)
        return BAD_SETTING if isinstance(error, SettingsError) else 1
    print(f"migrate: applied {', '.join(applied)}" if applied else "migrate: nothing to do")
    return 0


if __name__ == "__main__":
    sys.exit(main())
