"""The example assistant in process, with the scripted model: what a user can ask for, and what then arrives."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from pathlib import Path

import pytest
from chatkit.store import NotFoundError
from chatkit.types import (
    FileAttachment,
    ImageAttachment,
    StructuredInputFreeform,
    StructuredInputItem,
    WidgetItem,
)

from relaykit.examples.assistant import AssistantServer
from relaykit.examples.assistant.long_answer import long_answer, tokens
from relaykit.shared.identity import RequestContext
from tests.support.assistant_support import (
    ALICE,
    Chat,
    MemoryAttachments,
    MemoryStore,
    answer_in,
    deltas_in,
    done_items,
    of_type,
)
from tests.support.system import START_SECONDS, WAIT_SECONDS

ROOT = Path(__file__).resolve().parents[2]
GUIDE = """# Guide

Welcome.

## Cursors

A cursor is the id of the last entry a client has.

## Retries

Nothing to see here.
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """No model, no delay, and two documents of the tests' own."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "guide.md").write_text(GUIDE)
    (tmp_path / "README.md").write_text("# Read me\n\nHow to start the thing.\n")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ASSISTANT_MCP_URL", "ASSISTANT_DOCS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ASSISTANT_DELTA_MS", "0")
    monkeypatch.setenv("ASSISTANT_DOCS_DIR", str(tmp_path))


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def chat(store):
    return Chat(AssistantServer(store))


def on_page(**page):
    return RequestContext(user_id="alice", metadata={"userInfo": {"name": "Alice"}, "pageContext": page})


async def test_the_same_question_gets_the_same_answer_and_new_ids(store):
    first, second = Chat(AssistantServer(store)), Chat(AssistantServer(store))
    assert await first.answer("hello") == await second.answer("hello")
    [one] = [item for item in store.of_thread(first.thread_id) if item.type == "assistant_message"]
    [two] = [item for item in store.of_thread(second.thread_id) if item.type == "assistant_message"]
    assert one.id != two.id


async def test_a_question_is_searched_with_progress_and_answered_with_annotations(chat, store):
    events = await chat.say("What is a cursor?")
    assert [event["text"] for event in of_type(events, "progress_update")] == [
        "Searching the docs for “What is a cursor?”",
        "Reading docs/guide.md",
    ]
    answer = answer_in(events)
    assert "A cursor is the id of the last entry a client has." in answer
    [annotation] = store.of_thread(chat.thread_id)[-1].content[0].annotations
    assert annotation.source.id == "docs/guide.md#cursors"
    assert answer[: annotation.index].endswith("[1]")
    kinds = [event.get("update", {}).get("type", event["type"]) for event in events]
    added = kinds.index("assistant_message.content_part.annotation_added")
    assert added < kinds.index("assistant_message.content_part.done")


async def test_sources_are_links_where_the_site_serves_its_docs(store, monkeypatch):
    monkeypatch.setenv("ASSISTANT_DOCS_URL", "https://docs.example/")
    chat = Chat(AssistantServer(store))
    await chat.say("What is a cursor?")
    [annotation] = store.of_thread(chat.thread_id)[-1].content[0].annotations
    assert annotation.source.url == "https://docs.example/docs/guide.md#cursors"


async def test_without_any_docs_the_answer_says_that_there_is_nothing(store, monkeypatch, tmp_path):
    monkeypatch.setenv("ASSISTANT_DOCS_DIR", str(tmp_path / "nowhere"))
    events = await Chat(AssistantServer(store)).say("What is a cursor?")
    assert "nothing about that" in answer_in(events)


async def test_the_first_turn_titles_the_thread_and_later_turns_leave_the_title(chat, store):
    events = await chat.say("Tell me something nice about the weather in the mountains this winter")
    [updated] = of_type(events, "thread.updated")
    assert updated["thread"]["title"] == "Tell me something nice about the weather in the…"
    assert store.threads[chat.thread_id].title == updated["thread"]["title"]
    assert of_type(await chat.say("and now hello"), "thread.updated") == []


async def test_history_reaches_the_model(chat):
    assert "first message" in await chat.answer("What do you remember?")
    await chat.say("hello")
    assert "“What do you remember?”" in await chat.answer("What was my first message?")


async def test_page_and_user_reach_the_model_without_query_and_fragment(store):
    server = AssistantServer(store)
    page = on_page(
        url="https://site.example/pricing?token=s3cret#x", title="Pricing", headings=["Plans", "FAQ"]
    )
    answer = await Chat(server, page).answer("Which page am I on?")
    assert (
        answer == "You are on **Pricing**.\n- address: https://site.example/pricing\n- headings: Plans, FAQ"
    )
    assert (await Chat(server, page).answer("hi")).startswith("Hello, Alice!")
    assert "told me nothing" in await Chat(server).answer("Which page am I on?")


async def test_effects_are_sent_to_the_client(chat):
    [effect] = of_type(await chat.say('Highlight the word "Welcome".'), "client_effect")
    assert (effect["name"], effect["data"]) == ("highlight", {"text": "Welcome"})
    [effect] = of_type(await chat.say("Please open /docs/guide"), "client_effect")
    assert (effect["name"], effect["data"]) == ("open_page", {"path": "/docs/guide"})


async def test_no_effect_opens_another_site(chat):
    events = await chat.say("Please open //evil.example/x")
    assert of_type(events, "client_effect") == []
    assert "only a path on this site" in answer_in(events)


async def test_the_client_tool_ends_the_turn_and_its_output_begins_the_next(chat, store):
    events = await chat.say("What time is it?")
    [call] = done_items(events, "client_tool_call")
    assert (call["name"], call["status"], events[-1]["type"]) == (
        "get_local_time",
        "pending",
        "thread.updated",
    )
    assert done_items(events, "assistant_message") == []
    events = await chat.request(
        "threads.add_client_tool_output", thread_id=chat.thread_id, result={"iso": "12:34"}
    )
    assert answer_in(events) == 'Your browser says: `{"iso": "12:34"}`'
    assert "“What time is it?”" in await chat.answer("What do you remember?")


async def test_a_client_tool_that_never_answered_does_not_break_the_thread(chat):
    await chat.say("What time is it?")
    assert (await chat.answer("hello")).startswith("Hello!")


async def test_the_card_is_updated_by_its_buttons_until_all_is_done(chat, store):
    [card] = done_items(await chat.say("Show me a card"), "widget")
    for index in range(3):
        button = card["widget"]["children"][3 + index]["children"][2]
        action = {"type": button["onClickAction"]["type"], "payload": button["onClickAction"]["payload"]}
        events = await chat.request(
            "threads.custom_action", thread_id=chat.thread_id, item_id=card["id"], action=action
        )
        [replaced] = of_type(events, "thread.item.replaced")
        card = replaced["item"]
        assert card["widget"]["children"][1]["value"] == f"{index + 1} of 3 done"
        assert len(done_items(events, "assistant_message")) == (index == 2)
    stored = store.items[chat.thread_id][card["id"]]
    assert isinstance(stored, WidgetItem)
    assert stored.copy_text.count("[x]") == 3


async def test_a_button_pressed_twice_does_the_same_as_once(chat):
    [card] = done_items(await chat.say("Show me a card"), "widget")
    action = {"type": "checklist.set_step", "payload": {"index": 0, "done": True}}
    where = {"thread_id": chat.thread_id, "item_id": card["id"]}
    first = await chat.ask("threads.sync_custom_action", **where, action=action)
    again = await chat.ask("threads.sync_custom_action", **where, action=action)
    assert first == again
    assert first["updated_item"]["widget"]["children"][1]["value"] == "1 of 3 done"


@pytest.mark.parametrize(
    "action",
    [
        {"type": "checklist.set_step", "payload": {"index": 11, "done": True}},
        {"type": "checklist.set_step", "payload": {"index": -1, "done": True}},
        {"type": "checklist.set_step", "payload": "all of it"},
        {"type": "something.else", "payload": {"index": 0, "done": True}},
    ],
)
async def test_an_action_that_makes_no_sense_is_an_error_and_changes_nothing(chat, store, action):
    [card] = done_items(await chat.say("Show me a card"), "widget")
    before = store.items[chat.thread_id][card["id"]]
    events = await chat.request(
        "threads.custom_action", thread_id=chat.thread_id, item_id=card["id"], action=action
    )
    [error] = of_type(events, "error")
    assert (error["code"], error["allow_retry"]) == ("custom", False)
    assert store.items[chat.thread_id][card["id"]] == before
    without_card = await chat.request("threads.custom_action", thread_id=chat.thread_id, action=action)
    assert of_type(without_card, "error")


async def test_a_long_answer_comes_in_pieces_of_token_size(chat):
    events = await chat.say("Write a long answer of 30 paragraphs")
    deltas = deltas_in(events)
    assert "".join(deltas) == answer_in(events) == long_answer(30)
    assert max(map(len, deltas)) <= 12
    assert len(deltas) == len(tokens(long_answer(30))) > 1500


async def test_an_answer_of_so_many_seconds_takes_them(store, monkeypatch):
    monkeypatch.setenv("ASSISTANT_DELTA_MS", "5")
    started = time.monotonic()
    events = await Chat(AssistantServer(store)).say("Talk for 2 seconds")
    assert len(deltas_in(events)) == 400
    assert time.monotonic() - started > 1.9


async def stopped_in_mid_answer(chat):
    """The events' consumer, cancelled where it waits for the next one, as a worker cancels it."""
    seen = []
    enough = asyncio.Event()

    async def consume():
        async for event in chat.say_stream("Write a very long answer"):
            seen.append(event)
            if len(deltas_in(seen)) >= 40:
                enough.set()

    consuming = asyncio.create_task(consume())
    await asyncio.wait_for(enough.wait(), WAIT_SECONDS)
    consuming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consuming
    return seen


