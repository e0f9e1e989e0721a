"""Redis emptied, restarted or away, PostgreSQL restarted or away, an API killed: what was accepted is done."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from relaykit.local.data_directory import data_directory
from relaykit.shared.postgres.migrate import migrate
from relaykit.worker.main import create_worker
from tests.chaos.services import Service, forget_redis, postgres_service, redis_services
from tests.support.clients.retrying_client import RetryingClient
from tests.support.clients.stream_clients import crowd
from tests.support.processes.crash_points import CrashPoint, process
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.services.databases import assert_keys_expire, open_folder, remove_data
from tests.support.system import (
    WAIT_SECONDS,
    Caller,
    System,
    _working,
    api_answers,
    create,
    free_port,
    make_settings,
    message,
    running,
    takes_messages,
    wait_until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEASE_SECONDS = 6.0
AWAY_SECONDS = 1.5
HOLD = 5


@dataclass
class Stage:
    system: System
    alice: Caller
    redis: Service
    postgres: Service
    folder: Path
    lost: Callable[[], None]
    """Forgets what a stopped Redis would load again."""

    async def row(self, run_id: str) -> asyncpg.Record:
        database = await asyncpg.connect(self.postgres.url)
        try:
            return await database.fetchrow("SELECT * FROM runs WHERE id = $1", run_id)
        finally:
            await database.close()

    async def run_of(self, key: str) -> str:
        database = await asyncpg.connect(self.postgres.url)
        try:
            return await database.fetchval("SELECT id FROM runs WHERE idempotency_key = $1", key)
        finally:
            await database.close()

    async def counts(self) -> tuple[int, int, int]:
        database = await asyncpg.connect(self.postgres.url)
        try:
            tables = ("threads", "items", "runs")
            return tuple([await database.fetchval(f"SELECT count(*) FROM {table}") for table in tables])
        finally:
            await database.close()

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        async with _working(create_worker(self.system.settings, ScriptedAnswers())):
            yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(issuer_key_file: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder = open_folder("relaykit-truth-")
    try:
        async with AsyncExitStack() as stack:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr("relaykit.worker.reaper.reaper.ROUND_INTERVAL_SECONDS", 0.3)
            patch.setattr("relaykit.worker.reaper.reaper.QUEUED_SECONDS", 0.5)
            directory = stack.enter_context(data_directory(folder))
            (redis, _), postgres = redis_services(directory), postgres_service(directory)
            for service in (redis, postgres):
                await service.start()
                stack.push_async_callback(service.close)
            await asyncio.to_thread(migrate, postgres.url)
            settings = make_settings(
                redis.url,
                postgres.url,
                issuer_key_file,
                free_port(),
                lease_seconds=LEASE_SECONDS,
                database_timeout_seconds=5,
                chatkit_server="tests.support.servers.relay_servers:ScriptedAnswers",
            )
            system = await stack.enter_async_context(running(settings, ScriptedAnswers, apis=2, workers=0))
            alice = await crowd(system, await system.caller())
            yield Stage(system, alice, redis, postgres, folder, lambda: forget_redis(directory, redis))
            await asyncio.to_thread(assert_keys_expire, redis.url)
    finally:
        remove_data(folder)


# --- what is lost


async def emptied(stage: Stage) -> None:
    async with Redis.from_url(stage.redis.url) as redis:
        await redis.flushall()
        await redis.script_flush()


async def restarted_without_its_data(stage: Stage) -> None:
    await stage.redis.stop(signal.SIGKILL)
    stage.lost()
    await asyncio.sleep(AWAY_SECONDS)
    await stage.redis.start()


async def restarted_with_its_data(stage: Stage) -> None:
    await stage.redis.stop(signal.SIGTERM)
    await asyncio.sleep(AWAY_SECONDS)
    await stage.redis.start()


async def postgres_restarted(stage: Stage) -> None:
    await stage.postgres.stop(signal.SIGINT)
    await asyncio.sleep(AWAY_SECONDS)
    await stage.postgres.start()


LOSSES = {
    "Redis emptied": emptied,
    "Redis back without its data": restarted_without_its_data,
    "Redis back with its data": restarted_with_its_data,
    "PostgreSQL restarted": postgres_restarted,
}
Loss = Callable[[Stage], Awaitable[None]]


@pytest.fixture(params=LOSSES.values(), ids=LOSSES)
def lose(request: pytest.FixtureRequest) -> Loss:
    found: Loss = request.param
    return found


# --- at each stage of a run


def held(gate: Path) -> Script:
    return Script(deltas=10, items_before=1, gate=str(gate), holds=[HOLD])


async def asked(
    stage: Stage, request: dict[str, Any], key: object
) -> tuple[RetryingClient, asyncio.Task[None]]:
    """A client whose message has been accepted, and its task."""
    client = RetryingClient([stage.alice], request, str(key))
    following = asyncio.create_task(client.follow())
    await wait_until("the message is accepted", lambda: client.run_id or following.done())
    if not client.run_id:
        await following
    return client, following


async def assert_done(stage: Stage, client: RetryingClient, script: Script) -> None:
    """The run has ended, its answer is in the thread once, and the client has it or knows that it has to look there."""
    row = await stage.row(client.run_id)
    assert row["status"] == "completed", (row["status"], row["error"])
    attempt = row["attempt"]
    stored = [
        [part["text"] for part in item["content"]]
        for item in await stage.alice.items(row["thread_id"])
        if item["type"] == "assistant_message"
    ]
    whole = [[f"{attempt} before"]] * script.items_before + [script.whole(attempt)]
    assert [texts for texts in stored if texts in whole] == whole
    if not client.told:
        done = [
            event["item"]
            for event in client.events
            if event["type"] == "thread.item.done" and event["item"]["type"] == "assistant_message"
        ]
        removed = {event["item_id"] for event in client.events if event["type"] == "thread.item.removed"}
        shown = [item for item in done if item["id"] not in removed]
        assert [[part["text"] for part in item["content"]] for item in shown] == whole


async def test_a_queued_run_is_done(stage: Stage, tmp_path: Path, lose: Loss) -> None:
    """No worker has it yet."""
    script = Script(deltas=10, items_before=1)
    client, following = await asked(stage, create(str(script)), tmp_path)
    await lose(stage)
    async with stage.worker():
        await asyncio.wait_for(following, WAIT_SECONDS)
    await assert_done(stage, client, script)


async def test_a_running_run_is_done(stage: Stage, tmp_path: Path, lose: Loss) -> None:
    """In mid-answer."""
    script = held(tmp_path)
    async with stage.worker():
        client, following = await asked(stage, create(str(script)), tmp_path)
        await in_mid_answer(client)
        await lose(stage)
        open_gate(tmp_path, HOLD)
        await asyncio.wait_for(following, WAIT_SECONDS)
        await ended(stage, client)
    await assert_done(stage, client, script)


async def test_a_run_that_waits_is_done_after_the_one_before_it(
    stage: Stage, tmp_path: Path, lose: Loss
) -> None:
    script, second = held(tmp_path), Script(deltas=6)
    async with stage.worker():
        first, first_task = await asked(stage, create(str(script)), tmp_path)
        await in_mid_answer(first)
        thread_id = (await stage.row(first.run_id))["thread_id"]
        waiting, waiting_task = await asked(stage, message(thread_id, str(second)), f"{tmp_path}-second")
        assert (await stage.row(waiting.run_id))["status"] == "waiting"
        await lose(stage)
        open_gate(tmp_path, HOLD)
        await asyncio.wait_for(asyncio.gather(first_task, waiting_task), WAIT_SECONDS)
        for client in (first, waiting):
            await ended(stage, client)
    await assert_done(stage, first, script)
    await assert_done(stage, waiting, second)
    rows = [await stage.row(client.run_id) for client in (first, waiting)]
    assert rows[0]["ended_at"] <= rows[1]["started_at"]


async def test_a_run_that_has_ended_stays_as_it_was(stage: Stage, tmp_path: Path, lose: Loss) -> None:
    """A client that comes back has nothing left to read, or is told to load the thread."""
    script = Script(deltas=10, items_before=1)
    async with stage.worker():
        client, following = await asked(stage, create(str(script)), tmp_path)
        await following
        await lose(stage)
        await wait_until("the API is ready", lambda: ready(stage))
        again = await stage.alice.resume(client.run_id, None)
        repeated = await stage.alice.client.post(
            "/chatkit", json=client.request, headers={**stage.alice._headers, "Idempotency-Key": client.key}
        )
    assert again.status == repeated.status_code
    assert again.status in (200, 410)
    await assert_done(stage, client, script)


async def test_a_stop_is_carried_out(stage: Stage, tmp_path: Path, lose: Loss) -> None:
    """The user stops a run whose service has just come back."""
    async with stage.worker():
        client, following = await asked(stage, create(str(held(tmp_path))), tmp_path)
        await in_mid_answer(client)
        await lose(stage)
        await wait_until("the API is ready", lambda: ready(stage))
        assert (await stage.alice.cancel(client.run_id)).status_code == 202
        await asyncio.wait_for(following, WAIT_SECONDS)
        await ended(stage, client)
    assert (await stage.row(client.run_id))["status"] == "cancelled"


# --- while it is away


@pytest.mark.parametrize("name", ["redis", "postgres"])
async def test_new_requests_get_a_503_while_a_service_is_away_and_nothing_is_written(
    stage: Stage, name: str
) -> None:
    service, code = {
        "redis": (stage.redis, "queue_unavailable"),
        "postgres": (stage.postgres, "database_unavailable"),
    }[name]
    before = await stage.counts()
    await service.stop(signal.SIGINT if name == "postgres" else signal.SIGTERM)
    try:
        response = await stage.alice.post(create("hello"))
        health = await stage.alice.get("/readyz")
        alive = await stage.alice.get("/healthz")
    finally:
        await service.start()
    assert (response.status_code, response.json()["error"]["code"]) == (503, code)
    assert int(response.headers["retry-after"]) > 0
    assert alive.status_code == 200
    if name == "redis":  # no API would do better, and threads can be read
        assert (health.status_code, health.json()["warnings"]) == (200, ["redis_unavailable"])
    else:
        assert health.status_code == 503
    await wait_until("the API is ready", lambda: ready(stage))
    assert await stage.counts() == before


async def test_an_api_killed_right_after_the_commit_has_accepted_the_message(
    stage: Stage, tmp_path: Path
) -> None:
    """The run runs, whether or not its client comes back; the same POST elsewhere attaches to it."""
    script = Script(deltas=10, items_before=1)
    port = free_port()
    dies_at = CrashPoint("relaykit.api.admission.admission:Admission._publish")
    async with stage.worker():
        for comes_back in (True, False):
            log = tmp_path / f"api-{comes_back}.log"
            settings = stage.system.settings
            with process("api", settings, log, dies_at=dies_at, PORT=str(port)) as doomed:
                await api_answers(port)
                client = RetryingClient([stage.alice], create(str(script)), f"{tmp_path}-{comes_back}")
                headers = {**stage.alice._headers, "Idempotency-Key": client.key}
                async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as other:
                    with pytest.raises(httpx2.TransportError):
                        await other.post("/chatkit", json=client.request, headers=headers)
                await wait_until("the API is dead", lambda doomed=doomed: not doomed.is_alive())
            if comes_back:
                await asyncio.wait_for(client.follow(), WAIT_SECONDS)
            client.run_id = await stage.run_of(client.key)
            await ended(stage, client)
            client.told = not comes_back
            await assert_done(stage, client, script)


@pytest.mark.long
async def test_redis_away_for_a_minute(stage: Stage, tmp_path: Path) -> None:
    """Longer than every time-out: what ran begins its next attempt, who waited is served after it."""
    script = held(tmp_path)
    async with stage.worker():
        client, following = await asked(stage, create(str(script)), tmp_path)
        await in_mid_answer(client)
        await stage.redis.stop(signal.SIGTERM)
        open_gate(tmp_path, HOLD)
        await asyncio.sleep(60)
        await stage.redis.start()
        await asyncio.wait_for(following, WAIT_SECONDS)
        await ended(stage, client)
    await assert_done(stage, client, script)


async def in_mid_answer(client: RetryingClient) -> None:
    last = f'"delta":"1.{HOLD - 1} '.encode()
    await wait_until("it is in mid-answer", lambda: last in client.incoming)


async def ended(stage: Stage, client: RetryingClient) -> None:
    async def has_ended() -> bool:
        return (await stage.row(client.run_id))["ended_at"] is not None

    await wait_until("the run has ended", has_ended)


async def ready(stage: Stage) -> bool:
    return takes_messages(await stage.alice.get("/readyz"))
