"""What queue and workers are like: in metrics, in /readyz, in the log, and in the registry of the workers."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from relaykit.api import queue_watch
from relaykit.shared.operating.queue_figures import QueueState
from relaykit.shared.queue.worker_registry import SilentWorker, WorkerRegistry, WorkerState
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, open_redis
from relaykit.shared.settings import Settings
from relaykit.worker.main import create_worker
from tests.support.clients.stream_clients import asking
from tests.support.network.links import Link
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.system import Caller, _working, create, running, wait_until

WARN_SECONDS = 1
DEEP = "[" * 100_000
HUGE = json.dumps(dict.fromkeys(queue_watch.QueueState.__slots__, 10**400))
NEGATIVE = json.dumps(dict.fromkeys(queue_watch.QueueState.__slots__, -1))
INFINITE = json.dumps(dict.fromkeys(QueueState.__slots__, math.inf))


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_watch, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(queue_watch, "ASKING_SECONDS", 0.1)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"pickup_warn_seconds": WARN_SECONDS})


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url, connections=2) as client:
        yield client


def sample(name: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(f"relaykit_{name}", labels)
    return math.nan if value is None else value


async def readiness(caller: Caller) -> object:
    return (await caller.client.get("/readyz")).json()


async def warned(caller: Caller) -> bool:
    return await readiness(caller) == {"status": "ok", "warnings": ["no_worker"]}


def lines_of(action: str, output: str) -> list[str]:
    return [line for line in output.splitlines() if f"action={action}" in line]


async def test_a_message_that_no_worker_takes_shows_everywhere_and_is_answered_in_the_end(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ""

    def line() -> bool:
        nonlocal output
        output += capsys.readouterr().out
        return bool(lines_of("pickup_late", output))

    async with running(settings, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        await wait_until("/readyz says that no worker is there", lambda: warned(alice))
        asked = asyncio.create_task(alice.stream(create(str(Script()))))
        await wait_until("the run is due for long", lambda: sample("oldest_due_run_seconds") >= WARN_SECONDS)
        await wait_until("the log says so", line)
        assert "reason=no_worker" in lines_of("pickup_late", output)[0]
        assert sample("due_runs") == 1
        assert sample("workers", state="claiming") == 0
        async with _working(create_worker(settings, ScriptedAnswers())):
            assert (await asked).end == "completed"
            await wait_until("nothing is due", lambda: sample("due_runs") == 0)
            await wait_until("the worker is seen", lambda: sample("workers", state="claiming") == 1)
            assert sample("oldest_due_run_seconds") == 0
            await wait_until(
                "its slots are free again", lambda: sample("slots", state="free") == settings.max_runs
            )
            assert await readiness(alice) == {"status": "ok"}


async def test_a_run_whose_worker_is_gone_is_due_since_its_lease_has_ended(
    settings: Settings, redis: Redis
) -> None:
    """Its row says that it runs."""
    async with running(settings, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        async with alice.open_stream(create(str(Script()))) as response:
            assert response.status_code == 200
            seconds, _ = await redis.time()
            await redis.zadd(keys.QUEUE, {response.headers["x-run-id"]: (seconds - 60) * 1000})
            await wait_until("it is due for a minute", lambda: sample("oldest_due_run_seconds") >= 60)


async def test_another_application_s_jobs_are_no_due_runs(settings: Settings, redis: Redis) -> None:
    await redis.zadd(keys.QUEUE, {"someone-elses": 1000})
    async with running(settings, ScriptedAnswers, workers=0):
        await wait_until("the queue was looked at", lambda: sample("due_runs") == 0)
        assert sample("oldest_due_run_seconds") == 0


async def test_one_api_asks_for_all(settings: Settings, redis: Redis) -> None:
    """Another has the turn: what it has found is told, and nothing is asked."""
    found = QueueState(
        due=7,
        oldest_due_seconds=1.5,
        waiting=2,
        running=3,
        workers=4,
        draining=1,
        slots=300,
        used=5,
    )
    await redis.set(keys.QUEUE_STATE_ASKING, "1", px=600_000)
    await redis.set(keys.QUEUE_STATE, json.dumps(asdict(found)), ex=600)
    async with running(settings, ScriptedAnswers, workers=0) as system:
        await wait_until("it is told", lambda: sample("due_runs") == 7)
        assert sample("oldest_due_run_seconds") == 1.5
        assert sample("waiting_runs") == 2
        assert sample("running_runs") == 3
        assert sample("workers", state="claiming") == 3
        assert sample("workers", state="draining") == 1
        assert sample("slots", state="free") == 295
        shown = (await (await system.caller()).client.get("/metrics")).text
        assert "relaykit_due_runs 7.0" in shown


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"due": "x"}', "\xff", INFINITE, HUGE, NEGATIVE, DEEP, "null"]
)
async def test_what_stands_there_and_is_no_state_is_told_as_nothing(
    settings: Settings, redis: Redis, text: str
) -> None:
    await redis.set(keys.QUEUE_STATE_ASKING, "1", px=600_000)
    await redis.set(keys.QUEUE_STATE, text, ex=600)
    async with running(settings, ScriptedAnswers, workers=0) as system:
        await wait_until("the gauges say that nobody knows", lambda: math.isnan(sample("due_runs")))
        assert await readiness(await system.caller()) == {"status": "ok"}


async def test_while_redis_is_away_nothing_is_told_and_then_again(settings: Settings) -> None:
    """An old figure would be taken for today's."""
    async with (
        Link(settings.redis_url) as link,
        running(settings.model_copy(update={"redis_url": link.url}), ScriptedAnswers, workers=0),
    ):
        await wait_until("the queue was looked at", lambda: sample("due_runs") == 0)
        with link.holding():
            await wait_until("nobody knows", lambda: math.isnan(sample("due_runs")))
        await wait_until("it is told again", lambda: sample("due_runs") == 0)


