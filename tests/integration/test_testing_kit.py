"""`relaykit.testing`: a site's server in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
from agents import Agent, Runner, function_tool
from chatkit.actions import Action
from chatkit.agents import AgentContext, stream_agent_response
from chatkit.server import ChatKitServer
from chatkit.store import NotFoundError
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ClientEffectEvent,
    ClientToolCallItem,
    ProgressUpdateEvent,
    StructuredInputFreeform,
    StructuredInputItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
    WidgetItem,
)
from chatkit.widgets import Card, Text

from relaykit import testing


def _message(server: Any, thread: Any, context: Any, text: str) -> AssistantMessageItem:
    item_id = server.store.generate_item_id("message", thread, context)
    content = [AssistantMessageContent(text=text)] if text else []
    return AssistantMessageItem(id=item_id, thread_id=thread.id, created_at=datetime.now(), content=content)


class ShopServer(ChatKitServer[Any]):
    """Does what the message names."""

    async def respond(
        self, thread: Any, input_user_message: Any, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        said = "" if input_user_message is None else input_user_message.content[0].text
        match said:
            case "count":
                item = _message(self, thread, context, "")
                yield ThreadItemAddedEvent(item=item)
                for number in range(1, 6):
                    await asyncio.sleep(60)
                    update = AssistantMessageContentPartTextDelta(content_index=0, delta=f"{number} ")
                    yield ThreadItemUpdatedEvent(item_id=item.id, update=update)
                done = item.model_copy(update={"content": [AssistantMessageContent(text="1 2 3 4 5 ")]})
                yield ThreadItemDoneEvent(item=done)
            case "file":
                file = input_user_message.attachments[0]
                try:
                    text = (await self.attachment_store.read(file.id, context)).decode()
                except NotFoundError:
                    text = "gone"
                yield ThreadItemDoneEvent(item=_message(self, thread, context, text))
            case "questions":
                inputs = [StructuredInputFreeform(id=q, question=q) for q in ("Which tea?", "How much?")]
                item_id = self.store.generate_item_id("message", thread, context)
                asked = {
                    "id": item_id,
                    "thread_id": thread.id,
                    "created_at": datetime.now(),
                    "inputs": inputs,
                }
                yield ThreadItemDoneEvent(item=StructuredInputItem(**asked))
            case "tool":
                item_id = self.store.generate_item_id("tool_call", thread, context)
                yield ThreadItemDoneEvent(
                    item=ClientToolCallItem(
                        id=item_id,
                        thread_id=thread.id,
                        created_at=datetime.now(),
                        call_id="call_1",
                        name="locate",
                        arguments={"exact": True},
                    )
                )
            case "widget":
                item_id = self.store.generate_item_id("message", thread, context)
                widget = Card(children=[Text(value="Buy?")])
                yield ThreadItemDoneEvent(
                    item=WidgetItem(id=item_id, thread_id=thread.id, created_at=datetime.now(), widget=widget)
                )
            case "effects":
                yield ProgressUpdateEvent(text="looking")
                yield ClientEffectEvent(name="confetti", data={"pieces": 3})
            case "fail":
                raise RuntimeError("no stock")
            case "hang":
                await asyncio.Event().wait()
            case "title":
                thread.title = f"attempt {context.attempt}"
                yield ThreadItemDoneEvent(item=_message(self, thread, context, "titled"))
                yield ThreadItemDoneEvent(item=_message(self, thread, context, "again"))
            case _:
                text = f"{context.user_id} said {said!r}" if said else "thanks"
                yield ThreadItemDoneEvent(item=_message(self, thread, context, text))

    async def action(
        self, thread: Any, action: Action[str, Any], sender: Any, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        text = f"{action.type} {action.payload} on {sender.type}"
        yield ThreadItemDoneEvent(item=_message(self, thread, context, text))


async def test_an_answer_has_text_status_and_a_thread_that_is_stored() -> None:
    async with testing.chat(ShopServer, user="alice") as chat:
        answer = await chat.say("hello")
        assert (answer.text, answer.status, answer.attempts) == ("alice said 'hello'", "completed", 1)
        assert [event.type for event in answer.events] == [
            "thread.created",
            "thread.item.done",
            "stream_options",
            "thread.item.done",
        ]
        again = await chat.say("hello")
        assert again.thread_id == answer.thread_id
        assert again.run_id != answer.run_id
        assert [item.type for item in await chat.history()] == ["user_message", "assistant_message"] * 2
        assert [thread.id for thread in await chat.threads()] == [answer.thread_id]


async def test_a_lost_attempt_is_taken_back_and_the_next_one_answers_whole() -> None:
    async with testing.chat(ShopServer) as chat:
        answer = await chat.say("count", lost_after=3)
        assert (answer.text, answer.status, answer.attempts) == ("1 2 3 4 5 ", "completed", 2)
        assert "thread.item.removed" in [event.type for event in answer.events]
        assert [item.type for item in await chat.history()] == ["user_message", "assistant_message"]
        twice = await chat.say("count", lost_after=(0, 2))
        assert (twice.text, twice.attempts) == ("1 2 3 4 5 ", 3)
        exhausted = await chat.say("count", lost_after=(1, 1, 1))
        assert (exhausted.status, exhausted.error_code) == ("failed", "attempts_exhausted")


async def test_what_a_lost_attempt_changed_of_the_thread_and_stored_in_it_is_taken_back() -> None:
    async with testing.chat(ShopServer) as chat:
        answer = await chat.say("title", lost_after=1)
        assert answer.attempts == 2
        assert (await chat.thread()).title == "attempt 2"
        texts = [item.content[0].text for item in (await chat.history())[1:]]  # type: ignore[union-attr]
        assert texts == ["titled", "again"]


async def test_a_loss_that_does_not_happen_is_an_error_of_the_test() -> None:
    async with testing.chat(ShopServer) as chat:
        with pytest.raises(AssertionError, match="attempt 1 ended after 1 events, 8 too early"):
            await chat.say("hello", lost_after=9)


async def test_sleeps_take_no_time_and_a_server_that_hangs_meets_its_time_out() -> None:
    began = time.monotonic()
    async with testing.chat(ShopServer, settings={"run_timeout_seconds": 3600}) as chat:
        assert (await chat.say("count")).status == "completed"
        hung = await chat.say("hang")
        assert (hung.status, hung.error_code) == ("failed", "timeout")
    assert time.monotonic() - began < 300  # of 3,900 virtual seconds


async def test_a_thread_of_a_server_takes_its_real_time() -> None:
    async with testing.chat(ShopServer):
        async with asyncio.timeout(30):
            assert await asyncio.to_thread(lambda: time.sleep(0.2) or "done") == "done"


async def test_a_client_tool_an_action_effects_and_feedback() -> None:
    async with testing.chat(ShopServer) as chat:
        asked = await chat.say("tool")
        assert asked.tool_call is not None
        assert (asked.tool_call.name, asked.tool_call.arguments) == ("locate", {"exact": True})
        assert (await asked.answer_tool({"city": "Rome"})).text == "thanks"
        with pytest.raises(testing.RelaykitError) as refused:
            await asked.answer_tool({"city": "Rome"})
        assert refused.value.code == "item_mismatch"
        [widget] = (await chat.say("widget")).widgets
        assert (await chat.act("buy", {"n": 1}, widget=widget)).text == "buy {'n': 1} on widget"
        shown = await chat.say("effects")
        assert ([each.name for each in shown.effects], shown.progress) == (["confetti"], ["looking"])


async def test_a_client_tool_that_nobody_answers_is_given_up_and_the_next_message_answered() -> None:
    """CLIENT_TOOL_SECONDS, which nobody waits for."""
    async with testing.chat(ShopServer, settings={"client_tool_seconds": 3600}) as chat:
        asked = await chat.say("tool")
        began_at = asyncio.get_running_loop().time()
        assert (await chat.say("hello")).text == "user-1 said 'hello'"
        assert asyncio.get_running_loop().time() - began_at >= 3600
        [call] = [item for item in await chat.history() if isinstance(item, ClientToolCallItem)]
        assert call.status == "completed"
        with pytest.raises(testing.RelaykitError) as refused:
            await asked.answer_tool({})
        assert refused.value.code == "item_mismatch"


async def test_without_virtual_time_a_message_behind_a_client_tool_is_told_and_does_not_hang() -> None:
    async with testing.chat(ShopServer, virtual_time=False) as chat:
        asked = await chat.say("tool")
        with pytest.raises(AssertionError, match="client tool call before it"):
            await chat.say("hello")
        assert (await asked.answer_tool({})).text == "thanks"


async def test_a_thread_that_is_deleted_waits_for_no_client_tool() -> None:
    async with testing.chat(ShopServer) as chat:
        await chat.say("tool")
        await chat.ask({"type": "threads.delete", "params": {"thread_id": chat.thread_id}})
        await asyncio.sleep(10_000)
        chat.new_thread()
        assert (await chat.say("hello")).text == "user-1 said 'hello'"


async def test_a_caller_asks_so_often_a_minute_as_the_settings_say_and_waits_in_virtual_time() -> None:
    """A quarter of a minute's requests at once; those of a tenant are counted beside them."""
    settings = {"caller_requests_per_minute": 4, "tenant_requests_per_minute": 8}
    async with testing.chat(ShopServer, tenant="acme", settings=settings) as chat:
        await chat.say("hello")
        with pytest.raises(testing.RelaykitError) as refused:
            await chat.say("hello")
        assert refused.value.code == "rate_limited"
        assert 0 < refused.value.retry_after_seconds <= 60 / 4
        await chat.beside("bob", tenant="acme").say("hello")
        with pytest.raises(testing.RelaykitError) as refused:
            await chat.beside("carol", tenant="acme").say("hello")
        assert refused.value.code == "tenant_rate_limited"
        assert (await chat.beside("carol").say("hello")).text == "carol said 'hello'"
        await asyncio.sleep(15)
        assert (await chat.say("hello")).text == "user-1 said 'hello'"


