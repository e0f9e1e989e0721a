"""The queue's scripts on a real Redis, and what workers make of them: one holder a run, leases, the bell, MAX_RUNS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count

import asyncpg
import pytest_asyncio
from redis.asyncio import Redis

from relaykit.shared.journal import Batch, Field, Journals
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import open_redis
from relaykit.shared.runs.run import Status
from relaykit.shared.settings import Settings
from relaykit.shared.tasks import end_tasks
from relaykit.worker.execution.stop import Stop
from relaykit.worker.keeper.heartbeat import RENEWAL_BATCH, Heartbeat
from relaykit.worker.leases.claim_queue import ClaimQueue
from relaykit.worker.leases.claims import Claim, Renewal
from relaykit.worker.main import create_worker
from tests.support.clients.stream_clients import asking, crowd
from tests.support.journals import TTL
from tests.support.leases import end_lease
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.system import create, keyed, running, wait_until

LEASE = 60.0

_tokens = count()


def token() -> str:
    return f"token-{next(_tokens)}"


@pytest_asyncio.fixture
async def redis(redis_url) -> AsyncIterator[Redis]:
    async with open_redis(redis_url, connections=8) as client:
        yield client


@pytest_asyncio.fixture
async def queue(redis) -> ClaimQueue:
    return ClaimQueue(redis)


async def ids(claims: list[Claim]) -> list[str]:
    return [claim.run_id for claim in claims]


async def journal_of(redis: Redis, run_id: str) -> None:
    batch = Batch(run_id=run_id, attempt=0, first_seq=1, entries=[(Field.EVENT, b"{}")])
    await Journals(redis, TTL).append(batch)


# ---- the scripts


async def test_of_many_workers_one_gets_a_job(queue):
    """Forty pollers at once, each with many free slots: every job is claimed exactly once."""
    jobs = [f"run_{number}" for number in range(30)]
    for job in jobs:
        assert await queue.enqueue(job)
    taken = await asyncio.gather(*(queue.claim(7, LEASE, token()) for _ in range(40)))
    assert sorted(claim.run_id for claims in taken for claim in claims) == sorted(jobs)
    assert await queue.claim(100, LEASE, token()) == []


async def test_a_claim_takes_at_most_the_free_slots_oldest_first(queue):
    for number in range(5):
        await queue.enqueue(f"run_{number}")
        await asyncio.sleep(0.002)  # the order is that of milliseconds
    assert await ids(await queue.claim(2, LEASE, token())) == ["run_0", "run_1"]
    assert await ids(await queue.claim(2, LEASE, token())) == ["run_2", "run_3"]
    assert await ids(await queue.claim(2, LEASE, token())) == ["run_4"]


async def test_a_claimed_job_is_out_of_sight_until_its_lease_ends(queue, redis):
    await queue.enqueue("run_a")
    (claim,) = await queue.claim(1, 10.0, token())
    assert await redis.get(keys.lease("run_a")) == claim.token.encode()
    seconds, micros = await redis.time()
    due_in = await redis.zscore(keys.QUEUE, "run_a") / 1000 - (seconds + micros / 1e6)
    assert 9 < due_in <= 10
    assert 9_000 < await redis.pttl(keys.lease("run_a")) <= 10_000
    assert not await queue.enqueue("run_a"), "enqueued again while it runs"
    assert await queue.claim(1, LEASE, token()) == []


async def test_a_job_whose_lease_is_over_is_claimed_by_another(queue, redis, redis_url):
    await queue.enqueue("run_a")
    (first,) = await queue.claim(1, LEASE, token())
    assert await queue.claim(1, LEASE, token()) == []
    end_lease(redis_url, "run_a")
    (second,) = await queue.claim(1, LEASE, token())
    assert second.token != first.token
    assert await queue.renew([first, second], LEASE, 1) == [Renewal.LOST, Renewal.HELD]


async def test_a_beat_renews_many_leases_in_parts_and_none_that_was_released_meanwhile(redis, settings):
    held: dict[str, Claim] = {}
    calls: list[list[Claim]] = []

    class Releasing(ClaimQueue):
        """A run of the second part ends while the first part is renewed."""

        async def renew(self, claims, lease_seconds, journal_ttl_seconds):
            states = await super().renew(claims, lease_seconds, journal_ttl_seconds)
            calls.append(list(claims))
            if len(calls) == 1:
                del held[ended.run_id]
                assert await self.release(ended, done=True)
            return states

    def stopped(claim: Claim, reason: Stop) -> None:
        raise AssertionError(f"{claim} was stopped: {reason}")

    queue = Releasing(redis)
    many = 2 * RENEWAL_BATCH + 1
    for number in range(many):
        await queue.enqueue(f"run_{number}")
    claims = await queue.claim(many, LEASE, token())
    held |= {claim.run_id: claim for claim in claims}
    ended = claims[RENEWAL_BATCH + 7]
    beating = asyncio.create_task(
        Heartbeat(queue, settings.model_copy(update={"lease_seconds": 3.0}), held, stopped).run()
    )
    await wait_until("all are renewed", lambda: len(calls) >= 3 or beating.done())
    await end_tasks([beating])
    assert [len(call) for call in calls[:3]] == [RENEWAL_BATCH, RENEWAL_BATCH - 1, 1]
    assert not await redis.exists(keys.lease(ended.run_id)), (
        "the lease of a run that had ended was taken again"
    )


async def test_a_renewal_keeps_the_lease_and_the_journal(queue, redis):
    await queue.enqueue("run_a")
    await journal_of(redis, "run_a")
    (claim,) = await queue.claim(1, LEASE, token())
    for _ in range(3):
        await redis.pexpire(keys.lease("run_a"), int(LEASE * 500))
        await redis.zadd(keys.QUEUE, {"run_a": 0})
        assert await queue.renew([claim], LEASE, 200) == [Renewal.HELD]
        assert LEASE * 500 < await redis.pttl(keys.lease("run_a")) <= LEASE * 1000
        assert await queue.claim(1, LEASE, token()) == []
    assert 50 < await redis.ttl(keys.journal("run_a")) <= 200
    await queue.signal_cancel("run_a", 60)
    assert await queue.renew([claim], LEASE, 200) == [Renewal.HELD | Renewal.CANCEL]


async def test_a_lease_that_is_gone_is_taken_again_unless_somebody_else_has_it(queue, redis, redis_url):
    """Redis was emptied, or the renewal came a moment too late."""
    await queue.enqueue("run_a")
    (claim,) = await queue.claim(1, LEASE, token())
    await redis.flushdb()
    assert await queue.renew([claim], LEASE, 80) == [Renewal.HELD | Renewal.REACQUIRED]
    assert await queue.enqueue("run_a") is False, "it has its place in the queue again"
    assert await queue.claim(1, LEASE, token()) == []
    assert await queue.renew([claim], LEASE, 80) == [Renewal.HELD]
    end_lease(redis_url, "run_a")
    (other,) = await queue.claim(1, LEASE, token())
    assert await queue.renew([claim], LEASE, 80) == [Renewal.LOST]
    assert await queue.renew([other], LEASE, 80) == [Renewal.HELD]


async def test_a_renewal_does_not_lengthen_the_life_of_a_journal_that_has_its_end(queue, redis):
    """Between the end entry and the release of the job a heartbeat may come."""
    await queue.enqueue("run_a")
    await journal_of(redis, "run_a")
    (claim,) = await queue.claim(1, LEASE, token())
    await Journals(redis, TTL).end("run_a", 1, Status.COMPLETED)
    assert await queue.renew([claim], LEASE, 86_400) == [Renewal.HELD]
    assert await redis.ttl(keys.journal("run_a")) <= 30


async def test_only_the_holder_releases(queue, redis, redis_url):
    """Neither a stranger nor a holder of former times touches what is the new owner's."""
    await queue.enqueue("run_a")
    (stale,) = await queue.claim(1, LEASE, token())
    end_lease(redis_url, "run_a")
    (owner,) = await queue.claim(1, LEASE, token())
    before = await everything(redis)
    for claim in (stale, Claim("run_a", "stranger")):
        for done in (True, False):
            assert not await queue.release(claim, done=done)
    assert await everything(redis) == before
    assert await queue.release(owner, done=True)
    assert await everything(redis) == {
        keys.BELL: b"list",
        f"{keys.FAIR_PREFIX}flow:": b"hash",
        f"{keys.FAIR_PREFIX}away:": b"zset",
    }
    assert not await queue.release(owner, done=True)
    assert not await queue.release(owner, done=False)
    assert await everything(redis) == {
        keys.BELL: b"list",
        f"{keys.FAIR_PREFIX}flow:": b"hash",
        f"{keys.FAIR_PREFIX}away:": b"zset",
    }


