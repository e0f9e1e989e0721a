"""Baseline (b): a worker of arq as it comes, with jobs of the same kind: some hold, others say when they began.

`python -m bench.baselines.stock_arq`: REDIS_URL, MAX_JOBS, POLL_DELAY in seconds.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import uvloop
from arq.connections import RedisSettings
from arq.worker import Worker, func

HOLDING = "bench:holding"
"""How many jobs hold."""
STARTED = "bench:started"
"""A list: the Unix time at which each `start` began."""
JOB_SECONDS = 3_600


async def hold(ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> None:
    await ctx["redis"].incr(HOLDING)
    await asyncio.sleep(JOB_SECONDS)


async def start(ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> None:
    now = time.time()
    await ctx["redis"].rpush(STARTED, repr(now))


async def main() -> None:
    worker = Worker(
        functions=[func(hold, name="hold"), func(start, name="start")],
        redis_settings=RedisSettings.from_dsn(os.environ["REDIS_URL"]),
        max_jobs=int(os.environ["MAX_JOBS"]),
        job_timeout=JOB_SECONDS,
        poll_delay=float(os.environ["POLL_DELAY"]),
        handle_signals=False,
    )
    await worker.async_run()


if __name__ == "__main__":
    uvloop.run(main())
