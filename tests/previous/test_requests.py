"""An API and a worker of this release, and what those of the release before have left them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from relaykit.shared.redis import keys
from relaykit.shared.settings import Settings
from tests.previous import statements
from tests.previous.redis import PreviousJournals, PreviousQueue
from tests.previous.rows import message as message_item
from tests.support.clients.stream_clients import crowd
from tests.support.servers.relay_servers import Script, ScriptedAnswers
from tests.support.system import Caller, System, create, message, running, wait_until


@dataclass
class Bench:
    system: System
    alice: Caller
    redis: Redis
    database: asyncpg.Connection

    async def admitted(self, request: dict[str, Any], *, ended: bool, enqueue: bool = True) -> str:
        """What an API of the release before leaves of a message: item, row, journal and job; its run's id."""
        run_id, thread_id = "run_previous", request["params"]["thread_id"]
        text = request["params"]["input"]["content"][0]["text"]
        item = message_item(thread_id, "msg_previous")
        item.content[0].text = text
        body = json.dumps(request).encode()
        known = statements()
        owner = ("", "alice")
        written = (thread_id, *owner, item.id, item.model_dump_json(), None, None)
        await self.database.fetch(known["shared.store_sql.WRITE_ITEM"], *written)
        options = {"allow_cancel": True}
        await self.database.execute(
            known["shared.runs_sql.INSERT"],
            *(run_id, *owner, thread_id, "threads.add_user_message"),
            json.dumps({"item_id": item.id, "stream_options": options}),
            json.dumps({"claims": {}, "locale": None, "metadata": {}, "request_id": "req_1"}),
            *(None, item.id, "queued", None, hashlib.sha256(body).digest()),
        )
        done = json.dumps({"type": "thread.item.done", "item": json.loads(item.model_dump_json())}).encode()
        stream_options = json.dumps({"type": "stream_options", "stream_options": options}).encode()
        journals = PreviousJournals(self.redis)
        await journals.append(run_id, 0, 1, [(b"e", done), (b"e", stream_options)])
        if ended:
            await self.database.execute(known["shared.runs_sql.START"], run_id, ["queued"])
            end = (run_id, 1, "completed", None, ["running"])
            await self.database.execute(known["shared.runs_sql.FINISH"], *end)
            await journals.append(run_id, 1, 1, [(b"m", b""), (b"end", b"completed")])
        elif enqueue:
            await PreviousQueue(self.redis).enqueue(run_id)
        return run_id


@pytest.fixture
async def bench(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr("relaykit.worker.reaper.reaper.ROUND_INTERVAL_SECONDS", 0.2)
    async with running(settings, ScriptedAnswers) as system, Redis.from_url(settings.redis_url) as redis:
        database = await asyncpg.connect(settings.database_url)
        yield Bench(system, await crowd(system, await system.caller()), redis, database)
        await database.close()


async def test_what_the_release_before_admitted_is_answered(bench: Bench) -> None:
    """With its job, and without: its API died before it got to that, and the reaper comes."""
    for enqueue in (True, False):
        thread_id = (await bench.alice.stream(create(str(Script())))).thread_id
        script = Script(deltas=4)
        run_id = await bench.admitted(message(thread_id, str(script)), ended=False, enqueue=enqueue)
        answer = await bench.alice.resume(run_id, None)
        assert (answer.end, answer.text) == (
            "completed",
            "".join(script.piece(1, number) for number in range(4)),
        )
        assert [cursor for cursor, _ in answer.frames[:2]] == ["0-1", "0-2"]
        await bench.database.execute("DELETE FROM runs WHERE id = $1", run_id)
        await bench.redis.delete(keys.journal(run_id))


async def test_the_same_words_as_in_a_run_of_the_release_before_are_another_message(bench: Bench) -> None:
    """Its API does not note what a client has received: such a run is not taken for the one that is asked for."""
    thread_id = (await bench.alice.stream(create(str(Script())))).thread_id
    yes = message(thread_id, str(Script()))
    run_id = await bench.admitted(yes, ended=True)
    answer = await bench.alice.stream(yes)
    assert answer.run_id != run_id
    assert answer.end == "completed"


async def test_a_key_that_the_release_before_has_seen_gives_its_run(bench: Bench) -> None:
    """The body is compared as it was there."""
    thread_id = (await bench.alice.stream(create(str(Script())))).thread_id
    yes = message(thread_id, str(Script()))
    run_id = await bench.admitted(yes, ended=True)
    await bench.database.execute("UPDATE runs SET idempotency_key = 'k1' WHERE id = $1", run_id)
    assert (await bench.alice.stream(yes, {"Idempotency-Key": "k1"})).run_id == run_id


async def test_a_cron_job_of_the_workers_before_does_no_harm(bench: Bench) -> None:
    """They share the queue: a worker of this release takes it off; its message goes with its time to live."""
    job_id = await PreviousQueue(bench.redis).enqueue_cron()
    await bench.redis.rpush(keys.BELL, "1")
    await bench.redis.expire(keys.BELL, 60)

    async def gone() -> bool:
        left = await bench.redis.exists(keys.lease(job_id), keys.tries(job_id))
        return not left and await bench.redis.zscore(keys.QUEUE, job_id) is None

    await wait_until("the job is gone", gone)
    assert (await bench.alice.stream(create(str(Script())))).end == "completed"
