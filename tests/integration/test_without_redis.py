"""While Redis is away threads are read and nothing is accepted; /readyz tells a balancer what helps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from relaykit.api import queue_watch
from relaykit.api.redis_reach import RedisReach, RedisState
from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.postgres.database import Database
from relaykit.shared.redis import keys
from relaykit.shared.redis.check import RedisCheck
from relaykit.shared.redis.client import open_redis
from relaykit.shared.settings import Settings
from relaykit.shared.tasks import end_tasks
from tests.integration.persistence import settings_for
from tests.support.network.links import Link
from tests.support.sample_attachment import PNG, attachment_of
from tests.support.servers.relay_servers import Script, ScriptedAnswers
from tests.support.system import Caller, create, free_port, message, running, wait_until


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_watch, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(queue_watch, "ASKING_SECONDS", 0.1)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    (tmp_path / "attachments").mkdir()
    return settings.model_copy(
        update={
            "attachments_url": (tmp_path / "attachments").as_uri(),
            "attachments_key": "k" * 43,
            "public_url": f"http://127.0.0.1:{settings.port}",
        }
    )


@dataclass
class Stage:
    """Two APIs, each with a link to Redis of its own, and a worker with a third."""

    links: list[Link]
    callers: list[Caller]
    logs: list[Any]

    async def readiness(self, api: int = 0) -> tuple[int, list[str]]:
        response = await self.callers[api].client.get("/readyz")
        return response.status_code, response.json().get("warnings", [])

    def lines(self, action: str) -> list[Any]:
        return [line for line in self.logs if line.get("action") == action]


@asynccontextmanager
async def staged(settings: Settings) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        logs = stack.enter_context(capture_logs())
        links = [await stack.enter_async_context(Link(settings.redis_url)) for _ in range(3)]
        systems = []
        for number, link in enumerate(links):
            is_api = number < 2
            port = settings.port if number == 0 else free_port()
            given = settings.model_copy(update={"redis_url": link.url, "port": port})
            started = running(given, ScriptedAnswers, apis=int(is_api), workers=int(not is_api))
            systems.append(await stack.enter_async_context(started))
        callers = [await system.caller() for system in systems[:2]]
        yield Stage(links, callers, logs)


async def read_all(alice: Caller, thread_id: str) -> list[Any]:
    """What a client asks for when it shows a thread."""
    listed = await alice.ask({"type": "threads.list", "params": {"limit": 20, "order": "desc"}})
    thread = await alice.ask({"type": "threads.get_by_id", "params": {"thread_id": thread_id}})
    items = await alice.items(thread_id)
    run = await alice.get(f"/threads/{thread_id}/run")
    assert run.status_code == 204
    [user, *_] = items
    [shown] = user["attachments"]
    image = await alice.client.get(shown["preview_url"])
    assert image.status_code == 200
    assert image.content == PNG
    for each in (listed, thread, items):
        _without_links(each)
    return [listed, thread, items]


def _without_links(value: Any) -> None:
    """A link is signed anew with time."""
    if isinstance(value, dict):
        value.pop("preview_url", None)
        for each in value.values():
            _without_links(each)
    elif isinstance(value, list):
        for each in value:
            _without_links(each)


@pytest.mark.parametrize("how", ["refused", "silent"])
async def test_threads_are_read_and_nothing_is_accepted_and_both_apis_stay_ready(
    settings: Settings, how: str
) -> None:
    """Redis refuses connections, or swallows every packet."""
    async with staged(settings) as stage:
        alice = stage.callers[0]
        image = await attachment_of(alice)
        answer = await alice.stream(create(str(Script()), attachments=[image["id"]]))
        before = await read_all(alice, answer.thread_id)
        for link in stage.links:
            if how == "refused":
                link.refuse()
            else:
                link.hold()
        for caller in stage.callers:
            assert await read_all(caller, answer.thread_id) == before

        async def all_warn() -> bool:
            found = [await stage.readiness(api) for api in range(2)]
            return all(status == 200 and "redis_unavailable" in warnings for status, warnings in found)

        await wait_until("both APIs say that Redis is away", all_warn)
        for number, caller in enumerate(stage.callers):
            refused = await caller.post(message(answer.thread_id, f"{how} {number}"))
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "queue_unavailable")
            assert int(refused.headers["retry-after"]) > 0
            for _ in range(5):
                assert await read_all(caller, answer.thread_id) == before
            anonymous = await caller.client.post("/chatkit", json={"type": "threads.list", "params": {}})
            assert anonymous.status_code == 401
        for link in stage.links:
            if how == "refused":
                await link.listen()
            else:
                link.release()

        async def is_well() -> bool:
            return [await stage.readiness(api) for api in range(2)] == [(200, [])] * 2

        await wait_until("both APIs reach Redis and see the worker", is_well)
        assert (await alice.stream(message(answer.thread_id, "again"))).end == "completed"
        assert 2 <= len(stage.lines("redis_away")) < 10, "one line an API, and not one a request"
        assert len(stage.lines("redis_back")) == len(stage.lines("redis_away"))


async def test_an_api_that_alone_is_cut_off_from_redis_is_taken_away_and_comes_back(
    settings: Settings,
) -> None:
    """Another API does better. When that one is cut off too, both are ready for reading."""
    async with staged(settings) as stage:
        answer = await stage.callers[0].stream(create(str(Script())))
        stage.links[0].refuse()

        async def is_taken_away() -> bool:
            return await stage.readiness(0) == (503, [])

        await wait_until("the API that is cut off is not ready", is_taken_away)
        assert (await stage.callers[0].client.get("/readyz")).json()["error"]["code"] == "queue_unavailable"
        await wait_until("the other one is well", lambda: _is_ok(stage, 1))
        assert (await stage.callers[1].stream(message(answer.thread_id, "hello"))).end == "completed"
        assert len(await stage.callers[0].items(answer.thread_id)) == 4, "it still reads"
        stage.links[1].refuse()

        async def both_read() -> bool:
            found = [await stage.readiness(api) for api in range(2)]
            return all(status == 200 and "redis_unavailable" in warnings for status, warnings in found)

        await wait_until("neither is taken away", both_read)
        await stage.links[0].listen()
        await wait_until("the first is well", lambda: _is_ok(stage, 0))
        await stage.links[1].listen()
        await wait_until("the second too", lambda: _is_ok(stage, 1))


async def test_an_api_that_is_cut_off_knows_since_when_before_it_is_probed(
    redis_url: str, database_url: str
) -> None:
    """A request has met it; the first probe after another API's word is 503."""
    async with (
        Link(redis_url) as link,
        Database(settings_for(database_url)) as database,
        open_redis(link.url, connections=1) as cut_off,
        open_redis(redis_url, connections=1) as direct,
    ):
        state = RedisState()
        reach = RedisReach(RedisCheck(cut_off, database.identity), database, state)
        other = RedisReach(RedisCheck(direct, database.identity), database, RedisState())
        link.refuse()
        state.note(QueueUnavailable())
        trying = asyncio.create_task(reach.run())
        try:
            await wait_until("the API has tried Redis again", lambda: reach._failed_at)
        finally:
            await end_tasks([trying])
        await other.tell()
        with pytest.raises(QueueUnavailable):
            await reach.check()