async def test_a_worker_says_what_it_does_until_it_ends(
    settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    registry = WorkerRegistry(redis)
    short = settings.model_copy(update={"lease_seconds": 1.5, "drain_seconds": 60})

    async def one(**said: object) -> bool:
        states = await registry.workers()
        return len(states) == 1 and all(getattr(states[0], name) == value for name, value in said.items())

    worker = create_worker(short, ScriptedAnswers())
    async with running(short, ScriptedAnswers, workers=0) as system:
        working = asyncio.create_task(worker.run())
        alice = await system.caller()
        await wait_until("it is there", lambda: one(used=0, draining=False, slots=short.max_runs))
        async with asking(alice, create(str(Script(gate=str(tmp_path), holds=[1])))) as asker:
            await wait_until("it executes a run", lambda: one(used=1, draining=False))
            [state] = await registry.workers()
            held = await redis.get(keys.lease(asker.run_id))
            assert held.decode().startswith(f"{state.id}:")
            worker.drain()
            await wait_until("it drains", lambda: one(used=1, draining=True))
            open_gate(tmp_path, 1)
            assert (await asker.finished()).end == "completed"

        await working
        assert await registry.workers() == []


def state_of(worker_id: str, **more: object) -> WorkerState:
    given = {"host": "h", "pid": 1, "version": "0", "slots": 1, "used": 0, "started_at": 1.0}
    return WorkerState(**{"id": worker_id, **given, "draining": False, "blocked_seconds": 0.0, **more})  # type: ignore[arg-type]


async def test_a_worker_that_says_nothing_more_is_forgotten(redis: Redis) -> None:
    registry = WorkerRegistry(redis)
    await registry.register(state_of("frozen"), 0.3)
    await registry.register(state_of("lives", started_at=2.0), 600)

    async def found() -> list[str]:
        return [state.id for state in await registry.workers()]

    assert await found() == ["frozen", "lives"]

    async def forgotten() -> bool:
        return await found() == ["lives"]

    await wait_until("it is forgotten", forgotten)
    await registry.register(state_of("lives", started_at=2.0), 600)
    assert await redis.zrange(keys.WORKERS, 0, -1) == [b"lives"]
    await registry.withdraw("lives")
    assert await found() == []


async def test_a_worker_that_has_become_silent_can_be_named_and_one_that_withdrew_cannot(
    redis: Redis,
) -> None:
    registry = WorkerRegistry(redis)
    await registry.register(state_of("killed", used=3), 0.2)
    await registry.register(state_of("ended"), 600)
    await registry.register(state_of("lives"), 600)
    await registry.withdraw("ended")

    async def silent() -> list[SilentWorker]:
        return list(await registry.silent())

    [found] = await wait_until("it is silent", silent)
    assert found.state == state_of("killed", used=3)
    assert found.silent_seconds >= 0.2
    assert [state.id for state in await registry.workers()] == ["lives"]
    await registry.register(state_of("killed"), 600)
    assert await silent() == []


async def test_a_worker_that_registers_while_it_is_asked_who_is_silent_is_not(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = WorkerRegistry(redis)
    workers = registry.workers

    async def and_one_more() -> Any:
        found = await workers()
        await registry.register(state_of("new"), 600)
        return found

    monkeypatch.setattr(registry, "workers", and_one_more)
    assert await registry.silent() == []
    assert await registry.silent() == []


@pytest.mark.parametrize("score", ["inf", "-inf", "1e300", "-1"])
async def test_what_was_silent_at_no_time_is_no_worker(redis: Redis, score: str) -> None:
    registry = WorkerRegistry(redis)
    for name in ("sooner", "later"):
        await registry.register(state_of(name), 0.001)
        before = await redis.zscore(keys.WORKERS_SEEN, name)

        async def time_goes_on(before: float | None = before) -> bool:
            return (await redis.time())[1] // 1000 != (before or 0) % 1000

        await wait_until("the next millisecond is there", time_goes_on)
    await redis.set(keys.worker_seen("written"), await redis.get(keys.worker_seen("later")), ex=600)
    await redis.zadd(keys.WORKERS_SEEN, {"written": float(score)})

    async def found() -> bool:
        return [each.state.id for each in await registry.silent()] == ["later", "sooner"]

    await wait_until("both are silent, the last one in front", found)


async def test_a_silent_worker_is_forgotten_in_the_end(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "WORKER_SEEN_SECONDS", 1)
    registry = WorkerRegistry(redis)
    await registry.register(state_of("killed"), 0.1)

    async def is_forgotten() -> bool:
        return await redis.exists(keys.WORKERS_SEEN, keys.worker_seen("killed")) == 0

    await wait_until("nothing is left of it", is_forgotten)
    assert await registry.silent() == []


@pytest.mark.parametrize("offset", [None, 0.0, -300.25, 300.25])
async def test_a_worker_says_how_far_its_clock_is_off(redis: Redis, offset: float | None) -> None:
    registry = WorkerRegistry(redis)
    await registry.register(state_of("one", clock_offset_seconds=offset), 600)
    [state] = await registry.workers()
    assert state.clock_offset_seconds == offset


async def test_a_worker_of_the_release_before_says_nothing_of_its_clock(redis: Redis) -> None:
    said = asdict(state_of("older"))
    del said["clock_offset_seconds"]
    await redis.zadd(keys.WORKERS, {"older": 4e12})
    await redis.expire(keys.WORKERS, 600)
    await redis.set(keys.worker("older"), json.dumps(said), ex=600)
    [state] = await WorkerRegistry(redis).workers()
    assert state == state_of("older")


BAD_SLOTS = [json.dumps({**asdict(state_of("bad")), "slots": slots}) for slots in (1e308, -1, 10**400)]
BAD_CLOCKS = [
    json.dumps({**asdict(state_of("bad")), "clock_offset_seconds": offset})
    for offset in (math.nan, -1e308, "x", [], 10**400)
]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"id": "x"}', "\xff\xfe", '{"slots": "many"}', DEEP, *BAD_SLOTS, *BAD_CLOCKS]
)
async def test_what_is_no_worker_s_word_is_passed_over(redis: Redis, text: str) -> None:
    registry = WorkerRegistry(redis)
    await registry.register(state_of("good"), 600)
    await redis.zadd(keys.WORKERS, {"bad": 4e12})
    await redis.set(keys.worker("bad"), text, ex=600)
    assert [state.id for state in await registry.workers()] == ["good"]


async def test_a_defect_in_the_watch_ends_no_api(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def ask(_: object) -> None:
        raise LookupError("a defect")

    monkeypatch.setattr(queue_watch.QueueWatch, "_look", ask)
    output = ""

    def line() -> bool:
        nonlocal output
        output += capsys.readouterr().out
        return bool(lines_of("queue_watch_failed", output))

    async with running(settings, ScriptedAnswers) as system:
        await wait_until("the log says so", line)
        assert (await (await system.caller()).stream(create(str(Script())))).end == "completed"
        assert math.isnan(sample("due_runs"))
