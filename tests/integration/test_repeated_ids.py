"""A server whose items have the same ids in each run: what an earlier run, or an earlier item, stored stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    OpenAIChatCompletionsModel,
    RunContextWrapper,
    Runner,
    StopAtTools,
    function_tool,
    input_guardrail,
)
from agents.models.fake_id import FAKE_RESPONSES_ID
from chatkit.agents import AgentContext, ClientToolCall, ThreadItemConverter, stream_agent_response
from chatkit.server import ChatKitServer
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ClientToolCallItem,
    CustomTask,
    EndOfTurnItem,
    GeneratedImage,
    GeneratedImageItem,
    GeneratedImageUpdated,
    HiddenContextItem,
    SDKHiddenContextItem,
    StructuredInputFreeform,
    StructuredInputItem,
    TaskItem,
    ThreadItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemRemovedEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
    WidgetItem,
    WidgetRootUpdated,
    Workflow,
    WorkflowItem,
    WorkflowTaskUpdated,
)
from chatkit.widgets import Card, Text
from openai import AsyncOpenAI

from relaykit.shared.identity import RequestContext
from relaykit.shared.settings import Settings
from relaykit.worker.main import create_worker
from tests.support.clients.stream_clients import asking
from tests.support.endpoints.completions_endpoint import CompletionsEndpoint, completions_endpoint
from tests.support.servers.user_servers import SqliteStore
from tests.support.system import (
    Answer,
    Caller,
    System,
    _working,
    create,
    message,
    running,
    wait_until,
)

Events = AsyncIterator[ThreadStreamEvent]

NAME = "item"


def said(message: UserMessageItem | None) -> str:
    return message.content[0].text if message else ""


# --- events of every type, all of them with one id


def card(text: str) -> Card:
    return Card(children=[Text(id="t", value=text)])


PLACEHOLDERS = [FAKE_RESPONSES_ID, "a\x00", "cut \ud83d", ""]
"""Names that are no item's id."""


def item_of(kind: str, thread: ThreadMetadata, text: str, name: str) -> ThreadItem:
    fields: dict[str, Any] = {"id": name, "thread_id": thread.id, "created_at": datetime.now()}
    match kind:
        case "assistant_message":
            return AssistantMessageItem(**fields, content=[AssistantMessageContent(text=text)])
        case "widget":
            return WidgetItem(**fields, widget=card(text))
        case "workflow":
            return WorkflowItem(**fields, workflow=Workflow(type="custom", tasks=[CustomTask(title=text)]))
        case "generated_image":
            return GeneratedImageItem(**fields, image=GeneratedImage(id="i", url=f"data:,{text}"))
        case "client_tool_call":
            # an answered one: behind a pending call no message is served
            return ClientToolCallItem(
                **fields, status="completed", call_id=text, name="ask", arguments={"text": text}, output={}
            )
        case "task":
            return TaskItem(**fields, task=CustomTask(title=text))
        case "structured_input":
            return StructuredInputItem(**fields, inputs=[StructuredInputFreeform(id="why", question=text)])
        case "end_of_turn":
            return EndOfTurnItem(**fields)
        case "sdk_hidden_context":
            return SDKHiddenContextItem(**fields, content=text)
        case _:
            return HiddenContextItem(**fields, content=text)


def update_of(kind: str, text: str) -> Any:
    match kind:
        case "assistant_message":
            return AssistantMessageContentPartTextDelta(content_index=0, delta=text)
        case "widget":
            return WidgetRootUpdated(widget=card(text))
        case "workflow":
            return WorkflowTaskUpdated(task_index=0, task=CustomTask(title=text))
        case "generated_image":
            return GeneratedImageUpdated(image=GeneratedImage(id="i", url=f"data:,{text}"))
        case _:
            return None


