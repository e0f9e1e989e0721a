"""A link between two processes that is slow, is cut, or passes nothing, while all the others work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import asyncpg
import httpx2
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from relaykit.shared.redis import keys
from relaykit.shared.settings import Settings
from tests.support.clients.client_view import shown, texts
from tests.support.clients.stream_clients import Follower, asking, crowd, following
from tests.support.leases import renewed
from tests.support.network.link_connection import Direction
from tests.support.network.links import Link
from tests.support.servers.relay_servers import Script, open_gate
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import (
    START_SECONDS,
    Answer,
    Caller,
    Process,
    Processes,
    create,
    fork_process,
    free_port,
    keyed,
    make_settings,
    running_processes,
    wait_until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEASE_SECONDS = 8.0
DATABASE_SECONDS = 3.0
DELAY_SECONDS = 0.05
HOLD = 6
DELTAS = 12


class Fault(StrEnum):
    SLOW = "slow"
    CUT = "cut"
    BLACK_HOLE = "black hole"
    """Afterwards what was sent meanwhile comes late."""
    HALF_OPEN = "half-open"
    """One direction passes. Afterwards the connections are reset."""


@contextmanager
def harmed(link: Link, fault: Fault, held: Direction = Direction.DOWN) -> Iterator[None]:
    """For as long as the block lasts; `held` is what a half-open link does not pass."""
    match fault:
        case Fault.SLOW:
            with link.delaying(lambda: DELAY_SECONDS):
                yield
        case Fault.CUT:
            link.cut()
            yield
        case Fault.BLACK_HOLE:
            with link.holding():
                yield
        case Fault.HALF_OPEN:
            with link.holding(held):
                yield
                link.cut()


@dataclass
class Worker:
    """A process with links of its own."""

    process: Process
    redis: Link
    postgres: Link

    def has_begun(self, run_id: str) -> bool:
        lines = self.process.output.splitlines()
        return any("attempt begins" in line and run_id in line for line in lines)

    def has_lost(self, run_id: str) -> bool:
        return any("attempt lost" in line and run_id in line for line in self.process.output.splitlines())


@dataclass
class Stage:
    """One API and two workers; `alice` reaches the API through a link too."""

    system: Processes
    redis: Redis
    database: asyncpg.Connection
    to_api: Link
    api_redis: Link
    api_postgres: Link
    alice: Caller
    workers: list[Worker] = field(default_factory=list)

    async def holder(self, run_id: str) -> Worker:
        """The worker that has begun the run, which no other has."""

        def begun() -> list[Worker]:
            return [worker for worker in self.workers if worker.has_begun(run_id)]

        (worker,) = await wait_until("a worker has begun the run", begun)
        return worker

    async def row(self, run_id: str) -> asyncpg.Record:
        return await self.database.fetchrow("SELECT * FROM runs WHERE id = $1", run_id)

    async def runs_of(self, idempotency_key: str) -> list[str]:
        rows = await self.database.fetch("SELECT id FROM runs WHERE idempotency_key = $1", idempotency_key)
        return [row["id"] for row in rows]

    async def ended(self, run_id: str) -> None:
        async def has_ended() -> bool:
            return (await self.row(run_id))["ended_at"] is not None

        await wait_until("the run has ended", has_ended)

    async def entries_of(self, run_id: str, attempt: int) -> list[bytes]:
        ids = [entry_id for entry_id, _ in await self.redis.xrange(keys.journal(run_id))]
        return [entry_id for entry_id in ids if entry_id.startswith(b"%d-" % attempt)]


@pytest.fixture(scope="module")
def stage_settings(redis_databases: RedisDatabases, databases: Databases, issuer_key_file: Path) -> Iterator:
    with redis_databases.fresh() as redis_url, databases.fresh() as database_url:
        yield make_settings(
            redis_url,
            database_url,
            issuer_key_file,
            free_port(),
            lease_seconds=LEASE_SECONDS,
            database_timeout_seconds=DATABASE_SECONDS,
            chatkit_server="tests.support.servers.relay_servers:ScriptedAnswers",
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(stage_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    settings = stage_settings
    async with AsyncExitStack() as stack:

        async def link(url: str) -> Link:
            return await stack.enter_async_context(Link(url))

        def through(redis: Link, postgres: Link) -> dict[str, str]:
            return {"REDIS_URL": redis.url, "DATABASE_URL": postgres.url}

        system = await stack.enter_async_context(
            running_processes(
                settings, tmp_path_factory.mktemp("logs"), apis=0, workers=0, start=fork_process
            )
        )
        workers = []
        for _ in range(2):
            links = await link(settings.redis_url), await link(settings.database_url)
            workers.append(Worker(system.start_worker(**through(*links)), *links))
        api_links = await link(settings.redis_url), await link(settings.database_url)
        await system.start_api(**through(*api_links))
        to_api = await link(system.urls[0])
        system.urls.append(to_api.url)
        alice = await crowd(system, await system.caller(), api=1)
        redis = await stack.enter_async_context(
            Redis.from_url(settings.redis_url, single_connection_client=True)
        )
        database = await asyncpg.connect(settings.database_url)
        stack.push_async_callback(database.close)
        for worker in workers:
            await wait_until(
                "the worker is ready",
                lambda worker=worker: "worker started" in worker.process.output,
                START_SECONDS,
            )
        yield Stage(system, redis, database, to_api, *api_links, alice, workers)
        for process in [*system.api_processes, *system.worker_processes]:
            assert process.popen.poll() is None, process.output


def held(tmp_path: Path, attempts: int = 1) -> Script:
    """An answer whose first attempts stop in the middle until their gate opens."""
    return Script(deltas=DELTAS, gate=str(tmp_path), holds=[HOLD], hold_attempts=attempts)


def deltas(answer: Answer, attempt: int = 1) -> list[str]:
    given = [event["update"]["delta"] for event in answer.of_type("thread.item.updated")]
    return [delta for delta in given if delta.startswith(f"{attempt}.")]


async def in_mid_answer(asker: Follower, attempt: int = 1) -> None:
    await asker.until(
        f"attempt {attempt} is in mid-answer", lambda answer: len(deltas(answer, attempt)) >= HOLD
    )


async def assert_whole(stage: Stage, answer: Answer, script: Script, attempt: int = 1) -> None:
    """The client shows this attempt's answer, once, and the thread holds what it shows."""
    assert answer.end == "completed"
    on_screen = list(shown(answer).values())
    assert [texts(item) for item in on_screen[1:]] == [script.whole(attempt)]
    stored = await stage.alice.items(answer.thread_id)
    assert [item["id"] for item in stored] == [item["id"] for item in on_screen]
    assert texts(stored[-1]) == script.whole(attempt)
    row = await stage.row(answer.run_id)
    assert (row["status"], row["attempt"]) == ("completed", attempt)


