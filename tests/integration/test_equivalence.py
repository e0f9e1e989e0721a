"""ChatKit's semantics through HTTP, the queue and a worker process: those of `server.process()` in process.

Each case sends the same requests to both. What clients see, and what PostgreSQL holds afterwards, hidden items
included, must be equal; ids, times and the joining of neighbouring text deltas aside.
"""

from __future__ import annotations

import asyncio
import json
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from chatkit.server import ChatKitServer, NonStreamingResult, StreamingResult
from chatkit.types import FileAttachment, ImageAttachment

from relaykit.shared.identity import RequestContext
from relaykit.shared.postgres.database import Database
from relaykit.shared.settings import Settings
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import MAX_PAGE_SIZE, PostgresStore
from tests.support.servers import equivalence_servers as servers
from tests.support.servers.equivalence_servers import HOLD, Server
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import (
    WAIT_SECONDS,
    Answer,
    Caller,
    fork_process,
    free_port,
    make_settings,
    running_processes,
    user_input,
)

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:Direct usage of named widget classes"),
]

ALICE = RequestContext(user_id="alice")

Event = dict[str, Any]


class Chat(ABC):
    """One user's requests to one server, and all that came of them."""

    def __init__(self, server: type[Server], store: PostgresStore) -> None:
        self.store = store
        self.server = server
        self.streams: list[list[Event]] = []
        self.threads: list[str] = []
        self._in_new_thread = True

    @abstractmethod
    def events(self, request: dict[str, Any]) -> AsyncIterator[Event]:
        """Those of a streaming request, to its end."""

    @abstractmethod
    async def until_stopped(self, request: dict[str, Any]) -> AsyncIterator[Event]:
        """Those of a request that is stopped as soon as its server holds."""
        yield {}

    @abstractmethod
    async def answer(self, request: dict[str, Any]) -> Any:
        """That of a non-streaming request."""

    def request(self, kind: str, params: dict[str, Any]) -> dict[str, Any]:
        metadata = {"server": self.server.__name__, "page": {"path": "/pricing"}}
        return {"type": kind, "params": params, "metadata": metadata}

    async def send(self, kind: str, **params: Any) -> None:
        await self._record(self.events(self.request(kind, params)))

    async def stop(self, kind: str, **params: Any) -> None:
        await self._record(self.until_stopped(self.request(kind, params)))

    async def say(self, text: str, **more: Any) -> None:
        await self.send(*self._message(), **self._message_params(text, **more))

    async def say_and_stop(self, text: str) -> None:
        await self.stop(*self._message(), **self._message_params(text))

    async def ask(self, kind: str, **params: Any) -> Any:
        return await self.answer(self.request(kind, params))

    def new_thread(self) -> None:
        self._in_new_thread = True

    @property
    def thread_id(self) -> str:
        return self.threads[-1]

    def items(self, kind: str) -> list[dict[str, Any]]:
        """The items of a type that were shown as done, in order."""
        done = [
            event["item"]
            for stream in self.streams
            for event in stream
            if event["type"].endswith("item.done")
        ]
        return [item for item in done if item["type"] == kind]

    def _message(self) -> tuple[str]:
        return ("threads.create" if self._in_new_thread else "threads.add_user_message",)

    def _message_params(self, text: str, **more: Any) -> dict[str, Any]:
        params: dict[str, Any] = {"input": user_input(text, **more)}
        if not self._in_new_thread:
            params["thread_id"] = self.thread_id
        return params

    async def _record(self, events: AsyncIterator[Event]) -> None:
        stream: list[Event] = []
        self.streams.append(stream)
        async for event in events:
            stream.append(event)
            if event["type"] == "thread.created":
                self.threads.append(event["thread"]["id"])
                self._in_new_thread = False

    async def stored(self) -> list[Any]:
        """The rows of every thread, and what a client loads of it."""
        found: list[Any] = []
        for thread_id in self.threads:
            thread = await self.store.load_thread(thread_id, ALICE)
            items = await self.store.load_thread_items(thread_id, None, MAX_PAGE_SIZE, "asc", ALICE)
            found += [
                thread.model_dump(mode="json"),
                [item.model_dump(mode="json") for item in items.data],
                await self.ask("threads.get_by_id", thread_id=thread_id),
                await self.ask("items.list", thread_id=thread_id, order="asc", limit=100),
            ]
        return found


