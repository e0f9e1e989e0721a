"""What is no Exception, raised by the site's code in real processes, costs its own run or request, and nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from tests.support.clients.stream_clients import Follower, asking
from tests.support.repository.error_catalogue import assert_documented_error
from tests.support.servers.crashing_servers import CANCELS, RAISED, Crash
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import (
    Answer,
    Caller,
    Processes,
    create,
    free_port,
    keyed,
    make_settings,
    message,
    running_processes,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

KINDS = [kind for kind in RAISED if kind != "error"]
TYPES = {
    "panic": "Panic",
    "group": "Panic",
    "generator exit": "GeneratorExit",
    "exit": "SystemExit",
    "interrupt": "KeyboardInterrupt",
    "cancelled": "CancelledError",
    "error": "RuntimeError",
}
STREAM_ERROR = {"type": "error", "code": "stream.error", "allow_retry": True}


class Stage:
    def __init__(self, system: Processes, alice: Caller, database: asyncpg.Connection) -> None:
        self.system, self.alice, self.database = system, alice, database

    async def ended(self, run_id: str) -> tuple[str, str | None, int]:
        row = await self.database.fetchrow("SELECT status, error, attempt FROM runs WHERE id = $1", run_id)
        return (row["status"], row["error"], row["attempt"])

    async def titled(self, title: str) -> str:
        """A thread with this title, whose id is returned."""
        thread = (await self.alice.stream(create(str(Crash())))).thread_id
        await self.alice.ask({"type": "threads.update", "params": {"thread_id": thread, "title": title}})
        return thread

    def failures(self) -> list[dict[str, Any]]:
        return self.lines("server_failed") + self.lines("run_failed")

    def lines(self, action: str, side: str = "worker") -> list[dict[str, Any]]:
        processes = self.system.worker_processes if side == "worker" else self.system.api_processes
        lines = [line for process in processes for line in process.output.splitlines()]
        found = [json.loads(line) for line in lines if f'"action": "{action}"' in line]
        assert not [line for line in lines if "a secret" in line]
        return found

    def assert_alive(self) -> None:
        for process in [*self.system.worker_processes, *self.system.api_processes]:
            assert process.popen.poll() is None, process.output


Staged = Callable[..., AbstractAsyncContextManager[Stage]]


@pytest.fixture(scope="module")
def staged(
    redis_databases: RedisDatabases, databases: Databases, issuer_key_file: Path, tmp_path_factory
) -> Staged:
    """Real processes with these settings."""

    @asynccontextmanager
    async def run(**changes: Any) -> AsyncIterator[Stage]:
        folder = tmp_path_factory.mktemp("stage")
        given = {
            "lease_seconds": 30,
            "chatkit_server": "tests.support.servers.crashing_servers:Crashing",
            "chatkit_context": "tests.support.servers.crashing_servers:async_context",
            **changes,
        }
        with redis_databases.fresh() as redis_url, databases.fresh() as database_url:
            settings = make_settings(redis_url, database_url, issuer_key_file, free_port(), **given)
            async with running_processes(settings, folder, NOTEBOOK=str(folder / "notebook")) as system:
                database = await asyncpg.connect(database_url)
                yield Stage(system, await system.caller(), database)
                await database.close()

    return run


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(staged: Staged) -> AsyncIterator[Stage]:
    async with staged() as stage:
        yield stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def isolated(staged: Staged) -> AsyncIterator[Stage]:
    """Each run in a cell of its own."""
    async with staged(isolate_runs=True) as stage:
        yield stage


@pytest.fixture
def bystander(tmp_path: Path) -> Crash:
    return Crash(gate=str(tmp_path))


async def ready(asker: Follower) -> None:
    await asker.until("it is being answered", lambda answer: answer.of_type("progress_update"))


async def crash(stage: Stage, raises: str, at: str) -> Answer:
    return await stage.alice.stream(
        create(str(Crash(raises=raises, at=at))), keyed(f"{raises}-{at}".replace(" ", "-"))
    )


RUNS = [(kind, place) for kind in KINDS for place in ("respond", "task")] + [
    (kind, place)
    for place in ("finally", "group of tasks", "gather", "thread", "tool")
    for kind in ("panic", "exit", "interrupt", "cancelled")
    # asyncio's groups take it for the end of one of their tasks, the agents SDK for an answer of the tool
    if (kind, place) not in {("cancelled", "group of tasks"), ("cancelled", "tool")}
]


@pytest.mark.parametrize(("kind", "place"), RUNS)
async def test_it_fails_its_own_run_at_once_and_the_run_beside_it_completes(
    stage: Stage, bystander: Crash, kind: str, place: str
) -> None:
    """One attempt each, in the same process; the log has the type and the place."""
    before = stage.failures()
    async with asking(stage.alice, create(str(bystander))) as beside:
        await ready(beside)
        answer = await crash(stage, kind, place)
        assert (answer.end, answer.events[-1]) == ("failed", STREAM_ERROR)
        assert await stage.ended(answer.run_id) == ("failed", "stream.error", 1)
        (Path(bystander.gate) / "open").touch()
        assert (await beside.finished()).end == "completed"
        assert await stage.ended(beside.run_id) == ("completed", None, 1)
    (failed,) = [line for line in stage.failures() if line not in before]
    # Python throws this one past the generators between, which it breaks
    if (kind, place) != ("generator exit", "task"):
        assert failed["error_type"] == TYPES[kind]
        assert any("crashing_servers.py" in frame and frame.endswith(":here") for frame in failed["frames"])
    stage.assert_alive()


@pytest.mark.parametrize(
    ("kind", "place", "told"),
    [
        ("exit", "abandoned task", "SystemExit"),
        ("interrupt", "abandoned task", "KeyboardInterrupt"),
        ("exit", "callback", "SystemExit"),
        ("", "loop", "RuntimeError"),
    ],
)
async def test_one_that_nothing_awaits_is_told_and_harms_no_run(
    stage: Stage, bystander: Crash, kind: str, place: str, told: str
) -> None:
    """`loop.stop()` is such a thing too."""
    before = len(stage.lines("exit_ignored"))
    async with asking(stage.alice, create(str(bystander))) as beside:
        await ready(beside)
        answer = await crash(stage, kind, place)
        assert answer.end == "completed"
        (Path(bystander.gate) / "open").touch()
        assert (await beside.finished()).end == "completed"
        assert await stage.ended(beside.run_id) == ("completed", None, 1)
    (line,) = stage.lines("exit_ignored")[before:]
    assert line["error_type"] == told
    assert place == "loop" or any("crashing_servers.py" in frame for frame in line["frames"])
    stage.assert_alive()


@pytest.mark.parametrize("kind", [*KINDS, CANCELS])
async def test_in_the_context_it_fails_the_run_as_an_exception_does(stage: Stage, kind: str) -> None:
    request = create(str(Crash()), metadata={"raises": f"{kind} at the worker"})
    answer = await stage.alice.stream(request)
    assert (answer.end, answer.events[-1]) == ("failed", STREAM_ERROR)
    assert await stage.ended(answer.run_id) == ("failed", "internal", 1)
    stage.assert_alive()


async def test_a_run_that_cancels_its_own_task_fails_at_once_and_is_told(stage: Stage) -> None:
    before = stage.failures()
    answer = await crash(stage, CANCELS, "respond")
    assert (answer.end, answer.events[-1]) == ("failed", STREAM_ERROR)
    assert await stage.ended(answer.run_id) == ("failed", "stream.error", 1)
    (failed,) = [line for line in stage.failures() if line not in before]
    assert failed["error_type"] == "CancelledError"
    stage.assert_alive()


@pytest.mark.parametrize("kind", [*KINDS, CANCELS])
async def test_in_a_cell_it_fails_its_own_run_at_once(isolated: Stage, kind: str) -> None:
    for request, error in (
        (create(str(Crash(raises=kind, at="respond"))), "stream.error"),
        (create(str(Crash()), metadata={"raises": f"{kind} at the worker"}), "internal"),
    ):
        answer = await isolated.alice.stream(request)
        assert (answer.end, answer.events[-1]) == ("failed", STREAM_ERROR)
        assert await isolated.ended(answer.run_id) == ("failed", error, 1)
    assert not isolated.lines("suspect_died")
    isolated.assert_alive()


async def test_a_thread_that_hangs_in_a_cell_keeps_no_other_run_waiting(isolated: Stage) -> None:
    """Its user stops the run; the next one is executed, though the thread is still there."""
    async with asking(isolated.alice, create(str(Crash(at="hung thread")))) as asker:
        await ready(asker)
        assert (await isolated.alice.stream(create(str(Crash())))).end == "completed"
        assert (await isolated.alice.cancel(asker.run_id)).status_code == 202
        assert (await asker.finished()).end == "cancelled"
    assert await isolated.ended(asker.run_id) == ("cancelled", None, 1)
    assert (await isolated.alice.stream(create(str(Crash())))).end == "completed"
    isolated.assert_alive()


@pytest.mark.parametrize("kind", KINDS)
async def test_in_stream_options_of_the_worker_it_fails_the_run(stage: Stage, kind: str) -> None:
    thread = await stage.titled(f"{kind} at stream options of the worker")
    answer = await stage.alice.stream(message(thread, str(Crash())))
    assert (answer.end, answer.events[-1]) == ("failed", STREAM_ERROR)
    assert await stage.ended(answer.run_id) == ("failed", "stream.error", 1)
    stage.assert_alive()


@pytest.mark.parametrize("kind", RAISED)
async def test_in_a_stop_the_run_is_cancelled_all_the_same(stage: Stage, bystander: Crash, kind: str) -> None:
    """In the worker, and in the API for a run that waits behind it."""
    thread = await stage.titled(f"{kind} at stop")
    async with asking(stage.alice, message(thread, str(bystander))) as first:
        await ready(first)
        waiting = message(thread, str(Crash()))
        async with asking(stage.alice, waiting) as second:
            await second.until("it waits", lambda answer: answer.of_type("stream_options"))
            assert (await stage.alice.cancel(second.run_id)).status_code == 202
            assert (await second.finished()).end == "cancelled"
        assert (await stage.alice.cancel(first.run_id)).status_code == 202
        assert (await first.finished()).end == "cancelled"
    assert await stage.ended(first.run_id) == ("cancelled", None, 1)
    assert stage.lines("cancel_unheard", "api")[-1]["error_type"] == TYPES[kind]
    stage.assert_alive()


@pytest.mark.parametrize("kind", KINDS)
async def test_in_a_request_that_is_answered_at_once_it_is_a_500(stage: Stage, kind: str) -> None:
    for where in ("transcribe", "a task"):
        audio = base64.b64encode(f"{kind} at {where}".encode()).decode()
        params = {"audio_base64": audio, "mime_type": "audio/webm"}
        assert_internal(await stage.alice.post({"type": "input.transcribe", "params": params}))
    thread = await stage.titled(f"{kind} at feedback")
    (item, *_) = await stage.alice.items(thread)
    feedback = {"thread_id": thread, "item_ids": [item["id"]], "kind": "negative"}
    assert_internal(await stage.alice.post({"type": "items.feedback", "params": feedback}))
    thread = await stage.titled(f"{kind} at stream options")
    assert_internal(await stage.alice.post(message(thread, str(Crash()))))
    assert_internal(await stage.alice.post(create(str(Crash()), metadata={"raises": f"{kind} at the API"})))
    lines = stage.lines("request_failed", "api")[-5:]
    assert [line["error_type"] for line in lines] == [TYPES[kind]] * 5
    stage.assert_alive()


def assert_internal(response: Any) -> None:
    assert_documented_error(response, 500)
    assert response.json()["error"]["code"] == "internal"


async def test_in_a_task_of_the_api_that_nothing_awaits_it_is_told(stage: Stage) -> None:
    audio = base64.b64encode(b"exit at an abandoned task").decode()
    params = {"audio_base64": audio, "mime_type": "audio/webm"}
    assert (await stage.alice.ask({"type": "input.transcribe", "params": params}))["text"] == ""
    assert stage.lines("exit_ignored", "api")[-1]["error_type"] == "SystemExit"
    stage.assert_alive()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["loading", "storing"])
async def test_in_a_store_of_the_sites_own_it_fails_the_run(own_store: Stage, kind: str, place: str) -> None:
    thread = await own_store.titled(f"{kind} at {place}")
    answer = await own_store.alice.stream(message(thread, str(Crash())))
    assert (answer.end, answer.events[-1]) == ("failed", STREAM_ERROR)
    code = "internal" if place == "loading" else "stream.error"
    assert await own_store.ended(answer.run_id) == ("failed", code, 1)
    own_store.assert_alive()


@pytest.mark.parametrize("kind", ["panic", "exit", "cancelled", CANCELS, "error"])
async def test_in_the_context_of_a_run_that_waits_it_does_not_keep_the_thread(
    own_store: Stage, bystander: Crash, kind: str
) -> None:
    """The run comes to its turn, and its attempt decides; what waits behind it is answered."""
    stage = own_store
    thread = await stage.titled("")
    async with asking(stage.alice, message(thread, str(bystander))) as first:
        await ready(first)
        async with asking(stage.alice, message(thread, str(Crash()))) as second:
            await second.until("it waits", lambda answer: answer.of_type("stream_options"))
            # which the worker asks for, without an attempt, where the run before it ends
            await stage.database.execute(
                "UPDATE runs SET context = jsonb_set(context::jsonb, '{metadata}', $2::jsonb)::json WHERE id = $1",
                second.run_id,
                json.dumps({"raises": f"{kind} at the API"}),
            )
            async with asking(
                stage.alice, message(thread, str(Crash())), keyed(f"third-{kind}".replace(" ", "-"))
            ) as third:
                (Path(bystander.gate) / "open").touch()
                assert (await first.finished()).end == "completed"
                assert (await second.finished()).end == "completed"
                assert (await third.finished()).end == "completed"
    stage.assert_alive()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def own_store(staged: Staged) -> AsyncIterator[Stage]:
    async with staged(
        chatkit_store="own",
        chatkit_server="tests.support.servers.crashing_servers:CrashingNotebook",
        chatkit_context="tests.support.servers.crashing_servers:context",
    ) as stage:
        yield stage