async def assert_refused(stage: Stage, key: str, code: str) -> None:
    response = await stage.alice.post(create(str(Script())), keyed(key))
    assert (response.status_code, response.json()["error"]["code"]) == (503, code)


async def assert_answered(stage: Stage, key: str) -> None:
    """A message that is sent until it is taken becomes one run, and has its whole answer."""
    script = Script()

    async def taken() -> Answer | None:
        response = await stage.alice.post(create(str(script)), keyed(key))
        if response.status_code == 503:
            return None
        assert response.status_code == 200, response.text
        return Answer(response.status_code, response.headers, response.content)

    answer = await wait_until("the message is taken", taken)
    await assert_whole(stage, answer, script)
    assert await stage.runs_of(key) == [answer.run_id]


# --- a worker and Redis


@pytest.mark.parametrize("fault", [Fault.SLOW, Fault.CUT])
async def test_a_worker_whose_link_to_redis_is_slow_or_cut_keeps_its_attempt(stage, tmp_path, fault):
    script = held(tmp_path)
    async with asking(stage.alice, create(str(script)), keyed(tmp_path)) as asker:
        await in_mid_answer(asker)
        with harmed((await stage.holder(asker.run_id)).redis, fault):
            open_gate(tmp_path, HOLD)
            await assert_whole(stage, await asker.finished(), script)


