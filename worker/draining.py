"""The request to a process that executes runs to drain."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from relaykit.shared.settings import Settings

END_SECONDS = 1.0
"""How long the end of a process may take beyond its drain."""


class Draining:
    """Claim nothing more; let runs finish for DRAIN_SECONDS, hand the rest back, end."""

    def __init__(self, settings: Settings) -> None:
        self.asked = asyncio.Event()
        self.ends_by: float | None = None
        """When the process has to have ended, by time.monotonic(); None until a signal asks for it, the system's or an
        operator's."""
        self._seconds = settings.drain_seconds + settings.lease_seconds + END_SECONDS

    def ask(self) -> None:
        self.asked.set()

    def ask_by_signal(self, loop: asyncio.AbstractEventLoop) -> None:
        """Asks in `loop`. Safe in a signal handler, also while the loop stands still.

        Where it still stands still when the process has to have ended, the keeper ends it.
        """
        self.ends_by = time.monotonic() + self._seconds
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(self.ask)