KINDS = [
    "assistant_message",
    "widget",
    "workflow",
    "generated_image",
    "client_tool_call",
    "task",
    "structured_input",
    "end_of_turn",
    "hidden_context_item",
    "sdk_hidden_context",
]
WAYS = {
    "added": False,
    "added updated": False,
    "added removed": False,
    "added updated done": True,
    "done": True,
    "done done": True,
    "added done replaced": True,
    "added replaced": True,
    "done removed": False,
    "added removed fails": False,
}
"""The events of a run, in their order; and whether an item of it is stored at its end."""


class SameIds(ChatKitServer[Any]):
    """Answers "kind: events" with these events, all of them about an item of its own."""

    def __init__(self, store: Any, name: str = NAME) -> None:
        super().__init__(store)
        self.name = name

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        kind, _, events = said(input_user_message).partition(": ")
        for event in events.split():
            text = f"{event} in {context.run_id}"
            match event:
                case "added":
                    yield ThreadItemAddedEvent(item=item_of(kind, thread, text, self.name))
                case "updated" if (update := update_of(kind, text)) is not None:
                    yield ThreadItemUpdatedEvent(item_id=self.name, update=update)
                case "done":
                    yield ThreadItemDoneEvent(item=item_of(kind, thread, text, self.name))
                case "replaced":
                    yield ThreadItemReplacedEvent(item=item_of(kind, thread, text, self.name))
                case "removed":
                    yield ThreadItemRemovedEvent(item_id=self.name)
                case "fails":
                    raise RuntimeError("as where a guardrail trips")
                case "waits":
                    await asyncio.Event().wait()


@pytest.fixture(params=["postgres", "own"])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def of_store(settings: Settings, store: str, path: Path, name: str = NAME) -> tuple[Settings, Any]:
    """Settings, and what makes the server."""
    changed = settings.model_copy(update={"chatkit_store": store})
    notebook = SqliteStore(str(path / "notebook.db"))
    return changed, lambda: SameIds(notebook, name)


async def stored(system: System, thread_id: str) -> list[ThreadItem]:
    """All items of the thread, hidden ones too."""
    store = system.workers[-1]._loaded.user.server.store
    page = await store.load_thread_items(thread_id, None, 100, "asc", RequestContext(user_id="alice"))
    return page.data


def ids_named(answer: Answer) -> set[str]:
    """The ids in the events, but for that of the user's message."""
    events = [event for event in answer.events if event["type"].startswith("thread.item.")]
    ids = {event["item_id"] if "item_id" in event else event["item"]["id"] for event in events}
    users = {event["item"]["id"] for event in events if event.get("item", {}).get("type") == "user_message"}
    return ids - users


async def test_no_event_of_a_run_changes_what_an_earlier_run_stored_under_the_same_id(
    settings: Settings, store: str, tmp_path: Path
) -> None:
    """Each type of event about each kind of item, in one thread: what is stored only ever grows, in its order."""
    settings, server = of_store(settings, store, tmp_path)
    async with running(settings, server) as system:
        alice = await system.caller()
        for kind in KINDS:
            answer = await alice.stream(create(f"{kind}: done"))
            thread_id = answer.thread_id
            before = await stored(system, thread_id)
            for way, leaves_one in WAYS.items():
                answer = await alice.stream(message(thread_id, f"{kind}: {way}"))
                assert answer.end == ("failed" if way.endswith("fails") else "completed")
                after = await stored(system, thread_id)
                assert after[: len(before)] == before, (kind, way)
                count = way.split().count("done") if way == "done done" else int(leaves_one)
                assert len(after) == len(before) + 1 + count, (kind, way)
                assert not ids_named(answer) & {item.id for item in before}, (kind, way)
                assert len({item.id for item in after}) == len(after)
                before = after


