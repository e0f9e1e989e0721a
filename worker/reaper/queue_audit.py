"""What the reaper asks of Redis: whose round it is, which runs lack a job, and which counts are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from relaykit.shared.queue.fair_order import FAIR, FAIR_TTL_MS
from relaykit.shared.queue.fair_share import UNKNOWN_FLOW, Flow
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, names_of, redis_errors
from relaykit.shared.redis.scripts import script

MISSING_NOTE_MS = 60_000
"""A note that a run is missing lives ten times as long as the reaper's patience, and this much longer."""
RECOUNTED_AT_ONCE = 100

_FOLDER = Path(__file__).parent


class QueueAudit:
    """Compares the queue with the rows. All raise QueueUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._named = names_of(redis)
        self._missing = redis.register_script(script(FAIR, _FOLDER / "missing.lua"))
        self._recount = redis.register_script(script(FAIR, _FOLDER / "recount.lua"))

    async def find_missing(self, flows: Mapping[str, Flow], patience_seconds: float) -> list[str]:
        """The runs that have had neither a lease nor a job for `patience_seconds`; the first call begins to count.

        `flows` has the flow of each run. A job that has lost its position in the fair order becomes due by itself.
        """
        patience_ms = int(patience_seconds * 1000)
        paths = [flow.path for flow in flows.values()]
        with redis_errors():
            found = await self._missing(
                keys=self._named.each(keys.QUEUE, keys.LEASE_PREFIX, keys.MISSING_PREFIX, keys.FAIR_PREFIX),
                args=[
                    patience_ms,
                    10 * patience_ms + MISSING_NOTE_MS,
                    UNKNOWN_FLOW.path,
                    *flows,
                    *paths,
                    FAIR_TTL_MS,
                ],
            )
        return [run_id.decode(errors="replace") for run_id in found]

    async def recount(self) -> int:
        """Corrects the counts of running runs, which the release before leaves behind; says by how many."""
        cursor, corrected = b"0", 0
        while True:
            with redis_errors():
                cursor, ended = await self._recount(
                    keys=self._named.each(keys.QUEUE, keys.LEASE_PREFIX, keys.BELL, keys.FAIR_PREFIX),
                    args=[cursor, RECOUNTED_AT_ONCE, keys.BELL_TTL_SECONDS, FAIR_TTL_MS],
                )
            corrected += int(ended)
            if cursor == b"0":
                return corrected

    async def take_round(self, every_seconds: float) -> bool:
        """Whether no reaper has had a round for `every_seconds`; if so the caller has it now."""
        with redis_errors():
            key = self._named(keys.REAPED)
            return bool(await self._redis.set(key, "1", px=int(every_seconds * 1000), nx=True))