async def test_a_job_that_is_given_back_is_due_at_once_and_rings(queue, redis):
    await queue.enqueue("run_a")
    (claim,) = await queue.claim(1, LEASE, token())
    await redis.delete(keys.BELL)
    assert await queue.release(claim, done=False)
    assert await redis.llen(keys.BELL) == 1
    (again,) = await queue.claim(1, LEASE, token())
    assert again.run_id == "run_a"


async def test_the_queue_holds_json_with_the_runs_id_alone_and_its_keys_expire(queue, redis):
    """No pickle: a writable Redis must not mean code execution."""
    await queue.enqueue("run_a")
    message = json.loads(await redis.get(keys.job("run_a")))
    assert message.pop("et") > 0
    assert message == {"t": None, "f": "run", "a": ["run_a"], "k": {}}
    await queue.claim(1, LEASE, token())
    await queue.signal_cancel("run_a", 5)
    for key in await redis.keys():
        if key.decode() != keys.QUEUE:
            assert await redis.ttl(key) > 0, key
    assert await redis.llen(keys.BELL) == 1


async def test_the_bell_is_bounded(queue, redis):
    """Ten thousand runs that nobody waits for do not make a list of ten thousand rings."""
    async with redis.pipeline(transaction=False) as pipeline:
        for _ in range(10_000):
            pipeline.rpush(keys.BELL, "1")
        await pipeline.execute()
    await queue.enqueue("run_a")
    assert await redis.llen(keys.BELL) <= 1000


