"""A turn that ends with a client tool call goes on until the call has its output, or was given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from chatkit.types import (
    ClientToolCallItem,
    EndOfTurnItem,
    ErrorEvent,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemReplacedEvent,
    ThreadMetadata,
    UserMessageItem,
    WidgetItem,
)

from relaykit.shared.endings import Endings
from relaykit.shared.postgres.connection import Connection
from relaykit.shared.settings import Settings
from relaykit.shared.threads.statements import WRITE_ITEM
from relaykit.worker.execution.attempt import Attempt
from relaykit.worker.execution.stop import Stop
from relaykit.worker.main import create_worker
from tests.integration.test_once_only import lose_the_lease
from tests.support.clients.stream_clients import asking
from tests.support.processes.commands import command
from tests.support.servers.protocol_servers import BareServer, Events, ProtocolServer, card, text_of
from tests.support.servers.user_servers import SqliteStore
from tests.support.system import Answer, Caller, System, _working, create, keyed, message, running, wait_until

LATE = {"error": "The browser did not answer in time."}
STOPPED = {"error": "The user stopped before the browser answered."}
FAILED = {"error": "The turn failed before the browser answered."}
WAYS = ("done", "replaced", "end of turn", "stored")
"""How a server comes to a pending call that is not the last item of its run."""
INTERRUPTED = {"error": "The user wrote another message before the browser answered."}


class ToolServer(BareServer):
    """`ask` asks the browser, `twice` two times, `late` does so once the gate is open, `failing` and then fails,
    `dawdle` and never ends, `answered` and answers itself; one of WAYS calls and goes on; all else is repeated."""

    def __init__(self, gate: asyncio.Event) -> None:
        super().__init__(store=None)
        self.gate = gate

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        word = "" if input_user_message is None else text_of(input_user_message)
        if word == "late":
            async for event in self.say(thread, "Let me look.", context):
                yield event
            await self.gate.wait()
        if word == "twice":
            thread.title = "Twice"
            yield ThreadItemDoneEvent(item=self._call(thread, context))
        if word in ("ask", "late", "failing", "dawdle", "twice"):
            yield ThreadItemDoneEvent(item=self._call(thread, context))
        way, _, end = word.partition(", ")
        if way in WAYS:
            async for event in self.call_and_go_on(thread, way, context):
                yield event
            match end:
                case "failing":
                    raise RuntimeError(end)
                case "dawdling":
                    await asyncio.Event().wait()
                case "answering":
                    items = await self.store.load_thread_items(thread.id, None, 20, "desc", context)
                    call = next(item for item in items.data if isinstance(item, ClientToolCallItem))
                    done = call.model_copy(update={"status": "completed", "output": "the server's"})
                    await self.store.save_item(thread.id, done, context)
            return
        match word:
            case "dawdle":
                await asyncio.Event().wait()
            case "answered":
                call = self._call(thread, context)
                yield ThreadItemDoneEvent(item=call)
                done = call.model_copy(update={"status": "completed", "output": {"by": "the server"}})
                yield ThreadItemReplacedEvent(item=done)
            case "failing":
                yield ErrorEvent(message="It went wrong.")
            case "late" | "ask" | "twice":
                pass
            case "slow":
                await self.gate.wait()
                async for event in self.say(thread, "re slow", context):
                    yield event
            case "widget":
                common = {"id": "widget_1", "thread_id": thread.id, "created_at": datetime.now()}
                yield ThreadItemDoneEvent(item=WidgetItem(widget=card(0), **common))
            case "":
                async for event in self.say(
                    thread, f"It said {await self._output(thread, context)}.", context
                ):
                    yield event
            case _:
                async for event in self.say(thread, f"re {word}", context):
                    yield event

    async def action(self, thread: ThreadMetadata, action: Any, sender: Any, context: Any) -> Events:
        async for event in self.say(thread, f"did {action.payload['n']}", context):
            yield event

    async def call_and_go_on(self, thread: ThreadMetadata, way: str, context: Any) -> Events:
        """Calls, by one of the ways there are, as an item that is not the run's last."""
        call = self._call(thread, context)
        match way:
            case "replaced":
                yield ThreadItemAddedEvent(item=call)
                yield ThreadItemReplacedEvent(item=call)
            case "stored":
                await self.store.add_thread_item(thread.id, call, context)
            case "end of turn":
                yield ThreadItemDoneEvent(item=call)
                common = {"id": "end_1", "thread_id": thread.id, "created_at": datetime.now()}
                yield ThreadItemDoneEvent(item=EndOfTurnItem(**common))
            case "done":
                yield ThreadItemDoneEvent(item=call)
        if way != "end of turn":
            async for event in self.say(thread, "I have called.", context):
                yield event

    def _call(self, thread: ThreadMetadata, context: Any) -> ClientToolCallItem:
        return ClientToolCallItem(
            id=self.store.generate_item_id("tool_call", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),
            name="get_page",
            arguments={},
            call_id="call_1",
        )

    async def _output(self, thread: ThreadMetadata, context: Any) -> Any:
        items = await self.store.load_thread_items(thread.id, None, 20, "desc", context)
        return next(item.output for item in items.data if isinstance(item, ClientToolCallItem))