@pytest.mark.parametrize("name", PLACEHOLDERS, ids=ascii)
async def test_an_item_that_begins_as_replaced_under_a_placeholder_is_one_of_its_own(
    settings: Settings, store: str, tmp_path: Path, name: str
) -> None:
    """Of each kind, in two runs of one thread, and once more with what takes it away again."""
    settings, server = of_store(settings, store, tmp_path, name)
    async with running(settings, server) as system:
        alice = await system.caller()
        thread_id = (await alice.stream(create("task: done"))).thread_id
        before = await stored(system, thread_id)
        for kind in KINDS:
            for way, leaves_one in {
                "replaced": 1,
                "replaced replaced": 1,
                "replaced removed": 0,
                "done": 1,
            }.items():
                answer = await alice.stream(message(thread_id, f"{kind}: {way}"))
                assert answer.end == "completed", (kind, way)
                after = await stored(system, thread_id)
                assert after[: len(before)] == before, (kind, way)
                assert len(after) == len(before) + 1 + leaves_one, (kind, way)
                assert name not in ids_named(answer) | {item.id for item in after}, (kind, way)
                before = after


async def test_an_older_item_can_still_be_changed_and_removed_on_purpose(
    settings: Settings, store: str, tmp_path: Path
) -> None:
    """`replaced` and `removed` without an item of the run's own, and `done` of what the thread has."""
    settings, _ = of_store(settings, store, tmp_path)
    notebook = SqliteStore(str(tmp_path / "notebook.db"))
    async with running(settings, lambda: Changes(notebook)) as system:
        alice = await system.caller()
        thread_id = (await alice.stream(create("begin"))).thread_id
        [_, first] = await stored(system, thread_id)
        for change in ("replaced", "done", "updated and done"):
            answer = await alice.stream(message(thread_id, change))
            assert ids_named(answer) == {first.id}
            items = await stored(system, thread_id)
            assert items[1] == first.model_copy(update={"widget": items[1].widget})
            assert items[1].widget.children[0].value == change
        await alice.stream(message(thread_id, "removed"))
        assert {item.type for item in await stored(system, thread_id)} == {"user_message"}


class Changes(ChatKitServer[Any]):
    """Begins with a widget, and changes it as each message says."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        text = said(input_user_message)
        if text == "begin":
            yield ThreadItemDoneEvent(item=item_of("widget", thread, text, NAME))
            return
        older = await self.store.load_item(thread.id, NAME, context)
        changed = older.model_copy(update={"widget": card(text)})
        match text:
            case "replaced":
                yield ThreadItemReplacedEvent(item=changed)
            case "done":
                yield ThreadItemDoneEvent(item=changed)
            case "updated and done":
                yield ThreadItemUpdatedEvent(item_id=NAME, update=WidgetRootUpdated(widget=card(text)))
                yield ThreadItemDoneEvent(item=changed)
            case "removed":
                yield ThreadItemRemovedEvent(item_id=NAME)


async def test_what_a_stop_keeps_of_an_answer_does_not_overwrite_an_earlier_one(
    settings: Settings, store: str, tmp_path: Path
) -> None:
    settings, server = of_store(settings, store, tmp_path)
    async with running(settings, server) as system:
        alice = await system.caller()
        thread_id = (await alice.stream(create("assistant_message: done"))).thread_id
        before = await stored(system, thread_id)
        async with asking(alice, message(thread_id, "assistant_message: added updated waits")) as asker:
            await asker.until("the middle", lambda answer: answer.of_type("thread.item.updated"))
            await alice.cancel(asker.run_id)
            answer = await asker.finished()
        after = await stored(system, thread_id)
        assert after[:2] == before
        [kept, note] = after[3:]
        assert {kept.id} == ids_named(answer)
        assert kept.content[0].text == f"added in {answer.run_id}updated in {answer.run_id}"
        assert note.type == "sdk_hidden_context"


async def test_a_next_attempt_takes_back_the_item_of_its_run_and_none_of_the_same_name(
    settings: Settings, store: str, tmp_path: Path
) -> None:
    """The first worker is drained in mid-answer: the second one's events remove what that one showed."""
    settings, server = of_store(settings, store, tmp_path)
    settings = settings.model_copy(update={"drain_seconds": 0})
    async with running(settings, server, workers=0) as system:
        alice = await system.caller()
        async with worker(system, settings, server):
            thread_id = (await alice.stream(create("assistant_message: done"))).thread_id
            before = await stored(system, thread_id)
        text = "assistant_message: added done done added updated waits"
        async with asking(alice, message(thread_id, text)) as asker:
            async with worker(system, settings, server):
                await asker.until("the middle", lambda answer: answer.of_type("thread.item.updated"))
            first = ids_named(asker.answer)
            async with worker(system, settings, server):
                await asker.until("anew", lambda answer: len(answer.of_type("thread.item.updated")) == 2)
                await alice.cancel(asker.run_id)
                answer = await asker.finished()
                after = await stored(system, thread_id)
        removed = {event["item_id"] for event in answer.of_type("thread.item.removed")}
        assert removed == first
        assert not removed & {item.id for item in before}
        assert len(first) == 3
        assert after[:2] == before


