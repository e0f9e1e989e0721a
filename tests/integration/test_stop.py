"""Stop and time-out: whenever they come, row, journal, thread and what the client saw tell the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from relaykit.api.admission.admission_queue import AdmissionQueue
from relaykit.shared.redis import keys
from relaykit.worker.execution import produce
from relaykit.worker.main import create_worker
from tests.support.clients.stream_clients import Follower, asking, crowd, following
from tests.support.network.links import Link
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.services.redis_clients import writes_held
from tests.support.system import (
    Answer,
    Caller,
    System,
    create,
    free_port,
    keyed,
    make_settings,
    message,
    running,
    wait_until,
)
from tests.support.system import _working as working

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOLD = 6
NOTE = "The user cancelled the stream. Stop responding to the prior request."


@dataclass
class Stage:
    """Two APIs and no worker; a test starts its own."""

    system: System
    alice: Caller
    alice_elsewhere: Caller
    redis: Redis
    database: asyncpg.Pool

    @asynccontextmanager
    async def worker(self, **changes) -> AsyncIterator[None]:
        settings = self.system.settings.model_copy(update=changes)
        async with working(create_worker(settings, ScriptedAnswers())):
            yield

    async def row(self, run_id: str) -> asyncpg.Record:
        return await self.database.fetchrow("SELECT * FROM runs WHERE id = $1", run_id)

    async def notes(self, thread_id: str) -> list[str]:
        """The SDK's hidden notes, which no client is shown."""
        rows = await self.database.fetch(
            "SELECT data ->> 'content' AS content FROM items"
            " WHERE thread_id = $1 AND data ->> 'type' = 'sdk_hidden_context'",
            thread_id,
        )
        return [row["content"] for row in rows]

    async def queued(self, run_id: str) -> bool:
        return await self.redis.zscore(keys.QUEUE, run_id) is not None or bool(
            await self.redis.exists(keys.job(run_id), keys.tries(run_id), keys.lease(run_id))
        )

    async def off_the_queue(self, run_id: str) -> None:
        async def gone() -> bool:
            return not await self.queued(run_id)

        await wait_until("the job is gone from the queue", gone)


@pytest.fixture(scope="module")
def stage_settings(redis_databases: RedisDatabases, databases: Databases, issuer_key_file: Path) -> Iterator:
    with redis_databases.fresh() as redis_url, databases.fresh() as database_url:
        yield make_settings(redis_url, database_url, issuer_key_file, free_port())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(stage_settings) -> AsyncIterator[Stage]:
    async with (
        running(stage_settings, ScriptedAnswers, apis=2, workers=0) as system,
        Redis.from_url(stage_settings.redis_url, single_connection_client=True) as redis,
        asyncpg.create_pool(stage_settings.database_url, min_size=1, max_size=4) as database,
    ):
        alice = await crowd(system, await system.caller())
        yield Stage(system, alice, await crowd(system, alice, api=1), redis, database)


def held(tmp_path: Path, **more) -> Script:
    return Script(**{"deltas": 12, "gate": str(tmp_path), "holds": [HOLD], **more})


async def in_mid_answer(asker: Follower) -> Answer:
    await asker.until("the middle", lambda answer: len(answer.of_type("thread.item.updated")) == HOLD)
    return asker.answer


def seen(answer: Answer) -> list[str]:
    """The text of each part that the deltas add up to."""
    parts = ["", ""]
    for event in answer.of_type("thread.item.updated"):
        parts[event["update"]["content_index"]] += event["update"]["delta"]
    return parts


async def stored(stage: Stage, answer: Answer) -> list[list[str]]:
    """The assistant's messages as the thread has them."""
    items = await stage.alice.items(answer.thread_id)
    return [
        [part["text"] for part in item["content"]] for item in items if item["type"] == "assistant_message"
    ]


