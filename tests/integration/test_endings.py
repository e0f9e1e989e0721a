"""Ends that meet trouble: a journal that refuses, a promotion that fails, an end that comes before the beginning."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from relaykit.api.admission.admission_queue import AdmissionQueue
from relaykit.shared.endings import Endings
from relaykit.shared.redis import keys
from relaykit.shared.settings import Settings
from relaykit.worker.keeper.heartbeat import Heartbeat
from relaykit.worker.leases.claim_queue import ClaimQueue
from tests.support.clients.stream_clients import asking, crowd
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.servers.user_servers import NotebookServer
from tests.support.system import create, message, running, wait_until

HOLD = 2


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(settings.database_url)
    yield connection
    await connection.close()


@pytest.fixture(autouse=True)
def eager_reaper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relaykit.worker.reaper.reaper.ROUND_INTERVAL_SECONDS", 0.2)


async def test_a_journal_that_refuses_every_attempt_ends_the_run(
    settings: Settings, database: asyncpg.Connection
) -> None:
    """PostgreSQL came back without its last commit: the row runs, the journal has its end. There is no loop."""
    short = settings.model_copy(update={"lease_seconds": 3})
    async with running(short, ScriptedAnswers) as system:
        alice = await system.caller()
        answer = await alice.stream(create(str(Script())))
        await database.execute("UPDATE runs SET status = 'running', ended_at = NULL, queued_at = now()")

        async def failed() -> bool:
            return await database.fetchval("SELECT status FROM runs") == "failed"

        await wait_until("the run has failed", failed)
        row = await database.fetchrow("SELECT error, attempt FROM runs")
        assert (row["error"], row["attempt"]) == ("attempts_exhausted", settings.run_max_attempts + 1)
        assert (await alice.stream(message(answer.thread_id, str(Script())))).end == "completed"


async def test_a_run_ends_though_the_one_behind_it_cannot_be_promoted(
    settings: Settings, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its answer stands in its first attempt, and what waits is promoted as soon as that works."""
    promote, broken = Endings._promote, asyncio.Event()

    async def fails_at_first(endings: Endings, run: Any) -> Any:
        if not broken.is_set():
            broken.set()
            raise RuntimeError("a hiccup of the site's own code")
        return await promote(endings, run)

    monkeypatch.setattr(Endings, "_promote", fails_at_first)
    async with running(settings, ScriptedAnswers) as system:
        alice = await crowd(system, await system.caller())
        async with asking(alice, create(str(Script(gate=str(tmp_path), holds=[HOLD])))) as first:
            await first.until("mid-answer", lambda answer: len(answer.of_type("thread.item.updated")) == HOLD)
            async with asking(alice, message(first.answer.thread_id, str(Script()))) as second:
                await second.until("it waits", lambda answer: answer.of_type("stream_options"))
                open_gate(tmp_path, HOLD)
                assert (await first.finished()).end == "completed"
                assert (await second.finished()).end == "completed"
    rows = await database.fetch("SELECT status, attempt FROM runs")
    assert broken.is_set()
    assert [(row["status"], row["attempt"]) for row in rows] == [("completed", 1)] * 2


async def test_a_run_that_is_stopped_before_its_journal_begins_answers_with_its_end(
    settings: Settings, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the commit and admission's entries, from elsewhere."""
    admit, stopped = AdmissionQueue.publish_admitted, asyncio.Event()

    async def late(queue: AdmissionQueue, *arguments: Any) -> None:
        await stopped.wait()
        await admit(queue, *arguments)

    monkeypatch.setattr(AdmissionQueue, "publish_admitted", late)
    async with running(settings, ScriptedAnswers, workers=0) as system:
        alice = await crowd(system, await system.caller())
        posting = asyncio.create_task(alice.stream(create("hello")))
        run_id = await wait_until("the row is there", lambda: database.fetchval("SELECT id FROM runs"))
        assert (await alice.cancel(run_id)).status_code == 202
        stopped.set()
        assert (await posting).end == "cancelled"


async def test_a_caller_with_too_many_runs_leaves_nothing_in_a_foreign_store(
    settings: Settings, tmp_path: Path
) -> None:
    own = settings.model_copy(update={"chatkit_store": "own", "caller_max_runs": 1})
    async with running(own, lambda: NotebookServer(str(tmp_path / "notebook.db")), workers=0) as system:
        alice = await crowd(system, await system.caller())
        async with asking(alice, create("hello")) as first:
            await first.until("it is queued", lambda answer: answer.of_type("stream_options"))
            for request in (create("more"), message(first.answer.thread_id, "more")):
                response = await alice.post(request)
                assert (response.status_code, response.json()["error"]["code"]) == (429, "too_many_runs")
            threads = await alice.ask({"type": "threads.list", "params": {"limit": 100}})
            assert len(threads["data"]) == 1
            assert len(await alice.items(first.answer.thread_id)) == 1
            await alice.cancel(first.run_id)


async def test_a_renewal_that_comes_after_the_release_holds_nothing(settings: Settings) -> None:
    """It was on its way when the run was handed back: the run is due, and nobody's."""
    async with Redis.from_url(settings.redis_url) as redis:
        queue = ClaimQueue(redis)
        await queue.enqueue("run_a")
        (claim,) = await queue.claim(1, 10, "token")
        heartbeat = Heartbeat(queue, settings, {}, {})
        assert await queue.release(claim, done=False)
        await heartbeat._renew([claim], 0)
        assert not await redis.exists(keys.lease("run_a"))
        assert [other.run_id for other in await queue.claim(1, 10, "other")] == ["run_a"]
