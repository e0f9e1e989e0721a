"""What a worker counts of its runs, and where the counts of cells go."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from agents import Agent, Runner, set_trace_processors, set_tracing_disabled
from chatkit.agents import AgentContext, simple_to_agent_input, stream_agent_response
from chatkit.server import ChatKitServer
from chatkit.types import ErrorEvent, ThreadMetadata, UserMessageItem
from prometheus_client import REGISTRY

from relaykit.shared.metrics import OTHER, Bounded
from relaykit.shared.settings import Settings
from relaykit.worker.execution.telemetry import model_calls, tell_end
from relaykit.worker.main import create_worker
from relaykit.worker.metrics import MODEL_CALLS
from tests.support.clients.stream_clients import asking
from tests.support.endpoints.responses_endpoint import USAGE, responses_endpoint
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.system import _working, create, free_port, message, running, running_processes, wait_until


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"relaykit_{name}", labels) or 0.0


class Counts:
    """How far counters have come since it was made."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {
            (each.name, tuple(sorted(each.labels.items()))): each.value
            for metric in REGISTRY.collect()
            for each in metric.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        before = self._before.get((f"relaykit_{name}", tuple(sorted(labels.items()))), 0.0)
        return sample(name, **labels) - before


async def test_a_run_counts_once_with_its_times(settings: Settings) -> None:
    async with running(settings, ScriptedAnswers) as system:
        counts = Counts()
        alice = await system.caller()
        answer = await alice.stream(create(str(Script())))
        assert answer.end == "completed"
        kind = {"kind": "threads.create", "status": "completed", "error": ""}
        await wait_until("it is counted", lambda: counts("runs_ended_total", **kind) == 1)
        assert counts("attempts_total", cause="first") == 1
        for name in ("pickup_seconds", "first_event_seconds"):
            assert counts(f"{name}_count") == 1
            assert 0 <= counts(f"{name}_sum") < 60
        assert counts("run_seconds_count", status="completed") == 1
        assert counts("run_seconds_sum", status="completed") >= counts("first_event_seconds_sum") > 0
        assert counts("publish_seconds_count") > 0
        assert counts("redis_seconds_count") > 0
        assert counts("database_seconds_count") > 0
        assert sample("database_connections", state="open") >= 1
        assert sample("database_connections_max") == settings.database_pool_max


async def test_a_wait_behind_the_thread_s_other_run_is_no_pick_up(settings: Settings, tmp_path: Path) -> None:
    """A run is due from when its turn comes."""
    async with running(settings, ScriptedAnswers) as system:
        alice = await system.caller()
        async with asking(alice, create(str(Script(gate=str(tmp_path), holds=[1])))) as first:
            await first.until("it holds", lambda answer: answer.of_type("thread.item.updated"))
            counts = Counts()
            async with asking(alice, message(first.answer.thread_id, str(Script()))) as second:
                await second.until("it was accepted", lambda answer: answer.events)
                open_gate(tmp_path, 1)
                assert (await second.finished()).end == "completed"
                assert (await first.finished()).end == "completed"
            run_ids = [first.run_id, second.run_id]
        await wait_until("both are counted", lambda: counts("attempts_total", cause="first") == 2)
    connection = await asyncpg.connect(settings.database_url)
    try:
        rows = await connection.fetch("SELECT id, due_at > queued_at AS waited FROM runs")
    finally:
        await connection.close()
    assert {row["id"]: row["waited"] for row in rows} == dict(zip(run_ids, (False, True), strict=True))