async def assert_stopped(stage: Stage, answer: Answer) -> None:
    """The client's stream, the row and the thread agree on a cancelled run whose partial answer is kept."""
    assert answer.end == "cancelled"
    assert answer.of_type("error") == []
    assert (await stage.row(answer.run_id))["status"] == "cancelled"
    assert await stored(stage, answer) == ([seen(answer)] if any(seen(answer)) else [])
    assert await stage.notes(answer.thread_id) == [NOTE]
    await stage.off_the_queue(answer.run_id)


async def test_a_stop_before_pick_up_ends_the_run_at_once(stage):
    """No worker is there: the stream ends cancelled, the note is stored once, the job is gone from the queue."""
    async with asking(stage.alice, create(str(Script()))) as asker:
        await asker.until("the run is queued", lambda answer: answer.of_type("stream_options"))
        assert await stage.queued(asker.run_id)
        response = await stage.alice_elsewhere.cancel(asker.run_id)
        assert (response.status_code, response.json()) == (202, {"id": asker.run_id, "status": "cancelled"})
        answer = await asker.finished()
    await assert_stopped(stage, answer)
    async with stage.worker():
        again = await stage.alice.stream(message(answer.thread_id, str(Script())))
        assert again.end == "completed"
    assert (await stage.row(answer.run_id))["attempt"] == 0


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same API", "another API"])
async def test_a_stop_in_mid_answer_keeps_what_was_shown(stage, tmp_path, elsewhere):
    """The partial text is in the thread, word for word what the client saw, and the SDK's note after it."""
    async with stage.worker(), asking(stage.alice, create(str(held(tmp_path)))) as asker:
        await in_mid_answer(asker)
        response = await (stage.alice_elsewhere if elsewhere else stage.alice).cancel(asker.run_id)
        assert (response.status_code, response.json()["status"]) == (202, "running")
        answer = await asker.finished()
        await assert_stopped(stage, answer)
        assert seen(answer) == Script(deltas=HOLD).whole(1)
        items = await stage.database.fetch(
            "SELECT data ->> 'type' AS type FROM items WHERE thread_id = $1 ORDER BY seq", answer.thread_id
        )
        assert [row["type"] for row in items] == ["user_message", "assistant_message", "sdk_hidden_context"]


async def test_a_stop_that_is_pressed_many_times_is_one_stop(stage, tmp_path):
    """Twenty at once, from both APIs, and one after the end: 202 each time, one partial answer, one note."""
    for number in range(5):
        script = held(tmp_path / str(number))
        async with stage.worker(), asking(stage.alice, create(str(script))) as asker:
            await in_mid_answer(asker)
            responses = await asyncio.gather(
                *(caller.cancel(asker.run_id) for caller in (stage.alice, stage.alice_elsewhere) * 10)
            )
            assert {response.status_code for response in responses} == {202}
            answer = await asker.finished()
            await assert_stopped(stage, answer)
            late = await stage.alice.cancel(asker.run_id)
            assert (late.status_code, late.json()["status"]) == (202, "cancelled")
            await assert_stopped(stage, answer)


async def test_a_stop_of_a_queued_run_that_is_pressed_many_times_is_one_stop(stage):
    async with asking(stage.alice, create(str(Script()))) as asker:
        await asker.until("the run is queued", lambda answer: answer.of_type("stream_options"))
        responses = await asyncio.gather(
            *(caller.cancel(asker.run_id) for caller in (stage.alice, stage.alice_elsewhere) * 10)
        )
        assert {(response.status_code, response.json()["status"]) for response in responses} == {
            (202, "cancelled")
        }
        await assert_stopped(stage, await asker.finished())


