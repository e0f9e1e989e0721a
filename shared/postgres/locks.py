"""Every advisory lock of PostgreSQL that the product takes. Nothing else in the product spells one, but for migrations.

PostgreSQL's advisory locks are numbers of the whole database: another application on it must not use these.
"""

from __future__ import annotations

from typing import Final

REAPER_LOCK: Final = 7_303_014_201
"""The worker that holds it reaps. The lock is a transaction's."""
MIGRATION_LOCK: Final = 0x52454C41594B4954
"""The host that holds it migrates. The lock is a session's; its number is "RELAYKIT" in ASCII."""
THREAD_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended($1 || chr(31) || $2 || chr(31) || $3, 0))"
"""Locks a thread, by tenant, owner and id, for a transaction: admission, the end of a run and the deletion of a thread
exclude each other. The functions of the schema take the same lock by the same expression."""
