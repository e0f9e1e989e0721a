"""The queue: arq's keys, moved only by our scripts. A job's message is JSON and holds the run's id alone."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence, Set
from contextlib import asynccontextmanager, suppress
from enum import IntEnum
from typing import Any, cast

from arq.constants import expires_extra_ms
from arq.jobs import serialize_job

from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.queue.claims import Claim, Loss, Renewal, process_of
from relaykit.shared.queue.fair_share import UNKNOWN_FLOW, UNLIMITED, Flow, RunningLimits
from relaykit.shared.queue.foreign_jobs import ForeignJobs
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Call, Redis, call, names_of, redis_errors, script

RUN_FUNCTION = "run"
"""The one arq function."""

ALONE_SECONDS = 30.0
MISSING_NOTE_MS = 60_000
RECOUNTED_AT_ONCE = 100
FAIR_TTL_MS = keys.FAIR_TTL_SECONDS * 1000

REPEAT_SECONDS = 300
"""How long the same body, sent again without a key, may be a repetition. The stock widget repeats within seconds."""


def serialize(data: Any) -> bytes:
    """A job's message. Never pickle: a writable Redis must not mean code execution."""
    return json.dumps(data, separators=(",", ":")).encode()


def deserialize(data: bytes) -> Any:
    return json.loads(data)


class Pulse(IntEnum):
    """What a look at a quiet run finds."""

    HELD = 0
    """A worker has the run, and there is no news."""
    NOBODY = 1
    """No worker has the run, and there is no news."""
    NEWS = 2
    GONE_HELD = 3
    """The journal is gone, or ends before what is known; a worker has the run."""
    GONE_NOBODY = 4


