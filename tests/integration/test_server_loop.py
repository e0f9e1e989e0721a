"""The site's code in an API runs beside the loop that relays: while it blocks, all that needs none of it goes on."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from chatkit.errors import CustomStreamError
from chatkit.types import (
    AudioInput,
    FeedbackKind,
    Page,
    StreamOptions,
    ThreadItem,
    ThreadMetadata,
    TranscriptionResult,
)
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from relaykit.api.site.server_loop import ServerLoop
from relaykit.shared.errors import RelaykitError, ServerBlocked
from relaykit.shared.postgres.database import Database
from relaykit.shared.settings import Settings
from tests.integration.written import written
from tests.support.clients.stream_clients import PING, Follower, asking
from tests.support.repository.error_catalogue import assert_documented_error
from tests.support.servers.blocking_site import DOOR, Blocking, Door, Notebook
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.servers.user_servers import SqliteStore
from tests.support.system import Caller, System, create, message, running, wait_until

HERE = "tests.integration.test_server_loop"
DELTAS = 30
FILE = {"name": "a.txt", "size": 3, "mime_type": "text/plain"}
TRANSCRIBE = {"type": "input.transcribe", "params": {"audio_base64": "AAAA", "mime_type": "audio/webm"}}
LIST = {"type": "threads.list", "params": {}}


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    folder = tmp_path / "door"
    folder.mkdir()
    monkeypatch.setenv(DOOR, str(folder))
    return Door()


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


@pytest.fixture
def pinging(settings: Settings) -> Settings:
    return settings.model_copy(update={"ping_seconds": 0.05})


def held_script(gate: Path) -> str:
    """Each delta waits for the test."""
    return str(Script(deltas=DELTAS, gate=str(gate), holds=list(range(DELTAS))))


def deltas_of(stream: Follower) -> int:
    return len(stream.answer.of_type("thread.item.updated"))


async def goes_on(system: System, stream: Follower, gate: Path, deltas: int) -> None:
    """The stream gets further deltas and pings, and the process answers."""
    for number in range(deltas_of(stream), deltas_of(stream) + deltas):
        open_gate(gate, number)
        await stream.until("the next delta", lambda _, after=number: deltas_of(stream) > after)
    pings = stream.raw.count(PING)
    await stream.until("pings", lambda _: stream.raw.count(PING) > pings + 2)
    async with httpx2.AsyncClient(base_url=system.urls[0]) as client:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await client.get(path)).status_code == 200, path


# --- what blocks


def blocked_requests(thread: str, item: str, file: str) -> dict[str, dict[str, Any]]:
    """Beside each place the request that comes by it."""
    feedback = {"thread_id": thread, "item_ids": [item], "kind": "positive"}
    action = {"thread_id": thread, "action": {"type": "a", "payload": {}}}
    return {
        "transcribe": TRANSCRIBE,
        "add_feedback": {"type": "items.feedback", "params": feedback},
        "sync_action": {"type": "threads.sync_custom_action", "params": action},
        "create_attachment": {"type": "attachments.create", "params": FILE},
        "delete_attachment": {"type": "attachments.delete", "params": {"attachment_id": file}},
        "get_stream_options": message(thread, "another"),
    }


@asynccontextmanager
async def blocked(
    door: Door, place: str, request: Awaitable[httpx2.Response], status: int = 200
) -> AsyncIterator[None]:
    """For the time of the block the request stands at the place; then it goes on, and is answered."""
    door.shut(place)
    asked = asyncio.create_task(request)
    try:
        await wait_until(f"a call stands at {place}", lambda: door.stands(place) or asked.done())
        assert not asked.done(), (await asked).text
        yield
        assert not asked.done(), "it was answered before it could be"
    finally:
        door.open(place)
    response = await asked
    assert response.status_code == status, response.text
    assert door.was_opened(place), "nothing went on while it stood"


@pytest.mark.parametrize("place", blocked_requests("", "", ""))
async def test_while_a_method_of_the_server_blocks_streams_and_what_needs_none_of_it_go_on(
    pinging: Settings, door: Door, gate: Path, place: str
) -> None:
    async with running(pinging, Blocking) as system:
        alice = await system.caller("alice")
        async with asking(alice, create(held_script(gate))) as stream:
            await stream.until("it began", lambda answer: answer.of_type("thread.item.added"))
            thread = stream.answer.thread_id
            item = (await alice.items(thread))[0]["id"]
            file = (await alice.ask({"type": "attachments.create", "params": FILE}))["id"]
            request = blocked_requests(thread, item, file)[place]
            async with blocked(door, place, _posted(alice, request)):
                await goes_on(system, stream, gate, 5)
                assert (await alice.ask(LIST))["data"][0]["id"] == thread
                assert len(await alice.items(thread)) >= 1
                assert (await alice.get(f"/runs/{stream.run_id}")).json()["status"] == "running"
                title = {"thread_id": thread, "title": place}
                assert (await alice.ask({"type": "threads.update", "params": title}))["title"] == place
                assert (await alice.cancel(stream.run_id)).status_code == 202
                assert (await stream.finished()).end == "cancelled"


async def _posted(caller: Caller, request: dict[str, Any]) -> httpx2.Response:
    """Its answer; of a stream only that it began."""
    if request["type"] != "threads.add_user_message":
        return await caller.post(request)
    async with caller.open_stream(request) as response:
        return response


async def test_while_the_context_blocks_what_needs_no_context_goes_on(
    pinging: Settings, door: Door, gate: Path
) -> None:
    given = pinging.model_copy(
        update={"chatkit_context": "tests.support.servers.blocking_site:blocking_context"}
    )
    async with running(given, Blocking) as system:
        alice = await system.caller("alice")
        async with asking(alice, create(held_script(gate))) as stream:
            await stream.until("it began", lambda answer: answer.of_type("thread.item.added"))
            async with blocked(door, "context", alice.post(LIST)):
                await goes_on(system, stream, gate, 5)
                assert (await alice.get(f"/runs/{stream.run_id}")).json()["status"] == "running"
                assert (await alice.cancel(stream.run_id)).status_code == 202


async def test_while_a_stop_of_a_run_that_waits_blocks_in_the_server_streams_go_on(
    pinging: Settings, door: Door, gate: Path
) -> None:
    async with running(pinging, Blocking) as system:
        alice = await system.caller("alice")
        async with asking(alice, create(held_script(gate))) as stream:
            await stream.until("it began", lambda answer: answer.of_type("thread.item.added"))
            async with alice.open_stream(message(stream.answer.thread_id, "behind it")) as response:
                waiting = response.headers["x-run-id"]
            async with blocked(door, "handle_stream_cancelled", alice.cancel(waiting), 202):
                await goes_on(system, stream, gate, 5)
                assert (await alice.get(f"/runs/{waiting}")).json()["status"] == "cancelled"


@pytest.mark.parametrize("place", ["load_threads", "add_thread_item"])
async def test_while_a_store_of_the_sites_own_blocks_streams_go_on(
    pinging: Settings, door: Door, gate: Path, tmp_path: Path, place: str
) -> None:
    own = pinging.model_copy(update={"chatkit_store": "own"})
    async with running(own, lambda: Notebook(str(tmp_path / "notebook.db"))) as system:
        alice = await system.caller("alice")
        async with asking(alice, create(held_script(gate))) as stream:
            await stream.until("it began", lambda answer: answer.of_type("thread.item.added"))
            another = message(stream.answer.thread_id, "another")
            request = LIST if place == "load_threads" else another
            async with blocked(door, place, _posted(alice, request)):
                await goes_on(system, stream, gate, 5)
                assert (await alice.cancel(stream.run_id)).status_code == 202
                assert (await stream.finished()).end == "cancelled"


async def test_while_the_server_blocks_a_stream_closes_at_its_tokens_end(
    pinging: Settings, door: Door, gate: Path
) -> None:
    strict = pinging.model_copy(update={"jwt_leeway_seconds": 0})
    async with running(strict, Blocking) as system:
        alice, bob = await system.caller("alice"), await system.caller("bob")
        issued = await alice.client.post("/dev/token", json={"sub": "alice", "ttl_seconds": 4})
        alice.token = issued.json()["access_token"]
        async with asking(alice, create(held_script(gate))) as stream:
            await stream.until("it began", lambda answer: answer.of_type("thread.item.added"))
            async with blocked(door, "transcribe", bob.post(TRANSCRIBE)):
                assert (await stream.finished()).end is None


async def test_requests_that_wait_in_a_transaction_for_the_server_take_no_connection_from_the_others(
    settings: Settings, door: Door, tmp_path: Path
) -> None:
    """A message with a file, whose writes are one transaction with the server's own code in it."""
    few = settings.model_copy(update={"database_pool_min": 1, "database_pool_max": 4})
    async with running(few, Blocking, workers=0) as system:
        alice = await system.caller("alice")
        files = [(await alice.ask({"type": "attachments.create", "params": FILE}))["id"] for _ in range(8)]
        async with blocked(door, "get_stream_options", _opened(alice, create("x", attachments=[files[0]]))):
            others = [
                asyncio.create_task(_opened(alice, create("x", attachments=[file]))) for file in files[1:]
            ]
            for _ in range(20):
                assert (await alice.ask(LIST))["data"] == []
        assert [(await other).status_code for other in others] == [200] * 7


