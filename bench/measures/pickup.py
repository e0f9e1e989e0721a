"""From enqueue to the start of the job's function, while so many jobs run already: ours and arq as it comes.

Three workers of 2,000 slots each. A job that runs holds, with its row and its lease, as one does that waits for a
model. Beside it what the workers and Redis do for jobs that only hold, with nothing new coming.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from redis import Redis

from bench.baselines.queues import PickUp, UnderTest, our_runs, stock_jobs
from bench.measures import Scale
from bench.output.results import Goal, Measure, Of, percentile, spread
from bench.systems.stack import Process, Stack, stack
from bench.systems.usage import measured

WORKERS = 3
SLOTS = 2_000
GOAL = Goal(Of.RATIO, at_most=1.5)
HOLD_SECONDS = 90.0
"""For all that are to hold to have begun; what has not by then is told."""
PICK_UP_SECONDS = 20.0
OUR_PAUSE_SECONDS = 0.03
"""At most, between two jobs; with stock arq as long as its poll, so that they come at no fixed time before one."""

Open = Callable[[Stack], AbstractAsyncContextManager[UnderTest]]


@dataclass(frozen=True)
class Level:
    """What was found with so many jobs running."""

    asked: int
    running: int
    found: Sequence[PickUp]
    unpicked: int
    worker_cpu_share: float
    """Of one core, of all workers together."""
    commands_per_second: float
    """Of Redis, those in scripts too."""

    @property
    def function_ms(self) -> list[float]:
        return [one.function_ms for one in self.found]


def measure(scale: Scale) -> list[Measure]:
    ours_at = scale.of((0, 200), (0, 100, 1_000, 5_000))
    stock_at = {0.5: scale.of((0, 200), (0, 100, 1_000, 5_000)), 0.05: scale.of((0,), (0, 1_000))}
    with stack(MAX_RUNS=str(SLOTS)) as services:
        ours = _found(
            services, _our_workers(services), our_runs, ours_at, OUR_PAUSE_SECONDS, scale.of(3.0, 30.0), scale
        )
        stock = [
            _found(
                services, _stock_workers(services, poll), stock_jobs, levels, poll, scale.of(3.0, 7.0), scale
            )
            for poll, levels in stock_at.items()
        ]
    defaults, fast = ({level.asked: level for level in levels} for levels in stock)
    return [
        *(_pick_up(level, defaults.get(level.asked), fast.get(level.asked)) for level in ours),
        _growth(ours),
        *(_at_rest(level, defaults.get(level.asked), fast.get(level.asked)) for level in ours),
    ]


def _our_workers(services: Stack) -> list[Process]:
    with services.starting():
        return [services.worker() for _ in range(WORKERS)]


def _stock_workers(services: Stack, poll_seconds: float) -> list[Process]:
    with Redis.from_url(services.services.redis_url) as redis:
        redis.flushdb()
    module = "bench.baselines.stock_arq"
    return [
        services.start(module, {"MAX_JOBS": str(SLOTS), "POLL_DELAY": str(poll_seconds)}, serves=False)
        for _ in range(WORKERS)
    ]


def _found(
    services: Stack,
    workers: list[Process],
    open_queue: Open,
    running: Sequence[int],
    pause_seconds: float,
    for_seconds: float,
    scale: Scale,
) -> list[Level]:
    """At one level after the other, of which each adds to the one before; the workers are killed in the end."""

    async def levels() -> AsyncIterator[Level]:
        async with open_queue(services) as queue:
            await queue.pick_up(PICK_UP_SECONDS)
            before = 0
            for asked in running:
                held = await queue.hold(asked - before, HOLD_SECONDS) if asked > before else before
                before = asked
                rest = await _rest(services, workers, scale.of(1.0, 6.7))
                found, unpicked = await _picked_up(queue, pause_seconds, for_seconds, scale)
                yield Level(asked, held, found, unpicked, *rest)

    async def every() -> list[Level]:
        return [level async for level in levels()]

    try:
        return asyncio.run(every())
    finally:
        for worker in workers:
            worker.kill()


async def _rest(services: Stack, workers: list[Process], seconds: float) -> tuple[float, float]:
    """Share of a core of all workers, and Redis's commands a second."""
    with Redis.from_url(services.services.redis_url) as redis:
        before = redis.info("stats")["total_commands_processed"]
        with measured({"workers": [worker.pid for worker in workers]}) as usage:
            await asyncio.sleep(seconds)
        commands = redis.info("stats")["total_commands_processed"] - before
    return usage.total / seconds, commands / seconds