def worker(system: System, settings: Settings, server: Any) -> Any:
    made = create_worker(settings, server())
    system.workers.append(made)
    return _working(made)


# --- a model behind the Chat Completions API


@function_tool
async def ask_page(context: RunContextWrapper[AgentContext[Any]]) -> str:
    """Asks the page."""
    context.context.client_tool_call = ClientToolCall(name="ask_page", arguments={})
    return "asked"


class Converter(ThreadItemConverter):
    """Answers as plain text: the agents SDK's Chat Completions models take no other."""

    async def assistant_message_to_input(self, item: AssistantMessageItem) -> Any:
        return {"role": "assistant", "content": "".join(part.text for part in item.content)}


class CompletionsServer(ChatKitServer[Any]):
    """As the guide of the SDK has it. The first word of a message says which agent answers."""

    endpoint: CompletionsEndpoint
    tool_may_end: asyncio.Event

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        agent = self.agent(said(input_user_message).partition(" ")[0])
        turn = AgentContext(thread=thread, store=self.store, request_context=context)
        page = await self.store.load_thread_items(thread.id, None, 30, "desc", context)
        history = await Converter().to_agent_input(list(reversed(page.data)))
        async for event in stream_agent_response(turn, Runner.run_streamed(agent, history, context=turn)):
            yield event

    def agent(self, word: str) -> Agent[Any]:
        client = AsyncOpenAI(base_url=self.endpoint.base_url, api_key="none")
        plain: dict[str, Any] = {"model": OpenAIChatCompletionsModel(model="small", openai_client=client)}
        match word:
            case "handoff":
                return Agent(name="first", handoffs=[Agent(name="second", **plain)], **plain)
            case "tool":
                behaviour = StopAtTools(stop_at_tool_names=["ask_page"])
                return Agent(name="asks", tools=[ask_page], tool_use_behavior=behaviour, **plain)
            case "slow":
                return Agent(name="guarded", input_guardrails=[self.guardrail()], **plain)
            case "guard":
                return Agent(
                    name="guarded", tools=[self.tool()], input_guardrails=[self.guardrail()], **plain
                )
            case _:
                return Agent(name="plain", **plain)

    def tool(self) -> Any:
        may_end = self.tool_may_end

        @function_tool
        async def look_up() -> str:
            """Looks something up."""
            await may_end.wait()
            return "found"

        return look_up

    def guardrail(self) -> Any:
        endpoint, tool_may_end = self.endpoint, self.tool_may_end

        @input_guardrail(run_in_parallel=True)
        async def trips(
            context: RunContextWrapper[Any], agent: Agent[Any], given: Any
        ) -> GuardrailFunctionOutput:
            """In mid-answer, or while the tool works."""
            await endpoint.go_on.wait()
            asyncio.get_running_loop().call_later(0.1, tool_may_end.set)  # the SDK looks when the tool ends
            return GuardrailFunctionOutput(output_info=None, tripwire_triggered=True)

        return trips


@pytest.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CompletionsEndpoint]:
    async with completions_endpoint() as endpoint:
        monkeypatch.setattr(CompletionsServer, "endpoint", endpoint, raising=False)
        monkeypatch.setattr(CompletionsServer, "tool_may_end", asyncio.Event(), raising=False)
        yield endpoint


def completions_server() -> ChatKitServer[Any]:
    return CompletionsServer(None)  # type: ignore[arg-type]