async def _opened(caller: Caller, request: dict[str, Any]) -> httpx2.Response:
    async with caller.open_stream(request) as response:
        return response


# --- what blocks for ever


IMPATIENT = {"context_seconds": 2, "blocked_seconds": 4, "ping_seconds": 0.05}


async def test_what_needs_code_that_does_not_return_is_refused_in_time_and_told_and_nothing_else_is(
    settings: Settings, door: Door, gate: Path
) -> None:
    impatient = settings.model_copy(update=IMPATIENT)
    with capture_logs() as logs:
        async with running(impatient, Noting) as system:
            alice = await system.caller("alice")
            async with asking(alice, create(held_script(gate))) as stream:
                await stream.until("it began", lambda answer: answer.of_type("thread.item.added"))
                door.shut("transcribe")
                first = asyncio.create_task(alice.post(TRANSCRIBE))
                await wait_until("a call stands", lambda: door.stands("transcribe"))
                second = await alice.post({**TRANSCRIBE, "metadata": {"is": "second"}})
                assert_documented_error(second, 503)
                assert second.json()["error"]["code"] == "server_blocked"
                assert int(second.headers["retry-after"]) >= 1
                assert (await alice.post(create("x"))).json()["error"]["code"] == "server_blocked"
                assert (await first).json()["error"]["code"] == "server_blocked"
                health = await alice.client.get("/healthz")
                assert (health.status_code, health.json()["error"]["code"]) == (503, "server_blocked")
                open_gate(gate, 0)
                await stream.until("a delta", lambda _: deltas_of(stream) == 1)
                assert len((await alice.ask(LIST))["data"]) == 1
                assert await blocked_seconds(alice) > 0
                door.open("transcribe")

                async def is_well() -> bool:
                    return (await alice.client.get("/healthz")).status_code == 200

                await wait_until("the process is well again", is_well)
                assert (await alice.ask(TRANSCRIBE))["text"] == "alice"
                assert Noting.heard == [{}, {}], "what was refused before it began has run"
                await wait_until(
                    "it is told that the call has returned",
                    lambda: any(line["action"] == "loop_unblocked" for line in logs),
                )
                await alice.cancel(stream.run_id)
    told = [line for line in logs if line["action"] == "loop_blocked"]
    assert {line["log_level"] for line in told} == {"warning", "error"}
    for line in told:
        assert "blocking_site.py:" in line["place"]
        assert line["place"].endswith(":block"), line["place"]
        assert line["request_id"]
    assert [line["log_level"] for line in logs if line["action"] == "loop_unblocked"] == ["warning"]