async def test_a_stop_that_races_the_pick_up_is_told_the_same_everywhere(stage, tmp_path):
    """A queue of runs behind one slot, and a stop for each about when its turn comes: before, during or after."""
    script = Script(deltas=4, every_seconds=0.002)
    ends: list[str] = []

    async def stop(number: int, asker: Follower) -> None:
        await asyncio.sleep(number * 0.035)
        assert (await stage.alice_elsewhere.cancel(asker.run_id)).status_code == 202
        answer = await asker.finished()
        ends.append(str(answer.end))
        await assert_told_the_same(stage, answer, script)

    for turn in range(5):
        blocker = held(tmp_path / str(turn))
        async with stage.worker(max_runs=1), AsyncExitStack() as stack:
            first = await stack.enter_async_context(asking(stage.alice, create(str(blocker))))
            await in_mid_answer(first)
            askers = [
                await stack.enter_async_context(
                    asking(stage.alice, create(str(script)), keyed(f"{turn}-{n}"))
                )
                for n in range(12)
            ]
            for asker in askers:
                await asker.until("the run is queued", lambda answer: answer.of_type("stream_options"))
            open_gate(tmp_path / str(turn), HOLD)
            await asyncio.gather(*(stop(number, asker) for number, asker in enumerate(askers)))
    assert "cancelled" in ends


async def assert_told_the_same(stage: Stage, answer: Answer, script: Script) -> None:
    """Row, thread and stream agree on a run that was cancelled or completed."""
    row = await stage.row(answer.run_id)
    assert row["status"] == answer.end
    notes, texts = await stage.notes(answer.thread_id), await stored(stage, answer)
    if answer.end == "completed":
        assert (notes, texts) == ([], [script.whole(1)])
    else:
        # right behind the whole answer a stop is told to the server, or it comes too late for that
        whole = bool(answer.of_type("thread.item.done")[1:])
        assert notes == [NOTE] or (whole and notes == [])
        assert texts == ([seen(answer)] if any(seen(answer)) else [])
    await stage.off_the_queue(answer.run_id)


async def test_a_stop_of_a_finished_run_changes_nothing(stage):
    async with stage.worker():
        answer = await stage.alice.stream(create(str(Script())))
        await stage.off_the_queue(answer.run_id)

        async def is_noted() -> bool:
            return (await stage.row(answer.run_id))["received_at"] is not None

        await wait_until("the row says that the client has its answer", is_noted)
        row, journal = await stage.row(answer.run_id), await stage.redis.xrange(keys.journal(answer.run_id))
        for caller in (stage.alice, stage.alice_elsewhere):
            response = await caller.cancel(answer.run_id)
            assert (response.status_code, response.json()["status"]) == (202, "completed")
        assert await stage.row(answer.run_id) == row
        assert await stage.redis.xrange(keys.journal(answer.run_id)) == journal
        assert await stage.notes(answer.thread_id) == []
        await stage.redis.delete(keys.journal(answer.run_id))
        assert (await stage.alice.cancel(answer.run_id)).status_code == 202
        assert not await stage.redis.exists(keys.journal(answer.run_id))


async def test_nobody_stops_the_run_of_someone_else(stage, tmp_path):
    bob = await stage.system.caller("bob")
    other_alice = await stage.system.caller("alice", tenant="other")
    async with stage.worker(), asking(stage.alice, create(str(held(tmp_path)))) as asker:
        await in_mid_answer(asker)
        for caller in (bob, other_alice):
            response = await caller.cancel(asker.run_id)
            assert (response.status_code, response.json()["error"]["code"]) == (404, "run_not_found")
        assert (await stage.alice.cancel("run_absent")).status_code == 404
        open_gate(tmp_path, HOLD)
        assert (await asker.finished()).end == "completed"


async def test_a_server_that_swallows_the_cancellation_is_stopped_at_its_next_event(stage, tmp_path):
    """It goes on writing to nobody: what it says after the stop reaches neither client nor thread."""
    script = held(tmp_path, swallow="once")
    async with stage.worker(), asking(stage.alice, create(str(script))) as asker:
        before = await in_mid_answer(asker)
        await stage.alice.cancel(asker.run_id)
        open_gate(tmp_path, HOLD)
        answer = await asker.finished()
        assert seen(answer) == seen(before)
        await assert_stopped(stage, answer)