Run = Callable[..., AbstractAsyncContextManager[System]]


@pytest.fixture
def gate() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
def system(settings: Settings, gate: asyncio.Event) -> Run:
    """`async with system(thread_policy="reject") as running:` two APIs and a worker."""

    def run(**changes: Any) -> AbstractAsyncContextManager[System]:
        return running(settings.model_copy(update=changes), lambda: ToolServer(gate), apis=2)

    return run


class Posts:
    """Posts whose answers arrive in the background."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Answer]] = []

    def send(self, caller: Caller, request: dict[str, Any]) -> asyncio.Task[Answer]:
        self._tasks.append(asyncio.create_task(caller.stream(request)))
        return self._tasks[-1]

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def posts() -> AsyncIterator[Posts]:
    made = Posts()
    yield made
    await made.end()


def output(thread_id: str, result: Any, **more: Any) -> dict[str, Any]:
    params = {"thread_id": thread_id, "result": result, **more}
    return {"type": "threads.add_client_tool_output", "params": params}


async def asked(caller: Caller) -> str:
    """The id of a thread that awaits the output of a call."""
    answer = await caller.stream(create("ask"))
    assert answer.end == "completed"
    return answer.thread_id


async def call_of(caller: Caller, thread_id: str) -> dict[str, Any]:
    (call,) = [item for item in await caller.items(thread_id) if item["type"] == "client_tool_call"]
    return call


async def said(caller: Caller, thread_id: str) -> list[str]:
    """What stands in the thread, in its order."""
    return [
        item["status"] if item["type"] == "client_tool_call" else item["content"][0]["text"]
        for item in await caller.items(thread_id)
    ]


async def active(caller: Caller, thread_id: str) -> dict[str, Any] | None:
    response = await caller.get(f"/threads/{thread_id}/run")
    return None if response.status_code == 204 else response.json()


async def stored_statuses(settings: Settings) -> list[str]:
    """Of all runs, in their order."""
    connection = await asyncpg.connect(settings.database_url)
    try:
        return [row["status"] for row in await connection.fetch("SELECT status FROM runs ORDER BY seq")]
    finally:
        await connection.close()


async def waits(settings: Settings, count: int = 1) -> None:
    async def waiting() -> bool:
        return (await stored_statuses(settings)).count("waiting") == count

    await wait_until(f"{count} runs wait", waiting)


def error_of(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


# --- queue


async def test_a_message_that_comes_while_the_tool_works_waits_for_its_output(
    system: Run, posts: Posts
) -> None:
    async with system() as running_system:
        alice, elsewhere = await running_system.caller(), await running_system.caller(api=1)
        thread_id = await asked(alice)
        second = posts.send(elsewhere, message(thread_id, "two"))
        await waits(running_system.settings)
        answered = await alice.stream(output(thread_id, {"page": 1}))
        assert (answered.text, answered.end) == ("It said {'page': 1}.", "completed")
        assert (await second).text == "re two"
        expected = ["ask", "completed", "It said {'page': 1}.", "two", "re two"]
        assert await said(alice, thread_id) == expected
        assert await active(alice, thread_id) is None


async def test_a_message_that_comes_while_the_run_speaks_waits_for_the_output_of_its_call(
    system: Run, posts: Posts, gate: asyncio.Event
) -> None:
    async with system() as running_system:
        alice = await running_system.caller()
        first = posts.send(alice, create("late"))

        async def thread() -> str:
            page = await alice.ask({"type": "threads.list", "params": {}})
            return page["data"][0]["id"] if page["data"] else ""

        thread_id = await wait_until("the thread is there", thread)
        second = posts.send(alice, message(thread_id, "two"))
        await waits(running_system.settings)
        gate.set()
        assert (await first).end == "completed"
        assert await stored_statuses(running_system.settings) == ["completed", "waiting"]
        assert (await alice.stream(output(thread_id, 5))).text == "It said 5."
        assert (await second).text == "re two"


async def test_several_messages_are_served_in_order_behind_the_output(system: Run, posts: Posts) -> None:
    async with system() as running_system:
        alice = await running_system.caller()
        thread_id = await asked(alice)
        sent = []
        for number, text in enumerate(("two", "three", "four"), 1):
            sent.append(posts.send(alice, message(thread_id, text)))
            await waits(running_system.settings, number)
        await alice.stream(output(thread_id, 1))
        for answer in sent:
            assert (await answer).end == "completed"
        expected = ["two", "re two", "three", "re three", "four", "re four"]
        assert (await said(alice, thread_id))[3:] == expected


async def test_what_waits_is_no_part_of_what_the_run_before_it_reads(
    settings: Settings, posts: Posts
) -> None:
    """Else the model answers the message with the output, and then once more."""

    class ReadingServer(ToolServer):
        async def respond(
            self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
        ) -> Events:
            if input_user_message is not None and text_of(input_user_message) == "ask":
                yield ThreadItemDoneEvent(item=self._call(thread, context))
                return
            page = await self.store.load_thread_items(thread.id, None, 20, "asc", context)
            read = [text_of(item) for item in page.data if isinstance(item, UserMessageItem)]
            async for event in self.say(thread, "|".join(read), context):
                yield event

    async with running(settings, lambda: ReadingServer(asyncio.Event())) as running_system:
        alice = await running_system.caller()
        thread_id = await asked(alice)
        sent = []
        for number, text in enumerate(("two", "three"), 1):
            sent.append(posts.send(alice, message(thread_id, text)))
            await waits(settings, number)
        assert (await alice.stream(output(thread_id, 1))).text == "ask"
        assert [(await answer).text for answer in sent] == ["ask|two", "ask|two|three"]


async def test_an_output_whose_answer_asks_again_keeps_what_waits_waiting(
    settings: Settings, posts: Posts
) -> None:
    """The message goes before neither of the two outputs."""

    class TwiceServer(ToolServer):
        async def respond(
            self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
        ) -> Events:
            if input_user_message is None and await self._output(thread, context) == "again":
                yield ThreadItemDoneEvent(item=self._call(thread, context))
                return
            async for event in super().respond(thread, input_user_message, context):
                yield event

    async with running(settings, lambda: TwiceServer(asyncio.Event())) as running_system:
        alice = await running_system.caller()
        thread_id = await asked(alice)
        second = posts.send(alice, message(thread_id, "two"))
        await waits(settings)
        await alice.stream(output(thread_id, "again"))
        assert await stored_statuses(settings) == ["completed", "waiting", "completed"]
        await alice.stream(output(thread_id, "enough"))
        assert (await second).text == "re two"


async def test_a_message_that_waits_can_be_stopped_and_the_call_is_still_awaited(
    system: Run, posts: Posts
) -> None:
    async with system() as running_system:
        alice = await running_system.caller()
        thread_id = await asked(alice)
        async with alice.open_stream(message(thread_id, "two")) as second:
            run_id = second.headers["x-run-id"]
            await alice.cancel(run_id)
        assert (await call_of(alice, thread_id))["status"] == "pending"
        assert (await alice.stream(output(thread_id, 1))).text == "It said 1."


async def test_an_action_waits_behind_the_output_too(system: Run, posts: Posts) -> None:
    """Two tabs press buttons while a third one's tool works: both are done after it, one after the other."""
    async with system() as running_system:
        alice, elsewhere = await running_system.caller(), await running_system.caller(api=1)
        thread_id = (await alice.stream(create("widget"))).thread_id
        await alice.stream(message(thread_id, "ask"))
        presses = []
        for number, tab in enumerate((alice, elsewhere), 1):
            action = {"type": "count", "payload": {"n": number}}
            params = {"thread_id": thread_id, "item_id": "widget_1", "action": action}
            presses.append(posts.send(tab, {"type": "threads.custom_action", "params": params}))
            await waits(running_system.settings, number)
        await alice.stream(output(thread_id, 1))
        assert [(await press).text for press in presses] == ["did 1", "did 2"]


