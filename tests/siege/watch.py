"""What is measured while a phase goes on: `/healthz`, memory, and how late the driver itself is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from relaykit.shared.tasks import end_tasks
from tests.chaos.slots import Slot
from tests.siege.gauges import resident_mb
from tests.siege.phase import Memory, Phase

PROBE_EVERY_SECONDS = 0.1
PROBE_AGAIN_SECONDS = 0.05
SAMPLE_SECONDS = 0.05
REDIS_SAMPLE_SECONDS = 0.2
TICK_SECONDS = 0.01
PROBE = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def watching(
    phase: Phase, port: int, slots: list[Slot], redis: Redis, *, may_refuse: bool
) -> AsyncIterator[None]:
    """Measures into `phase` until the block ends. What is held at its begin is the memory before."""
    for slot in slots:
        held = resident_mb(slot.pid)
        phase.memory[slot.name] = Memory(held, held)
    used = await _used_mb(redis)
    phase.memory["redis"] = Memory(used, used)
    tasks = [
        asyncio.create_task(_probe(phase, port, may_refuse=may_refuse)),
        asyncio.create_task(_sample(phase, slots)),
        asyncio.create_task(_sample_redis(phase, redis)),
        asyncio.create_task(_tick(phase)),
    ]
    try:
        yield
    finally:
        await end_tasks(tasks)
    for task in tasks:
        assert task.cancelled() or task.exception() is None, task.exception()


# --- /healthz


async def _probe(phase: Phase, port: int, *, may_refuse: bool) -> None:
    """Asks over a new connection each time; what counts is the time until the process says that it is well."""
    while True:
        began_at = time.monotonic()
        try:
            while True:
                answer = await _ask(port)
                phase.health_answers[answer] += 1
                if answer == "200" or (may_refuse and answer == "503"):
                    break
                await asyncio.sleep(PROBE_AGAIN_SECONDS)
        finally:
            phase.probes.append((began_at, time.monotonic()))
        await asyncio.sleep(PROBE_EVERY_SECONDS)


async def _ask(port: int) -> str:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        return type(error).__name__
    try:
        writer.write(PROBE)
        words = (await reader.readline()).split()
        return words[1].decode() if len(words) > 1 else "closed"
    except OSError as error:
        return type(error).__name__
    finally:
        writer.close()


# --- memory


async def _sample(phase: Phase, slots: list[Slot]) -> None:
    while True:
        for slot in slots:
            memory = phase.memory[slot.name]
            memory.peak = max(memory.peak, resident_mb(slot.pid))
        await asyncio.sleep(SAMPLE_SECONDS)


async def _sample_redis(phase: Phase, redis: Redis) -> None:
    memory = phase.memory["redis"]
    while True:
        memory.peak = max(memory.peak, await _used_mb(redis))
        await asyncio.sleep(REDIS_SAMPLE_SECONDS)


async def _used_mb(redis: Redis) -> float:
    return float((await redis.info("memory"))["used_memory"]) / 1e6


# --- the driver itself


async def _tick(phase: Phase) -> None:
    while True:
        due_at = time.monotonic() + TICK_SECONDS
        await asyncio.sleep(TICK_SECONDS)
        phase.ticks.append((due_at, time.monotonic()))
