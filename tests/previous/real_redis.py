"""A Redis for tests that run many examples on it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, settings

from relaykit.shared.redis.client import Redis

quick = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass
class Real:
    """A client, and the loop it lives in."""

    runner: asyncio.Runner
    redis: Redis

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.runner.run(coroutine)