class InProcess(Chat):
    """The server called as ChatKit's own documentation does, without anything of this product but its store."""

    def __init__(self, server: type[Server], store: PostgresStore) -> None:
        super().__init__(server, store)
        self._instance: ChatKitServer[RequestContext] = server(store)

    async def events(self, request: dict[str, Any]) -> AsyncIterator[Event]:
        result = await self._process(request)
        assert isinstance(result, StreamingResult)
        async for chunk in result:
            assert chunk.startswith(b"data: ")
            assert chunk.endswith(b"\n\n")
            yield json.loads(chunk[6:-2])

    async def until_stopped(self, request: dict[str, Any]) -> AsyncIterator[Event]:
        seen: list[Event] = []
        holds = asyncio.Event()

        async def consume() -> None:
            async for event in self.events(request):
                seen.append(event)
                if event.get("text") == HOLD:
                    holds.set()

        consuming = asyncio.create_task(consume())
        await asyncio.wait_for(holds.wait(), WAIT_SECONDS)
        consuming.cancel()
        with suppress(asyncio.CancelledError):
            await consuming
        for event in seen:
            yield event

    async def answer(self, request: dict[str, Any]) -> Any:
        result = await self._process(request)
        assert isinstance(result, NonStreamingResult)
        return json.loads(result.json)

    async def _process(self, request: dict[str, Any]) -> StreamingResult | NonStreamingResult:
        inner = request["params"].get("input", {}).get("metadata", {})
        context = RequestContext(user_id="alice", metadata={**request["metadata"], **inner})
        return await self._instance.process(json.dumps(request), context)


class ThroughTheQueue(Chat):
    """The same over HTTP, with the server in processes of their own."""

    def __init__(self, server: type[Server], store: PostgresStore, caller: Caller) -> None:
        super().__init__(server, store)
        self._caller = caller
        self.ends: list[str | None] = []

    async def events(self, request: dict[str, Any]) -> AsyncIterator[Event]:
        answer = await self._caller.stream(request)
        self.ends.append(answer.end)
        for event in answer.events:
            yield event

    async def until_stopped(self, request: dict[str, Any]) -> AsyncIterator[Event]:
        raw = b""
        asked = False
        async with self._caller.open_stream(request) as response:
            assert response.status_code == 200, await response.aread()
            async for part in response.aiter_bytes():
                raw += part
                if not asked and b'"text":"%b"' % HOLD.encode() in raw:
                    asked = True
                    assert (await self._caller.cancel(response.headers["x-run-id"])).status_code == 202
            answer = Answer(response.status_code, response.headers, raw)
        self.ends.append(answer.end)
        for event in answer.events:
            yield event

    async def answer(self, request: dict[str, Any]) -> Any:
        return await self._caller.ask(request)


@dataclass
class Sides:
    """Both sides, each with a database of its own."""

    caller: Caller
    in_process: PostgresStore
    queued: PostgresStore

    def of(self, server: type[Server]) -> tuple[InProcess, ThroughTheQueue]:
        return InProcess(server, self.in_process), ThroughTheQueue(server, self.queued, self.caller)


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[PostgresStore]:
    few = settings.model_copy(update={"database_pool_min": 1, "database_pool_max": 4})
    async with Database(few) as database:
        yield PostgresStore(StoreCalls(database))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sides(
    redis_databases: RedisDatabases,
    databases: Databases,
    issuer_key_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Sides]:
    with (
        redis_databases.fresh() as redis_url,
        databases.fresh() as queued_url,
        databases.fresh() as other_url,
    ):
        settings = make_settings(redis_url, queued_url, issuer_key_file, free_port())
        named = {"CHATKIT_SERVER": "tests.support.servers.equivalence_servers:Repertoire"}
        async with AsyncExitStack() as stack:
            folder = tmp_path_factory.mktemp("equivalence")
            system = await stack.enter_async_context(
                running_processes(settings, folder, start=fork_process, **named)
            )
            in_process = await stack.enter_async_context(
                _store(settings.model_copy(update={"database_url": other_url}))
            )
            queued = await stack.enter_async_context(_store(settings))
            yield Sides(await system.caller("alice"), in_process, queued)


