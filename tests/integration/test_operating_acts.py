"""Acts against what happens meanwhile: a worker that claims, ends or freezes, and another operator."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from relaykit.operator_commands.services import OperatorServices, opened_services
from relaykit.shared.errors import QueueUnavailable, RunNotFound
from relaykit.shared.journal import START
from relaykit.shared.operating.act_errors import ActRefused, WorkerNotFound
from relaykit.shared.queue.worker_registry import WorkerRegistry, WorkerState
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, open_redis
from relaykit.shared.settings import Settings
from relaykit.worker.main import create_worker
from tests.support.clients.stream_clients import asking
from tests.support.processes.commands import SERVER
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.system import START_SECONDS, _working, create, fork_process, running, wait_until

BY = "ann"


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url, connections=2) as client:
        yield client


@pytest_asyncio.fixture
async def services(settings: Settings) -> AsyncIterator[OperatorServices]:
    async with opened_services(settings) as opened:
        opened.need()
        yield opened


def execute(settings: Settings, statement: str, *parameters: object) -> None:
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        connection.execute(statement, parameters)  # type: ignore[call-overload]


async def accepted(caller: Any, script: Script) -> str:
    async with caller.open_stream(create(str(script))) as response:
        assert response.status_code == 200
        return str(response.headers["x-run-id"])


async def outcomes(services: OperatorServices) -> list[tuple[str, str | None]]:
    return [(act.act, act.outcome) for act in reversed(await services.audit.newest(100))]


async def test_two_operators_stop_a_run_at_once_and_one_of_them_has_done_it(
    settings: Settings, services: OperatorServices
) -> None:
    async with running(settings, ScriptedAnswers, workers=0) as system, opened_services(settings) as other:
        run_id = await accepted(await system.caller(), Script())
        both = await asyncio.gather(
            services.acts.cancel(run_id, "ann"), other.acts.cancel(run_id, "bob"), return_exceptions=True
        )
        assert sorted(map(str, both)) == ["The run has ended: cancelled.", "cancelled"]
        assert await outcomes(services) == [("cancel", "cancelled")]


async def test_a_run_that_is_stopped_while_workers_claim_it_ends_once(
    settings: Settings, services: OperatorServices
) -> None:
    """Whoever comes first to the row: it ends as cancelled or as completed, and its stream says the same."""
    async with running(settings, ScriptedAnswers) as system:
        alice = await system.caller()
        for _ in range(10):
            async with asking(alice, create(str(Script(deltas=3)))) as asker:
                await asker.until("it is accepted", lambda answer: answer.of_type("thread.created"))
                with suppress(ActRefused):  # the worker was first
                    await services.acts.cancel(asker.run_id, BY)
                end = (await asker.finished()).end
            assert end == (await services.reader.find(asker.run_id)).run.status.value


async def test_a_run_that_was_handed_back_is_ended_by_the_next_worker(
    settings: Settings, services: OperatorServices, tmp_path: Path
) -> None:
    short = settings.model_copy(update={"drain_seconds": 0.1})
    async with running(short, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        async with asking(alice, create(str(Script(gate=str(tmp_path), holds=[2])))) as asker:
            async with _working(create_worker(short, ScriptedAnswers())):
                await asker.until("the answer has begun", lambda answer: answer.text)
            assert (await services.reader.find(asker.run_id)).run.status.value == "queued"
            assert await services.acts.cancel(asker.run_id, BY) == "stop requested"
            async with _working(create_worker(short, ScriptedAnswers())):
                assert (await asker.finished()).end == "cancelled"


async def test_a_queued_run_without_a_job_is_taken_at_once(
    settings: Settings, services: OperatorServices, redis: Redis
) -> None:
    """As after a Redis that was emptied. No reaper works here: the worker that takes it comes after."""
    async with running(settings, ScriptedAnswers, workers=0) as system:
        run_id = await accepted(await system.caller(), Script())
        await redis.flushdb()
        assert not (await services.holders.job(run_id)).has_job
        assert await services.acts.requeue(run_id, BY) == "queued: it had no job"
        assert await services.acts.requeue(run_id, BY) == "its job is due now"
        job = await services.holders.job(run_id)
        assert (job.has_job, job.due_seconds) == (True, None)
        flows = await redis.hgetall(keys.FAIR_PREFIX + "flow:" + await _tenant(redis))
        assert flows[b"queued"] == b"1"
        async with _working(create_worker(settings, ScriptedAnswers())):

            async def completed() -> bool:
                return (await services.reader.find(run_id)).run.status.value == "completed"

            await wait_until("it is answered", completed)


async def _tenant(redis: Redis) -> str:
    [tenant] = await redis.zrange(keys.FAIR_PREFIX + "ready:", 0, -1)
    return str(tenant.decode())


async def test_a_run_whose_worker_was_lost_is_due_now_and_before_its_lease_would_end(
    settings: Settings, services: OperatorServices, redis: Redis
) -> None:
    async with running(settings, ScriptedAnswers, workers=0) as system:
        run_id = await accepted(await system.caller(), Script())
        await redis.hset(keys.FAIR_PREFIX + "holders", run_id, "gone")
        await redis.expire(keys.FAIR_PREFIX + "holders", 600)
        await redis.hset(keys.FAIR_PREFIX + "running", run_id, "-:-")
        await redis.expire(keys.FAIR_PREFIX + "running", 600)
        seconds, _ = await redis.time()
        await redis.zadd(keys.QUEUE, {run_id: (seconds + 600) * 1000})
        assert await services.acts.requeue(run_id, BY) == "its job is due now"
        job = await services.holders.job(run_id)
        assert job.due_seconds is not None
        assert job.due_seconds <= 0
        assert job.place is not None
        assert (job.place.worker_id, job.place.is_held) == ("gone", False)


async def test_a_run_is_taken_from_a_frozen_worker_and_what_that_writes_is_refused(
    settings: Settings, services: OperatorServices, redis: Redis, tmp_path: Path
) -> None:
    """The frozen worker is a process that is stopped, and goes on later: its attempt shows nothing more."""
    quick = settings.model_copy(update={"lease_seconds": 3, "chatkit_server": SERVER})
    async with running(quick, ScriptedAnswers, workers=0) as system, opened_services(quick) as acting:
        alice = await system.caller()
        frozen = fork_process("worker", quick, tmp_path / "frozen.log")
        try:
            script = Script(gate=str(tmp_path), holds=[2], hold_attempts=1)
            async with asking(alice, create(str(script))) as asker:
                await asker.until("the answer has begun", lambda answer: answer.text)
                with pytest.raises(ActRefused, match="has the run"):
                    await acting.acts.requeue(asker.run_id, BY)
                frozen.popen.send_signal(signal.SIGSTOP)
                said = await acting.acts.requeue(asker.run_id, BY, force=True)
                assert said.startswith("taken from worker ")
                with pytest.raises(ActRefused, match="a moment ago"):
                    await acting.acts.requeue(asker.run_id, BY)
                async with _working(create_worker(quick, ScriptedAnswers())):
                    finished = await asker.finished()
                    assert finished.end == "completed"
                    frozen.popen.send_signal(signal.SIGCONT)
                    open_gate(tmp_path, 2)
                    await wait_until(
                        "the frozen worker has given the run up",
                        lambda: any(action in frozen.output for action in ("attempt_lost", "lease_lost")),
                    )
                    again = await alice.resume(asker.run_id, None)
                    assert [event for event in again.events if "1.3 " in str(event)] == []
                assert (await acting.reader.find(asker.run_id)).run.attempt == 2
        finally:
            frozen.popen.send_signal(signal.SIGCONT)
            frozen.kill()
    assert [act for act, _ in await outcomes(services)] == ["requeue", "requeue --force", "requeue"]


async def test_a_lease_that_was_taken_away_is_not_renewed_by_a_worker_that_lives(
    settings: Settings, services: OperatorServices, tmp_path: Path
) -> None:
    """Its heartbeat would take a lease again that is merely gone. The run goes to a worker all the same, once."""
    quick = settings.model_copy(update={"lease_seconds": 2})
    async with running(quick, ScriptedAnswers) as system, opened_services(quick) as acting:
        alice = await system.caller()
        script = Script(gate=str(tmp_path), holds=[2], hold_attempts=1)
        async with asking(alice, create(str(script))) as asker:
            await asker.until("the answer has begun", lambda answer: answer.text)
            await acting.acts.requeue(asker.run_id, BY, force=True)
            assert (await asker.finished()).end == "completed"
        assert (await acting.reader.find(asker.run_id)).run.attempt == 2


async def test_what_waits_has_ended_or_is_not_there_is_not_requeued(
    settings: Settings, services: OperatorServices
) -> None:
    async with running(settings, ScriptedAnswers, workers=0) as system:
        run_id = await accepted(await system.caller(), Script())
        execute(settings, "UPDATE runs SET status = 'waiting'")
        with pytest.raises(ActRefused, match="waits behind another"):
            await services.acts.requeue(run_id, BY)
        execute(settings, "UPDATE runs SET status = 'completed', ended_at = now()")
        with pytest.raises(ActRefused, match="has ended: completed"):
            await services.acts.requeue(run_id, BY, force=True)
        for act in (services.acts.requeue, services.acts.cancel):
            with pytest.raises(RunNotFound):
                await act("run_none", BY)
        assert await outcomes(services) == []


async def test_a_process_that_is_drained_ends_as_after_a_signal(
    settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    given = settings.model_copy(update={"chatkit_server": SERVER})
    worker = fork_process("worker", given, tmp_path / "worker.log")
    try:
        async with opened_services(given) as acting:
            [state] = await wait_until("the worker is there", acting.registry.workers)
            assert await acting.acts.drain(state.id, BY) == "draining"
        ended = await asyncio.to_thread(worker.popen.wait, START_SECONDS)
        assert ended == 0
        assert "worker_stop" in worker.output
    finally:
        worker.kill()


async def test_a_worker_that_does_not_answer_is_said_and_noted(
    settings: Settings, services: OperatorServices, redis: Redis
) -> None:
    """It stands still, or is of the release before, to which the signal is the id of a run that it does not have."""
    quick = settings.model_copy(update={"lease_seconds": 1})
    silent = WorkerState("silent", "h", 1, "0", 1, 0, 1.0, draining=False, blocked_seconds=0)
    await WorkerRegistry(redis).register(silent, 600)
    async with opened_services(quick) as acting:
        assert await acting.acts.drain("silent", BY) == "no answer"
        with pytest.raises(WorkerNotFound):
            await acting.acts.drain("nobody", BY)
    assert await outcomes(services) == [("drain", "no answer")]


async def test_an_act_that_fails_is_noted_as_not_done(
    settings: Settings, services: OperatorServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(settings, ScriptedAnswers, workers=0) as system:
        run_id = await accepted(await system.caller(), Script())

    async def away(*_: object, **__: object) -> tuple[str, str]:
        raise QueueUnavailable

    monkeypatch.setattr(type(services.acts.queue), "requeue", away)
    with pytest.raises(QueueUnavailable):
        await services.acts.requeue(run_id, BY)
    assert await outcomes(services) == [("requeue", "not done: queue_unavailable")]


async def test_what_somebody_else_wrote_into_a_journal_is_shown_as_unreadable(
    settings: Settings, services: OperatorServices, redis: Redis
) -> None:
    async with running(settings, ScriptedAnswers, workers=0) as system:
        run_id = await accepted(await system.caller(), Script())
    await redis.xadd(keys.journal(run_id), {"e": b"\xff not JSON"}, id="5-1")
    await redis.xadd(keys.journal(run_id), {"e": b'{"type": 7, "item": [], "update": 3}'}, id="5-2")
    events = await services.reader.events(run_id, START, 100, content=False)
    assert [event.kind for event in events[-2:]] == ["unreadable", ""]
