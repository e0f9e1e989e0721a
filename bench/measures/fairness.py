"""The cost of the fair order, and its effect.

The claim beside itself with few tenants; a worker's throughput beside that of the same worker on a queue that is first
come, first served; and the pick-up of a caller's runs while another floods, beside that in an empty queue.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack

from bench.baselines.first_come import FirstComeQueue
from bench.baselines.queues import OWNER, OurRuns, flow, our_runs
from bench.measures import Scale
from bench.output.results import Goal, Measure, Of, percentile, spread
from bench.systems.server import Script
from bench.systems.stack import Stack, stack
from relaykit.shared.queue.fair_share import Flow
from relaykit.shared.queue.job_queue import JobQueue
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, open_redis
from relaykit.worker.leases.claim_queue import ClaimQueue

LEASE_SECONDS = 60.0
CLAIM_GOAL = Goal(Of.RATIO, at_most=1.5)
THROUGHPUT_GOAL = Goal(Of.RATIO, at_least=0.97)
FLOOD_GOAL = Goal(Of.RATIO, at_most=2)
SLOTS, SHARE_OF_SLOTS = 40, 20
FLOOD_HOLD_SECONDS = (0.6, 0.8, 1.0, 1.2, 1.4)
"""The flood's runs are of unequal length, so that they do not all end and begin at the same moment."""
FLOODER = "flooder"
WAIT_SECONDS = 120.0
PAUSE_SECONDS = 0.05
ENQUEUED_AT_ONCE = 1_000


def measure(scale: Scale) -> list[Measure]:
    with stack(MAX_RUNS=str(SLOTS)) as services:
        found = [asyncio.run(_claims(services, scale))]
    with stack(MAX_RUNS=str(SLOTS), RUN_MAX_ATTEMPTS="1") as services:
        found.append(asyncio.run(_throughput(services, scale)))
    with stack(MAX_RUNS=str(SLOTS), CALLER_MAX_RUNNING=str(SHARE_OF_SLOTS)) as services:
        found.append(asyncio.run(_flooded(services, scale)))
    return found


async def _claims(services: Stack, scale: Scale) -> Measure:
    """Redis's own time for a claim of one job, by turns: with one tenant, and with as many as there are jobs."""
    many, claims, rounds = scale.of((1_000, 20, 5), (100_000, 50, 20))
    one_us: list[float] = []
    many_us: list[float] = []
    async with AsyncExitStack() as stack:
        sides = []
        for tenants, found in ((1, one_us), (many, many_us)):
            redis = await stack.enter_async_context(
                open_redis(services.services.redis_url, connections=2, deployment=f"tenants{tenants}")
            )
            queue = ClaimQueue(redis)
            await _fill(redis, queue, [Flow(f"tenant{n % tenants}", "caller") for n in range(many)])
            sides.append((redis, queue, found))
        for round_number in range(rounds):
            for redis, queue, found in sides:
                await redis.config_resetstat()
                for number in range(claims):
                    await queue.claim(1, LEASE_SECONDS, f"token:{round_number}-{number}")
                stats = await redis.info("commandstats")
                found.append(stats["cmdstat_evalsha"]["usec_per_call"])
    return Measure(
        measure="fairness.claim",
        value=percentile(many_us, 0.5),
        unit="us",
        baseline=percentile(one_us, 0.5),
        against="the same number of jobs of one tenant",
        goal=CLAIM_GOAL,
        spread=spread(many_us),
        note=f"Redis's time for a claim with {many:,} tenants",
    )


async def _fill(redis: Redis, queue: JobQueue, flows: list[Flow]) -> None:
    await queue.enqueue("run_first", flows[0])  # which loads the script
    for first in range(0, len(flows), ENQUEUED_AT_ONCE):
        async with redis.pipeline(transaction=False) as pipeline:
            for number, each in enumerate(flows[first : first + ENQUEUED_AT_ONCE], first):
                call = queue.enqueue_call(f"run_{number}", each)
                pipeline.evalsha(call.script.sha, len(call.keys), *call.keys, *call.args)
            await pipeline.execute()


