"""A run's journal: its ordered entries in a Redis stream, and the cursor that names a place in it.

All is in `journals`, but when entries were written (`times`) and how they are erased. append.lua is the only script
that writes a journal, and its header is the contract.
"""

from __future__ import annotations

from relaykit.shared.journal.journals import (
    APPEND,
    FIRST,
    LOST,
    NEXT_SEQ,
    START,
    Appended,
    Batch,
    Cursor,
    Entry,
    Field,
    JournalReader,
    Journals,
    JournalTtl,
    decode_append_reply,
    decode_notice,
    entries,
    follows,
)

__all__ = [
    "APPEND",
    "FIRST",
    "LOST",
    "NEXT_SEQ",
    "START",
    "Appended",
    "Batch",
    "Cursor",
    "Entry",
    "Field",
    "JournalReader",
    "JournalTtl",
    "Journals",
    "decode_append_reply",
    "decode_notice",
    "entries",
    "follows",
]
