"""The queue's scripts of the release before and of this one, in any order on the same keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from relaykit.shared.queue.claims import Claim, Renewal
from relaykit.shared.queue.job_queue import Queue
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, open_redis
from tests.previous.real_redis import Real, quick
from tests.previous.redis import CANCEL, HELD, LOST, PreviousQueue
from tests.support.system import WAIT_SECONDS

RUNS = ["run_0", "run_1", "run_2"]
LEASE_SECONDS = 60.0
JOURNAL_SECONDS = 600.0
SIDE = st.booleans()
"""Whether it is the release before that acts."""


@dataclass
class Workers:
    """Workers of both releases at one queue, and who ought to hold what."""

    redis: Redis
    tokens: Iterator[int] = field(default_factory=count)
    claims: list[tuple[bool, Claim]] = field(default_factory=list)
    holders: dict[str, str] = field(default_factory=dict)
    queued: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.previous, self.current = PreviousQueue(self.redis), Queue(self.redis)

    async def enqueue(self, is_previous: bool, run_id: str) -> None:
        queue = self.previous if is_previous else self.current
        assert await queue.enqueue(run_id) == (run_id not in self.queued)
        self.queued.add(run_id)

    async def claim(self, is_previous: bool, free: int) -> None:
        """Only what nobody holds, and as much of it as there are free slots."""
        token = f"token-{next(self.tokens)}"
        if is_previous:
            taken = await self.previous.claim(free, LEASE_SECONDS, token)
        else:
            taken = [claim.run_id for claim in await self.current.claim(free, LEASE_SECONDS, token)]
        due = self.queued - self.holders.keys()
        assert set(taken) <= due
        assert len(taken) == min(free, len(due))
        for run_id in taken:
            self.holders[run_id] = token
            self.claims.append((is_previous, Claim(run_id, token)))

    async def expire(self, run_id: str) -> None:
        """The lease comes to its end, and the job is due again."""
        if self.holders.pop(run_id, None) is not None:
            await self.redis.delete(keys.lease(run_id))
            await self.redis.zadd(keys.QUEUE, {run_id: 0}, xx=True)

    async def renew(self, number: int) -> None:
        if not self.claims:
            return
        is_previous, claim = self.claims[number % len(self.claims)]
        holder = self.holders.get(claim.run_id)
        if is_previous:
            state = await self.previous.renew(claim.run_id, claim.token, LEASE_SECONDS, JOURNAL_SECONDS)
            assert state == (HELD if holder == claim.token else LOST)
            return
        (renewal,) = await self.current.renew([claim], LEASE_SECONDS, JOURNAL_SECONDS)
        if holder is None:
            assert renewal == Renewal.HELD | Renewal.REACQUIRED
            self.holders[claim.run_id] = claim.token
            self.queued.add(claim.run_id)
        else:
            assert renewal == (Renewal.HELD if holder == claim.token else Renewal.LOST)

    async def release(self, number: int, done: bool) -> None:
        """Only the holder's does anything."""
        if not self.claims:
            return
        is_previous, claim = self.claims.pop(number % len(self.claims))
        if is_previous:
            released = await self.previous.release(claim.run_id, claim.token, done=done)
        else:
            released = await self.current.release(claim, done=done)
        assert released == (self.holders.get(claim.run_id) == claim.token)
        if released:
            del self.holders[claim.run_id]
            if done:
                self.queued.discard(claim.run_id)

    async def check(self) -> None:
        for run_id in RUNS:
            holder = await self.redis.get(keys.lease(run_id))
            assert (holder or b"").decode() == self.holders.get(run_id, "")
        assert {run_id.decode() for run_id in await self.redis.zrange(keys.QUEUE, 0, -1)} == self.queued


WORK = st.one_of(
    st.tuples(st.just("enqueue"), SIDE, st.sampled_from(RUNS)),
    st.tuples(st.just("claim"), SIDE, st.integers(1, 3)),
    st.tuples(st.just("expire"), st.sampled_from(RUNS)),
    st.tuples(st.just("renew"), st.integers(0, 5)),
    st.tuples(st.just("release"), st.integers(0, 5), st.booleans()),
)


@quick
@given(st.lists(WORK, max_size=25))
def test_one_holder_a_run_whoever_claims_renews_and_releases(
    real: Real, steps: list[tuple[Any, ...]]
) -> None:
    async def check() -> None:
        await real.redis.flushdb()
        workers = Workers(real.redis)
        for name, *arguments in steps:
            await getattr(workers, name)(*arguments)
            await workers.check()

    real.run(check())


async def test_the_message_of_a_job_is_what_it_was(redis_url: str) -> None:
    async with open_redis(redis_url, connections=2) as redis:
        messages = []
        for queue in (PreviousQueue(redis), Queue(redis)):
            await queue.enqueue("run_1")
            message = json.loads(await redis.get(keys.job("run_1")))
            assert isinstance(message.pop("et"), int)
            messages.append(message)
        assert messages[0] == messages[1]


async def test_a_stop_is_heard_by_the_other_release(redis_url: str) -> None:
    """Over the channel at once, and by the flag at the next heartbeat."""
    async with open_redis(redis_url, connections=4) as redis:
        previous, current = PreviousQueue(redis), Queue(redis)
        for run_id in RUNS[:2]:
            await current.enqueue(run_id)
            await current.claim(1, LEASE_SECONDS, f"token-{run_id}")
        async with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(keys.SIGNALS)
            await pubsub.get_message(timeout=WAIT_SECONDS)
            await previous.signal_cancel("run_0", 60)
            await current.signal_cancel("run_1", 60)
            heard = [await pubsub.get_message(timeout=WAIT_SECONDS) for _ in range(2)]
        assert [message["data"] for message in heard if message] == [b"run_0", b"run_1"]
        (renewal,) = await current.renew([Claim("run_0", "token-run_0")], LEASE_SECONDS, 60)
        assert renewal == Renewal.HELD | Renewal.CANCEL
        assert await previous.renew("run_1", "token-run_1", LEASE_SECONDS, 60) == CANCEL
