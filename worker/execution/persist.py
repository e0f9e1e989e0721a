"""Calls of PostgreSQL and Redis that an attempt must get done: repeated through outages, while it has its lease."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from relaykit.shared.crashes import site_code
from relaykit.shared.errors import DatabaseUnavailable, Fenced, QueueUnavailable, Stopping
from relaykit.shared.log import failure
from relaykit.worker.execution.attempt import Attempt
from relaykit.worker.execution.stop import Stop

RETRY_SECONDS = 0.25

T = TypeVar("T")

log = structlog.get_logger()


async def persist(attempt: Attempt, call: Callable[[], Awaitable[T]]) -> T:
    """Repeats a call through an outage of Redis or PostgreSQL, as long as the lease is held.

    Raises Fenced once it is not, and where this process has closed its database, which is no outage. An error of
    the site's code in the call that is no Exception leaves it as ServerCrashed.
    """
    while True:
        try:
            with site_code:
                return await call()
        except Stopping as error:
            raise Fenced from error
        except (DatabaseUnavailable, QueueUnavailable) as error:
            log.warning(
                "a step of the run failed because a service is away: it is tried again",
                action="service_retry",
                code=error.code,
                **failure(error),
            )
            if attempt.stopped is Stop.LOST:
                raise Fenced from error
            await asyncio.sleep(RETRY_SECONDS)