class Noting(Blocking):
    heard: list[Any] = []

    async def transcribe(self, audio_input: AudioInput, context: Any) -> TranscriptionResult:
        Noting.heard.append(dict(context.metadata))
        return await super().transcribe(audio_input, context)


@pytest.fixture(autouse=True)
def _nothing_heard() -> None:
    Noting.heard = []


async def blocked_seconds(caller: Caller) -> float:
    text = (await caller.client.get("/metrics")).text
    return next(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "relaykit_server_blocked_seconds_total"
    )


# --- what raises, waits, leaves


class Panic(BaseException):
    """As a Rust extension's, which is no Exception."""


RAISED: dict[str, BaseException] = {
    "an error": LookupError("Geheim7391"),
    "a panic": Panic("Geheim7391"),
    "a group of panics": BaseExceptionGroup("Geheim7391", [Panic()]),
    "the end of the process": SystemExit(3),
    "an interruption": KeyboardInterrupt(),
    "a cancellation of its own": asyncio.CancelledError(),
    "the end of a generator": GeneratorExit(),
    "the end of an iteration": StopAsyncIteration(),
}


class Raising(ScriptedAnswers):
    raised: BaseException | None = None

    def _raise(self) -> None:
        if Raising.raised is not None:
            raise Raising.raised

    async def transcribe(self, audio_input: AudioInput, context: Any) -> TranscriptionResult:
        await asyncio.sleep(0)
        self._raise()
        return TranscriptionResult(text="well")

    def get_stream_options(self, thread: ThreadMetadata, context: Any) -> StreamOptions:
        self._raise()
        return super().get_stream_options(thread, context)