@pytest.mark.parametrize("kind", ["threads.retry_after_item", "threads.add_structured_input"])
async def test_what_cannot_wait_behind_a_run_cannot_wait_behind_a_call(system: Run, kind: str) -> None:
    async with system() as running_system:
        alice = await running_system.caller()
        answer = await alice.stream(create("ask"))
        thread_id = answer.thread_id
        first = (await alice.items(thread_id))[0]["id"]
        params: dict[str, Any] = {"thread_id": thread_id, "item_id": first}
        if kind == "threads.add_structured_input":
            params["input"] = {"status": "skipped", "answers": {}}
        response = await alice.post({"type": kind, "params": params})
        if kind == "threads.add_structured_input":
            assert error_of(response) == (409, "item_mismatch")  # this thread has none
        else:
            assert error_of(response) == (409, "thread_busy")
            assert response.json()["error"]["run_id"] == answer.run_id
        assert (await call_of(alice, thread_id))["status"] == "pending"
        assert (await alice.stream(output(thread_id, 1))).end == "completed"


# --- reject and interrupt


async def test_reject_refuses_a_message_while_the_tool_works(system: Run) -> None:
    """With the code and the run of an active one; the output itself is taken."""
    async with system(thread_policy="reject") as running_system:
        alice, elsewhere = await running_system.caller(), await running_system.caller(api=1)
        answer = await alice.stream(create("ask"))
        thread_id = answer.thread_id
        response = await elsewhere.post(message(thread_id, "two"))
        assert error_of(response) == (409, "thread_busy")
        assert response.json()["error"]["run_id"] == answer.run_id
        assert (await alice.stream(output(thread_id, 1))).text == "It said 1."
        assert (await elsewhere.stream(message(thread_id, "two"))).text == "re two"


