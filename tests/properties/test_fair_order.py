"""The claim's order on a real Redis equals that of the model, and shares hold."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaykit.shared.queue.fair_share import UNKNOWN_FLOW, Flow
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, open_redis
from relaykit.worker.leases.claim_queue import ClaimQueue
from relaykit.worker.leases.claims import Claim, Loss, RunningLimits
from relaykit.worker.reaper.queue_audit import QueueAudit
from tests.properties.fair_model import Order
from tests.support.examples import examples

LEASE_SECONDS = 60.0
FLOWS = [Flow(tenant, caller) for tenant in ("acme", "bolt", "corp") for caller in ("ann", "bob")]
WEIGHTS = st.sampled_from([0.5, 1.0, 3.0])
PROCESS = st.sampled_from(["first", "second", "third"])

ENQUEUE = st.tuples(st.just("enqueue"), st.sampled_from(FLOWS), WEIGHTS, WEIGHTS, st.integers(1, 6))
STEP = st.one_of(
    ENQUEUE,
    ENQUEUE,
    st.tuples(st.just("enqueue_before")),
    st.tuples(st.just("claim"), st.integers(1, 4), PROCESS),
    st.tuples(st.just("claim_and_release"), st.integers(1, 8), PROCESS),
    st.tuples(st.just("release"), st.integers(0, 20)),
    st.tuples(st.just("hand_back"), st.integers(0, 20)),
    st.tuples(st.just("lose"), st.integers(0, 20)),
    st.tuples(st.just("discard"), st.integers(0, 20)),
)


class Holders:
    """Who holds what, and how runs were lost: the model of what fair.lua notes."""

    def __init__(self) -> None:
        self.held: defaultdict[str, set[str]] = defaultdict(set)
        self.holders: dict[str, str] = {}
        self.losses: dict[str, Loss] = {}

    def take(self, run_id: str, process: str) -> None:
        self.holders[run_id] = process
        self.held[process].add(run_id)

    def take_again(self, run_id: str, process: str) -> Loss | None:
        holder, before = self.holders.get(run_id), self.losses.get(run_id)
        times = before.times if before else 0
        if holder is not None and holder != process:
            self.losses[run_id] = Loss(len(self.held[holder]), times + 1, holder)
        elif holder is not None:
            suspect = before is not None and before.is_suspect
            self.losses[run_id] = (
                replace(before, company=max(before.company, 2)) if suspect else Loss(0, times, "")
            )
        self.take(run_id, process)
        return self.losses.get(run_id)

    def let_go(self, run_id: str) -> None:
        self.held[self.holders.pop(run_id)].discard(run_id)

    def end(self, run_id: str) -> None:
        self.let_go(run_id)
        self.losses.pop(run_id, None)


class Comparison:
    """Does the same to the queue and to the model."""

    def __init__(self, redis: Redis, limits: RunningLimits) -> None:
        self.redis, self.queue, self.limits = redis, ClaimQueue(redis), limits
        self.model = Order(*limits)
        self.weights: dict[str, tuple[float, float]] = {}
        self.queued: dict[str, Flow] = {}
        self.held: dict[str, tuple[Flow, Claim]] = {}
        self.begun: list[tuple[str, Flow]] = []
        """Runs that were handed back or lost, in the order in which they became due."""
        self.holders = Holders()
        self.numbers = count()

    async def enqueue(self, flow: Flow, tenant_weight: float, caller_weight: float, times: int) -> None:
        flow = Flow(flow.tenant, flow.caller, tenant_weight, caller_weight)
        for _ in range(times):
            run_id = f"run_{next(self.numbers)}"
            assert await self.queue.enqueue(run_id, flow)
            assert not await self.queue.enqueue(run_id, flow)
            self.model.add(flow, run_id)
            self.queued[run_id] = flow

    async def enqueue_before(self) -> None:
        """As the release before does: by time alone. The next claim gives it a place."""
        run_id = f"run_{next(self.numbers)}"
        seconds, micros = await self.redis.time()
        await self.redis.zadd(keys.QUEUE, {run_id: seconds * 1000 + micros // 1000})
        self.model.add(UNKNOWN_FLOW, run_id)
        self.queued[run_id] = UNKNOWN_FLOW
        await self.claim(0, "first")

    async def claim(self, free: int, process: str) -> None:
        claims = await self.queue.claim(free, LEASE_SECONDS, f"{process}:{next(self.numbers)}", self.limits)
        expected = [self.begun.pop(0) for _ in range(min(free, len(self.begun)))]
        losses = [self.holders.take_again(run_id, process) for run_id, _ in expected]
        while len(expected) < free and (found := self.model.next()) is not None:
            del self.queued[found[0]]
            expected.append(found)
        for run_id, _ in expected[len(losses) :]:
            self.holders.take(run_id, process)
        assert [claim.run_id for claim in claims] == [run_id for run_id, _ in expected]
        assert [claim.loss for claim in claims] == losses + [None] * (len(claims) - len(losses))
        self.held |= {claim.run_id: (flow, claim) for claim, (_, flow) in zip(claims, expected, strict=True)}

    async def claim_and_release(self, times: int, process: str) -> None:
        for _ in range(times):
            await self.claim(1, process)
            await self.release(-1)

    async def release(self, number: int) -> None:
        if self.held:
            flow, claim = self.held.pop(list(self.held)[number % len(self.held)])
            assert await self.queue.release(claim, done=True)
            self.model.end(flow)
            self.holders.end(claim.run_id)

    async def hand_back(self, number: int) -> None:
        if self.held:
            flow, claim = self.held.pop(list(self.held)[number % len(self.held)])
            assert await self.queue.release(claim, done=False)
            self.holders.let_go(claim.run_id)
            await self._is_due(claim.run_id, flow)

    async def lose(self, number: int) -> None:
        if self.held:
            flow, claim = self.held.pop(list(self.held)[number % len(self.held)])
            await self.redis.delete(keys.lease(claim.run_id))
            await self._is_due(claim.run_id, flow)

    async def _is_due(self, run_id: str, flow: Flow) -> None:
        """Due times of their own, so that their order is known."""
        self.begun.append((run_id, flow))
        await self.redis.zadd(keys.QUEUE, {run_id: len(self.begun) + next(self.numbers)}, xx=True)

    async def discard(self, number: int) -> None:
        if self.queued:
            run_id = list(self.queued)[number % len(self.queued)]
            flow = self.queued.pop(run_id)
            await self.queue.discard(run_id, flow)
            self.model.remove(flow, run_id)

    async def expires(self) -> None:
        """Every key but the queue has a time to live."""
        async for key in self.redis.scan_iter():
            assert key.decode() == keys.QUEUE or await self.redis.pttl(key) > 0, key

    async def drain(self) -> None:
        """In the end everything is served: nothing starves, and nothing is left of the order but the last tags."""
        while self.queued or self.begun or self.held:
            await self.claim(3, "first")
            await self.release(0)
        await self.expires()
        left = {key.decode() async for key in self.redis.scan_iter(f"{keys.FAIR_PREFIX}*")}
        lost = {f"{keys.FAIR_PREFIX}held:{process}" for process, runs in self.holders.held.items() if runs}
        assert left <= {f"{keys.FAIR_PREFIX}flow:", f"{keys.FAIR_PREFIX}away:"} | lost
        assert await self.redis.zcard(keys.QUEUE) == 0


@pytest.fixture
def real(redis_url: str) -> Iterator[tuple[asyncio.Runner, Redis]]:
    with asyncio.Runner() as runner:
        opened = open_redis(redis_url, connections=2)
        client = runner.run(opened.__aenter__())
        try:
            yield runner, client
        finally:
            runner.run(opened.__aexit__(None, None, None))


def run(real: tuple[asyncio.Runner, Redis], coroutine: Coroutine[Any, Any, None]) -> None:
    real[0].run(coroutine)


@examples(100)
@given(
    limits=st.builds(RunningLimits, st.integers(0, 2), st.integers(0, 2)),
    steps=st.lists(STEP, min_size=8, max_size=40),
)
def test_the_order_of_claims_is_that_of_the_model(
    real: tuple[asyncio.Runner, Redis], limits: RunningLimits, steps: list[tuple[Any, ...]]
) -> None:
    async def check() -> None:
        await real[1].flushdb()
        comparison = Comparison(real[1], limits)
        for name, *arguments in steps:
            await getattr(comparison, name)(*arguments)
        await comparison.expires()
        await comparison.drain()

    run(real, check())


async def claimed(queue: ClaimQueue, number: int, limits: RunningLimits = RunningLimits()) -> list[str]:
    """The tenants of the next runs, claimed and ended one after the other."""
    order = []
    for index in range(number):
        (claim,) = await queue.claim(1, LEASE_SECONDS, f"t{index}", limits)
        order.append(claim.run_id.partition("-")[0])
        await queue.release(claim, done=True)
    return order


async def test_weights_of_tenants_that_flood_hold_within_five_per_cent(redis_url: str) -> None:
    async with open_redis(redis_url, connections=2) as redis:
        queue, weights = ClaimQueue(redis), {"a": 1.0, "b": 2.0, "c": 4.0}
        for number in range(500):
            for name, weight in weights.items():
                await queue.enqueue(f"{name}-{number}", Flow(name, "one", weight))
        share = Counter(await claimed(queue, 700))
        for name, weight in weights.items():
            assert share[name] == pytest.approx(100 * weight, rel=0.05), share


async def test_callers_share_what_their_tenant_gets(redis_url: str) -> None:
    """Ten callers of one tenant get as much together as the one caller of another."""
    async with open_redis(redis_url, connections=2) as redis:
        queue = ClaimQueue(redis)
        for number in range(300):
            await queue.enqueue(f"b-{number}", Flow("b", "only"))
            await queue.enqueue(f"a{number % 10}-{number}", Flow("a", f"caller{number % 10}"))
        share = Counter(await claimed(queue, 200))
        assert share["b"] == pytest.approx(100, rel=0.05)
        assert {share[f"a{number}"] for number in range(10)} == {10}


@pytest.mark.parametrize("is_of_the_same_tenant", [False, True])
async def test_the_next_run_of_another_caller_takes_the_next_free_slot_beside_a_flood_of_10000(
    redis_url: str, is_of_the_same_tenant: bool
) -> None:
    async with open_redis(redis_url, connections=2) as redis:
        queue = ClaimQueue(redis)
        async with redis.pipeline(transaction=False) as pipeline:
            await queue.enqueue("flood-0", Flow("acme", "ann"))
            for number in range(1, 10_000):
                call = queue.enqueue_call(f"flood-{number}", Flow("acme", "ann"))
                pipeline.evalsha(call.script.sha, len(call.keys), *call.keys, *call.args)
            await pipeline.execute()
        for number in range(5):
            assert set(await claimed(queue, 10)) == {"flood"}
            flow = Flow("acme", "bob") if is_of_the_same_tenant else Flow("bolt", "bob")
            await queue.enqueue(f"other-{number}", flow)
            assert await claimed(queue, 1) == ["other"]


async def test_a_tenant_that_was_idle_has_saved_nothing_up(redis_url: str) -> None:
    async with open_redis(redis_url, connections=2) as redis:
        queue = ClaimQueue(redis)
        for number in range(100):
            await queue.enqueue(f"a-{number}", Flow("a", "one"))
        await claimed(queue, 50)
        for number in range(50):
            await queue.enqueue(f"b-{number}", Flow("b", "one"))
        share = Counter(await claimed(queue, 40))
        assert abs(share["a"] - share["b"]) <= 1, share


async def test_a_tenant_that_leaves_for_a_moment_cannot_jump_the_queue(redis_url: str) -> None:
    """One that is served, goes idle and comes back at once has had its turn."""
    async with open_redis(redis_url, connections=2) as redis:
        queue = ClaimQueue(redis)
        for number in range(10):
            await queue.enqueue(f"a-{number}", Flow("a", "one"))
        order = []
        for number in range(6):
            await queue.enqueue(f"b-{number}", Flow("b", "one"))
            order += await claimed(queue, 2)
        assert Counter(order) == {"a": 6, "b": 6}


async def test_a_job_that_lost_its_place_in_the_order_is_claimed_after_the_reaper_has_looked(
    redis_url: str,
) -> None:
    async with open_redis(redis_url, connections=2) as redis:
        queue, flow = ClaimQueue(redis), Flow("a", "one")
        await queue.enqueue("run_1", flow)
        async for key in redis.scan_iter(f"{keys.FAIR_PREFIX}*"):
            await redis.delete(key)
        assert await queue.claim(1, LEASE_SECONDS, "t1") == []
        assert await QueueAudit(redis).find_missing({"run_1": flow}, 0) == []
        assert [claim.run_id for claim in await queue.claim(1, LEASE_SECONDS, "t2")] == ["run_1"]


async def test_a_limit_that_the_release_before_has_filled_is_corrected(redis_url: str) -> None:
    """Its workers end runs without counting them as ended."""
    async with open_redis(redis_url, connections=2) as redis:
        queue, flow, limits = ClaimQueue(redis), Flow("a", "one"), RunningLimits(of_tenant=1)
        await queue.enqueue("run_1", flow)
        await queue.enqueue("run_2", flow)
        (claim,) = await queue.claim(5, LEASE_SECONDS, "t1", limits)
        await redis.zrem(keys.QUEUE, claim.run_id)
        await redis.delete(keys.lease(claim.run_id))
        assert await queue.claim(5, LEASE_SECONDS, "t2", limits) == []
        assert await QueueAudit(redis).recount() == 1
        assert [claim.run_id for claim in await queue.claim(5, LEASE_SECONDS, "t3", limits)] == ["run_2"]
        assert await QueueAudit(redis).recount() == 0


@pytest.mark.parametrize("job", [b"a\x00b", b"\xff\xfe", b"run 1", b"x" * 129, b""])
async def test_a_job_whose_id_no_run_can_have_is_left_as_it_is(redis_url: str, job: bytes) -> None:
    async with open_redis(redis_url, connections=2) as redis:
        queue = ClaimQueue(redis)
        await redis.zadd(keys.QUEUE, {job: 7})
        await queue.enqueue("run_1")
        assert [claim.run_id for claim in await queue.claim(5, LEASE_SECONDS, "t1")] == ["run_1"]
        assert await redis.zscore(keys.QUEUE, job) == 7


@pytest.mark.parametrize("others", [99, 100, 1500])
async def test_any_number_of_others_jobs_hides_none_of_ours(redis_url: str, others: int) -> None:
    """Older ones and newer ones, around a run that was handed back."""
    async with open_redis(redis_url, connections=2) as redis:
        queue = ClaimQueue(redis)
        await queue.enqueue("run_1")
        (claim,) = await queue.claim(1, LEASE_SECONDS, "t1")
        await redis.zadd(keys.QUEUE, {f"theirs-{number}": number for number in range(others)})
        await queue.release(claim, done=False)
        assert [claim.run_id for claim in await queue.claim(1, LEASE_SECONDS, "t2")] == ["run_1"]
        assert await redis.zcount(keys.QUEUE, 0, others) == others


async def test_a_job_of_the_release_before_that_is_no_run_is_dropped(redis_url: str) -> None:
    """Its reaper was a job."""
    async with open_redis(redis_url, connections=2) as redis:
        await redis.zadd(keys.QUEUE, {"reaper:1764000000000": 7})
        assert await ClaimQueue(redis).claim(5, LEASE_SECONDS, "t1") == []
        assert await redis.zcard(keys.QUEUE) == 0


async def test_a_job_that_is_put_aside_comes_again_later_and_goes_with_its_message(redis_url: str) -> None:
    async with open_redis(redis_url, connections=2) as redis:
        queue, flow = ClaimQueue(redis), Flow("a", "one")
        await queue.enqueue("run_theirs", flow)
        (claim,) = await queue.claim(5, LEASE_SECONDS, "t1", RunningLimits(of_tenant=1))
        await queue.put_aside(claim)
        await queue.enqueue("run_ours", flow)
        second = await queue.claim(5, LEASE_SECONDS, "t2", RunningLimits(of_tenant=1))
        assert [claim.run_id for claim in second] == ["run_ours"], "it is not due, and takes no slot"
        assert await redis.exists(keys.job("run_theirs")) == 1
        await redis.zadd(keys.QUEUE, {"run_theirs": 0})  # its time has come
        (claim,) = await queue.claim(5, LEASE_SECONDS, "t3")
        assert claim.run_id == "run_theirs"
        await redis.delete(keys.job("run_theirs"))
        await queue.put_aside(claim)
        assert await redis.zscore(keys.QUEUE, "run_theirs") is None