async def conversation(alice: Caller, thread_id: str) -> list[str]:
    """What a client that loads the thread shows."""
    texts = []
    for item in await alice.items(thread_id):
        match item["type"]:
            case "client_tool_call":
                texts.append(f"{item['status']} {item['call_id']}")
            case _:
                texts.append("".join(part["text"] for part in item["content"]))
    return texts


async def test_three_messages_to_a_model_that_names_every_item_alike_keep_their_answers(
    settings: Settings, endpoint: CompletionsEndpoint
) -> None:
    async with running(settings, completions_server) as system:
        alice = await system.caller()
        answers = [await alice.stream(create("one"))]
        thread_id = answers[0].thread_id
        answers += [await alice.stream(message(thread_id, text)) for text in ("two", "three")]
        assert [answer.text for answer in answers] == ["Answer to one", "Answer to two", "Answer to three"]
        assert await conversation(alice, thread_id) == [
            "one",
            "Answer to one",
            "two",
            "Answer to two",
            "three",
            "Answer to three",
        ]
        shown = [ids_named(answer) for answer in answers]
        assert len(set.union(*shown)) == 3
        assert [len(ids) for ids in shown] == [1, 1, 1], "each event of an answer names the one item"


async def test_two_agents_that_speak_in_one_turn_are_both_kept(
    settings: Settings, endpoint: CompletionsEndpoint
) -> None:
    async with running(settings, completions_server) as system:
        alice = await system.caller()
        answer = await alice.stream(create("handoff please"))
        assert answer.end == "completed"
        assert await conversation(alice, answer.thread_id) == [
            "handoff please",
            "I hand you over.",
            "Answer to handoff please",
        ]
        assert len(ids_named(answer)) == 2


async def test_a_client_tool_that_is_called_twice_takes_both_outputs(
    settings: Settings, endpoint: CompletionsEndpoint
) -> None:
    async with running(settings, completions_server) as system:
        alice = await system.caller()
        first = await alice.stream(create("tool"))
        thread_id = first.thread_id
        await give_output(alice, thread_id)
        second = await alice.stream(message(thread_id, "tool again"))
        await give_output(alice, thread_id)
        calls = [
            event["item"]["call_id"]
            for answer in (first, second)
            for event in answer.of_type("thread.item.done")
            if event["item"]["type"] == "client_tool_call"
        ]
        assert len(set(calls)) == 2
        assert [text for text in await conversation(alice, thread_id) if text.startswith("completed")] == [
            f"completed {call}" for call in calls
        ]


async def give_output(alice: Caller, thread_id: str) -> None:
    """The output of the call that the thread ends with, and the answer to it."""
    params = {"thread_id": thread_id, "result": {"ok": True}}
    answer = await alice.stream({"type": "threads.add_client_tool_output", "params": params})
    assert answer.end == "completed"


@pytest.mark.parametrize("where", ["slow", "guard"])
async def test_a_guardrail_that_trips_takes_back_its_own_turn_and_no_other(
    settings: Settings, endpoint: CompletionsEndpoint, where: str
) -> None:
    """In mid-answer; and while a tool works, before anything was shown: the SDK removes the name all the same."""
    async with running(settings, completions_server) as system:
        alice = await system.caller()
        thread_id = (await alice.stream(create("one"))).thread_id
        async with asking(alice, message(thread_id, f"{where} two")) as asker:
            if where == "slow":
                await asker.until("the middle", lambda answer: answer.of_type("thread.item.updated"))
            else:
                await wait_until("the tool works", lambda: len(endpoint.requests) == 2)
            endpoint.go_on.set()
            answer = await asker.finished()
        assert (answer.end, answer.events[-1]["type"]) == ("failed", "error")
        assert await conversation(alice, thread_id) == ["one", "Answer to one", f"{where} two"]
        assert {event["item_id"] for event in answer.of_type("thread.item.removed")} == ids_named(answer)
        assert (await alice.stream(message(thread_id, "three"))).text == "Answer to three"
