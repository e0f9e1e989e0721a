"""Removes objects one after the other. One that cannot be removed costs itself alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

import structlog

from relaykit.shared.errors import StorageUnavailable
from relaykit.shared.log import failure
from relaykit.shared.metrics import REMOVALS_FAILED

AWAY_SECONDS: Final = 5.0
"""After so much time in removals that fail, all together, the store counts as away, and the rest is left. What it
refuses at once says nothing of the others."""

log = structlog.get_logger()


class Removal(NamedTuple):
    """What removing some objects came to."""

    removed: int
    failed: Sequence[str]
    """Those that the store did not remove. They are still noted as garbage."""
    left: Sequence[str]
    """Those, and the ones that were not tried any more, because the store seems to be away."""

    @property
    def is_away(self) -> bool:
        return len(self.left) > len(self.failed)


async def remove_each(object_keys: Sequence[str], remove: Callable[[str], Awaitable[None]]) -> Removal:
    """Calls `remove` for each. StorageUnavailable is noted: once for all, in the log, and in a metric.

    So is one that has not ended when AWAY_SECONDS are over, which is cancelled.
    """
    removed, failing_seconds = 0, 0.0
    failed: list[str] = []
    error: Exception | None = None
    for object_key in object_keys:
        began_at = time.monotonic()
        try:
            async with asyncio.timeout(AWAY_SECONDS - failing_seconds):
                await remove(object_key)
        except (StorageUnavailable, TimeoutError) as raised:
            error = raised
            failed.append(object_key)
            failing_seconds += time.monotonic() - began_at
            if failing_seconds >= AWAY_SECONDS:
                break
        else:
            removed += 1
    if error is not None:
        REMOVALS_FAILED.labels("object").inc(len(failed))
        log.warning(
            "objects of deleted attachments could not be removed: they are tried again later",
            action="objects_left",
            count=len(failed),
            removed=removed,
            **failure(error.__cause__ or error),
        )
    return Removal(removed, failed, [*failed, *object_keys[removed + len(failed) :]])
