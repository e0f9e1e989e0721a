"""PostgreSQL as an operator has to see it: whether it takes writes, and what its sessions do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from relaykit.shared.postgres.database import Database

# Of this database, without the session that asks. Those of other roles are counted, and may not be seen into.
STATE: Final = """
SELECT current_setting('transaction_read_only') = 'on' AS read_only,
    current_setting('max_connections')::int AS max_connections,
    count(pid) AS sessions,
    count(pid) FILTER (WHERE state = 'active') AS active,
    count(pid) FILTER (WHERE wait_event_type = 'Lock') AS wait_for_locks,
    count(pid) FILTER (WHERE state LIKE 'idle in transaction%') AS idle_in_transaction,
    coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::double precision AS oldest_seconds
FROM (SELECT 1) AS one LEFT JOIN pg_stat_activity ON datname = current_database()
    AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """As it is now, of the server that DATABASE_URL leads to."""

    read_only: bool
    """Whether it is a standby, or set to be read-only: writes are refused with 25006."""
    max_connections: int
    """Of the whole server."""
    sessions: int
    """Of this database, those of other programs too."""
    active: int
    wait_for_locks: int
    """Of the active ones, those that wait for what another session holds."""
    idle_in_transaction: int
    oldest_transaction_seconds: float
    """For how long the oldest transaction has been open."""


class DatabaseFigures:
    """Asks for them. Raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(self) -> DatabaseState:
        """One statement, on what PostgreSQL knows of its sessions."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(STATE)
        assert row is not None
        return DatabaseState(
            read_only=row["read_only"],
            max_connections=row["max_connections"],
            sessions=row["sessions"],
            active=row["active"],
            wait_for_locks=row["wait_for_locks"],
            idle_in_transaction=row["idle_in_transaction"],
            oldest_transaction_seconds=round(row["oldest_seconds"], 3),
        )