async def test_interrupt_gives_the_call_up_for_a_new_message(system: Run) -> None:
    """Whoever reads the new message's answer is told of the call; its late output is refused."""
    async with system(thread_policy="interrupt") as running_system:
        alice, elsewhere = await running_system.caller(), await running_system.caller(api=1)
        thread_id = await asked(alice)
        second = await elsewhere.stream(message(thread_id, "two"))
        assert (second.text, second.end) == ("re two", "completed")
        (replaced,) = second.of_type("thread.item.replaced")
        assert (replaced["item"]["status"], replaced["item"]["output"]) == ("completed", INTERRUPTED)
        assert (await call_of(alice, thread_id))["output"] == INTERRUPTED
        assert error_of(await alice.post(output(thread_id, 1))) == (409, "item_mismatch")
        assert await said(alice, thread_id) == ["ask", "completed", "two", "re two"]


async def test_interrupt_of_a_run_that_is_about_to_call(
    system: Run, posts: Posts, gate: asyncio.Event
) -> None:
    async with system(thread_policy="interrupt") as running_system:
        alice = await running_system.caller()
        async with alice.open_stream(create("late")) as first:
            run_id = first.headers["x-run-id"]
            thread_id = (await alice.get(f"/runs/{run_id}")).json()["thread_id"]
            second = await alice.stream(message(thread_id, "two"))
            assert second.text == "re two"
        assert await active(alice, thread_id) is None


# --- given up


async def test_a_call_is_given_up_after_its_time_and_what_waits_goes_on(system: Run, posts: Posts) -> None:
    """The call says so, to those who follow what waited, to those who load the thread, and to the model."""
    async with system(client_tool_seconds=0.5) as running_system:
        alice = await running_system.caller()
        thread_id = await asked(alice)
        second = await posts.send(alice, message(thread_id, "two"))
        assert (second.text, second.end) == ("re two", "completed")
        (replaced,) = second.of_type("thread.item.replaced")
        call = await call_of(alice, thread_id)
        assert (call["status"], call["output"]) == ("completed", LATE)
        assert (replaced["item"]["id"], replaced["item"]["output"]) == (call["id"], LATE)
        assert await said(alice, thread_id) == ["ask", "completed", "two", "re two"]


async def test_a_call_behind_which_nothing_waits_is_given_up_too(system: Run) -> None:
    async with system(client_tool_seconds=0.5) as running_system:
        alice = await running_system.caller()
        thread_id = await asked(alice)

        async def given_up() -> bool:
            return await active(alice, thread_id) is None

        await wait_until("the call is given up", given_up)
        assert (await call_of(alice, thread_id))["output"] == LATE
        assert error_of(await alice.post(output(thread_id, 1))) == (409, "item_mismatch")
        assert (await call_of(alice, thread_id))["output"] == LATE
        assert (await alice.stream(message(thread_id, "two"))).text == "re two"


async def test_stop_gives_the_call_up_at_once(system: Run, posts: Posts) -> None:
    """The user's stop is that of the run that called; repeating it does no harm."""
    async with system() as running_system:
        alice, elsewhere = await running_system.caller(), await running_system.caller(api=1)
        answer = await alice.stream(create("ask"))
        second = posts.send(alice, message(answer.thread_id, "two"))
        await waits(running_system.settings)
        for _ in range(2):
            response = await elsewhere.cancel(answer.run_id)
            assert (response.status_code, response.json()["status"]) == (202, "completed")
        assert (await second).text == "re two"
        assert (await call_of(alice, answer.thread_id))["output"] == STOPPED


