"""The keeper's view of its worker."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from relaykit.worker.execution.stop import Stop
from relaykit.worker.leases.claims import Claim


@dataclass(slots=True)
class Occupancy:
    """How many runs the worker executes, itself or in its cells: it says so as that changes."""

    runs: int = 0


@dataclass(frozen=True, slots=True)
class WorkerView:
    """The keeper's thread reads it, whether the worker's loop runs or stands still."""

    id: str
    """The process of its claims."""
    claims: Mapping[str, Claim]
    occupancy: Occupancy
    stop: Callable[[Claim, Stop], None]
    """Stops the attempt under the claim; called in the worker's loop."""
    check: Callable[[], Coroutine[Any, Any, None]]
    """Asks Redis and PostgreSQL; run in the worker's loop. Raises QueueUnavailable, DatabaseUnavailable."""
    clock_offset: Callable[[], float | None]
    """By how many seconds the worker's clock is ahead of Redis'; None where that is not known."""
    is_draining: Callable[[], bool]
    ends_by: Callable[[], float | None]
    """When the process has to have ended, by time.monotonic(); None until it is asked to."""