async def test_a_file_is_uploaded_read_and_gone() -> None:
    async with testing.chat(ShopServer) as chat:
        file = await chat.attach("notes.txt", "Tea is out.")
        assert (await chat.say("file", attachments=[file.id])).text == "Tea is out."
        with pytest.raises(testing.RelaykitError) as refused:
            await chat.beside("bob").say("file", attachments=[file.id])
        assert refused.value.code == "attachment_not_found"
        with pytest.raises(testing.RelaykitError) as refused:
            await chat.attach("tool.exe", b"MZ", "application/x-msdownload")
        assert refused.value.code == "attachment_rejected"
        chat.lose_uploads()
        assert (await chat.say("file", attachments=[file.id])).text == "gone"


async def test_a_chat_without_attachments_refuses_them() -> None:
    async with testing.chat(ShopServer, settings={"attachments_url": None}) as chat:
        with pytest.raises(testing.RelaykitError) as refused:
            await chat.attach("notes.txt", "Tea is out.")
        assert refused.value.code == "not_supported"


async def test_questions_are_answered_by_their_texts() -> None:
    async with testing.chat(ShopServer) as chat:
        asked = await chat.say("questions")
        assert asked.questions is not None
        with pytest.raises(AssertionError, match="did not ask"):
            await asked.answer_questions({"Why?": "so"})
        assert (await asked.answer_questions({"Which tea?": "Green"})).text == "thanks"
        [item] = [item for item in await chat.history() if isinstance(item, StructuredInputItem)]
        answers = [question.answer for question in item.inputs]
        assert [(answer.values, answer.skipped) for answer in answers if answer] == [
            (["Green"], False),
            ([], True),
        ]
        with pytest.raises(AssertionError, match="no questions wait"):
            await (await chat.say("hello")).answer_questions({})