async def test_a_server_that_never_stops_is_left_behind(stage, tmp_path, monkeypatch):
    """The run ends without it; when it wakes at last, its words reach neither client nor thread."""
    monkeypatch.setattr(produce, "STOP_AGAIN_SECONDS", 0.3)
    script = held(tmp_path, swallow="always")
    async with stage.worker(), asking(stage.alice, create(str(script))) as asker:
        before = await in_mid_answer(asker)
        await stage.alice.cancel(asker.run_id)
        answer = await asker.finished()
        assert (answer.end, seen(answer)) == ("cancelled", seen(before))
        assert (await stage.row(answer.run_id))["status"] == "cancelled"
        assert await stage.notes(answer.thread_id) == [NOTE]
        items = await stage.alice.items(answer.thread_id)
        open_gate(tmp_path, HOLD)
        await wait_until("the server has come to its end", lambda: not producers())
        assert await stage.alice.items(answer.thread_id) == items
        assert await stage.notes(answer.thread_id) == [NOTE]
        await stage.off_the_queue(answer.run_id)


async def test_what_a_stop_keeps_of_the_answer_waits_for_postgresql_however_long_that_is_away(
    stage, tmp_path, monkeypatch
):
    """The worker alone is cut off from it, for longer than a server is given to end."""
    monkeypatch.setattr(produce, "STOP_AGAIN_SECONDS", 0.1)
    async with (
        Link(stage.system.settings.database_url) as link,
        stage.worker(database_url=link.url),
        asking(stage.alice, create(str(held(tmp_path)))) as asker,
    ):
        before = await in_mid_answer(asker)
        with link.holding():
            await stage.alice.cancel(asker.run_id)
            await asyncio.sleep(1)
            assert not asker.closed
        answer = await asker.finished()
        assert seen(answer) == seen(before)
        await assert_stopped(stage, answer)


def producers() -> list[str]:
    return [name for task in asyncio.all_tasks() if (name := task.get_name()).startswith("produce ")]


async def test_a_server_that_makes_an_error_of_its_cancellation_is_stopped_all_the_same(stage, tmp_path):
    """The client is told of the stop and of no error."""
    script = held(tmp_path, swallow="raise")
    async with stage.worker(), asking(stage.alice, create(str(script))) as asker:
        before = await in_mid_answer(asker)
        await stage.alice.cancel(asker.run_id)
        answer = await asker.finished()
    assert (answer.end, seen(answer), answer.of_type("error")) == ("cancelled", seen(before), [])
    assert await stage.notes(answer.thread_id) == [NOTE]
    await stage.off_the_queue(answer.run_id)


async def test_a_stop_of_a_run_that_waits_leaves_the_one_before_and_the_one_behind_alone(stage, tmp_path):
    """Three messages of one thread: the second is stopped while it waits, the others are answered in turn."""
    async with stage.worker():
        thread = (await stage.alice.stream(create(str(Script(deltas=2))))).thread_id
        async with (
            asking(stage.alice, message(thread, str(held(tmp_path)))) as first,
        ):
            await in_mid_answer(first)
            async with asking(stage.alice, message(thread, str(Script(deltas=4)))) as second:
                await second.until("it waits", lambda answer: answer.of_type("stream_options"))
                async with asking(stage.alice, message(thread, str(Script(deltas=8)))) as third:
                    await third.until("it waits", lambda answer: answer.of_type("stream_options"))
                    response = await stage.alice.cancel(second.run_id)
                    assert (response.status_code, response.json()["status"]) == (202, "cancelled")
                    assert (await second.finished()).end == "cancelled"
                    assert (await stage.row(first.run_id))["status"] == "running"
                    assert (await stage.row(third.run_id))["status"] == "waiting"
                    open_gate(tmp_path, HOLD)
                    assert (await first.finished()).end == "completed"
                    assert (await third.finished()).end == "completed"