class JobQueue:
    """Enqueue, claim, renew and release, each one round trip. All raise QueueUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._named = names_of(redis)
        self._foreign = ForeignJobs()
        self._enqueue = redis.register_script(script("fair", "places", "enqueue"))
        self._claim = redis.register_script(script("fair", "claim"))
        self._renew = redis.register_script(script("renew"))
        self._release = redis.register_script(script("fair", "release"))
        self._discard = redis.register_script(script("fair", "discard"))
        self._recount = redis.register_script(script("fair", "recount"))
        self._pulse = redis.register_script(script("pulse"))
        self._missing = redis.register_script(script("fair", "missing"))

    async def enqueue(self, run_id: str, flow: Flow = UNKNOWN_FLOW) -> bool:
        """Makes the run due now, in its flow, and wakes a worker; False where its job was there."""
        [added] = await call(self._redis, self.enqueue_call(run_id, flow))
        return bool(added)

    def enqueue_call(self, run_id: str, flow: Flow, place: str = "") -> Call:
        """The same as a call, to go with others; the job takes the place over that its request holds in the queue."""
        message = serialize_job(
            RUN_FUNCTION, (run_id,), {}, None, int(time.time() * 1000), serializer=serialize
        )
        return Call(
            self._enqueue,
            self._named.each(keys.QUEUE, keys.job(run_id), keys.BELL, keys.FAIR_PREFIX),
            [
                run_id,
                message,
                expires_extra_ms,
                keys.BELL_TTL_SECONDS,
                flow.path,
                flow.tenant_weight,
                flow.caller_weight,
                place,
                FAIR_TTL_MS,
            ],
        )

    async def admit(self, first_entries: Call, run_id: str, flow: Flow, place: str = "") -> None:
        """Writes a journal's first entries, then makes the run due in its place, in one round trip."""
        await call(self._redis, first_entries, self.enqueue_call(run_id, flow, place))

    async def claim(
        self, free: int, lease_seconds: float, token: str, limits: RunningLimits = UNLIMITED
    ) -> list[Claim]:
        """Takes up to `free` due jobs in fair order.

        `token` must be unlike that of any other claim; what stands before its last colon names the process.
        """
        asked_at = time.monotonic()
        arguments: list[str | int] = [free, int(lease_seconds * 1000), token, *limits]
        with redis_errors():
            taken, foreign, pairs = await self._claim(
                keys=self._named.each(keys.QUEUE, keys.LEASE_PREFIX, keys.BELL, keys.FAIR_PREFIX),
                args=[
                    *arguments,
                    UNKNOWN_FLOW.path,
                    keys.BELL_TTL_SECONDS,
                    process_of(token),
                    keys.RUN_PREFIX,
                    FAIR_TTL_MS,
                ],
            )
        self._foreign.note(foreign)
        losses = {pairs[i]: Loss.parse(pairs[i + 1].decode()) for i in range(0, len(pairs), 2)}
        return [Claim(run_id.decode(), token, asked_at, losses.get(run_id)) for run_id in taken]

    async def renew(
        self, claims: Sequence[Claim], lease_seconds: float, journal_ttl_seconds: float
    ) -> list[Renewal]:
        """Renews leases of a worker and the time to live of their journals, in one call that holds up Redis for all."""
        run_ids = [claim.run_id for claim in claims]
        groups = (keys.lease, keys.journal, keys.cancel_flag, keys.followed)
        key_list = self._named.each(keys.QUEUE, *(key(run_id) for key in groups for run_id in run_ids))
        arguments: list[str | int] = [int(lease_seconds * 1000), int(journal_ttl_seconds * 1000), *run_ids]
        arguments += [claim.token for claim in claims]
        with redis_errors():
            return [Renewal(state) for state in await self._renew(keys=key_list, args=arguments)]

    async def release(self, claim: Claim, *, done: bool) -> bool:
        """Gives the job up, for good or to be due again now; False where the lease was lost."""
        [released] = await call(self._redis, self._release_call(claim, "done" if done else "again"))
        return bool(released)

    async def put_aside(self, claim: Claim) -> None:
        """Leaves a job to whose it is: no run of this database has its id."""
        self._foreign.note([claim.run_id.encode()])
        await call(self._redis, self._release_call(claim, "aside"))

    async def leave(self, claims: Sequence[Claim], blamed: Set[str]) -> None:
        """Gives up every run of a process that is about to end itself because of the runs that are blamed.

        Their attempts count, and those of the others do not. All are due again now.
        """
        losses = [Loss(1 if claim.run_id in blamed else 0, 0, "") for claim in claims]
        await call(
            self._redis,
            *(self._release_call(claim, "again", loss) for claim, loss in zip(claims, losses, strict=True)),
        )

    async def lose(self, claims: Sequence[Claim], process: str) -> None:
        """Gives up what a process held that is lost, for which another has claimed it. All are due again now."""
        loss = Loss(len(claims), 0, process)
        await call(self._redis, *(self._release_call(claim, "again", loss) for claim in claims))

    async def blame(self, claim: Claim) -> None:
        """The attempt has failed where a run does not fail: it counts, and the next begins when the lease has ended."""
        await call(self._redis, self._release_call(claim, "later", Loss(1, 0, "")))

    def _release_call(self, claim: Claim, what: str, loss: Loss | None = None) -> Call:
        of_run = (key(claim.run_id) for key in (keys.lease, keys.job, keys.tries))
        company, process = ("", "") if loss is None else (loss.company, loss.process)
        return Call(
            self._release,
            self._named.each(keys.QUEUE, *of_run, keys.BELL, keys.FAIR_PREFIX),
            [
                claim.run_id,
                claim.token,
                what,
                keys.BELL_TTL_SECONDS,
                claim.process,
                company,
                process,
                expires_extra_ms,
                FAIR_TTL_MS,
            ],
        )

    async def holder(self, run_id: str) -> Claim | None:
        """The claim that holds the run's lease."""
        with redis_errors():
            token = await self._redis.get(self._named(keys.lease(run_id)))
        return None if token is None else Claim(run_id, token.decode(errors="replace"))

    async def missing(self, flows: Mapping[str, Flow], patience_seconds: float) -> list[str]:
        """Those of the runs that have had neither a lease nor a job for so long; the first call begins to count.

        `flows` has the flow of each run. A job that has lost its place in the fair order gets another.
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

    async def is_turn(self, every_seconds: float) -> bool:
        """Whether no reaper has had its turn for so long; if so this one has it now."""
        with redis_errors():
            key = self._named(keys.REAPED)
            return bool(await self._redis.set(key, "1", px=int(every_seconds * 1000), nx=True))

    async def discard(self, run_id: str, flow: Flow) -> None:
        """Takes a job that no worker holds off the queue: its run has ended."""
        with redis_errors():
            await self._discard(
                keys=self._named.each(
                    keys.QUEUE, keys.job(run_id), keys.tries(run_id), keys.BELL, keys.FAIR_PREFIX
                ),
                args=[run_id, flow.path, keys.BELL_TTL_SECONDS, FAIR_TTL_MS],
            )

    async def signal_cancel(self, run_id: str, flag_seconds: float) -> None:
        """Tells the worker that has the run: now over the channel, and at its next heartbeat by the flag."""
        with redis_errors():
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.set(self._named(keys.cancel_flag(run_id)), "1", px=int(flag_seconds * 1000))
                pipeline.publish(self._named(keys.SIGNALS), run_id)
                await pipeline.execute()

    async def wait_for_bell(self, timeout_seconds: float) -> None:
        """Returns when the bell rings, or after the timeout."""
        bell = [self._named(keys.BELL)]
        with redis_errors():
            await cast(Awaitable[Any], self._redis.blpop(bell, timeout=cast(int, timeout_seconds)))

    @asynccontextmanager
    async def alone(self, key: str) -> AsyncIterator[None]:
        """Lets one in at a time, for ALONE_SECONDS at most. Raises QueueUnavailable where that is not to be had."""
        lock = self._redis.lock(
            self._named(key),
            timeout=ALONE_SECONDS,
            sleep=0.05,
            blocking_timeout=ALONE_SECONDS,
        )
        with redis_errors():
            acquired = await lock.acquire()
        if not acquired:
            raise QueueUnavailable
        try:
            yield
        finally:
            with suppress(QueueUnavailable), redis_errors():
                await lock.release()

    async def pulses(self, known: Sequence[tuple[str, object]]) -> list[Pulse]:
        """Looks at runs, each with the cursor of the last entry that is known of it."""
        key_list = self._named.each(
            *(key for run_id, _ in known for key in (keys.lease(run_id), keys.journal(run_id)))
        )
        with redis_errors():
            return [
                Pulse(state)
                for state in await self._pulse(keys=key_list, args=[str(cursor) for _, cursor in known])
            ]

    async def note_followed(self, run_ids: Sequence[str], for_seconds: float) -> None:
        """The runs are followed, for so long unless it is said again."""
        if not run_ids:
            return
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for run_id in run_ids:
                    pipeline.set(self._named(keys.followed(run_id)), "1", px=int(for_seconds * 1000))
                await pipeline.execute()