async def test_a_stop_in_mid_answer_keeps_the_text_and_leaves_nothing_running(store, monkeypatch):
    monkeypatch.setenv("ASSISTANT_DELTA_MS", "5")
    chat = Chat(AssistantServer(store))
    before = asyncio.all_tasks()
    seen = await stopped_in_mid_answer(chat)
    *_, partial, note = store.of_thread(chat.thread_id)
    assert partial.content[0].text == "".join(deltas_in(seen))
    assert note.type == "sdk_hidden_context"
    assert asyncio.all_tasks() - before == set()
    assert "“Write a very long answer”" in await chat.answer("What do you remember?")


async def test_a_stop_leaves_nothing_for_asyncio_to_complain_about(monkeypatch):
    """In a process of its own: a lost exception or a pending task is told of when the last reference goes."""
    monkeypatch.setenv("ASSISTANT_DELTA_MS", "5")
    program = (
        "import asyncio\n"
        "from relaykit.examples.assistant import AssistantServer\n"
        "from tests.support.assistant_support import Chat, MemoryStore\n"
        "from tests.integration.test_assistant import stopped_in_mid_answer\n"
        "asyncio.run(stopped_in_mid_answer(Chat(AssistantServer(MemoryStore()))))\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-c", program, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, complaints = await asyncio.wait_for(process.communicate(), START_SECONDS)
    assert complaints.decode() == ""
    assert process.returncode == 0


@pytest.mark.parametrize(("question", "deltas"), [("error please", 0), ("error in the middle", 5)])
async def test_a_model_that_fails_is_an_error_event_that_can_be_retried(chat, question, deltas):
    events = await chat.say(question)
    [error] = of_type(events, "error")
    assert error["allow_retry"] is True
    assert len(deltas_in(events)) == deltas
    assert done_items(events, "assistant_message") == []
    [message] = done_items(events, "user_message")
    again = await chat.request("threads.retry_after_item", thread_id=chat.thread_id, item_id=message["id"])
    assert of_type(again, "error")


async def test_quote_mention_and_attachments_are_understood(store):
    files = {
        "atc_1": b"\x89PNG....",
        "atc_2": b"%PDF-1.7",
        "atc_3": b"First line\nsecond",
        "atc_4": b"\x00" * 10,
    }
    server = AssistantServer(store, MemoryAttachments(files))
    kinds = [
        ("image/png", "a.png"),
        ("application/pdf", "b.pdf"),
        ("text/plain", "c.txt"),
        ("audio/wav", "d.wav"),
    ]
    for (attachment_id, _), (mime_type, name) in zip(files.items(), kinds, strict=True):
        if mime_type == "image/png":
            url = "https://site.example/a.png"
            attachment = ImageAttachment(id=attachment_id, name=name, mime_type=mime_type, preview_url=url)
        else:
            attachment = FileAttachment(id=attachment_id, name=name, mime_type=mime_type)
        await store.save_attachment(attachment, ALICE)
    tag = {"type": "input_tag", "id": "p1", "text": "Pricing", "data": {"price": 3}}
    content = [{"type": "input_text", "text": "Look: "}, tag]
    answer = await Chat(server).answer(content=content, attachments=list(files), quoted_text="quoted words")
    assert answer.splitlines()[2:] == [
        "- an image, image/png",
        "- a file, b.pdf",
        "- an attachment, c.txt: First line",
        "- an attachment, d.wav: [No content: its type cannot be read.]",
        "- a mention of Pricing",
        "- a quote: quoted words",
    ]


async def test_an_attachment_whose_bytes_are_gone_does_not_end_the_thread(store):
    server = AssistantServer(store, MemoryAttachments({}))
    await store.save_attachment(FileAttachment(id="atc_1", name="c.txt", mime_type="text/plain"), ALICE)
    chat = Chat(server)
    assert "not there any more" in await chat.answer("see", attachments=["atc_1"])
    assert (await chat.answer("hello")).startswith("Hello!")


class Away(MemoryAttachments):
    async def read(self, attachment_id, context, *, max_bytes):
        raise ConnectionError


async def test_a_storage_that_is_away_is_an_error_that_can_be_retried(store):
    await store.save_attachment(FileAttachment(id="atc_1", name="c.txt", mime_type="text/plain"), ALICE)
    events = await Chat(AssistantServer(store, Away({}))).say("see", attachments=["atc_1"])
    [error] = of_type(events, "error")
    assert error["allow_retry"] is True


async def test_a_store_that_hands_out_no_bytes_is_fine_too(store, chat):
    await store.save_attachment(FileAttachment(id="atc_1", name="c.txt", mime_type="text/plain"), ALICE)
    assert "does not hand out" in await chat.answer("see", attachments=["atc_1"])


async def test_answers_to_questions_start_a_turn(chat, store):
    await chat.say("hello")
    question = StructuredInputFreeform(id="q1", question="Which city?")
    item = StructuredInputItem(
        id="si_1",
        thread_id=chat.thread_id,
        created_at=store.threads[chat.thread_id].created_at,
        inputs=[question],
    )
    await store.add_thread_item(chat.thread_id, item, ALICE)
    events = await chat.request(
        "threads.add_structured_input",
        thread_id=chat.thread_id,
        item_id="si_1",
        input={"answers": {"q1": {"values": ["Bern"]}}},
    )
    assert answer_in(events) == 'Thank you. Your answers: `{"Which city?": ["Bern"]}`'


async def test_two_users_at_once_see_only_their_own_turns(store):
    server = AssistantServer(store)
    chats = [Chat(server, on_page(title=f"Page {number}")) for number in range(10)]
    answers = await asyncio.gather(*(chat.answer("Which page is this?") for chat in chats))
    assert answers == [f"You are on **Page {number}**." for number in range(10)]


async def test_the_token_is_in_no_event_and_nothing_stored(store):
    token = base64.urlsafe_b64encode(b"a caller's own token").decode()
    context = RequestContext(
        user_id="alice",
        bearer_token=token,
        metadata={"pageContext": {"title": f"Page {token}"}, "access_token": token},
    )
    events = await Chat(AssistantServer(store), context).say("Which page is this?")
    assert answer_in(events) == "You are on **Page [removed]**."
    assert token not in json.dumps(events)


async def test_an_unknown_thread_is_not_found(chat):
    with pytest.raises(NotFoundError):
        await chat.request("threads.retry_after_item", thread_id="thr_none", item_id="msg_none")
