"""Jobs on our queue that are no runs of ours: another application's, or another deployment's. They are left alone."""

from __future__ import annotations

import time
from collections.abc import Iterable

import structlog

TELL_SECONDS = 600.0
MAX_KNOWN = 10_000

log = structlog.get_logger()


class ForeignJobs:
    """Those that one process has seen: the first is logged at once, the count of the others every ten minutes."""

    def __init__(self) -> None:
        self._known: set[bytes] = set()
        self._untold = 0
        self._tells_at = 0.0

    def note(self, job_ids: Iterable[bytes]) -> None:
        """Takes ids that were found, also those that were found before."""
        new = set(job_ids) - self._known
        if not new:
            return
        if len(self._known) + len(new) > MAX_KNOWN:
            self._known.clear()
        self._known |= new
        self._untold += len(new)
        now = time.monotonic()
        if now >= self._tells_at:
            log.warning(
                "jobs that are no runs of this database are on the queue, and stay there: set DEPLOYMENT",
                action="foreign_jobs",
                count=self._untold,
            )
            self._untold, self._tells_at = 0, now + TELL_SECONDS
