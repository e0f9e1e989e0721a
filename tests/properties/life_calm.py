"""The life of runs once nothing happens any more that should not: what was accepted comes to its end."""

from __future__ import annotations

from relaykit.shared.redis import keys
from tests.properties.life import HOSTS, LEASE_SECONDS
from tests.properties.life_acts import Life
from tests.properties.life_job import Job
from tests.properties.life_worker import Worker

MAX_ROUNDS = 40
MAX_STEPS = 60


async def to_the_end(life: Life) -> None:
    """It becomes calm; then those who slept wake, and it becomes calm again. Whatever was accepted has ended then."""
    await calm(life)
    await wake_all(life)
    await calm(life)
    await read_all(life)
    await check_end(life)


async def calm(life: Life) -> None:
    """Reapers reap and an honest worker works until there is nothing left to do."""
    worker = Worker(life.world, f"calm{len(life.workers)}")
    life.workers.append(worker)
    for _ in range(MAX_ROUNDS):
        await life.step(life.time_passes(LEASE_SECONDS))
        await life.step(life.reap(MAX_STEPS))
        await life.step(worker.claim(100))
        for job in worker.unfinished:
            await _finish(life, job)
        ended = all(row.status.ended for row in life.record.rows.values())
        if ended and not await life.world.redis.exists(keys.QUEUE):
            break
        await life.step(_expire_foreign(life))
    else:
        left = await life.world.redis.zrange(keys.QUEUE, 0, -1, withscores=True)
        raise AssertionError(f"it does not become calm: {left} {life.record.rows}")


async def _expire_foreign(life: Life) -> None:
    """The messages of jobs whose runs went with their threads come to the end of their time, and their turn comes."""
    redis = life.world.redis
    now_seconds, _ = await redis.time()
    for run_id in await redis.zrange(keys.QUEUE, 0, -1):
        if run_id.decode() not in life.record.rows:
            job = keys.job(run_id.decode())
            assert await redis.ttl(job) != -1, f"{run_id} is put aside for ever"
            await redis.delete(job)
            await redis.zadd(keys.QUEUE, {run_id: now_seconds * 1000}, xx=True)


async def _finish(life: Life, job: Job) -> None:
    answer = iter(["show", "flush", "text", "keep"])
    for _ in range(MAX_STEPS):
        if job.process.done:
            return
        answers = job.rewound
        await life.step(job.go_on(next(answer, "finish") if answers else ""))
    raise AssertionError(f"the job of {job.run} does not end")


async def read_all(life: Life) -> None:
    """Every client reads to the end, and so does another one who comes to each run late."""
    for number in range(len(life.record.rows)):
        await life.step(life.follow(number, number % HOSTS))
    for place in range(len(life.clients)):
        await _read_to_the_end(life, place)


async def _read_to_the_end(life: Life, place: int) -> None:
    client = life.clients[place]
    for number in range(MAX_STEPS):
        if client.done or client.run_id not in life.record.rows:
            return
        if not client.connected:
            await life.step(life.reconnect(place, number % HOSTS))
        elif number % 3 == 2:
            for host in range(HOSTS):
                await life.step(life.tick(host, MAX_STEPS))
        else:
            await life.step(life.read(place, hears=True))
    raise AssertionError(f"{client} waits for ever")


async def wake_all(life: Life) -> None:
    """Those who slept through it all go on, each to his end."""
    for _ in range(MAX_STEPS):
        for process in list(life.processes):
            await life.step(process.go_on())
        for job in life.jobs:
            await life.step(job.go_on("finish"))
        if not life.processes and not life.jobs:
            return
    raise AssertionError("somebody does not come to his end")


async def check_end(life: Life) -> None:
    """Every run has ended and says so; no lease and no job is left, and what is left expires."""
    life.record.check_calm()
    redis = life.world.redis
    left = sorted(await redis.keys("*"))
    assert not [key for key in left if await redis.ttl(key) == -1], left
    prefixes = (keys.QUEUE, keys.LEASE_PREFIX, keys.JOB_PREFIX)
    assert not [key for key in left if key.decode().startswith(prefixes)], left