async def _throughput(services: Stack, scale: Scale) -> Measure:
    """Runs that end in a second at one worker, of many that are queued, by turns with either queue."""
    runs, rounds = scale.of((100, 1), (300, 9))
    fair: list[float] = []
    first_come: list[float] = []
    async with our_runs(services) as ours:
        for _ in range(rounds):
            for queue, module, found in (
                (JobQueue, "relaykit.worker", fair),
                (FirstComeQueue, "bench.baselines.first_come", first_come),
            ):
                await ours.redis.flushdb()
                run_ids = await ours.rows(runs, Script())
                await _enqueue(queue(ours.redis), run_ids)
                worker = services.start(module, {}, serves=False)
                found.append(await _rate(ours, runs))
                worker.kill()
                await _forget(ours)
    return Measure(
        measure="fairness.throughput",
        value=percentile(fair, 0.5),
        unit="runs/s",
        baseline=percentile(first_come, 0.5),
        against="the same worker, first come, first served",
        goal=THROUGHPUT_GOAL,
        spread=spread(fair),
        note=f"{runs} runs of one delta, one worker of {SLOTS} slots",
    )


async def _enqueue(queue: JobQueue, run_ids: list[str]) -> None:
    for run_id in run_ids:
        await queue.enqueue(run_id, flow(OWNER))


async def _rate(ours: OurRuns, runs: int) -> float:
    """Between the tenth part and the last of them: without the worker's start."""
    first = runs // 10
    await _ended(ours, first)
    began_at = time.monotonic()
    seen = await _ended(ours, first)
    await _ended(ours, runs)
    return (runs - seen) / (time.monotonic() - began_at)


async def _ended(ours: OurRuns, count: int) -> int:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        cursor = await ours.database.execute("SELECT count(*) FROM runs WHERE ended_at IS NOT NULL")
        row = await cursor.fetchone()
        if row is not None and row[0] >= count:
            return int(row[0])
        await asyncio.sleep(0.005)
    raise TimeoutError(f"{count} runs did not end in {WAIT_SECONDS} s")


async def _forget(ours: OurRuns) -> None:
    await ours.database.execute("TRUNCATE runs, threads CASCADE")


async def _flooded(services: Stack, scale: Scale) -> Measure:
    """A caller's flood holds half of the slots, each run for a second; another caller's runs come one by one."""
    flood, asked = scale.of((200, 20), (10_000, 1_000))
    with services.starting():
        services.worker()
    async with our_runs(services) as ours:
        await ours.pick_up(WAIT_SECONDS)
        alone = await _pick_ups(ours, asked)
        held = [
            run_id
            for hold_seconds in FLOOD_HOLD_SECONDS
            for run_id in await ours.rows(
                flood // len(FLOOD_HOLD_SECONDS), Script(hold_seconds=hold_seconds), FLOODER
            )
        ]
        random.shuffle(held)
        queue = JobQueue(ours.redis)
        for run_id in held:
            await queue.enqueue(run_id, flow(FLOODER))
        beside = await _pick_ups(ours, asked)
        waiting = await ours.redis.zcount(keys.QUEUE, "-inf", 0)
    return Measure(
        measure="fairness.flood",
        value=percentile(beside, 0.99),
        unit="ms",
        baseline=percentile(alone, 0.99),
        against="p99 in an empty queue",
        goal=FLOOD_GOAL,
        p50=percentile(beside, 0.5),
        p99=percentile(beside, 0.99),
        spread=spread(beside),
        note=f"beside a caller's {flood:,} runs of {FLOOD_HOLD_SECONDS[0]} to {FLOOD_HOLD_SECONDS[-1]} s in "
        f"{SHARE_OF_SLOTS} of {SLOTS} slots, {waiting:,} of them still queued at the end; "
        f"p50 in an empty queue {percentile(alone, 0.5):.2f} ms",
    )


async def _pick_ups(ours: OurRuns, count: int) -> list[float]:
    found = []
    for _ in range(count):
        one = await ours.pick_up(WAIT_SECONDS)
        if one is not None:
            found.append(one.function_ms)
        await asyncio.sleep(random.uniform(0, PAUSE_SECONDS))  # noqa: S311
    return found