async def test_apis_that_all_find_redis_slow_stay_ready(settings: Settings) -> None:
    """It answers too late for /readyz and the tries beside it, and soon enough for the watch: no API does better."""
    async with staged(settings) as stage, AsyncExitStack() as stack:
        await wait_until("an API is well", lambda: _is_ok(stage, 0))
        for link in stage.links[:2]:
            stack.enter_context(link.delaying(lambda: 1.3))

        async def both_warn() -> bool:
            found = [await stage.readiness(api) for api in range(2)]
            return all(status == 200 and "redis_unavailable" in warnings for status, warnings in found)

        await wait_until("both APIs find Redis slow", both_warn)
        async with Redis.from_url(settings.redis_url) as redis:
            for _ in range(2):
                await redis.delete(keys.QUEUE_STATE)

                async def has_looked() -> bool:
                    return bool(await redis.exists(keys.QUEUE_STATE))

                await wait_until("an API has looked at the queue", has_looked)
                assert await both_warn()


async def _is_ok(stage: Stage, api: int) -> bool:
    return await stage.readiness(api) == (200, [])


async def test_rates_are_counted_by_each_process_while_redis_is_away(settings: Settings) -> None:
    """CALLER_REQUESTS_PER_MINUTE holds at each API, for each caller by itself."""
    limited = settings.model_copy(update={"caller_requests_per_minute": 1})
    reading = {"type": "threads.list", "params": {}}
    async with staged(limited) as stage:
        for link in stage.links[:2]:
            link.refuse()
        for caller in stage.callers:
            assert [(await caller.post(reading)).status_code for _ in range(2)] == [200, 429]
            refused = await caller.post(reading)
            assert refused.json()["error"]["code"] == "rate_limited"
            assert int(refused.headers["retry-after"]) > 0