@pytest.mark.parametrize("raised", RAISED.values(), ids=RAISED)
async def test_whatever_the_server_raises_is_this_requests_error_alone(
    settings: Settings, raised: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(settings, Raising, workers=0) as system:
        alice = await system.caller("alice")
        before = await written(settings.database_url, settings.redis_url)
        monkeypatch.setattr(Raising, "raised", raised)
        for request in (TRANSCRIBE, create("x")):
            response = await alice.post(request)
            assert_documented_error(response, 500)
            assert "Geheim" not in response.text
        assert await written(settings.database_url, settings.redis_url) == before
        monkeypatch.setattr(Raising, "raised", None)
        assert (await alice.ask(TRANSCRIBE))["text"] == "well"


class Leaving(ScriptedAnswers):
    """Leaves a task behind that ends the process, as it would in a program of its own."""

    async def transcribe(self, audio_input: AudioInput, context: Any) -> TranscriptionResult:
        async def end() -> None:
            raise SystemExit(3)

        self.left = asyncio.create_task(end())
        await asyncio.sleep(0)
        return TranscriptionResult(text="well")


async def test_a_task_that_the_server_left_behind_does_not_stop_its_loop(settings: Settings) -> None:
    async with running(settings, Leaving, workers=0) as system:
        alice = await system.caller("alice")
        for _ in range(3):
            assert (await alice.ask(TRANSCRIBE))["text"] == "well"


_SPAN: contextvars.ContextVar[str] = contextvars.ContextVar("span")


async def setting_context(request: Any) -> Any:
    await asyncio.sleep(0)
    _SPAN.set(request.user_id)
    return request


class Meeting(ScriptedAnswers):
    """Two calls meet: each waits for the other, in the loop that all calls share."""

    met: asyncio.Event
    lock: asyncio.Lock

    def __init__(self) -> None:
        super().__init__(None)
        self.met, self.lock = asyncio.Event(), asyncio.Lock()

    async def transcribe(self, audio_input: AudioInput, context: Any) -> TranscriptionResult:
        await self.met.wait()
        async with self.lock:
            await asyncio.sleep(0.01)
        return TranscriptionResult(text=_SPAN.get())

    async def add_feedback(
        self, thread_id: str, item_ids: list[str], feedback: FeedbackKind, context: Any
    ) -> None:
        async with self.lock:
            self.met.set()


async def test_a_call_that_waits_lets_others_go_on_and_sees_what_the_context_has_set(
    settings: Settings,
) -> None:
    given = settings.model_copy(update={"chatkit_context": f"{HERE}:setting_context"})
    async with running(given, Meeting) as system:
        alice, bob = await system.caller("alice"), await system.caller("bob")
        thread = (await alice.stream(create(str(Script(deltas=1))))).thread_id
        item = (await alice.items(thread))[0]["id"]
        waiting = [asyncio.create_task(caller.ask(TRANSCRIBE)) for caller in (alice, bob, alice)]
        feedback = {"thread_id": thread, "item_ids": [item], "kind": "positive"}
        await alice.ask({"type": "items.feedback", "params": feedback})
        assert [(await each)["text"] for each in waiting] == ["alice", "bob", "alice"]


async def test_what_a_constructor_made_for_its_thread_alone_is_used_there(settings: Settings) -> None:
    given = settings.model_copy(update={"chatkit_server": "tests.support.servers.blocking_site:ThreadBound"})
    async with running(given, workers=0) as system:
        alice = await system.caller("alice")
        assert (await alice.ask(TRANSCRIBE))["text"] == "1"
        assert (await alice.ask(TRANSCRIBE))["text"] == "2"


class PooledStore(SqliteStore):
    """Every call takes a connection of a pool, which belongs to the loop that made it, and holds it for a while."""

    def __init__(self, path: str, database_url: str) -> None:
        super().__init__(path)
        self.database_url = database_url
        self.pool: asyncpg.Pool | None = None
        self.opening = asyncio.Lock()

    async def _ask(self) -> None:
        async with self.opening:
            if self.pool is None:
                self.pool = await asyncpg.create_pool(self.database_url, min_size=1, max_size=1)
        async with self.pool.acquire() as connection:
            await connection.execute("SELECT pg_sleep(0.01)")

    async def load_thread(self, thread_id: str, context: Any) -> ThreadMetadata:
        await self._ask()
        return await super().load_thread(thread_id, context)

    async def load_thread_items(
        self, thread_id: str, after: str | None, limit: int, order: str, context: Any
    ) -> Page[ThreadItem]:
        await self._ask()
        return await super().load_thread_items(thread_id, after, limit, order, context)


class Pooled(ScriptedAnswers):
    def __init__(self, path: str, database_url: str) -> None:
        super().__init__(PooledStore(path, database_url))

    async def transcribe(self, audio_input: AudioInput, context: Any) -> TranscriptionResult:
        await self.store._ask()  # type: ignore[attr-defined]
        return TranscriptionResult(text="well")


async def test_a_store_whose_client_belongs_to_a_loop_serves_every_request_and_a_stop(
    settings: Settings, gate: Path, tmp_path: Path
) -> None:
    own = settings.model_copy(update={"chatkit_store": "own"})
    path = str(tmp_path / "notebook.db")
    async with running(own, lambda: Pooled(path, settings.database_url)) as system:
        alice = await system.caller("alice")
        async with asking(alice, create(held_script(gate))) as stream:
            await stream.until("it began", lambda answer: answer.of_type("thread.item.added"))
            thread = stream.answer.thread_id
            waiting = []
            for number in range(3):
                async with alice.open_stream(message(thread, f"behind it {number}")) as response:
                    waiting.append(response.headers["x-run-id"])
            read = [alice.items(thread), alice.ask(TRANSCRIBE), alice.ask(LIST)]
            stops = [alice.cancel(run) for run in waiting[:2]]
            await asyncio.gather(*read)
            assert [stop.json()["status"] for stop in await asyncio.gather(*stops)] == ["cancelled"] * 2
            await alice.cancel(stream.run_id)
            assert (await stream.finished()).end == "cancelled"

            async def has_ended() -> bool:
                return (await alice.get(f"/runs/{waiting[2]}")).json()["status"] == "completed"

            await wait_until("what waited was served", has_ended)


class Refusing(ScriptedAnswers):
    """Refuses a message by its own code, when the SDK's part of it is written."""

    refuses = False

    def get_stream_options(self, thread: ThreadMetadata, context: Any) -> StreamOptions:
        if Refusing.refuses and context.attempt is None:
            raise CustomStreamError("no")
        return super().get_stream_options(thread, context)


async def test_what_the_server_refuses_in_a_transaction_leaves_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(settings, Refusing) as system:
        alice = await system.caller("alice")
        first = await alice.stream(create(str(Script(deltas=1))))
        items = await alice.items(first.thread_id)
        assert len(items) == 2
        monkeypatch.setattr(Refusing, "refuses", True)
        before = await written(settings.database_url, settings.redis_url)
        retry = {"thread_id": first.thread_id, "item_id": items[0]["id"]}
        response = await alice.post({"type": "threads.retry_after_item", "params": retry})
        assert (response.status_code, response.json()["error"]["code"]) == (400, "server_refused")
        assert await written(settings.database_url, settings.redis_url) == before


# --- the loop by itself


@asynccontextmanager
async def looping(settings: Settings) -> AsyncIterator[ServerLoop]:
    async with Database(settings, is_shared=True) as database:
        loop = ServerLoop(settings, database)
        loop.load(lambda: None)
        async with loop:
            watching = asyncio.create_task(loop.run())
            try:
                yield loop
            finally:
                watching.cancel()


async def test_a_call_is_cancelled_with_the_request_that_waits_for_it(settings: Settings) -> None:
    async with looping(settings) as loop:
        seen: list[str] = []

        async def call() -> None:
            seen.append("begun")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        request = asyncio.create_task(loop.call(call))
        await wait_until("it began", lambda: seen)
        request.cancel()
        await wait_until("it was cancelled", lambda: seen == ["begun", "cancelled"])
        assert request.cancelled()


async def test_a_call_within_a_call_and_its_transaction_stay_on_the_servers_loop(settings: Settings) -> None:
    async with looping(settings) as loop, Database(settings) as database, database.transaction() as outer:

        async def call() -> tuple[bool, bool]:
            inner = await loop.call(_running_loop)
            return inner is asyncio.get_running_loop(), database.in_transaction

        assert await loop.call(call) == (True, False)
        assert database.in_transaction
        assert await outer.fetchval("SELECT 1") == 1


async def _running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def test_the_loops_end_waits_for_what_ends_and_not_for_what_does_not(
    settings: Settings, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relaykit.api.site.server_loop.CLOSE_SECONDS", 0.5)
    ended: list[str] = []

    async def tidy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            ended.append("tidied")

    left: list[asyncio.Task[None]] = []

    async def leave(what: Callable[[], Any]) -> None:
        left.append(asyncio.create_task(what()))
        await asyncio.sleep(0)

    with capture_logs() as logs:
        async with looping(settings) as loop:
            await loop.call(lambda: leave(tidy))
    assert ended == ["tidied"]
    assert logs == []

    async def stand() -> None:
        await asyncio.sleep(0.01)
        door.block("leaving")

    with capture_logs() as logs:
        async with looping(settings) as loop:
            door.shut("leaving")
            await loop.call(lambda: leave(stand))
            await wait_until("it stands", lambda: door.stands("leaving"))
    assert [line["action"] for line in logs] == ["server_left"]
    assert logs[0]["place"].endswith(":block")
    door.open("leaving")


async def test_a_server_that_cannot_be_loaded_is_told_in_the_thread_that_asked(settings: Settings) -> None:
    def build() -> None:
        raise RelaykitError("no")

    with pytest.raises(RelaykitError, match="no"):
        ServerLoop(settings, Database(settings)).load(build)


async def test_calls_one_after_the_other_that_each_block_for_a_while_are_all_answered(
    settings: Settings, door: Door
) -> None:
    """The loop comes round later than a call may block it, but no call blocks it for so long."""
    impatient = settings.model_copy(update={"context_seconds": 30, "blocked_seconds": 2.5})
    async with looping(impatient) as loop:
        places = [str(number) for number in range(6)]

        async def call(place: str) -> str:
            door.block(place)
            return place

        for place in places:
            door.shut(place)
        calls = asyncio.gather(*(loop.call(lambda place=place: call(place)) for place in places))
        for place in places:
            await wait_until(f"{place} stands", lambda place=place: door.stands(place))
            step = asyncio.current_task(loop._loop)
            await wait_until(
                "it has stood for a while",
                lambda step=step: (loop._watch.step is step and loop._watch.seconds > 0.6) or calls.done(),
            )
            door.open(place)
        assert await calls == places


async def test_a_call_that_is_refused_before_it_begins_never_begins(settings: Settings, door: Door) -> None:
    impatient = settings.model_copy(update={"context_seconds": 1.5, "blocked_seconds": 30})
    async with looping(impatient) as loop:
        door.shut("first")
        begun: list[str] = []

        async def stand() -> None:
            door.block("first")

        async def note() -> None:
            begun.append("second")

        first = asyncio.create_task(loop.call(stand))
        await wait_until("it stands", lambda: door.stands("first"))
        with pytest.raises(ServerBlocked):
            await loop.call(note)
        door.open("first")
        await first
        await loop.call(_running_loop)
        assert begun == []
        await wait_until("an idle loop is not looked at", lambda: not loop._called.is_set())