async def everything(redis: Redis) -> dict[str, bytes]:
    """Every key with its type, or its value where that is a string or the queue's."""
    found = {}
    for key in await redis.keys():
        kind = await redis.type(key)
        name = key.decode()
        found[name] = await redis.get(key) if kind == b"string" else kind
        if name == keys.QUEUE:
            found[name] = repr(await redis.zrange(key, 0, -1, withscores=True)).encode()
    return found


# ---- workers


async def test_an_idle_worker_hears_the_bell(settings, monkeypatch):
    """Jobs one after the other, for a worker that without the bell would not look again in an hour."""
    monkeypatch.setattr("relaykit.worker.claiming.arq_worker.BELL_SECONDS", 3600)
    async with running(settings, ScriptedAnswers) as system, Redis.from_url(settings.redis_url) as redis:
        alice, queue = await system.caller(), ClaimQueue(redis)

        async def absent_run_is_put_aside(run_id: str) -> None:
            async def put_aside() -> bool:
                is_due = float(await redis.zscore(keys.QUEUE, run_id)) < 0
                return not is_due and not await redis.exists(keys.lease(run_id))

            await wait_until("the worker has looked at the job", put_aside)

        for number in range(20):
            assert (await alice.stream(create(str(Script(deltas=1))), keyed(number))).end == "completed"
            await queue.enqueue(f"run_absent_{number}")
            await absent_run_is_put_aside(f"run_absent_{number}")


async def test_max_runs_is_respected_and_every_run_has_its_turn(settings, tmp_path):
    """MAX_RUNS=2 and five runs that hold: never more than two at once, and all five complete."""
    script = Script(deltas=2, gate=str(tmp_path), holds=[1])
    async with running(settings.model_copy(update={"max_runs": 2}), ScriptedAnswers) as system:
        alice = await crowd(system, await system.caller())
        async with AsyncExitStack() as stack, Redis.from_url(settings.redis_url) as redis:
            askers = [
                await stack.enter_async_context(asking(alice, create(str(script)), keyed(n)))
                for n in range(5)
            ]
            for asker in askers:
                await asker.until("the run is queued", lambda answer: answer.of_type("stream_options"))

            def begun() -> int:
                return sum(bool(asker.answer.of_type("thread.item.added")) for asker in askers)

            async def leases() -> int:
                return len(await redis.keys(keys.lease("run_*")))

            await wait_until("two runs have begun", lambda: begun() == 2)
            for _ in range(20):
                assert (begun(), await leases()) == (2, 2)
                await asyncio.sleep(0.02)
            open_gate(tmp_path, 1)
            while not all(asker.closed for asker in askers):
                assert await leases() <= 2
                await asyncio.sleep(0.005)
            assert [(await asker.finished()).end for asker in askers] == ["completed"] * 5


