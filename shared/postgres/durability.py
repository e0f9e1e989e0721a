"""Settings with which PostgreSQL may lose what it has said to be committed: told at start, and by `relaykit check`."""

from __future__ import annotations

from typing import Final

import asyncpg

UNSAFE: Final = """
SELECT name FROM pg_settings
WHERE setting = 'off' AND name IN ('fsync', 'full_page_writes') OR reset_val = 'off' AND name = 'synchronous_commit'
ORDER BY name
"""
"""Of `synchronous_commit` the value that the session began with, which Relaykit's own sessions change."""

_TOLD: Final = {
    "fsync": "fsync is off: what was accepted may be lost when the server's host fails",
    "full_page_writes": "full_page_writes is off: data may be damaged when the server's host fails",
    "synchronous_commit": "synchronous_commit is off: Relaykit turns it on in its own sessions",
}


async def unsafe_settings(connection: asyncpg.Connection) -> dict[str, str]:
    """Each such setting, with a sentence about it."""
    return {row["name"]: _TOLD[row["name"]] for row in await connection.fetch(UNSAFE)}
