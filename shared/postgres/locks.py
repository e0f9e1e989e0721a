"""Every advisory lock of PostgreSQL that the product takes, in its statements and in the functions of the schema.

PostgreSQL's advisory locks are numbers of the whole database: another application on it must not use these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

REAPER_LOCK: Final = 7_303_014_201
"""The worker that holds it reaps. The lock is a transaction's."""
MIGRATION_LOCK: Final = 0x52454C41594B4954
"""The host that holds it migrates. The lock is a session's; its number is "RELAYKIT" in ASCII."""
THREAD_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended($1 || chr(31) || $2 || chr(31) || $3, 0))"
"""Locks a thread, by tenant, owner and id, for a transaction: admission, the end of a run and the deletion of a thread
exclude each other."""

IN_FUNCTIONS: Final[Mapping[str, str]] = {
    "_tenant || chr(31) || _owner || chr(31) || _thread_id": "the thread: the same lock as THREAD_LOCK",
    "'caller' || chr(31) || _tenant || chr(31) || _owner": "the caller: its runs are counted and admitted one by one",
    "'body' || chr(31) || _tenant || chr(31) || _owner || chr(31) || encode(_request_hash, 'hex')": (
        "a body without an Idempotency-Key: of two at once the second finds the first"
    ),
    "'unsent' || chr(31) || _tenant || chr(31) || _owner": (
        "the caller: its attachments that no message has are counted and created one by one"
    ),
}
"""The key is the expression that a function in functions/ locks; the value says what the lock keeps apart. All are a
transaction's, and their order is: body, thread's row, caller, thread, the runs' rows."""
