"""Traces, at a receiver of OTLP: one from a client's POST to the last frame, and nothing in it that somebody wrote."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from relaykit.shared.settings import Settings
from tests.support.clients.stream_clients import asking
from tests.support.endpoints.otlp_receiver import ReceivedSpan, Receiver, otlp_receiver
from tests.support.endpoints.responses_endpoint import USAGE, responses_endpoint
from tests.support.servers.relay_servers import Script, open_gate
from tests.support.system import (
    ROOT,
    START_SECONDS,
    Process,
    create,
    environment,
    running_processes,
    start_process,
    wait_until,
)

SCRIPTED = "tests.support.servers.relay_servers:ScriptedAnswers"
TRACED = "tests.support.servers.traced_servers:TracedServer"
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
SHORT_LEASE_SECONDS = 3


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"chatkit_server": SCRIPTED, "lease_seconds": SHORT_LEASE_SECONDS})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with otlp_receiver() as listening:
        yield listening


def lines(process: Process, action: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in process.output.splitlines() if line.startswith("{")]
    return [line for line in found if line["action"] == action]


async def ended(receiver: Receiver, *names: str) -> None:
    """Waits until spans of these names have come: each is sent when it ends."""
    for name in names:
        await wait_until(f"a span {name!r} has come", lambda name=name: receiver.named(name))


def children(receiver: Receiver, parent: ReceivedSpan) -> set[str]:
    return {span.name for span in receiver.spans if span.parent_id == parent.span_id}


async def test_one_trace_from_the_post_to_the_last_frame_though_a_worker_dies(
    settings: Settings, receiver: Receiver, tmp_path: Path
) -> None:
    """Both attempts are in it, each with its own model and tool calls; the resume is another trace, linked to it."""
    changed = settings.model_copy(update={"chatkit_server": TRACED})
    said, result = f"said{secrets.token_hex(8)}", f"result{secrets.token_hex(8)}"
    gate = tmp_path / "gate"
    async with responses_endpoint() as model:
        more = receiver.environment(MODEL_URL=model.base_url, TOOL_RESULT=result, GATE=str(gate))
        async with running_processes(changed, tmp_path, **more) as system:
            alice = await system.caller("alice", "acme")
            body = create(f"please call look_up {said}")
            async with asking(alice, body, {"traceparent": TRACEPARENT}) as asker:
                await ended(receiver, "chat endpoint")  # of the first attempt, which waits in its tool
                [lost] = system.worker_processes
                [begun] = lines(lost, "attempt_start")
                heir = system.start_worker(**more)
                await wait_until(
                    "another worker is there", lambda: lines(heir, "worker_start"), START_SECONDS
                )
                await asyncio.to_thread(lost.kill)
                answer = await asker.finished()
            assert answer.end == "completed"
            resumed = await alice.resume(answer.run_id, None)
            assert resumed.end == "completed"
            await ended(receiver, "POST /chatkit", "GET /runs/{run_id}/events")
            await wait_until("both attempts have come", lambda: len(receiver.named("attempt")) == 2)
            outputs = [each.output for each in (*system.api_processes, *system.worker_processes)]
    [post] = receiver.named("POST /chatkit")
    assert (post.trace_id, post.parent_id) == (TRACE_ID, SPAN_ID)
    assert answer.headers["traceparent"] == f"00-{TRACE_ID}-{post.span_id}-01"
    assert post.attributes["relaykit.run.id"] == answer.run_id
    assert post.attributes["http.response.status_code"] == 200
    assert children(receiver, post) == {"admission", "queue", "attempt", "relay"}
    first, second = receiver.named("attempt")
    assert [each.attributes["relaykit.attempt"] for each in (first, second)] == [1, 2]
    assert [each.attributes["relaykit.attempt.end"] for each in (first, second)] == ["lost", "completed"]
    assert [each.attributes["relaykit.attempt.cause"] for each in (first, second)] == ["first", "lost"]
    assert (first.is_error, second.is_error) == (True, False)
    [taken] = lines(heir, "run_taken_over")
    assert first.attributes["relaykit.worker.id"] == taken["from_worker"] == begun["worker"]
    [begun_again] = lines(heir, "attempt_start")
    assert begun_again["process"] == "cell"  # where a run is executed whose worker was lost
    assert second.attributes["relaykit.worker.id"] == taken["worker"]
    assert first.start_ns < first.end_ns <= second.start_ns < second.end_ns
    assert {each["trace_id"] for each in (begun, begun_again, taken | begun)} == {TRACE_ID}
    assert {
        span.trace_id for span in receiver.spans if span.attributes.get("relaykit.run.id") == answer.run_id
    } == {
        TRACE_ID,
        receiver.named("GET /runs/{run_id}/events")[0].trace_id,
    }
    # what the first attempt's worker had sent before it died hangs below its span, which the second has told of
    agent = receiver.named("invoke_agent librarian")
    assert {each.parent_id for each in agent} == {second.span_id}
    calls = receiver.named("chat endpoint")
    assert len(calls) == 3
    for call in calls:
        assert call.attributes["gen_ai.operation.name"] == "chat"
        assert call.attributes["gen_ai.request.model"]
        assert call.attributes["gen_ai.usage.input_tokens"] == USAGE["input_tokens"]
        assert call.attributes["gen_ai.usage.output_tokens"] == USAGE["output_tokens"]
    assert [call.parent_id for call in calls[1:]] == [agent[0].span_id] * 2
    [tool] = receiver.named("execute_tool look_up")
    assert (tool.parent_id, tool.attributes["gen_ai.tool.name"]) == (agent[0].span_id, "look_up")
    assert {"publish", "store load_thread_items"} <= children(receiver, first) | children(receiver, second)
    assert "publish" in children(receiver, second)
    [link] = receiver.named("GET /runs/{run_id}/events")[0].links
    assert link == (TRACE_ID, post.span_id)
    assert {post.resource["service.name"], first.resource["service.name"]} == {
        "relaykit-api",
        "relaykit-worker",
    }
    sent = b"".join(receiver.bodies)
    token = alice.token.encode()
    for word in (
        said.encode(),
        result.encode(),
        b"please call",
        b"guessed",
        b"mallory",
        token,
        token.split(b".")[2],
    ):
        assert word not in sent
    assert all("traces_dropped" not in output for output in outputs)


@pytest.mark.parametrize("how", ["frozen", "drained"])
async def test_each_attempt_is_told_once(
    settings: Settings, receiver: Receiver, tmp_path: Path, how: str
) -> None:
    """A worker that wakes up after its lease tells nothing of its attempt; one that drains says so in its span."""
    gate = tmp_path / "gate"
    gate.mkdir()
    script = Script(gate=str(gate), holds=[1], hold_attempts=1)
    more = receiver.environment(DRAIN_SECONDS="0")
    async with running_processes(settings, tmp_path, **more) as system:
        alice = await system.caller()
        async with asking(alice, create(str(script)), {"traceparent": TRACEPARENT}) as asker:
            await asker.until("it holds", lambda answer: answer.of_type("thread.item.updated"))
            [first] = system.worker_processes
            heir = system.start_worker(**more)
            await wait_until("another worker is there", lambda: lines(heir, "worker_start"), START_SECONDS)
            if how == "frozen":
                first.popen.send_signal(signal.SIGSTOP)
            else:
                assert await asyncio.to_thread(first.terminate) == 0
            assert (await asker.finished()).end == "completed"
        if how == "frozen":
            open_gate(gate, 1)  # it goes on where it stood
            first.popen.send_signal(signal.SIGCONT)
            await wait_until("it hears of it", lambda: lines(first, "attempt_lost"))
            assert await asyncio.to_thread(first.terminate) == 0
        assert await asyncio.to_thread(heir.terminate) == 0
    attempts = receiver.named("attempt")
    why = "lost" if how == "frozen" else "handed_back"
    assert [each.attributes["relaykit.attempt.end"] for each in attempts] == [why, "completed"]
    assert [each.attributes["relaykit.attempt.cause"] for each in attempts] == ["first", why]
    assert len({each.span_id for each in receiver.spans}) == len(receiver.spans)


async def test_what_was_said_is_there_where_it_is_asked_for(
    settings: Settings, receiver: Receiver, tmp_path: Path
) -> None:
    changed = settings.model_copy(update={"chatkit_server": TRACED})
    capture = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true", "OTEL_SERVICE_NAME": "our-chat"}
    async with responses_endpoint() as model:
        more = receiver.environment(MODEL_URL=model.base_url, TOOL_RESULT="in the cellar", **capture)
        async with running_processes(changed, tmp_path, **more) as system:
            alice = await system.caller()
            assert (await alice.stream(create("please call look_up now"))).end == "completed"
            await ended(receiver, "attempt")
    [tool] = receiver.named("execute_tool look_up")
    assert json.loads(tool.attributes["gen_ai.tool.call.arguments"])["access_token"] == "guessed"
    assert tool.attributes["gen_ai.tool.call.result"] == "in the cellar"
    first, last = receiver.named("chat endpoint")
    [asked] = json.loads(first.attributes["gen_ai.input.messages"])
    assert asked["role"] == "user"
    assert "please call look_up now" in asked["parts"][0]["content"]
    [call] = json.loads(first.attributes["gen_ai.output.messages"])
    assert (call["role"], call["parts"][0]["type"]) == ("assistant", "tool_call")
    [said] = json.loads(last.attributes["gen_ai.output.messages"])
    assert "It is in the docs" in said["parts"][0]["content"]
    assert {span.resource["service.name"] for span in receiver.spans} == {"our-chat"}


async def test_a_run_of_a_cell_has_its_attempt_in_the_trace(
    settings: Settings, receiver: Receiver, tmp_path: Path
) -> None:
    """A cell is a process of its own, which sends what it has made before it ends."""
    isolated = settings.model_copy(update={"isolate_runs": True})
    async with running_processes(isolated, tmp_path, **receiver.environment()) as system:
        alice = await system.caller()
        answer = await alice.stream(create(str(Script(deltas=3))), {"traceparent": TRACEPARENT})
        assert answer.end == "completed"
        [worker] = system.worker_processes
        assert await asyncio.to_thread(worker.terminate) == 0
        await ended(receiver, "attempt")
    [attempt] = receiver.named("attempt")
    assert attempt.trace_id == TRACE_ID
    assert attempt.resource["process.pid"] != worker.popen.pid


async def test_a_client_that_the_sampler_leaves_out_has_no_spans_and_its_trace_goes_on(
    settings: Settings, receiver: Receiver, tmp_path: Path
) -> None:
    """`00` at the end of traceparent, and the SDK's own sampler: nothing is sent, and the log knows the trace."""
    async with running_processes(settings, tmp_path, **receiver.environment()) as system:
        alice = await system.caller()
        answer = await alice.stream(create(str(Script(deltas=3))), {"traceparent": f"{TRACEPARENT[:-2]}00"})
        assert answer.headers["traceparent"].startswith(f"00-{TRACE_ID}-")
        assert answer.headers["traceparent"].endswith("-00")
        [begun] = lines(system.worker_processes[0], "attempt_start")
        assert begun["trace_id"] == TRACE_ID
        for process in (*system.worker_processes, *system.api_processes):
            await asyncio.to_thread(process.terminate)
    assert TRACE_ID not in {span.trace_id for span in receiver.spans}