async def test_a_stop_that_comes_too_late_for_the_run_gives_up_its_call(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run has called and is about to end: nobody is asked any more."""
    stopped = asyncio.Event()
    finish = Endings.finish_with_call

    async def after_the_stop(self: Endings, run: Any, *given: Any) -> Any:
        await stopped.wait()
        return await finish(self, run, *given)

    monkeypatch.setattr(Endings, "finish_with_call", after_the_stop)
    async with running(settings, lambda: ToolServer(asyncio.Event())) as running_system:
        alice = await running_system.caller()
        async with alice.open_stream(create("ask")) as response:
            run_id, raw = response.headers["x-run-id"], b""
            async for part in response.aiter_bytes():
                raw += part
                if b"client_tool_call" in part:
                    await alice.cancel(run_id)
                    stopped.set()
        answer = Answer(200, response.headers, raw)
        assert answer.end == "completed"
        assert await active(alice, answer.thread_id) is None
        assert (await call_of(alice, answer.thread_id))["output"] == STOPPED


async def test_the_call_of_a_run_that_fails_is_given_up(system: Run) -> None:
    async with system() as running_system:
        alice = await running_system.caller()
        answer = await alice.stream(create("failing"))
        assert answer.end == "failed"
        (replaced,) = answer.of_type("thread.item.replaced")
        assert replaced["item"]["output"] == FAILED
        assert await active(alice, answer.thread_id) is None
        assert (await call_of(alice, answer.thread_id))["output"] == FAILED


async def test_the_call_of_a_run_whose_last_worker_is_lost_is_given_up(
    settings: Settings, gate: asyncio.Event, posts: Posts
) -> None:
    """It has called, and did not live to end: the worker that fails it finds the call. What waited goes on."""
    settings = settings.model_copy(update={"lease_seconds": 6, "run_max_attempts": 1, "drain_seconds": 0})
    async with running(settings, lambda: ToolServer(gate)) as system:
        alice = await system.caller()
        async with asking(alice, create("dawdle")) as asker:
            await asker.until("it has called", lambda answer: len(answer.of_type("thread.item.done")) == 2)
            thread_id = asker.answer.thread_id
            second = posts.send(alice, message(thread_id, "two"))
            await waits(settings)
            await lose_the_lease(settings, asker.run_id)
            assert (await asker.finished()).end == "failed"
        assert (await second).text == "re two"
        assert (await call_of(alice, thread_id))["output"] == FAILED
        (replaced,) = (await second).of_type("thread.item.replaced")
        assert replaced["item"]["output"] == FAILED


async def test_the_call_of_a_run_that_was_handed_back_and_is_stopped_is_given_up(
    settings: Settings, gate: asyncio.Event, posts: Posts
) -> None:
    """No attempt comes that would take it back."""
    settings = settings.model_copy(update={"drain_seconds": 0})
    async with running(settings, lambda: ToolServer(gate), workers=0) as system:
        alice = await system.caller()
        async with asking(alice, create("dawdle")) as asker:
            async with _working(create_worker(settings, ToolServer(gate))):
                await asker.until(
                    "it has called", lambda answer: len(answer.of_type("thread.item.done")) == 2
                )
                thread_id = asker.answer.thread_id
                second = posts.send(alice, message(thread_id, "two"))
                await waits(settings)
            await alice.cancel(asker.run_id)
            assert (await asker.finished()).end == "cancelled"
        assert (await call_of(alice, thread_id))["output"] == STOPPED
        async with _working(create_worker(settings, ToolServer(gate))):
            answer = await second
        (replaced,) = answer.of_type("thread.item.replaced")
        assert (answer.text, replaced["item"]["output"]) == ("re two", STOPPED)


async def test_a_call_that_the_server_answers_itself_is_not_awaited(system: Run) -> None:
    """By `thread.item.replaced`, before its run ends."""
    async with system() as running_system:
        alice = await running_system.caller()
        answer = await alice.stream(create("answered"))
        assert await active(alice, answer.thread_id) is None
        assert (await call_of(alice, answer.thread_id))["output"] == {"by": "the server"}
        assert (await alice.stream(message(answer.thread_id, "two"))).text == "re two"


async def test_a_run_that_is_stopped_after_its_call_shows_that_the_call_was_given_up(system: Run) -> None:
    """Before its end: nothing is awaited by then, and no client would ask."""
    async with system() as running_system:
        alice = await running_system.caller()
        async with asking(alice, create("dawdle")) as asker:
            await asker.until("it has called", lambda answer: len(answer.of_type("thread.item.done")) == 2)
            await alice.cancel(asker.run_id)
            answer = await asker.finished()
        (replaced,) = answer.of_type("thread.item.replaced")
        call = await call_of(alice, answer.thread_id)
        assert (answer.end, replaced["item"], call["output"]) == ("cancelled", call, STOPPED)


async def test_a_run_that_is_stopped_while_its_call_is_being_stored_shows_the_call_and_that_it_was_given_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK shows an item after it has stored it: the stop waits for both."""
    stored, stopped = asyncio.Event(), asyncio.Event()
    fetch, stop = Connection.fetch, Attempt.stop

    async def held(self: Connection, statement: str, *given: object) -> Any:
        found = await fetch(self, statement, *given)
        if statement == WRITE_ITEM and '"client_tool_call"' in str(given) and not stored.is_set():
            stored.set()
            await stopped.wait()
        return found

    def heard(self: Attempt, reason: Stop) -> None:
        stop(self, reason)
        stopped.set()

    monkeypatch.setattr(Connection, "fetch", held)
    monkeypatch.setattr(Attempt, "stop", heard)
    async with running(settings, lambda: ToolServer(asyncio.Event())) as running_system:
        alice = await running_system.caller()
        async with asking(alice, create("dawdle")) as asker:
            await stored.wait()
            await alice.cancel(asker.run_id)
            answer = await asker.finished()
        (replaced,) = answer.of_type("thread.item.replaced")
        call = await call_of(alice, answer.thread_id)
        assert (answer.end, replaced["item"], call["output"]) == ("cancelled", call, STOPPED)
        assert len(answer.of_type("thread.item.done")) == 2


async def test_a_deleted_thread_awaits_nothing(system: Run, posts: Posts) -> None:
    async with system() as running_system:
        alice = await running_system.caller()
        thread_id = await asked(alice)
        second = posts.send(alice, message(thread_id, "two"))
        await waits(running_system.settings)
        await alice.ask({"type": "threads.delete", "params": {"thread_id": thread_id}})
        assert (await second).end == "cancelled"
        connection = await asyncpg.connect(running_system.settings.database_url)
        assert await connection.fetchval("SELECT count(*) FROM awaited_calls") == 0
        await connection.close()


# --- what is told


async def test_the_thread_says_what_it_awaits(system: Run) -> None:
    """To its owner alone; the run's own answer is as ever."""
    async with system(client_tool_seconds=100) as running_system:
        alice, bob = await running_system.caller(), await running_system.caller("bob")
        answer = await alice.stream(create("ask"))
        told = await active(alice, answer.thread_id)
        assert told is not None
        awaits = told.pop("awaits")
        assert awaits["item_id"] == (await call_of(alice, answer.thread_id))["id"]
        assert 0 < awaits["seconds_left"] <= 100
        assert told == (await alice.get(f"/runs/{answer.run_id}")).json()
        assert told["status"] == "completed"
        assert await active(bob, answer.thread_id) is None
        await alice.stream(output(answer.thread_id, 1))
        assert await active(alice, answer.thread_id) is None


async def test_an_output_that_means_another_call_is_refused(system: Run) -> None:
    """The tool of a call that was given up comes back while the thread awaits another one."""
    async with system() as running_system:
        alice = await running_system.caller()
        answer = await alice.stream(create("ask"))
        given_up = (await call_of(alice, answer.thread_id))["id"]
        await alice.cancel(answer.run_id)
        await alice.stream(message(answer.thread_id, "ask"))
        told = await active(alice, answer.thread_id)
        assert told is not None
        refused = await alice.post(output(answer.thread_id, 1, item_id=given_up))
        assert error_of(refused) == (409, "item_mismatch")
        taken = await alice.stream(output(answer.thread_id, 2, item_id=told["awaits"]["item_id"]))
        assert taken.text == "It said 2."
        assert error_of(await alice.post(output(answer.thread_id, 1, item_id=5))) == (422, "invalid_request")


async def test_two_outputs_at_once_are_one(system: Run) -> None:
    """Two tabs run the tool: one output is taken, and the other refused with nothing written."""
    async with system() as running_system:
        alice, elsewhere = await running_system.caller(), await running_system.caller(api=1)
        thread_id = await asked(alice)
        responses = await asyncio.gather(
            alice.post(output(thread_id, 1)), elsewhere.post(output(thread_id, 2))
        )
        assert sorted(response.status_code for response in responses) == [200, 409]
        assert len([text for text in await said(alice, thread_id) if text.startswith("It said")]) == 1


async def test_an_output_that_is_sent_again_with_its_key_attaches(system: Run) -> None:
    async with system() as running_system:
        alice = await running_system.caller()
        thread_id = await asked(alice)
        first = await alice.stream(output(thread_id, 1), keyed("one"))
        again = await alice.stream(output(thread_id, 1), keyed("one"))
        assert (again.run_id, again.raw.count(b"It")) == (first.run_id, first.raw.count(b"It"))


# --- a store of the site's own


@pytest.fixture
def own_store(settings: Settings, tmp_path: Path, gate: asyncio.Event) -> Run:
    """The same with CHATKIT_STORE=own."""

    def server() -> ToolServer:
        made = ToolServer(gate)
        made.store = SqliteStore(str(tmp_path / "own.db"))
        return made

    def run(**changes: Any) -> AbstractAsyncContextManager[System]:
        return running(settings.model_copy(update={"chatkit_store": "own", **changes}), server, apis=2)

    return run


async def test_with_a_store_of_its_own_a_message_waits_for_the_output_too(
    own_store: Run, posts: Posts
) -> None:
    async with own_store() as running_system:
        alice, elsewhere = await running_system.caller(), await running_system.caller(api=1)
        thread_id = await asked(alice)
        second = posts.send(elsewhere, message(thread_id, "two"))
        await waits(running_system.settings)
        assert (await alice.stream(output(thread_id, 1))).text == "It said 1."
        assert (await second).text == "re two"
        assert error_of(await alice.post(output(thread_id, 2))) == (409, "item_mismatch")
        assert (await call_of(alice, thread_id))["output"] == 1


@pytest.mark.parametrize(("policy", "why"), [("queue", LATE), ("interrupt", INTERRUPTED)])
async def test_with_a_store_of_its_own_a_call_is_given_up_too(
    own_store: Run, posts: Posts, policy: str, why: dict[str, str]
) -> None:
    seconds = 0.5 if policy == "queue" else 300
    async with own_store(thread_policy=policy, client_tool_seconds=seconds) as running_system:
        alice = await running_system.caller()
        thread_id = await asked(alice)
        second = await alice.stream(message(thread_id, "two"))
        assert second.text == "re two"
        (replaced,) = second.of_type("thread.item.replaced")
        assert replaced["item"]["output"] == (await call_of(alice, thread_id))["output"] == why


async def test_with_a_store_of_its_own_reject_takes_the_output_and_nothing_else(own_store: Run) -> None:
    async with own_store(thread_policy="reject") as running_system:
        alice = await running_system.caller()
        thread_id = await asked(alice)
        assert error_of(await alice.post(message(thread_id, "two"))) == (409, "thread_busy")
        assert len(await alice.items(thread_id)) == 2
        assert (await alice.stream(output(thread_id, 1))).text == "It said 1."


# --- a call that is not the last item of its run

PAIRS = [
    (store, way)
    for store in ("system", "own_store")
    for way in WAYS
    if (store, way) != ("own_store", "stored")
]
"""A store of the site's own says nothing of what a server writes without an event."""


@pytest.mark.parametrize(("store", "way"), PAIRS)
async def test_a_call_is_awaited_wherever_it_stands_in_its_run(
    request: pytest.FixtureRequest, posts: Posts, store: str, way: str
) -> None:
    run: Run = request.getfixturevalue(store)
    async with run() as site:
        alice = await site.caller()
        called = await alice.stream(create(way))
        told = await active(alice, called.thread_id)
        assert told is not None
        assert told["awaits"]["item_id"] == (await call_of(alice, called.thread_id))["id"]
        second = posts.send(alice, message(called.thread_id, "two"))
        await waits(site.settings)
        assert (await alice.stream(output(called.thread_id, 1))).text == "It said 1."
        assert (await second).text == "re two"
        assert (await call_of(alice, called.thread_id))["output"] == 1


@pytest.mark.parametrize("store", ["system", "own_store"])
@pytest.mark.parametrize("way", WAYS)
async def test_no_call_stays_pending_where_its_run_fails_or_is_stopped(
    request: pytest.FixtureRequest, store: str, way: str
) -> None:
    run: Run = request.getfixturevalue(store)
    async with run() as site:
        alice = await site.caller()
        failed = await alice.stream(create(f"{way}, failing"))
        assert failed.end == "failed"
        assert (await call_of(alice, failed.thread_id))["output"] == FAILED
        async with asking(alice, create(f"{way}, dawdling")) as asker:
            await asker.until("the thread is there", lambda answer: bool(answer.of_type("thread.created")))
            thread_id = asker.answer.thread_id

            async def has_called() -> bool:
                return any(item["type"] == "client_tool_call" for item in await alice.items(thread_id))

            await wait_until("it has called", has_called)
            if way != "end of turn":
                await asker.until("it goes on", lambda answer: "I have called." in answer.text)
            await alice.cancel(asker.run_id)
            stopped = await asker.finished()
        assert stopped.end == "cancelled"
        assert (await call_of(alice, stopped.thread_id))["output"] == STOPPED
        for thread_id in (failed.thread_id, stopped.thread_id):
            assert await active(alice, thread_id) is None
            assert (await alice.stream(message(thread_id, "two"))).text == "re two"


@pytest.mark.parametrize("store", ["system", "own_store"])
async def test_a_call_that_the_server_has_answered_in_its_store_is_not_awaited(
    request: pytest.FixtureRequest, store: str
) -> None:
    """Without an event of it."""
    run: Run = request.getfixturevalue(store)
    async with run() as site:
        alice = await site.caller()
        called = await alice.stream(create("done, answering"))
        assert await active(alice, called.thread_id) is None
        assert (await call_of(alice, called.thread_id))["output"] == "the server's"


# --- the operator


@pytest.mark.parametrize("store", ["system", "own_store"])
async def test_an_operator_ends_the_wait_as_the_user_can(
    request: pytest.FixtureRequest, posts: Posts, store: str
) -> None:
    """`runs cancel` of the run that called, which has ended; no code of the site's runs in the command."""
    run: Run = request.getfixturevalue(store)
    async with run() as running_system:
        alice, settings = await running_system.caller(), running_system.settings
        called = await alice.stream(create("ask"))
        second = posts.send(alice, message(called.thread_id, "two"))
        await waits(settings)
        [call_id] = [i["id"] for i in await alice.items(called.thread_id) if i["type"] == "client_tool_call"]
        shown = await command(settings, "runs", "show", called.run_id, "--json")
        assert shown.json["awaited_item"] == call_id
        assert datetime.fromisoformat(shown.json["awaited_until"]) > datetime.now(UTC)
        assert (
            f"the output of client tool call {call_id}"
            in (await command(settings, "runs", "show", called.run_id)).output
        )
        no_site = {"CHATKIT_SERVER": "nothing.here:Server"}
        done = await command(settings, "runs", "cancel", called.run_id, "--yes", "--by", "ann", **no_site)
        outcome = "wait ended: a worker gives its client tool call up"
        assert (done.status, done.output) == (0, f"{called.run_id}: {outcome}\n")
        assert (await second).text == "re two"
        call = await call_of(alice, called.thread_id)
        assert (call["status"], call["output"]) == ("completed", LATE)
        noted = (await command(settings, "runs", "show", called.run_id)).output
        assert f"cancel by ann: {outcome}" in noted
        again = await command(settings, "runs", "cancel", called.run_id, "--yes")
        assert (again.status, again.error.split(": ", 1)[1]) == (
            2,
            f"{called.run_id}: act_refused: The run has ended: completed.",
        )


async def test_an_operator_s_cancel_ends_the_wait_for_that_run_s_call_alone(system: Run) -> None:
    """The run before it of the same thread has ended, too, and nothing awaits a call of its."""
    async with system() as running_system:
        alice, settings = await running_system.caller(), running_system.settings
        first = await alice.stream(create("hello"))
        assert (await alice.stream(message(first.thread_id, "ask"))).end == "completed"
        refused = await command(settings, "runs", "cancel", first.run_id, "--yes")
        assert (refused.status, "The run has ended: completed." in refused.error) == (2, True)
        assert (await alice.stream(output(first.thread_id, 1))).text == "It said 1."


# --- a structured input is no end of a turn that waits


async def test_a_structured_input_that_nobody_answers_holds_up_no_message(settings: Settings) -> None:
    """A person may write instead, and answer later."""
    async with running(settings, lambda: ProtocolServer(store=None)) as running_system:
        alice = await running_system.caller()
        thread_id = (await alice.stream(create("questions"))).thread_id
        (item,) = [each for each in await alice.items(thread_id) if each["type"] == "structured_input"]
        assert await active(alice, thread_id) is None
        assert (await alice.stream(message(thread_id, "instead"))).end == "completed"
        params = {
            "thread_id": thread_id,
            "item_id": item["id"],
            "input": {"status": "skipped", "answers": {}},
        }
        answers = [
            await alice.post({"type": "threads.add_structured_input", "params": params}, keyed(key))
            for key in ("a", "b")
        ]
        assert answers[0].status_code == 200
        assert error_of(answers[1]) == (409, "item_mismatch")


async def test_of_two_calls_of_a_run_none_is_pending_once_the_last_is_given_up(system: Run) -> None:
    """The SDK deletes the others where the last one gets its output."""
    async with system() as site:
        alice = await site.caller()
        asked = await alice.stream(create("twice"))
        assert await kept_for_undoing(site.settings) == 0
        await alice.cancel(asked.run_id)
        calls = [item for item in await alice.items(asked.thread_id) if item["type"] == "client_tool_call"]
        assert [(call["status"], call["output"]) for call in calls] == [("completed", STOPPED)]


async def kept_for_undoing(settings: Settings) -> int:
    """What is kept of a thread that its run has changed, which the end of the run drops."""
    connection = await asyncpg.connect(settings.database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM undo_thread_fields"))
    finally:
        await connection.close()
