"""Which workers there are: each says so of itself again and again, and is forgotten once it has stopped saying so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, names_of, redis_errors
from relaykit.shared.redis.scripts import script


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What a worker says of itself."""

    id: str
    """The process of its claims: what stands before the colon of a lease's token."""
    host: str
    pid: int
    version: str
    """Relaykit's."""
    slots: int
    """Runs that it may execute at once: MAX_RUNS."""
    used: int
    """Runs that it executes, itself or in its cells."""
    started_at: float
    """Unix time, by the worker's own clock."""
    draining: bool
    """Whether it claims nothing more, because it is about to end."""
    blocked_seconds: float
    """For how long a call has blocked its event loop; 0 where none does."""
    clock_offset_seconds: float | None = None
    """By how much its clock is ahead of Redis'; None where that is not known, as of a worker of an earlier release."""

    @classmethod
    def parse(cls, text: bytes) -> Self | None:
        """None where it is not what this release writes: another one's, or an attacker's."""
        try:
            said = json.loads(text)
            found = {name: kind(said[name]) for name, kind in _FIELDS.items()}
            offset = said.get("clock_offset_seconds")
            offset = None if offset is None else float(offset)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None
        numbers = [value for value in (*found.values(), abs(offset or 0)) if isinstance(value, int | float)]
        if not all(0 <= number <= MOST for number in numbers):
            return None
        return cls(**found, clock_offset_seconds=offset)


MOST = 2**53
"""No number is larger: what stands in Redis and says so is no worker's."""

_FIELDS: dict[str, Any] = {
    "id": str,
    "host": str,
    "pid": int,
    "version": str,
    "slots": int,
    "used": int,
    "started_at": float,
    "draining": bool,
    "blocked_seconds": float,
}


@dataclass(frozen=True, slots=True)
class SilentWorker:
    """A worker that has not said for a while that it is there, and did not withdraw: killed, frozen or cut off."""

    state: WorkerState
    """What it said last."""
    silent_seconds: float


class WorkerRegistry:
    """The workers of a deployment. All raise QueueUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._named = names_of(redis)
        self._register = redis.register_script(script(Path(__file__).parent / "register.lua"))

    async def register(self, state: WorkerState, ttl_seconds: float) -> None:
        """Notes the worker, for `ttl_seconds` from now."""
        said = json.dumps(asdict(state), separators=(",", ":"))
        with redis_errors():
            await self._register(
                keys=self._named.each(
                    keys.WORKERS, keys.worker(state.id), keys.WORKERS_SEEN, keys.worker_seen(state.id)
                ),
                args=[state.id, said, int(ttl_seconds * 1000), keys.WORKER_SEEN_SECONDS * 1000],
            )

    async def withdraw(self, worker_id: str) -> None:
        """Forgets the worker, which ends."""
        with redis_errors():
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.zrem(self._named(keys.WORKERS), worker_id)
                pipeline.zrem(self._named(keys.WORKERS_SEEN), worker_id)
                pipeline.delete(*self._named.each(keys.worker(worker_id), keys.worker_seen(worker_id)))
                await pipeline.execute()

    async def workers(self) -> Sequence[WorkerState]:
        """All that are there, those that have started first in front."""
        with redis_errors():
            ids = await self._redis.zrange(self._named(keys.WORKERS), 0, -1)
            if not ids:
                return []
            names = [self._named(keys.worker(worker_id.decode(errors="replace"))) for worker_id in ids]
            said = await self._redis.mget(names)
        states = [state for text in said if text is not None and (state := WorkerState.parse(text))]
        return sorted(states, key=lambda state: (state.started_at, state.id))

    async def silent(self) -> Sequence[SilentWorker]:
        """Those that are not there any more and have not withdrawn, for WORKER_SEEN_SECONDS; the last ones in front."""
        with redis_errors():  # first of all: a worker that registers meanwhile is there, and not seen yet
            seen = await self._redis.zrange(self._named(keys.WORKERS_SEEN), 0, -1, withscores=True)
        there = {state.id for state in await self.workers()}
        named = [(each.decode(errors="replace"), at) for each, at in reversed(seen) if 0 <= at <= MOST]
        gone = [(name, at) for name, at in named if name not in there]
        if not gone:
            return []
        with redis_errors():
            said = await self._redis.mget([self._named(keys.worker_seen(name)) for name, _ in gone])
            seconds, microseconds = await self._redis.time()
        now = seconds + microseconds / 1_000_000
        return [
            SilentWorker(state, round(max(0.0, now - at / 1000), 1))
            for (_, at), text in zip(gone, said, strict=True)
            if text is not None and (state := WorkerState.parse(text)) is not None
        ]