async def test_what_is_no_traceparent_begins_a_trace(
    settings: Settings, receiver: Receiver, tmp_path: Path
) -> None:
    """Nor is one of two believed."""
    given: list[list[bytes]] = [
        *([each] for each in (b"", b"x", b"\xe4", TRACEPARENT.encode() * 100)),
        [f"00-{'0' * 32}-{SPAN_ID}-01".encode()],
        [f"ff-{TRACE_ID}-{SPAN_ID}-01".encode()],
        [TRACEPARENT.encode()] * 2,
    ]
    async with running_processes(settings, tmp_path, workers=0, **receiver.environment()) as system:
        alice = await system.caller()
        for each in given:
            more = [
                (b"Authorization", f"Bearer {alice.token}".encode()),
                *((b"traceparent", one) for one in each),
            ]
            response = await alice.client.get("/runs/run_none", headers=more)
            assert response.status_code == 404
            assert response.headers["traceparent"][3:35] not in (TRACE_ID, "0" * 32), each


@pytest.mark.parametrize("wrong", ["hangs", "refuses", "away"])
async def test_a_receiver_that_is_no_use_harms_no_run_and_holds_up_no_drain(
    settings: Settings, receiver: Receiver, tmp_path: Path, wrong: str
) -> None:
    more = receiver.environment()
    if wrong == "hangs":
        receiver.hangs.set()
    elif wrong == "refuses":
        receiver.status = 400
    else:
        more["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    async with running_processes(settings, tmp_path, **more) as system:
        alice = await system.caller()
        answer = await alice.stream(create(str(Script(deltas=20))))
        assert answer.end == "completed"
        if wrong != "away":
            await wait_until("both have asked the receiver", lambda: receiver.asked >= 2)
        for process in (*system.worker_processes, *system.api_processes):
            assert await asyncio.to_thread(process.terminate) == 0
            assert "process_end_forced" not in process.output
            told = {each for each in ("traces_left", "traces_dropped") if lines(process, each)}
            assert told, wrong  # the SDK tries again for a while where nobody answers


async def test_without_otel_variables_nothing_of_it_is_there(
    settings: Settings, database_url: str, tmp_path: Path
) -> None:
    """Neither the SDK nor the exporter is imported by API and worker, no header comes, and no row has a trace.

    The API of OpenTelemetry is imported by libraries that the agents SDK imports.
    """
    telling = tmp_path / "telling"
    telling.mkdir()
    telling.joinpath("sitecustomize.py").write_text(
        "import atexit, os, sys\n"
        "def tell():\n"
        f"    with open(f'{tmp_path}/modules-{{os.getpid()}}', 'w') as file:\n"
        "        file.write('\\n'.join(sys.modules))\n"
        "atexit.register(tell)\n"
    )
    async with running_processes(
        settings, tmp_path, start=start_process, PYTHONPATH=f"{telling}:{ROOT}"
    ) as system:
        alice = await system.caller()
        answer = await alice.stream(create(str(Script(deltas=3))), {"traceparent": TRACEPARENT})
        assert answer.end == "completed"
        assert "traceparent" not in answer.headers
        connection = await asyncpg.connect(database_url)
        try:
            context = json.loads(await connection.fetchval("SELECT context FROM runs"))
        finally:
            await connection.close()
        assert "trace" not in context
        for process in (*system.worker_processes, *system.api_processes):
            assert await asyncio.to_thread(process.terminate) == 0
            imported = tmp_path.joinpath(f"modules-{process.popen.pid}").read_text().splitlines()
            assert "relaykit.shared.tracing.spans" in imported
            parts = ("opentelemetry.sdk", "opentelemetry.exporter", "google.protobuf", "requests")
            assert [
                name for name in imported if name.startswith((*parts, "relaykit.shared.tracing.otel"))
            ] == []


def run_side(side: str, settings: Settings, tmp_path: Path, **more: str) -> tuple[int, str]:
    process = start_process(side, settings, tmp_path / f"{side}.log", **more)
    return process.popen.wait(), process.output


@pytest.mark.parametrize("side", ["api", "worker"])
def test_a_bad_variable_is_one_line(settings: Settings, tmp_path: Path, side: str) -> None:
    """tests/unit/test_tracing.py has the others."""
    status, output = run_side(side, settings, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT="collector:4317")
    assert (status, output.count("\n")) == (2, 1), output
    assert output.startswith(f"relaykit {side}: bad_setting: OTEL_EXPORTER_OTLP_ENDPOINT: must be")


@pytest.mark.parametrize("side", ["api", "worker"])
def test_without_the_extra_a_process_says_what_to_install(
    settings: Settings, tmp_path: Path, side: str
) -> None:
    hiding = tmp_path / "hiding"
    hiding.mkdir()
    hiding.joinpath("sitecustomize.py").write_text(
        "import importlib.machinery, sys\n"
        "class Hiding:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter')):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hiding)\n"
    )
    more = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "PYTHONPATH": f"{hiding}:{ROOT}"}
    status, output = run_side(side, settings, tmp_path, **more)
    assert (status, output.count("\n")) == (2, 1), output
    assert "pip install 'relaykit[otel]'" in output
    del more["OTEL_EXPORTER_OTLP_ENDPOINT"]
    imported = subprocess.run(
        [sys.executable, "-c", f"import relaykit.{side}.__main__"],
        env=environment(settings, **more),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (imported.returncode, imported.stderr) == (0, "")


async def test_it_can_be_turned_off(settings: Settings, receiver: Receiver, tmp_path: Path) -> None:
    off = receiver.environment(OTEL_SDK_DISABLED="true")
    async with running_processes(settings, tmp_path, **off) as system:
        alice = await system.caller()
        answer = await alice.stream(create(str(Script(deltas=3))), {"traceparent": TRACEPARENT})
        assert "traceparent" not in answer.headers
        for process in (*system.worker_processes, *system.api_processes):
            await asyncio.to_thread(process.terminate)
    assert receiver.asked == 0
