"""kill -9 of a worker, at each point of a run: another has the run, and nobody can tell from what is left."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from relaykit.shared.errors import DatabaseUnavailable
from relaykit.shared.redis import keys
from relaykit.shared.settings import Settings
from relaykit.shared.threads.undo import TakenBack
from relaykit.worker.execution.rewind import take_back
from relaykit.worker.leases.claim_queue import ClaimQueue
from relaykit.worker.leases.claims import Claim
from relaykit.worker.main import create_worker
from tests.support.clients.client_view import shown, texts
from tests.support.clients.stream_clients import Follower, asking
from tests.support.leases import end_lease
from tests.support.processes.crash_points import CrashPoint, process
from tests.support.servers.relay_servers import ChangingAnswers, Script, ScriptedAnswers
from tests.support.system import Caller, System, _working, create, message, running, wait_until

SCRIPT = Script(deltas=10, items_before=1)

POINTS = {
    "claimed, and nothing begun": (CrashPoint("relaykit.worker.execution.executor:Executor.execute"), 1),
    "the row is running, the journal knows nothing": (
        CrashPoint("relaykit.worker.publishing.publisher:Publisher.start_attempt"),
        2,
    ),
    "the attempt start is written, and nothing shown": (
        CrashPoint("relaykit.worker.publishing.publisher:Publisher.start_attempt", "after"),
        2,
    ),
    "an item is stored and not shown": (
        CrashPoint("relaykit.shared.threads.store:PostgresStore.add_thread_item", "after"),
        2,
    ),
    "an item is stored and shown": (
        CrashPoint("relaykit.worker.publishing.journal_writer:JournalWriter.on_reply", "after", nth=2),
        2,
    ),
    "in mid-answer": (CrashPoint("relaykit.worker.publishing.journal_writer:JournalWriter.put", nth=9), 2),
    "the answer is stored, its end not shown": (
        CrashPoint("relaykit.shared.threads.store:PostgresStore.add_thread_item", "after", nth=2),
        2,
    ),
    "all is shown, the row is running": (CrashPoint("relaykit.shared.endings:Endings.finish_row"), 2),
    "the row has ended, the journal not": (
        CrashPoint("relaykit.shared.endings:Endings.finish_row", "after"),
        1,
    ),
    "the journal has its end, the job is there": (
        CrashPoint("relaykit.worker.leases.claim_queue:ClaimQueue.release"),
        1,
    ),
}
"""Each with the attempt in which the run ends."""


@pytest.fixture
def scripted(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"chatkit_server": "tests.support.servers.relay_servers:ScriptedAnswers"}
    )


@asynccontextmanager
async def survivor(system: System, server: type[ScriptedAnswers] = ScriptedAnswers) -> AsyncIterator[None]:
    """Another worker, which goes on where the dead one left."""
    async with _working(create_worker(system.settings, server())):
        yield


@pytest.mark.parametrize("point", POINTS)
async def test_a_worker_killed_at_any_point_costs_nobody_anything(
    scripted: Settings, tmp_path: Path, point: str
) -> None:
    """Who stayed connected has the whole answer once, and so has the thread; the next message is answered too."""
    dies_at, attempt = POINTS[point]
    async with running(scripted, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        with process("worker", scripted, tmp_path / "worker.log", dies_at=dies_at) as doomed:
            async with asking(alice, create(str(SCRIPT))) as asker:
                await wait_until("the worker is dead", lambda: not doomed.is_alive())
                assert doomed.exitcode == -signal.SIGKILL, (tmp_path / "worker.log").read_text()
                end_lease(system.settings.redis_url, asker.run_id)
                async with survivor(system):
                    answer = await asker.finished()
                    await settled(scripted, asker.run_id)
                    following = await alice.stream(message(answer.thread_id, str(SCRIPT)))
        assert (answer.end, following.end) == ("completed", "completed")
        on_screen = list(shown(answer).values())
        assert [texts(item) for item in on_screen[1:]] == [[f"{attempt} before"], SCRIPT.whole(attempt)]
        stored = await alice.items(answer.thread_id)
        assert [item["id"] for item in stored[:3]] == [item["id"] for item in on_screen]
        assert [texts(item) for item in stored[1:3]] == [[f"{attempt} before"], SCRIPT.whole(attempt)]
        assert [texts(item) for item in stored[4:]] == [["1 before"], SCRIPT.whole(1)]
    assert await row(scripted, asker.run_id) == ("completed", attempt)


async def test_a_run_is_another_workers_at_its_next_look_once_the_lease_is_over(
    scripted: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that stands by looks once a second. By itself the lease ends in time, and the run is due then."""
    looked, claim = 0, ClaimQueue.claim

    async def counted(*arguments: Any) -> list[Claim]:
        nonlocal looked
        looked += 1
        return await claim(*arguments)

    monkeypatch.setattr(ClaimQueue, "claim", counted)
    script = Script(deltas=10, gate=str(tmp_path), holds=[5], hold_attempts=1)
    async with running(scripted, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        with process("worker", scripted, tmp_path / "worker.log") as doomed:
            async with asking(alice, create(str(script))) as asker:
                await asker.until("it is in mid-answer", lambda answer: attempt_of(asker) == 1)
                doomed.kill()
                await wait_until("the worker is dead", lambda: not doomed.is_alive())
                async with Redis.from_url(scripted.redis_url) as redis, redis.pipeline() as together:
                    together.time().pttl(keys.lease(asker.run_id)).zscore(keys.QUEUE, asker.run_id)
                    (seconds, micros), left_ms, due_ms = await together.execute()
                assert 0 < left_ms <= scripted.lease_seconds * 1000
                assert abs(seconds * 1000 + micros / 1000 + left_ms - due_ms) < 10
                async with survivor(system):
                    await wait_until("it has looked", lambda: looked)
                    before = looked
                    end_lease(scripted.redis_url, asker.run_id)
                    await asker.until("the next attempt", lambda answer: attempt_of(asker) == 2)
                    assert looked - before <= 2
                    assert (await asker.finished()).end == "completed"


@pytest.mark.parametrize("attempts", [1, 2])
async def test_a_run_whose_workers_all_die_fails_and_everybody_is_told(
    scripted: Settings, tmp_path: Path, attempts: int
) -> None:
    """RUN_MAX_ATTEMPTS: an error to retry, then the end; to whoever waits, and to whoever comes later.

    Without processes for suspects, which would hand the run back when their worker is killed.
    """
    settings = scripted.model_copy(update={"run_max_attempts": attempts, "suspect_processes": 0})
    script = Script(deltas=10, gate=str(tmp_path), holds=[5])
    async with running(settings, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        async with asking(alice, create(str(script))) as asker:
            for attempt in range(1, attempts + 1):
                with process("worker", settings, tmp_path / f"worker-{attempt}.log"):
                    await asker.until("it is in mid-answer", lambda _, n=attempt: attempt_of(asker) == n)
                end_lease(settings.redis_url, asker.run_id)
            async with survivor(system):
                answer = await asker.finished()
                await settled(settings, asker.run_id)
        later = await alice.resume(answer.run_id, None)
        retried = await alice.get(f"/runs/{answer.run_id}")
    assert answer.end == later.end == "failed"
    assert answer.events[-1] == {"type": "error", "code": "stream.error", "allow_retry": True}
    assert later.events == answer.events
    assert retried.json()["error"] == "attempts_exhausted"


async def test_what_was_shown_is_taken_off_the_screen_though_redis_loses_it_meanwhile(
    scripted: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next attempt waits for PostgreSQL, which is away, while Redis is emptied."""
    calls = 0

    async def while_redis_is_emptied(*arguments: Any) -> TakenBack:
        nonlocal calls
        calls += 1
        taken = await take_back(*arguments)
        if calls == 1:
            async with Redis.from_url(scripted.redis_url) as redis:
                await redis.flushdb()
            raise DatabaseUnavailable  # the reply to the COMMIT is lost
        return taken

    script = Script(deltas=10, items_before=1, gate=str(tmp_path), holds=[5], hold_attempts=1)
    async with running(scripted, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        with process("worker", scripted, tmp_path / "worker.log") as doomed:
            async with asking(alice, create(str(script))) as asker:
                await asker.until("it is in mid-answer", lambda answer: attempt_of(asker) == 1)
                monkeypatch.setattr("relaykit.worker.execution.executor.take_back", while_redis_is_emptied)
                await lose(doomed, scripted, asker.run_id)
                async with survivor(system):
                    answer = await asker.finished()
        stored = await alice.items(answer.thread_id)
    assert calls == 2
    assert answer.end == "completed"
    assert shown(answer) == {item["id"]: item for item in stored}


async def test_a_message_that_was_stopped_while_it_waited_outlives_the_next_attempt(
    scripted: Settings, tmp_path: Path
) -> None:
    """The next attempt takes back what the run has added, not what came to the thread meanwhile."""
    script = Script(deltas=10, items_before=1, gate=str(tmp_path), holds=[5], hold_attempts=1)
    async with running(scripted, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        with process("worker", scripted, tmp_path / "worker.log") as doomed:
            async with asking(alice, create(str(script))) as asker:
                await asker.until("it is in mid-answer", lambda answer: attempt_of(asker) == 1)
                thread_id = asker.answer.thread_id
                async with asking(alice, message(thread_id, "stopped")) as waiting:
                    await waiting.until("it waits", lambda answer: answer.of_type("stream_options"))
                    assert (await alice.cancel(waiting.run_id)).json()["status"] == "cancelled"
                    assert (await waiting.finished()).end == "cancelled"
                await lose(doomed, scripted, asker.run_id)
                async with survivor(system):
                    assert (await asker.finished()).end == "completed"
        stored = [texts(item) for item in await alice.items(thread_id)]
    assert stored == [[str(script)], ["stopped"], ["2 before"], script.whole(2)]
    hidden = await rows(scripted, "SELECT id FROM items WHERE data ->> 'type' = 'sdk_hidden_context'")
    assert len(hidden) == 1, "the note of the stop"


CHANGES = {
    "the thread is changed": CrashPoint("relaykit.shared.threads.store:PostgresStore.save_thread", "after"),
    "an older item is changed": CrashPoint("relaykit.shared.threads.store:PostgresStore.save_item", "after"),
    "an older item is removed": CrashPoint(
        "relaykit.shared.threads.store:PostgresStore.delete_thread_item", "after"
    ),
    "all of it is shown": CrashPoint("relaykit.worker.publishing.journal_writer:JournalWriter.put", nth=12),
}


@pytest.mark.parametrize("point", CHANGES)
async def test_what_a_killed_worker_had_changed_is_changed_once(
    scripted: Settings, tmp_path: Path, point: str
) -> None:
    async with changing(scripted) as (system, alice, thread_id):
        before = await alice.items(thread_id)
        with process("worker", system.settings, tmp_path / "worker.log", dies_at=CHANGES[point]) as doomed:
            async with asking(alice, message(thread_id, str(SCRIPT))) as asker:
                await wait_until("the worker is dead", lambda: not doomed.is_alive())
                assert doomed.exitcode == -signal.SIGKILL, (tmp_path / "worker.log").read_text()
                end_lease(system.settings.redis_url, asker.run_id)
                await assert_changed_once(system, alice, asker, thread_id, before)


async def test_what_a_drained_worker_had_changed_is_changed_once(scripted: Settings, tmp_path: Path) -> None:
    """Its run is handed back, and begins anew elsewhere."""
    script = Script(deltas=10, items_before=1, gate=str(tmp_path), holds=[5], hold_attempts=1)
    at_once = scripted.model_copy(update={"drain_seconds": 0})
    async with changing(at_once) as (system, alice, thread_id):
        before = await alice.items(thread_id)
        with process("worker", system.settings, tmp_path / "worker.log") as drained:
            async with asking(alice, message(thread_id, str(script))) as asker:
                await asker.until("it is in mid-answer", lambda answer: attempt_of(asker) == 1)
                drained.terminate()
                await wait_until("the worker is gone", lambda: not drained.is_alive())
                assert drained.exitcode == 0, (tmp_path / "worker.log").read_text()
                await assert_changed_once(system, alice, asker, thread_id, before)


@asynccontextmanager
async def changing(settings: Settings) -> AsyncIterator[tuple[System, Caller, str]]:
    """An API, and a thread with an answer of three items, whose server changes them before its next one."""
    settings = settings.model_copy(
        update={"chatkit_server": "tests.support.servers.relay_servers:ChangingAnswers"}
    )
    async with running(settings, ChangingAnswers, workers=0) as system:
        alice = await system.caller()
        async with survivor(system, ChangingAnswers):
            answer = await alice.stream(create(str(Script(items_before=3))))
        yield system, alice, answer.thread_id


async def assert_changed_once(
    system: System, alice: Caller, asker: Follower, thread_id: str, before: list[dict[str, Any]]
) -> None:
    """After another worker: in the thread, and on the screen of who had it open. What the server removes is gone, what
    it shows again is there, and what it counts is counted once."""
    async with survivor(system, ChangingAnswers):
        answer = await asker.finished()
        await settled(system.settings, asker.run_id)
    stored = await alice.items(thread_id)
    assert answer.end == "completed"
    [_, counted, gone, again, *_] = before
    older = {item["id"]: texts(item) for item in stored if item in before or item["id"] == counted["id"]}
    assert older[counted["id"]] == ["1 before+"]
    assert older[again["id"]] == ["1 before"]
    assert gone["id"] not in older
    assert len(older) == len(before) - 1
    assert [item["id"] for item in stored[:2]] == [before[0]["id"], counted["id"]]
    assert shown(answer, before) == {item["id"]: item for item in stored}
    assert answer.of_type("thread.updated")[-1]["thread"]["title"] == "+"
    [thread] = await rows(system.settings, "SELECT data FROM threads")
    kept = json.loads(thread["data"])
    assert (kept["title"], kept["metadata"]) == ("+", {"answers": 1})
    for table in ("undo_items", "undo_thread_fields"):
        assert await rows(system.settings, f"SELECT run_id FROM {table}") == []


async def lose(worker: ForkServerProcess, settings: Settings, run_id: str) -> None:
    """kill -9, and the end of the lease that it leaves behind."""
    worker.kill()
    await wait_until("the worker is dead", lambda: not worker.is_alive())
    end_lease(settings.redis_url, run_id)


def attempt_of(asker: Follower) -> int:
    """The attempt whose deltas came last."""
    frames = [cursor for cursor, event in asker.answer.frames if event["type"] == "thread.item.updated"]
    return int(frames[-1].partition("-")[0]) if frames else 0


async def settled(settings: Settings, run_id: str) -> None:
    """Nothing of the run is left in the queue."""
    async with Redis.from_url(settings.redis_url) as redis:

        async def nothing_left() -> bool:
            left = await redis.exists(keys.lease(run_id), keys.job(run_id), keys.tries(run_id))
            return not left and await redis.zscore(keys.QUEUE, run_id) is None

        await wait_until("the run's job is gone from the queue", nothing_left)


async def row(settings: Settings, run_id: str) -> tuple[str, int]:
    [found] = await rows(settings, "SELECT status, attempt FROM runs WHERE id = $1", run_id)
    return found["status"], found["attempt"]


async def rows(settings: Settings, statement: str, *parameters: object) -> list[asyncpg.Record]:
    database = await asyncpg.connect(settings.database_url)
    try:
        return await database.fetch(statement, *parameters)
    finally:
        await database.close()