@pytest.mark.parametrize("fault", [Fault.BLACK_HOLE, Fault.HALF_OPEN])
async def test_a_worker_cut_off_from_redis_for_longer_than_its_lease_loses_its_attempt_and_writes_no_more(
    stage, tmp_path, fault
):
    """It goes on with its answer, and stores it, until its lease is over; what it has sent to Redis comes late, in the
    middle of the other worker's attempt."""
    script = held(tmp_path, attempts=2)
    async with asking(stage.alice, create(str(script)), keyed(tmp_path)) as asker:
        await in_mid_answer(asker)
        worker = await stage.holder(asker.run_id)
        with harmed(worker.redis, fault):
            open_gate(tmp_path, f"1-{HOLD}")
            await in_mid_answer(asker, 2)
            await wait_until("it gives up by itself", lambda: worker.has_lost(asker.run_id))
            written = await stage.entries_of(asker.run_id, 1)
        open_gate(tmp_path, f"2-{HOLD}")
        answer = await asker.finished()
    await assert_whole(stage, answer, script, attempt=2)
    assert await stage.entries_of(answer.run_id, 1) == written


# --- a worker and PostgreSQL


@pytest.mark.parametrize("fault", [Fault.SLOW, Fault.CUT])
async def test_a_worker_whose_link_to_postgresql_is_slow_or_cut_keeps_its_attempt(stage, tmp_path, fault):
    script = held(tmp_path)
    async with asking(stage.alice, create(str(script)), keyed(tmp_path)) as asker:
        await in_mid_answer(asker)
        with harmed((await stage.holder(asker.run_id)).postgres, fault):
            open_gate(tmp_path, HOLD)
            await assert_whole(stage, await asker.finished(), script)


@pytest.mark.parametrize("fault", [Fault.BLACK_HOLE, Fault.HALF_OPEN])
async def test_a_worker_cut_off_from_postgresql_waits_for_it_and_keeps_its_attempt(stage, tmp_path, fault):
    """Its client has all of the text meanwhile; the end comes when the item is stored."""
    script = held(tmp_path)
    async with asking(stage.alice, create(str(script)), keyed(tmp_path)) as asker:
        await in_mid_answer(asker)
        with harmed((await stage.holder(asker.run_id)).postgres, fault):
            open_gate(tmp_path, HOLD)
            await asker.until("all of the text", lambda answer: len(deltas(answer)) == DELTAS)
            await renewed(stage.redis, asker.run_id, times=2)
            row = await stage.row(asker.run_id)
            assert (row["status"], row["attempt"], asker.closed) == ("running", 1, False)
        await assert_whole(stage, await asker.finished(), script)


# --- an API and Redis


@pytest.mark.parametrize("fault", [Fault.SLOW, Fault.CUT])
async def test_an_api_whose_link_to_redis_is_slow_or_cut_serves_on(stage, tmp_path, fault):
    script = held(tmp_path)
    async with asking(stage.alice, create(str(script)), keyed(tmp_path)) as asker:
        await in_mid_answer(asker)
        with harmed(stage.api_redis, fault):
            open_gate(tmp_path, HOLD)
            await assert_whole(stage, await asker.finished(), script)
            await assert_answered(stage, f"{tmp_path}-again")


@pytest.mark.parametrize("fault", [Fault.BLACK_HOLE, Fault.HALF_OPEN])
async def test_an_api_cut_off_from_redis_refuses_new_messages_and_its_streams_go_on_afterwards(
    stage, tmp_path, fault
):
    script = held(tmp_path)
    async with asking(stage.alice, create(str(script)), keyed(tmp_path)) as asker:
        await in_mid_answer(asker)
        with harmed(stage.api_redis, fault):
            open_gate(tmp_path, HOLD)
            await assert_refused(stage, f"{tmp_path}-refused", "queue_unavailable")
            assert await stage.runs_of(f"{tmp_path}-refused") == []
            await stage.ended(asker.run_id)
            assert (len(deltas(asker.answer)), asker.closed) == (HOLD, False)
        await assert_whole(stage, await asker.finished(), script)
    await assert_answered(stage, f"{tmp_path}-refused")


