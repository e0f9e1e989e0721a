"""The relay's tick: whoever waits for what will not come is told, though the heartbeat of the stream goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from relaykit.shared.journal import Cursor, Journals
from relaykit.shared.redis import keys
from relaykit.shared.runs.run import Status
from relaykit.shared.settings import Settings
from tests.support.clients.stream_clients import Follower, asking, body, crowd, following
from tests.support.journals import TTL
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.services.redis_clients import connections, kill, listens_to_runs
from tests.support.system import Caller, System, create, free_port, make_settings, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEASE_SECONDS = 4.0
PIECES = 4


@dataclass
class Stage:
    system: System
    alice: Caller
    redis: Redis
    database: asyncpg.Connection

    async def end_row(self, run_id: str, status: Status) -> None:
        """As a worker does that dies right after it."""
        await self.database.execute(
            "UPDATE runs SET status = $2, ended_at = now() WHERE id = $1", run_id, status
        )

    async def worker_dies(self, run_id: str) -> None:
        """What is left of it once its lease is over, where no other worker has a free slot."""
        await self.redis.delete(keys.lease(run_id))
        await self.redis.zrem(keys.QUEUE, run_id)


@pytest.fixture(scope="module")
def stage_settings(
    redis_databases: RedisDatabases, databases: Databases, issuer_key_file: Path
) -> Iterator[Settings]:
    with redis_databases.fresh() as redis_url, databases.fresh() as database_url:
        yield make_settings(
            redis_url,
            database_url,
            issuer_key_file,
            free_port(),
            lease_seconds=LEASE_SECONDS,
            ping_seconds=0.3,
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(stage_settings: Settings) -> AsyncIterator[Stage]:
    async with (
        running(stage_settings, ScriptedAnswers, workers=0) as system,
        Redis.from_url(stage_settings.redis_url, single_connection_client=True) as redis,
    ):
        database = await asyncpg.connect(stage_settings.database_url)
        yield Stage(system, await crowd(system, await system.caller()), redis, database)
        await database.close()


async def executed_by_nobody(stage: Stage, asker: Follower) -> Journals:
    """A run that is running by its row, with a first entry in its journal, and whose worker exists only there."""
    await asker.until("the run is queued", lambda answer: answer.of_type("stream_options"))
    journals = Journals(stage.redis, TTL)
    await stage.database.execute(
        "UPDATE runs SET status = 'running', attempt = 1 WHERE id = $1", asker.run_id
    )
    assert (await journals.start_attempt(asker.run_id, 1)).outcome == "ok"
    return journals


async def test_a_missing_end_is_written(stage: Stage) -> None:
    """The worker died between the row's end and the end entry: the client gets the end all the same."""
    async with asking(stage.alice, create(str(Script()))) as asker:
        await executed_by_nobody(stage, asker)
        await stage.worker_dies(asker.run_id)
        await stage.end_row(asker.run_id, Status.COMPLETED)
        answer = await asker.finished()
    assert answer.end == "completed"
    assert b": ping" in answer.raw


async def test_a_lost_notice_costs_a_tick(stage: Stage) -> None:
    """The entry is in the stream, nobody said so: it is found."""
    async with asking(stage.alice, create(str(Script()))) as asker:
        await executed_by_nobody(stage, asker)
        async with stage.redis.pipeline(transaction=True) as pipeline:
            pipeline.xadd(
                keys.journal(asker.run_id), {"e": '{"type":"progress_update","text":"x"}'}, id="1-2"
            )
            pipeline.set(keys.lease(asker.run_id), "somebody", ex=60)
            await pipeline.execute()
        await asker.until("the entry comes", lambda answer: answer.of_type("progress_update"))
        await stage.worker_dies(asker.run_id)
        await stage.end_row(asker.run_id, Status.FAILED)
        assert (await asker.finished()).end == "failed"


async def test_a_lost_journal_is_told(stage: Stage) -> None:
    """The run has ended, what it said is gone: the stream closes without the end, and who resumes gets 410."""
    async with asking(stage.alice, create(str(Script()))) as asker:
        await executed_by_nobody(stage, asker)
        await stage.worker_dies(asker.run_id)
        await stage.redis.delete(keys.journal(asker.run_id))
        await stage.end_row(asker.run_id, Status.COMPLETED)
        answer = await asker.finished()
    assert answer.end is None
    assert (await stage.alice.resume(answer.run_id, answer.frames[-1][0])).status == 410


async def test_an_end_written_after_the_loss_does_not_hide_it(stage: Stage) -> None:
    """The journal begins anew with an end that is behind what the client has: there is no waiting for more."""
    async with asking(stage.alice, create(str(Script()))) as asker:
        journals = await executed_by_nobody(stage, asker)
        await stage.worker_dies(asker.run_id)
        await stage.redis.delete(keys.journal(asker.run_id))
        await stage.end_row(asker.run_id, Status.COMPLETED)
        await journals.end(asker.run_id, 0, Status.COMPLETED)
        answer = await asker.finished()
    assert answer.end is None
    assert (await stage.alice.resume(answer.run_id, str(Cursor(1, 1)))).status == 410


async def test_a_run_that_no_worker_has_closes_its_streams(stage: Stage) -> None:
    """Behind its heartbeats a client would wait for ever; one that cannot resume gets an error that it can retry."""
    async with asking(stage.alice, create(str(Script()))) as asker:
        await executed_by_nobody(stage, asker)
        async with following(stage.alice, asker.run_id, headers={"Relaykit-Resume": "0"}) as stock:
            await stage.worker_dies(asker.run_id)
            answer, told = await asker.finished(), await stock.finished()
    assert (answer.end, answer.events[-1]["type"]) == (None, "stream_options")
    assert (told.end, told.events[-1]["type"], told.events[-1]["allow_retry"]) == (None, "error", True)
    await stage.end_row(answer.run_id, Status.FAILED)


async def test_a_run_that_waits_for_a_worker_is_left_alone(stage: Stage) -> None:
    """Queued is not dead: the stream stays, however long it takes."""
    async with asking(stage.alice, create(str(Script()))) as asker:
        await asker.until("the run is queued", lambda answer: answer.of_type("stream_options"))
        enough = int(LEASE_SECONDS * 2 / 0.3)
        await asker.until("many heartbeats have come", lambda answer: answer.raw.count(b": ping") > enough)
        await stage.alice.cancel(asker.run_id)
        assert (await asker.finished()).end == "cancelled"


async def test_a_quiet_run_with_a_worker_is_left_alone(
    stage: Stage, stage_settings: Settings, tmp_path: Path
) -> None:
    """A model that thinks for several leases, and whose API loses its connection for notices meanwhile."""
    script = Script(gate=str(tmp_path), holds=[2], deltas=PIECES)
    own_port = stage_settings.model_copy(update={"port": free_port()})
    async with running(own_port, ScriptedAnswers) as elsewhere:
        alice = await crowd(elsewhere, await elsewhere.caller())
        async with asking(alice, create(str(script))) as asker:
            await asker.until("two deltas", lambda answer: len(answer.of_type("thread.item.updated")) == 2)
            pings = int(LEASE_SECONDS * 2 / 0.3)
            await asker.until("many heartbeats have come", lambda answer: answer.raw.count(b": ping") > pings)
            listening = [client for client in await connections(stage.redis) if listens_to_runs(client)]
            assert await kill(stage.redis, listening) > 0
            open_gate(tmp_path, 2)
            answer = await asker.finished()
        assert (answer.end, len(answer.of_type("thread.item.updated"))) == ("completed", PIECES)
        whole = await alice.resume(answer.run_id, None)
        assert body(whole.raw) == asker.body
