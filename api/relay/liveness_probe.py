"""What the relay asks about runs of which it has heard nothing for a while, and what it says of those it follows."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Final

from relaykit.shared.postgres.database import Database
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, names_of, redis_errors
from relaykit.shared.redis.scripts import script
from relaykit.shared.runs.run import Status

STATUSES: Final = "SELECT id, status, attempt FROM runs WHERE id = ANY ($1)"

_FOLDER = Path(__file__).parent


class RunLiveness(IntEnum):
    """What Redis knows of a run that has gone quiet."""

    HELD = 0
    """A worker has the run, and there is no news."""
    UNCLAIMED = 1
    """No worker has the run, and there is no news."""
    NEWS = 2
    GONE_HELD = 3
    """The journal is gone, or ends before what is known; a worker has the run."""
    GONE_UNCLAIMED = 4
    """The same, and no worker has the run."""


class LivenessProbe:
    """Asks Redis and the rows, each about many runs at once."""

    def __init__(self, redis: Redis, database: Database) -> None:
        self._redis = redis
        self._named = names_of(redis)
        self._database = database
        self._script = redis.register_script(script(_FOLDER / "run_liveness.lua"))

    async def liveness_of(self, known: Sequence[tuple[str, object]]) -> list[RunLiveness]:
        """The liveness of runs, each with the cursor of the last entry that is known of it."""
        key_list = self._named.each(
            *(key for run_id, _ in known for key in (keys.lease(run_id), keys.journal(run_id)))
        )
        with redis_errors():
            return [
                RunLiveness(state)
                for state in await self._script(keys=key_list, args=[str(cursor) for _, cursor in known])
            ]

    async def note_followed(self, run_ids: Sequence[str], for_seconds: float) -> None:
        """Notes that clients follow these runs; the note holds for `for_seconds`."""
        if not run_ids:
            return
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for run_id in run_ids:
                    pipeline.set(self._named(keys.followed(run_id)), "1", px=int(for_seconds * 1000))
                await pipeline.execute()

    async def statuses(self, run_ids: Sequence[str]) -> dict[str, tuple[Status, int]]:
        """Status and attempt of each run that there is, of any owner. Raises DatabaseUnavailable."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(STATUSES, run_ids)
        return {row["id"]: (Status(row["status"]), row["attempt"]) for row in rows}
