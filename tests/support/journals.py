"""How long the journals are kept that a test writes by itself, where no settings say it."""

from __future__ import annotations

from typing import Final

from relaykit.shared.journal import JournalTtl

TTL: Final = JournalTtl(unfinished_seconds=50, ended_seconds=30)
