"""What somebody who can write to Redis cannot do: run code, or end a process with one bad key."""

from __future__ import annotations

import os
import pickle
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from relaykit.shared.redis import keys
from relaykit.shared.settings import Settings
from tests.support.clients.stream_clients import asking, crowd, following
from tests.support.leases import renewed
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.system import Caller, System, create, keyed, running, wait_until

BAD_JOBS = {
    "run_not_json": b"\xff\xfe",
    "run_not_a_job": b"[1, 2]",
    "run_unknown_function": b'{"t":1,"f":"os.system","a":["x"],"k":{},"et":1}',
    "run_wrong_arguments": b'{"t":1,"f":"run","a":[1,2,3],"k":{"y":2},"et":1}',
    "run_not_a_run": b'{"t":1,"f":"run","a":["run_absent"],"k":{},"et":1}',
    "run_not_an_id": b'{"t":1,"f":"run","a":[{"x":1}],"k":{},"et":1}',
}
BAD_ENTRIES: list[dict[str, Any]] = [{"x": "1"}, {"e": "1", "f": "2"}, {b"\xff": b"\xff"}]


class Planted:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


@pytest.fixture
async def system(settings: Settings) -> AsyncIterator[System]:
    async with running(settings, ScriptedAnswers) as system:
        yield system


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


async def assert_serves(alice: Caller) -> None:
    assert (await alice.stream(create(str(Script())))).end == "completed"


async def test_a_job_is_never_unpickled(system: System, redis: Redis, tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    await put_job(
        redis, "run_planted", pickle.dumps({"t": 1, "f": "run", "a": (Planted(planted),), "k": {}, "et": 1})
    )
    await put_aside(redis, "run_planted")
    assert not planted.exists()
    await assert_serves(await system.caller())


@pytest.mark.parametrize("name", BAD_JOBS)
async def test_a_bad_job_costs_the_worker_nothing(system: System, redis: Redis, name: str) -> None:
    await put_job(redis, name, BAD_JOBS[name])
    await put_aside(redis, name)
    await assert_serves(await system.caller())


async def test_names_that_are_no_text_end_no_loop(system: System, redis: Redis) -> None:
    """As ids in the queue and as signals."""
    await redis.zadd(keys.QUEUE, {b"\xff\xfe": 0})

    async def listening() -> bool:
        return (await redis.pubsub_numsub(keys.SIGNALS))[0][1] == 1

    await wait_until("the worker hears signals", listening)
    assert await redis.publish(keys.SIGNALS, b"\xff\xfe") == 1
    await assert_serves(await system.caller())
    await redis.zrem(keys.QUEUE, b"\xff\xfe")
    await redis.delete(keys.LEASE_PREFIX.encode() + b"\xff\xfe")


@pytest.mark.parametrize("record", BAD_ENTRIES, ids=str)
async def test_a_bad_entry_costs_its_own_readers_only(
    system: System, redis: Redis, tmp_path: Path, record: dict[str, Any]
) -> None:
    """They are told that the journal is gone; everybody else goes on."""
    alice = await crowd(system, await system.caller())
    script = create(str(Script(gate=str(tmp_path), holds=[3], deltas=5)))
    async with AsyncExitStack() as stack:
        forged, other = [await stack.enter_async_context(asking(alice, script, keyed(n))) for n in range(2)]
        for asker in (forged, other):
            await asker.until("mid-answer", lambda answer: len(answer.of_type("thread.item.updated")) == 3)
        await redis.xadd(keys.journal(forged.run_id), record, id="1-1000")
        await redis.publish(keys.notices(forged.run_id), "")
        assert (await forged.finished()).end is None
        async with following(alice, forged.run_id) as late:
            assert (await late.finished()).status == 410
        open_gate(tmp_path, 3)
        assert (await other.finished()).end == "completed"
    await assert_serves(alice)


async def test_a_key_of_the_wrong_type_costs_its_own_run_only(
    settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    """The others keep their leases, in their first attempt, and their clients get their answers."""
    short = settings.model_copy(update={"lease_seconds": 6})
    async with running(short, ScriptedAnswers) as system, AsyncExitStack() as stack:
        alice = await crowd(system, await system.caller())
        script = create(str(Script(gate=str(tmp_path), holds=[3], deltas=5)))
        broken, other = [await stack.enter_async_context(asking(alice, script, keyed(n))) for n in range(2)]
        for asker in (broken, other):
            await asker.until("mid-answer", lambda answer: len(answer.of_type("thread.item.updated")) == 3)
        await redis.delete(keys.journal(broken.run_id))
        await redis.set(keys.journal(broken.run_id), "x", ex=600)
        await redis.publish(keys.notices(broken.run_id), "")
        assert (await broken.finished()).end is None
        await renewed(redis, other.run_id, times=2)
        open_gate(tmp_path, 3)
        answer = await other.finished()
        assert (answer.end, (await alice.get(f"/runs/{answer.run_id}")).json()["attempt"]) == ("completed", 1)
        await redis.delete(keys.journal(broken.run_id))


async def put_job(redis: Redis, name: str, message: bytes) -> None:
    await redis.set(keys.job(name), message, ex=60)
    await redis.zadd(keys.QUEUE, {name: 0})
    await redis.rpush(keys.BELL, "1")
    await redis.expire(keys.BELL, 60)


async def put_aside(redis: Redis, name: str) -> None:
    """A worker has looked for its run, and left the job where it was."""

    async def later() -> bool:
        return float(await redis.zscore(keys.QUEUE, name)) > 1 and not await redis.exists(keys.lease(name))

    await wait_until("the job is put aside", later)
    assert await redis.exists(keys.job(name)) == 1
    await redis.zrem(keys.QUEUE, name)