async def test_two_workers_share_the_runs_and_each_runs_once(settings):
    """Sixty runs, two workers: each run has one attempt and one answer."""
    async with running(settings, ScriptedAnswers, workers=2) as system:
        alice = await crowd(system, await system.caller())
        answers = await asyncio.gather(
            *(alice.stream(create(str(Script(deltas=3))), keyed(n)) for n in range(60))
        )
        for answer in answers:
            assert answer.end == "completed"
            assert {cursor.split("-")[0] for cursor, _ in answer.frames} == {"0", "1"}
            assert len(answer.of_type("thread.item.added")) == 1


async def test_a_job_without_its_message_or_without_its_row_leaves_nothing_behind(settings):
    """A message that expired, an id that no row has: the worker takes both off the queue and goes on."""
    async with running(settings, ScriptedAnswers) as system, Redis.from_url(settings.redis_url) as redis:
        alice = await system.caller()
        queue = ClaimQueue(redis)
        await queue.enqueue("run_nobody")
        await redis.delete(keys.job("run_nobody"))
        await redis.zadd(keys.QUEUE, {"run_messageless": 1})

        async def gone() -> bool:
            left = await redis.zcard(keys.QUEUE)
            return not left and not await redis.keys("arq:*run_*")

        await wait_until("the queue is empty", gone)
        assert (await alice.stream(create(str(Script())))).end == "completed"


async def test_drains_at_any_moment_cost_no_run_anything(settings):
    """Workers come and go while runs are queued, claimed, begun: with two attempts allowed, all of them complete.

    And at once: the lease is so long that a run whose claim a drained worker had kept would be missed.
    """
    script = Script(deltas=6, every_seconds=0.01)
    strict = settings.model_copy(
        update={"run_max_attempts": 2, "drain_seconds": 0, "lease_seconds": 100, "max_runs": 8}
    )
    async with running(strict, ScriptedAnswers, workers=0) as system, AsyncExitStack() as stack:
        alice = await crowd(system, await system.caller())
        askers = [
            await stack.enter_async_context(asking(alice, create(str(script)), keyed(n))) for n in range(24)
        ]
        for asker in askers:
            await asker.until("the run is queued", lambda answer: answer.of_type("stream_options"))
        database = await stack.enter_async_context(
            asyncpg.create_pool(settings.database_url, min_size=1, max_size=1)
        )

        async def at_work() -> bool:
            rows = await database.fetch("SELECT status FROM runs")
            return any(row["status"] == "running" for row in rows) or all(
                row["status"] == "completed" for row in rows
            )

        for number in range(10):
            worker = create_worker(strict, ScriptedAnswers())
            working = asyncio.create_task(worker.run())
            await wait_until("the worker executes a run, or all are done", at_work)
            await asyncio.sleep(0.011 * number)
            worker.drain()
            await working
        async with running_worker(strict):
            for asker in askers:
                assert (await asker.finished()).end == "completed"
        rows = await database.fetch("SELECT attempt, handed_back FROM runs")
        assert all(row["attempt"] == row["handed_back"] + 1 for row in rows)
        assert max(row["handed_back"] for row in rows) > 2


async def test_a_queue_that_was_emptied_loses_no_accepted_run(settings, monkeypatch):
    """The row is the truth: the reaper queues it again."""
    monkeypatch.setattr("relaykit.worker.reaper.reaper.QUEUED_SECONDS", 0.1)
    monkeypatch.setattr("relaykit.worker.reaper.reaper.ROUND_INTERVAL_SECONDS", 0.2)
    async with running(settings, ScriptedAnswers, workers=0) as system, AsyncExitStack() as stack:
        alice = await system.caller()
        askers = [
            await stack.enter_async_context(asking(alice, create(str(Script())), keyed(n))) for n in range(3)
        ]
        for asker in askers:
            await asker.until("the run is queued", lambda answer: answer.of_type("stream_options"))
        async with Redis.from_url(settings.redis_url) as redis:
            await redis.delete(keys.QUEUE, keys.BELL, *(keys.job(asker.run_id) for asker in askers))
        async with running_worker(settings):
            for asker in askers:
                assert (await asker.finished()).end == "completed"


@asynccontextmanager
async def running_worker(settings: Settings) -> AsyncIterator[None]:
    worker = create_worker(settings, ScriptedAnswers())
    working = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.drain()
        await working
