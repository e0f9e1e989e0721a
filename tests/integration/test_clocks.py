"""A process compares its clock with those of Redis and PostgreSQL: in the metric, and in the log where they differ."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from relaykit.shared import clocks
from relaykit.shared.clocks import POSTGRESQL, REDIS, Clocks
from relaykit.shared.postgres.database import Database
from relaykit.shared.redis.client import open_redis
from tests.integration.persistence import settings_for
from tests.support.network.links import Link


@asynccontextmanager
async def watched(redis_url: str, database_url: str) -> AsyncIterator[Clocks]:
    async with (
        open_redis(redis_url, connections=1) as redis,
        Database(settings_for(database_url, database_timeout_seconds=2)) as database,
    ):
        yield Clocks(redis, database)


def metric(service: str) -> float:
    value = REGISTRY.get_sample_value("relaykit_clock_offset_seconds", {"service": service})
    assert value is not None
    return value


def of_clocks(logs: list[Any]) -> list[Any]:
    """Without what is said of the server's settings."""
    return [line for line in logs if "clock" in line["action"]]


def shift(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    moved = SimpleNamespace(time=lambda: time.time() + seconds, monotonic=time.monotonic)
    monkeypatch.setattr(clocks, "time", moved)


async def test_the_same_clock_is_no_offset_and_no_line(redis_url: str, database_url: str) -> None:
    with capture_logs() as logs:
        async with watched(redis_url, database_url) as found:
            assert await found.look() == found.offsets
    for service in (REDIS, POSTGRESQL):
        assert abs(found.offsets[service] or 0) < RESOLUTION_SECONDS
        assert metric(service) == found.offsets[service]
    assert of_clocks(logs) == []


RESOLUTION_SECONDS = 0.01
"""Of the clocks: a slow answer is no offset."""
DAY = 86_400.0
"""A shift beside which the length of an answer is nothing: the tests take half of it for all of it."""


@pytest.mark.parametrize("seconds", [DAY, -DAY])
async def test_a_clock_that_is_off_is_told_once_for_both_services(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    shift(monkeypatch, seconds)
    with capture_logs() as logs:
        async with watched(redis_url, database_url) as found:
            for _ in range(3):
                await found.look()
    assert 0.5 < metric(REDIS) / seconds < 1.5
    assert 0.5 < metric(POSTGRESQL) / seconds < 1.5
    [line] = of_clocks(logs)
    assert (line["action"], line["log_level"]) == ("clocks_differ", "warning")
    assert 0.5 < line["ahead_of_redis_seconds"] / seconds < 1.5
    assert 0.5 < line["ahead_of_postgresql_seconds"] / seconds < 1.5


async def test_it_is_told_again_while_it_lasts(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clocks, "WARN_EVERY_SECONDS", 0)
    shift(monkeypatch, 10)
    with capture_logs() as logs:
        async with watched(redis_url, database_url) as found:
            await found.look()
            await found.look()
    assert [line["action"] for line in of_clocks(logs)] == ["clocks_differ"] * 2


async def test_a_service_that_is_away_leaves_the_other_s_offset(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An offset of before would be taken for today's."""
    shift(monkeypatch, DAY)
    async with (
        Link(redis_url) as to_redis,
        Link(database_url) as to_database,
        watched(to_redis.url, to_database.url) as found,
    ):
        await found.look()
        to_redis.refuse()
        await found.look()
        assert found.offsets[REDIS] is None
        assert math.isnan(metric(REDIS))
        assert metric(POSTGRESQL) > DAY / 2
        await to_redis.listen()
        to_database.refuse()
        await found.look()
        assert metric(REDIS) > DAY / 2
        assert math.isnan(metric(POSTGRESQL))