async def test_a_run_that_takes_too_long_fails_with_its_partial_answer_and_no_note(stage, tmp_path):
    """RUN_TIMEOUT_SECONDS: nobody is said to have stopped it."""
    async with (
        stage.worker(run_timeout_seconds=1.0),
        asking(stage.alice, create(str(held(tmp_path)))) as asker,
    ):
        answer = await asker.finished()
        assert answer.end == "failed"
        assert answer.events[-1] == {"type": "error", "code": "stream.error", "allow_retry": True}
        row = await stage.row(answer.run_id)
        assert (row["status"], row["error"]) == ("failed", "timeout")
        assert len(answer.of_type("thread.item.updated")) == HOLD
        assert await stored(stage, answer) == [seen(answer)]
        assert await stage.notes(answer.thread_id) == []
        await stage.off_the_queue(answer.run_id)


async def test_a_run_that_was_handed_back_and_is_stopped_before_it_begins_anew_keeps_what_was_shown(
    stage, tmp_path
):
    """Its worker was drained in mid-answer and there is no other yet."""
    async with asking(stage.alice, create(str(held(tmp_path)))) as asker:
        async with stage.worker(drain_seconds=0):
            await in_mid_answer(asker)
        assert (await stage.row(asker.run_id))["status"] == "queued"
        response = await stage.alice_elsewhere.cancel(asker.run_id)
        assert (response.status_code, response.json()["status"]) == (202, "cancelled")
        answer = await asker.finished()
    assert len(answer.of_type("thread.item.updated")) == HOLD
    await assert_stopped(stage, answer)


async def test_a_stop_whose_redis_connection_dies_is_carried_out(stage):
    """The row is cancelled, the end entry is on its way: it is sent again."""
    async with asking(stage.alice, create(str(Script()))) as asker:
        await asker.until("the run is queued", lambda answer: answer.of_type("stream_options"))
        async with writes_held(stage.redis) as cut:
            response = asyncio.create_task(stage.alice_elsewhere.cancel(asker.run_id))
            await cut()
        assert (await response).status_code == 202
        await assert_stopped(stage, await asker.finished())


async def test_an_accepted_run_gets_its_journal_and_its_job_though_the_connection_dies(stage, monkeypatch):
    """The row is committed, the journal's first entries are on their way: they are sent again, and the 200 comes."""
    committed, held, admit = asyncio.Event(), asyncio.Event(), AdmissionQueue.publish_admitted

    async def after_it_is_held(queue, *arguments):
        committed.set()
        await held.wait()
        await admit(queue, *arguments)

    monkeypatch.setattr(AdmissionQueue, "publish_admitted", after_it_is_held)
    async with AsyncExitStack() as stack:
        asker = await stack.enter_async_context(asking(stage.alice, create(str(Script())), keyed("held")))
        await wait_until("the row is committed", lambda: committed.is_set() or asker.closed)
        assert not asker.closed, asker.raw
        async with writes_held(stage.redis) as cut:
            held.set()
            await cut()
        await asker.until("the run is queued", lambda answer: answer.of_type("stream_options"))
        async with stage.worker():
            answer = await asker.finished()
    assert answer.end == "completed"
    assert answer.frames[0][0] == "0-1"


async def test_a_stopped_run_can_be_resumed_to_its_end(stage, tmp_path):
    """Who comes after the stop sees the same run, end included."""
    async with stage.worker(), asking(stage.alice, create(str(held(tmp_path)))) as asker:
        await in_mid_answer(asker)
        await stage.alice.cancel(asker.run_id)
        await asker.finished()
        async with following(stage.alice_elsewhere, asker.run_id) as late:
            assert (await late.finished()).end == "cancelled"
            assert late.body == asker.body