async def test_a_run_that_is_handed_back_is_begun_again_for_that_reason(
    settings: Settings, tmp_path: Path
) -> None:
    short = settings.model_copy(update={"drain_seconds": 0})
    async with running(short, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        counts = Counts()
        first = create_worker(short, ScriptedAnswers())
        script = Script(gate=str(tmp_path), holds=[1], hold_attempts=1)
        async with asking(alice, create(str(script))) as asker:
            async with _working(first):
                await asker.until("it holds", lambda answer: answer.of_type("thread.item.updated"))
            async with _working(create_worker(short, ScriptedAnswers())):
                assert (await asker.finished()).end == "completed"
                await wait_until("it is counted", lambda: counts("attempts_total", cause="handed_back") == 1)
        assert counts("attempts_total", cause="first") == 1
        assert counts("runs_ended_total", kind="threads.create", status="completed", error="") == 1


async def test_a_run_that_is_cancelled_before_it_begins_counts_too(settings: Settings) -> None:
    async with running(settings, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        counts = Counts()
        async with asking(alice, create(str(Script()))) as asker:
            await asker.until("it was accepted", lambda answer: answer.events)
            await alice.cancel(asker.run_id)
            assert (await asker.finished()).end == "cancelled"
        assert counts("runs_ended_total", kind="threads.create", status="cancelled", error="") == 1


class Failing(ChatKitServer[Any]):
    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Any:
        yield ErrorEvent(code="custom", message="no")


async def test_a_run_that_fails_counts_with_its_code(settings: Settings) -> None:
    async with running(settings, lambda: Failing(None)) as system:  # type: ignore[arg-type]
        counts = Counts()
        assert (await (await system.caller()).stream(create("hello"))).end == "failed"
        failed = {"kind": "threads.create", "status": "failed", "error": "custom"}
        await wait_until("it is counted", lambda: counts("runs_ended_total", **failed) == 1)


class Asking(ChatKitServer[Any]):
    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Any:
        agent_context = AgentContext(thread=thread, store=self.store, request_context=context)
        items = await simple_to_agent_input([input_user_message] if input_user_message else [])
        result = Runner.run_streamed(Agent("a", model="gpt-5.6-luna"), items, context=agent_context)
        async for event in stream_agent_response(agent_context, result):
            yield event


@pytest.fixture
def counted_calls() -> Iterator[None]:
    """Also where another test has turned the SDK's tracing off, or replaced its processors: they are the process's."""
    set_tracing_disabled(False)
    set_trace_processors([])
    model_calls._add_processor.cache_clear()
    yield
    set_trace_processors([])


@pytest.mark.usefixtures("counted_calls")
async def test_model_calls_and_their_tokens_count_by_tenant(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with responses_endpoint() as endpoint:
        monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-test")
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        async with running(settings, lambda: Asking(None)) as system:  # type: ignore[arg-type]
            counts = Counts()
            alice = await system.caller(tenant="acme")
            answer = await alice.stream(create("hello"))
            assert answer.end == "completed", answer.events
            await wait_until("it is counted", lambda: counts("model_calls_total", tenant="acme") == 1)
            assert counts("model_tokens_total", tenant="acme", direction="input") == USAGE["input_tokens"]
            assert counts("model_tokens_total", tenant="acme", direction="output") == USAGE["output_tokens"]
    MODEL_CALLS.remove("acme")


async def test_what_a_cell_has_executed_stands_in_its_worker_s_metrics(
    settings: Settings, tmp_path: Path
) -> None:
    port = free_port()
    isolated = settings.model_copy(
        update={
            "isolate_runs": True,
            "worker_port": port,
            "chatkit_server": "tests.support.servers.relay_servers:ScriptedAnswers",
        }
    )
    async with running_processes(isolated, tmp_path) as system:
        alice = await system.caller()
        assert (await alice.stream(create(str(Script(deltas=2))))).end == "completed"

        def shown() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
                return response.read().decode()

        line = 'relaykit_runs_ended_total{error="",kind="threads.create",status="completed"} 1.0'
        await wait_until("the worker counts it", lambda: line in shown())
        assert "relaykit_pickup_seconds_count 1.0" in shown()


async def test_figures_that_cannot_be_told_cost_a_run_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise LookupError("a defect")

    monkeypatch.setattr(tell_end, "figures_of", fail)
    output = ""

    def lines(action: str) -> list[str]:
        nonlocal output
        output += capsys.readouterr().out
        return [line for line in output.splitlines() if f"action={action}" in line]

    async with running(settings, ScriptedAnswers) as system:
        assert (await (await system.caller()).stream(create(str(Script())))).end == "completed"
        await wait_until("the log says so", lambda: lines("attempt_untold"))
    assert lines("job_failed") == []


def test_labels_are_bounded() -> None:
    bounded = Bounded(2)
    assert [bounded(value) for value in ("a", "b", "c", "a", "d")] == ["a", "b", OTHER, "a", OTHER]