async def _picked_up(
    queue: UnderTest, pause_seconds: float, for_seconds: float, scale: Scale
) -> tuple[list[PickUp], int]:
    """Of one job after the other; and how many did not begin."""
    found: list[PickUp] = []
    unpicked = 0
    deadline = time.monotonic() + for_seconds
    while len(found) < scale.of(20, 1_000) and time.monotonic() < deadline:
        one = await queue.pick_up(PICK_UP_SECONDS)
        if one is None:
            unpicked += 1
        else:
            found.append(one)
        await asyncio.sleep(random.uniform(0, pause_seconds))  # noqa: S311
    return found, unpicked


def _pick_up(ours: Level, default: Level | None, fast: Level | None) -> Measure:
    values = ours.function_ms
    events = [one.event_ms for one in ours.found if one.event_ms is not None]
    return Measure(
        measure=f"pickup.{ours.asked}_running",
        value=percentile(values, 0.5),
        unit="ms",
        baseline=percentile(default.function_ms, 0.5) if default and default.found else None,
        against="stock arq, poll 0.5 s",
        p50=percentile(values, 0.5),
        p99=percentile(values, 0.99),
        spread=spread(values),
        note=f"{len(values)} jobs, {WORKERS} workers; to the first event of respond() "
        f"{percentile(events, 0.5):.1f} ms{_said(default, 'poll 0.5 s')}{_said(fast, 'poll 0.05 s')}",
        points=[{"running": ours.asked, "system": "relaykit", "ms": percentile(values, 0.5)}],
    )


def _said(stock: Level | None, name: str) -> str:
    if stock is None:
        return ""
    if not stock.found:
        return f"; stock, {name}: none began in {PICK_UP_SECONDS:.0f} s"
    values = stock.function_ms
    late = f", {stock.unpicked} not in {PICK_UP_SECONDS:.0f} s" if stock.unpicked else ""
    few = f", with {stock.running} running" if stock.running < stock.asked else ""
    return (
        f"; stock, {name}: p50 {percentile(values, 0.5):.0f}, p99 {percentile(values, 0.99):.0f}{late}{few}"
    )


def _growth(ours: Sequence[Level]) -> Measure:
    none, most = percentile(ours[0].function_ms, 0.5), percentile(ours[-1].function_ms, 0.5)
    return Measure(
        measure="pickup.growth",
        value=most,
        unit="ms",
        baseline=none,
        against="with none running",
        goal=GOAL,
        p50=most,
        p99=percentile(ours[-1].function_ms, 0.99),
        spread=spread(ours[-1].function_ms),
        note=f"with {ours[-1].running} runs running",
    )


def _at_rest(ours: Level, default: Level | None, fast: Level | None) -> Measure:
    return Measure(
        measure=f"pickup.rest_{ours.asked}_running",
        value=ours.worker_cpu_share * 100,
        unit="% of a core",
        baseline=default.worker_cpu_share * 100 if default else None,
        against="stock arq, poll 0.5 s",
        note=f"{WORKERS} workers, nothing new coming; Redis commands/s {ours.commands_per_second:,.0f}"
        f"{_rest_said(default, 'poll 0.5 s')}{_rest_said(fast, 'poll 0.05 s')}",
    )


def _rest_said(stock: Level | None, name: str) -> str:
    if stock is None:
        return ""
    return f"; stock, {name}: {stock.commands_per_second:,.0f}, {stock.worker_cpu_share:.0%} of a core"
