"""The faults: those of processes and services here, and those of the links between them."""

from __future__ import annotations

import asyncio
import signal
from random import Random

from tests.chaos.fault import Fault
from tests.chaos.link_faults import LINK_FAULTS
from tests.chaos.replicas import follow, hand_over
from tests.chaos.routes import Route
from tests.chaos.services import Service, forget_redis
from tests.chaos.stage import PRODUCT, Stage

MAX_FREEZE_SECONDS = 6.0
"""Of Redis: more than what a call waits for its reply."""
MAX_AWAY_SECONDS = 3.0


# --- workers


async def kill_worker(stage: Stage, random: Random) -> None:
    async with stage.a_worker(random) as worker:
        await worker.end(signal.SIGKILL)


async def drain_worker(stage: Stage, random: Random) -> None:
    async with stage.a_worker(random) as worker:
        await worker.end(signal.SIGTERM)


async def nap_worker(stage: Stage, random: Random) -> None:
    """Frozen for less than a lease: nobody may take its runs."""
    async with stage.a_worker(random) as worker:
        await worker.freeze(random.uniform(0.1, 0.5) * stage.lease_seconds)


async def freeze_worker(stage: Stage, random: Random) -> None:
    """Frozen for longer than a lease: when it wakes, its runs are another's."""
    async with stage.a_worker(random) as worker:
        await worker.freeze(random.uniform(1.2, 2.5) * stage.lease_seconds)


# --- APIs and their clients


async def kill_api(stage: Stage, random: Random) -> None:
    async with stage.an_api(random) as api:
        await api.end(signal.SIGKILL)


async def drain_api(stage: Stage, random: Random) -> None:
    async with stage.an_api(random) as api:
        await api.end(signal.SIGTERM)


async def freeze_api(stage: Stage, random: Random) -> None:
    async with stage.an_api(random) as api:
        await api.freeze(random.uniform(0.5, MAX_AWAY_SECONDS))


async def cut_clients(stage: Stage, _: Random) -> None:
    """All clients lose their connections at once."""
    for stream in list(stage.streams):
        stream.cancel()


# --- Redis


async def kill_redis_commands(stage: Stage, _: Random) -> None:
    async with stage.redis.lock, stage.redis_client() as redis:
        await redis.client_kill_filter(_type="normal", skipme=True)


async def kill_redis_notices(stage: Stage, _: Random) -> None:
    async with stage.redis.lock, stage.redis_client() as redis:
        await redis.client_kill_filter(_type="pubsub")


async def freeze_redis(stage: Stage, random: Random) -> None:
    async with stage.redis.lock:
        stage.redis.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(random.uniform(0.5, MAX_FREEZE_SECONDS))
        finally:
            stage.redis.send(signal.SIGCONT)


async def restart_redis(stage: Stage, random: Random) -> None:
    """In order: all that it had answered is there again."""
    async with stage.redis.lock:
        await _restart(stage.redis, signal.SIGTERM, random)


async def crash_redis(stage: Stage, random: Random) -> None:
    """kill -9: what it wrote down is there again, and with appendfsync everysec the last moments may not be."""
    async with stage.redis.lock, stage.losing_data():
        await _restart(stage.redis, signal.SIGKILL, random)


async def empty_redis(stage: Stage, _: Random) -> None:
    async with stage.redis.lock, stage.redis_client() as redis, stage.losing_data():
        await redis.flushall()


async def lose_redis(stage: Stage, random: Random) -> None:
    """Ended without saving, and started with nothing."""
    async with stage.redis.lock, stage.losing_data():
        await stage.redis.stop(signal.SIGKILL)
        forget_redis(stage.directory, stage.redis)
        await asyncio.sleep(random.uniform(0, MAX_AWAY_SECONDS))
        await stage.redis.start()


async def fail_over_redis(stage: Stage, _: Random) -> None:
    """Planned: the replica becomes the primary. Connections that are open stay with the old one, which now refuses."""
    async with stage.redis.lock:
        old, new = stage.redis, stage.spare_redis
        await follow(new, old)
        await hand_over(old, new)
        stage.redis, stage.spare_redis = new, old
        stage.routes.serve((Route.API_REDIS, Route.WORKER_REDIS), new.url)


# --- PostgreSQL


async def kill_postgres_sessions(stage: Stage, _: Random) -> None:
    async with stage.postgres.lock, stage.database() as database:
        await database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", PRODUCT
        )


async def restart_postgres_fast(stage: Stage, random: Random) -> None:
    async with stage.postgres.lock:
        await _restart(stage.postgres, signal.SIGINT, random)


async def restart_postgres_immediate(stage: Stage, random: Random) -> None:
    """As after a crash: it comes back from its log."""
    async with stage.postgres.lock:
        await _restart(stage.postgres, signal.SIGQUIT, random)


async def _restart(service: Service, number: signal.Signals, random: Random) -> None:
    await service.stop(number)
    await asyncio.sleep(random.uniform(0, MAX_AWAY_SECONDS))
    await service.start()


FAULTS = (
    Fault("worker: kill -9", kill_worker),
    Fault("worker: SIGTERM", drain_worker),
    Fault("worker: frozen for less than a lease", nap_worker),
    Fault("worker: frozen for more than a lease", freeze_worker),
    Fault("API: kill -9", kill_api),
    Fault("API: SIGTERM", drain_api),
    Fault("API: frozen", freeze_api),
    Fault("clients: all connections cut", cut_clients),
    Fault("Redis: connections for commands killed", kill_redis_commands),
    Fault("Redis: connections for notices killed", kill_redis_notices),
    Fault("Redis: frozen", freeze_redis),
    Fault("Redis: restarted with its data", restart_redis),
    Fault("Redis: kill -9, back with its data", crash_redis),
    Fault("Redis: emptied", empty_redis),
    Fault("Redis: kill -9, back without its data", lose_redis),
    Fault("Redis: failover to the replica", fail_over_redis),
    Fault("PostgreSQL: sessions ended", kill_postgres_sessions),
    Fault("PostgreSQL: restarted", restart_postgres_fast),
    Fault("PostgreSQL: immediate shutdown", restart_postgres_immediate),
    *LINK_FAULTS,
)