async def test_an_error_a_stop_and_a_retry() -> None:
    async with testing.chat(ShopServer) as chat:
        failed = await chat.say("fail")
        assert (failed.status, [error.code for error in failed.errors]) == ("failed", ["stream.error"])
        under_way = await chat.begin("count")
        stopped = await (await under_way.received(3)).cancel()
        assert (stopped.status, stopped.text) == ("cancelled", "1 2 ")
        message = next(item for item in (await chat.history())[::-1] if item.type == "user_message")
        assert (await chat.retry(message.id)).text == "1 2 3 4 5 "


async def test_messages_to_a_busy_thread_wait_or_are_refused_as_the_policy_says() -> None:
    async with testing.chat(ShopServer) as chat:
        first = await chat.begin("count")
        second = await chat.begin("next")
        assert second.status == "waiting"
        assert (await second.ended()).text == "user-1 said 'next'"
        assert first.status == "completed"
    async with testing.chat(ShopServer, settings={"thread_policy": "reject"}) as chat:
        await chat.begin("count")
        with pytest.raises(testing.RelaykitError) as refused:
            await chat.say("next")
        assert refused.value.code == "thread_busy"


async def test_users_are_apart() -> None:
    async with testing.chat(ShopServer, user="alice", tenant="a") as alice:
        answer = await alice.say("hello")
        for other in (alice.beside("bob", tenant="a"), alice.beside("alice", tenant="b")):
            other.open_thread(answer.thread_id)
            with pytest.raises(testing.RelaykitError) as refused:
                await other.say("hello")
            assert refused.value.code == "thread_not_found"
            assert await other.threads() == []


async def test_bad_input_is_told_before_anything_runs() -> None:
    with pytest.raises(testing.ServerLoadError, match="neither a ChatKitServer nor callable"):
        async with testing.chat(3):
            pass
    with pytest.raises(ValueError, match="there is no setting colour"):
        async with testing.chat(ShopServer, settings={"colour": "red"}):
            pass
    async with testing.chat(ShopServer) as chat:
        with pytest.raises(testing.RelaykitError) as refused:
            await chat.say("")
        assert refused.value.code == "empty_message"
        with pytest.raises(ValueError, match="no thread yet"):
            await chat.history()


@function_tool
def price(name: str) -> str:
    return f"{name}: 3 EUR"


async def test_a_scripted_model_streams_texts_and_calls_tools_through_the_real_runner() -> None:
    call = testing.function_call("price", {"name": "tea"}, call_id="call_1")
    model = testing.ScriptedModel([[call], "Tea is three euros."])

    class AgentServer(ChatKitServer[Any]):
        async def respond(self, thread: Any, input_user_message: Any, context: Any) -> AsyncIterator[Any]:
            agent = Agent(name="shop", model=model, tools=[price])
            result = Runner.run_streamed(agent, input_user_message.content[0].text)
            own = AgentContext(thread=thread, store=self.store, request_context=context)
            async for event in stream_agent_response(own, result):
                yield event

    async with testing.chat(AgentServer) as chat:
        answer = await chat.say("What does tea cost?")
    assert answer.text == "Tea is three euros."
    assert sum(event.type == "thread.item.updated" for event in answer.events) >= 4
    assert len(model.calls) == 2
    model.assert_complete()