GENERATED_ID = re.compile(r"\b([a-z]{2,4})_(?:[0-9a-f]{32}|[0-9a-f]{8})\b")
TIMES = frozenset({"created_at", "duration"})


class Normaliser:
    """Makes what two sides gave comparable: generated ids become numbers in order of appearance, times are dropped."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, value: Any) -> Any:
        match value:
            case dict():
                return {self(key): self(inner) for key, inner in value.items() if key not in TIMES}
            case list():
                return [self(inner) for inner in value]
            case str():
                return GENERATED_ID.sub(self._number, value)
            case _:
                return value

    def _number(self, match: re.Match[str]) -> str:
        number = self._numbers.setdefault(match[0], len(self._numbers) + 1)
        return f"<{match[1]} {number}>"


def place_of_delta(event: Event) -> tuple[str, int] | None:
    update = event.get("update", {})
    if update.get("type") != "assistant_message.content_part.text_delta":
        return None
    return event["item_id"], update["content_index"]


def joined(stream: list[Event]) -> list[Event]:
    """Neighbouring text deltas of the same item and part as one."""
    result: list[Event] = []
    for event in stream:
        place = place_of_delta(event)
        if place is not None and result and place_of_delta(result[-1]) == place:
            before = result[-1]["update"]
            text = before["delta"] + event["update"]["delta"]
            result[-1] = {**result[-1], "update": {**before, "delta": text}}
        else:
            result.append(event)
    return result


async def outcome(chat: Chat) -> tuple[list[Any], list[Any]]:
    normalise = Normaliser()
    return [normalise(joined(stream)) for stream in chat.streams], normalise(await chat.stored())


Flow = Callable[[Chat], Awaitable[None]]


async def assert_equal(
    sides: Sides, server: type[Server], flow: Flow, *, fails: bool = False
) -> ThroughTheQueue:
    """Runs the flow on both sides and compares; gives the queued one for what is to be said of it alone.

    `fails` says that errors belong to the flow: without it, two servers that fail alike are not equal enough.
    """
    in_process, queued = sides.of(server)
    await flow(in_process)
    await flow(queued)
    expected_events, expected_rows = await outcome(in_process)
    events, rows = await outcome(queued)
    assert fails == ('"type": "error"' in json.dumps(expected_events))
    assert events == expected_events
    assert rows == expected_rows
    assert json.dumps(events) == json.dumps(expected_events), "the order of an event's fields"
    assert None not in queued.ends, "a stream without its end"
    return queued


async def one_message(chat: Chat) -> None:
    await chat.say("hello")


async def two_messages(chat: Chat) -> None:
    await chat.say("hello")
    await chat.say("again")


@pytest.mark.parametrize(
    "server",
    [
        *(servers.PlainText, servers.OneEventObject, servers.SeveralParts, servers.Annotations),
        *(servers.Widgets, servers.Images, servers.OtherItems, servers.Signals, servers.Nothing),
        *(servers.Corrections, servers.StreamOptionsOfItsOwn, servers.Mirror),
    ],
)
async def test_two_turns_of(sides, server):
    """The first turn's respond() gets a Thread, the second's a ThreadMetadata."""
    queued = await assert_equal(sides, server, two_messages)
    assert queued.ends == ["completed", "completed"]


async def test_hidden_context_is_stored_in_its_place_and_never_sent(sides):
    queued = await assert_equal(sides, servers.HiddenContext, two_messages)
    assert "hidden word" not in json.dumps(queued.streams)
    rows = json.dumps((await queued.stored())[1])
    assert rows.count("a hidden word") == 2


async def test_a_workflow_left_open_in_one_turn_is_closed_in_the_next(sides):
    queued = await assert_equal(sides, servers.Workflows, two_messages)
    assert [item["type"] for item in (await queued.stored())[1]].count("workflow") == 1


async def test_a_client_tool_call_and_its_output(sides):
    async def flow(chat: Chat) -> None:
        await chat.say("look")
        await chat.send(
            "threads.add_client_tool_output", thread_id=chat.thread_id, result={"title": ["é", 1.5, None]}
        )
        await chat.say("look again")
        await chat.send("threads.add_client_tool_output", thread_id=chat.thread_id, result=None)

    await assert_equal(sides, servers.ClientTools, flow)


async def test_a_client_tool_call_left_behind_is_deleted(sides):
    async def flow(chat: Chat) -> None:
        await chat.say("look twice")
        await chat.send("threads.add_client_tool_output", thread_id=chat.thread_id, result="text")

    queued = await assert_equal(sides, servers.ClientTools, flow)
    assert [item["type"] for item in (await queued.stored())[1]].count("client_tool_call") == 1


@pytest.mark.parametrize(
    "submission",
    [
        {
            "status": "answered",
            "answers": {
                "one": {"values": ["red", "blue"]},
                "many": {"values": ["red", "blue"]},
                "why": {"values": ["so"]},
                "unknown": {"values": ["?"]},
            },
        },
        {"status": "answered", "answers": {"one": {"values": []}, "why": {"skipped": True, "values": ["x"]}}},
        {"status": "skipped", "answers": {"one": {"values": ["red"]}}},
        {},
    ],
    ids=["answered", "in part", "skipped", "empty"],
)
async def test_structured_input(sides, submission):
    async def flow(chat: Chat) -> None:
        await chat.say("ask me")
        item_id = chat.items("structured_input")[-1]["id"]
        params = {"thread_id": chat.thread_id, "item_id": item_id, "input": submission}
        await chat.send("threads.add_structured_input", **params)
        await chat.say("ask me again")

    await assert_equal(sides, servers.Questions, flow)


async def test_what_a_message_carries_reaches_respond(sides):
    """Several parts, tags, a quotation, attachments with their own metadata, options, metadata in both places."""

    async def flow(chat: Chat) -> None:
        for made in (
            FileAttachment(id="atc_file", name="a.txt", mime_type="text/plain", metadata={"own": 1}),
            ImageAttachment(
                id="atc_image", name="b.png", mime_type="image/png", preview_url="https://e.org/b.png"
            ),
        ):
            await chat.store.save_attachment(made, ALICE)
        content = [
            {"type": "input_text", "text": "Is "},
            {"type": "input_tag", "id": "t1", "text": "@Ada", "data": {"n": [1]}, "group": "people"},
            {"type": "input_text", "text": " in?\u2028\n\x00"},
        ]
        more = {
            "content": content,
            "quoted_text": "in or out",
            "inference_options": {"model": "large", "tool_choice": {"id": "search"}},
            "metadata": {"page": "overridden", "more": None},
        }
        await chat.say("", attachments=["atc_file", "atc_image"], **more)
        await chat.say("", **more)
        attachment = await chat.store.load_attachment("atc_file", ALICE)
        assert (attachment.thread_id, attachment.metadata) == (chat.thread_id, {"own": 1})

    await assert_equal(sides, servers.Mirror, flow)


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        *[
            (kind, "failed")
            for kind in ("custom", "custom retry", "stream", "stream retry", "plain", "titled")
        ],
        *[(f"{kind} after", "failed") for kind in ("custom", "stream", "plain retry", "titled", "last")],
        *[("told", "completed"), ("last", "failed")],
    ],
)
async def test_errors(sides, kind, end):
    async def flow(chat: Chat) -> None:
        await chat.say(kind)
        await chat.say(kind)

    queued = await assert_equal(sides, servers.Failures, flow, fails=True)
    assert queued.ends == [end, end]
    assert "eyes" not in json.dumps(queued.streams)


async def test_a_respond_that_is_no_generator_and_raises(sides):
    queued = await assert_equal(sides, servers.NoGenerator, two_messages, fails=True)
    assert queued.ends == ["failed", "failed"]


@pytest.mark.parametrize(
    "moments",
    [
        "before",
        "before empty",
        "between",
        "after",
        "after close",
        "hidden",
        "before between hidden after close",
    ],
)
async def test_changes_of_the_thread(sides, moments):
    """In a first turn and in a later one; title, status, image domains and metadata."""

    async def flow(chat: Chat) -> None:
        await chat.say(moments)
        await chat.say(moments)
        await chat.say("no change")

    await assert_equal(sides, servers.ThreadChanges, flow)


async def test_actions(sides):
    """With a widget as sender and without one; one that fails; each followed by another."""

    async def flow(chat: Chat) -> None:
        await chat.say("a widget, please")
        widget = chat.items("widget")[-1]["id"]
        for kind, sender, payload in [
            ("press", widget, {"n": [1, None, "é"]}),
            ("press", widget, None),
            ("press", None, "without"),
            ("rename", None, {"title": "Renamed"}),
            ("fail", widget, None),
            ("other", widget, [1.5]),
        ]:
            action = {"type": kind, "payload": payload}
            params = {"thread_id": chat.thread_id, "item_id": sender, "action": action}
            await chat.send("threads.custom_action", **params)

    await assert_equal(sides, servers.Actions, flow, fails=True)


async def test_an_action_of_a_server_that_has_none(sides):
    async def flow(chat: Chat) -> None:
        await chat.say("hello")
        await chat.send("threads.custom_action", thread_id=chat.thread_id, action={"type": "x"})

    queued = await assert_equal(sides, servers.Answers, flow, fails=True)
    assert queued.ends == ["completed", "failed"]


async def test_retries(sides):
    """Of the last message and of an earlier one, whose followers go; twice, and with more items than a page holds."""

    async def flow(chat: Chat) -> None:
        for number in range(8):
            await chat.say(f"message {number}")
        messages = [item["id"] for item in chat.items("user_message")]
        for item_id in (messages[-1], messages[0], messages[0]):
            await chat.send("threads.retry_after_item", thread_id=chat.thread_id, item_id=item_id)
        await chat.say("at last")

    await assert_equal(sides, servers.Answers, flow)


async def test_threads_do_not_mix(sides):
    async def flow(chat: Chat) -> None:
        for text in ("one", "two"):
            chat.new_thread()
            await chat.say(text)
        await chat.say("three")

    await assert_equal(sides, servers.Answers, flow)


@pytest.mark.parametrize("asked", ["Berlin", "here"])
async def test_an_agent_with_tools(sides, asked):
    async def flow(chat: Chat) -> None:
        await chat.say(asked)
        if asked == "here":
            result = {"city": "Berlin"}
            await chat.send("threads.add_client_tool_output", thread_id=chat.thread_id, result=result)
        await chat.say("Rome")

    queued = await assert_equal(sides, servers.AgentServer, flow)
    assert set(queued.ends) == {"completed"}


PLACES = (
    *("at once", "in a message", "in two messages", "in a widget", "in a workflow", "after a change"),
    "quietly",
)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("server", [servers.Stopped, servers.OwnStop])
async def test_a_stop_keeps_what_a_cancelled_task_keeps(sides, server, place):
    """In a first turn and in a later one: the partial answer, the SDK's hidden note, the server's own doings."""

    async def flow(chat: Chat) -> None:
        await chat.say_and_stop(place)
        await chat.say_and_stop(place)

    queued = await assert_equal(sides, server, flow)
    assert queued.ends == ["cancelled", "cancelled"]


async def test_a_stop_in_an_action(sides):
    async def flow(chat: Chat) -> None:
        await chat.say("hello")
        await chat.stop("threads.custom_action", thread_id=chat.thread_id, action={"type": "hold"})

    await assert_equal(sides, servers.Actions, flow)


async def test_a_stop_after_structured_input_and_a_retry_of_what_was_stopped(sides):
    async def flow(chat: Chat) -> None:
        await chat.say_and_stop("ask")
        item_id = chat.items("structured_input")[-1]["id"]
        answers = {"answers": {"why": {"values": ["so"]}}}
        params = {"thread_id": chat.thread_id, "item_id": item_id, "input": answers}
        await chat.stop("threads.add_structured_input", **params)
        message = chat.items("user_message")[0]["id"]
        await chat.stop("threads.retry_after_item", thread_id=chat.thread_id, item_id=message)

    await assert_equal(sides, servers.Stopped, flow)


async def test_a_stop_in_a_tool_of_an_agent(sides):
    async def flow(chat: Chat) -> None:
        await chat.say_and_stop("Nowhere")
        await chat.say("Rome")

    queued = await assert_equal(sides, servers.AgentServer, flow)
    assert queued.ends == ["cancelled", "completed"]