# --- an API and PostgreSQL


@pytest.mark.parametrize("fault", [Fault.SLOW, Fault.CUT])
async def test_an_api_whose_link_to_postgresql_is_slow_or_cut_serves_on(stage, tmp_path, fault):
    script = held(tmp_path)
    async with asking(stage.alice, create(str(script)), keyed(tmp_path)) as asker:
        await in_mid_answer(asker)
        with harmed(stage.api_postgres, fault):
            open_gate(tmp_path, HOLD)
            await assert_whole(stage, await asker.finished(), script)
            await assert_answered(stage, f"{tmp_path}-again")


@pytest.mark.parametrize("fault", [Fault.BLACK_HOLE, Fault.HALF_OPEN])
async def test_an_api_cut_off_from_postgresql_refuses_new_messages_and_its_streams_go_on_meanwhile(
    stage, tmp_path, fault
):
    """Whether a refused message was written cannot be known where the answer to its COMMIT is lost: it is one all the
    same."""
    script = held(tmp_path)
    async with asking(stage.alice, create(str(script)), keyed(tmp_path)) as asker:
        await in_mid_answer(asker)
        with harmed(stage.api_postgres, fault):
            open_gate(tmp_path, HOLD)
            answer = await asker.finished()
            await assert_refused(stage, f"{tmp_path}-refused", "database_unavailable")
        await assert_whole(stage, answer, script)
    await assert_answered(stage, f"{tmp_path}-refused")


# --- a client and the API


async def resumed(stage: Stage, asker: Follower) -> Answer:
    """What the client has in all, once it has resumed after the loss of its connection."""
    with suppress(httpx2.TransportError):
        await asker.finished()
        raise AssertionError("the connection was not lost")
    before = asker.raw[: asker.raw.rfind(b"\n\n") + 2]
    cursor = Answer(200, asker.response.headers, before).frames[-1][0]
    async with following(stage.alice, asker.run_id, cursor) as follower:
        rest = await follower.finished()
    return Answer(200, asker.response.headers, before + rest.raw)


@pytest.mark.parametrize("fault", [Fault.SLOW, Fault.BLACK_HOLE])
async def test_a_client_whose_link_is_slow_or_passes_nothing_for_a_while_gets_all_of_it_on_its_connection(
    stage, tmp_path, fault
):
    script = held(tmp_path)
    async with asking(stage.alice, create(str(script)), keyed(tmp_path)) as asker:
        await in_mid_answer(asker)
        with harmed(stage.to_api, fault):
            open_gate(tmp_path, HOLD)
            await stage.ended(asker.run_id)
        await assert_whole(stage, await asker.finished(), script)


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.HALF_OPEN])
async def test_a_client_whose_connection_is_lost_goes_on_from_its_cursor(stage, tmp_path, fault):
    script = held(tmp_path)
    async with asking(stage.alice, create(str(script)), keyed(tmp_path)) as asker:
        await in_mid_answer(asker)
        with harmed(stage.to_api, fault):
            open_gate(tmp_path, HOLD)
            await stage.ended(asker.run_id)
        await assert_whole(stage, await resumed(stage, asker), script)


async def test_a_client_whose_requests_are_lost_has_its_stream_and_asks_again_afterwards(stage, tmp_path):
    script = held(tmp_path)
    async with asking(stage.alice, create(str(script)), keyed(tmp_path)) as asker:
        await in_mid_answer(asker)
        with harmed(stage.to_api, Fault.HALF_OPEN, held=Direction.UP):
            before = stage.to_api.connections
            lost = asyncio.create_task(stage.alice.post(create(str(Script())), keyed(f"{tmp_path}-lost")))
            await wait_until("it is connected", lambda: stage.to_api.connections > before)
            open_gate(tmp_path, HOLD)
            answer = await asker.finished()
            assert not lost.done()
        with pytest.raises(httpx2.TransportError):
            await lost
    await assert_whole(stage, answer, script)
    await assert_answered(stage, f"{tmp_path}-lost")
