"""The example assistant with the scripted model, in memory: what a user can ask for, and what then arrives."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path

import pytest
from chatkit.store import AttachmentStore
from chatkit.types import (
    AssistantMessageContentPartTextDelta,
    ClientEffectEvent,
    FileAttachment,
    ThreadItemDoneEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdatedEvent,
    ThreadUpdatedEvent,
    WidgetItem,
)

from relaykit import testing
from relaykit.examples.assistant import AssistantServer
from relaykit.examples.assistant.feedback import MAX_RATED
from relaykit.examples.assistant.long_answer import long_answer, tokens
from relaykit.examples.assistant.transcription import MAX_AUDIO_BYTES
from tests.support.sites.assistant_support import Chat, MemoryStore
from tests.support.system import START_SECONDS

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
async def chat():
    async with testing.chat(AssistantServer, user="alice") as chat:
        yield chat


def on_page(**page):
    return {"userInfo": {"name": "Alice"}, "pageContext": page}


def deltas_of(answer):
    updates = [event.update for event in answer.events if isinstance(event, ThreadItemUpdatedEvent)]
    return [update.delta for update in updates if isinstance(update, AssistantMessageContentPartTextDelta)]


def titles_of(answer):
    return [event.thread.title for event in answer.events if isinstance(event, ThreadUpdatedEvent)]


async def stored(chat):
    """The thread's items, those too that no client is shown."""
    page = await chat.server.store.load_thread_items(chat.thread_id, None, 1000, "asc", chat.context())
    return page.data


async def metadata_of(chat):
    """That of the thread, which no client is sent."""
    return (await chat.server.store.load_thread(chat.thread_id, chat.context())).metadata


async def test_it_runs_without_relaykit_too():
    """On any store, asked by ChatKit's own `process`."""
    chat = Chat(AssistantServer(MemoryStore()))
    assert (await chat.answer("hello")).startswith("Hello!")


async def test_the_same_question_gets_the_same_answer_and_new_ids(chat):
    first = await chat.say("hello")
    chat.new_thread()
    second = await chat.say("hello")
    assert first.text == second.text
    assert first.items[0].id != second.items[0].id


async def test_a_question_is_searched_with_progress_and_answered_with_annotations(chat):
    answer = await chat.say("What is a cursor?")
    assert answer.progress == ["Searching the docs for “What is a cursor?”", "Reading docs/guide.md"]
    assert "A cursor is the id of the last entry a client has." in answer.text
    [annotation] = (await chat.history())[-1].content[0].annotations
    assert annotation.source.id == "docs/guide.md#cursors"
    assert "[1]" not in answer.text
    assert answer.text[: annotation.index].endswith("**")
    kinds = [event.update.type for event in answer.events if isinstance(event, ThreadItemUpdatedEvent)]
    added = kinds.index("assistant_message.content_part.annotation_added")
    assert added < kinds.index("assistant_message.content_part.done")


async def test_sources_are_links_where_the_site_serves_its_docs(monkeypatch):
    monkeypatch.setenv("ASSISTANT_DOCS_URL", "https://docs.example/")
    async with testing.chat(AssistantServer) as chat:
        await chat.say("What is a cursor?")
        [annotation] = (await chat.history())[-1].content[0].annotations
        assert annotation.source.url == "https://docs.example/docs/guide.md#cursors"


async def test_without_any_docs_the_answer_says_that_there_is_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("ASSISTANT_DOCS_DIR", str(tmp_path / "nowhere"))
    async with testing.chat(AssistantServer) as chat:
        assert "nothing about that" in (await chat.say("What is a cursor?")).text
        assert (await chat.say("give me a list")).widgets[0].copy_text == "There are no pages."


async def test_the_first_turn_titles_the_thread_and_later_turns_leave_the_title(chat):
    answer = await chat.say("Tell me something nice about the weather in the mountains this winter")
    assert titles_of(answer) == ["Tell me something nice about the weather in the…"]
    assert (await chat.thread()).title == titles_of(answer)[0]
    assert titles_of(await chat.say("and now hello")) == []


async def test_history_reaches_the_model(chat):
    assert "first message" in (await chat.say("What do you remember?")).text
    await chat.say("hello")
    assert "“What do you remember?”" in (await chat.say("What was my first message?")).text


async def test_page_and_user_reach_the_model_without_query_and_fragment(chat):
    page = on_page(
        url="https://site.example/pricing?token=s3cret#x", title="Pricing", headings=["Plans", "FAQ"]
    )
    answer = await chat.say("Which page am I on?", metadata=page)
    assert (
        answer.text
        == "You are on **Pricing**.\n- address: https://site.example/pricing\n- headings: Plans, FAQ"
    )
    assert (await chat.say("hi", metadata=page)).text.startswith("Hello, Alice!")
    assert "told me nothing" in (await chat.say("Which page am I on?")).text


async def test_effects_are_sent_to_the_client(chat):
    [effect] = (await chat.say('Highlight the word "Welcome".')).effects
    assert effect == ClientEffectEvent(name="highlight", data={"text": "Welcome"})
    [effect] = (await chat.say("Please open /docs/guide")).effects
    assert effect == ClientEffectEvent(name="open_page", data={"path": "/docs/guide"})


async def test_no_effect_opens_another_site(chat):
    answer = await chat.say("Please open //evil.example/x")
    assert answer.effects == []
    assert "only a path on this site" in answer.text


async def test_the_client_tool_ends_the_turn_and_its_output_begins_the_next(chat):
    asked = await chat.say("What time is it?")
    assert (asked.tool_call.name, asked.tool_call.status, asked.text) == ("get_local_time", "pending", "")
    answer = await asked.answer_tool({"iso": "12:34"})
    assert answer.text == 'Your browser says: `{"iso": "12:34"}`'
    assert "“What time is it?”" in (await chat.say("What do you remember?")).text


async def test_a_client_tool_that_never_answered_does_not_break_the_thread(chat):
    """CLIENT_TOOL_SECONDS pass; then the thread goes on."""
    await chat.say("What time is it?")
    assert (await chat.say("hello")).text.startswith("Hello!")


async def test_the_card_is_updated_by_its_buttons_until_all_is_done(chat):
    [card] = (await chat.say("Show me a card")).widgets
    for index in range(3):
        button = as_json(card)["children"][3 + index]["children"][2]
        done = await chat.act(button["onClickAction"], widget=card)
        [card] = [event.item for event in done.events if isinstance(event, ThreadItemReplacedEvent)]
        assert as_json(card)["children"][1]["value"] == f"{index + 1} of 3 done"
        assert bool(done.text) == (index == 2)
    [kept] = [item for item in await chat.history() if isinstance(item, WidgetItem)]
    assert kept.copy_text.count("[x]") == 3


def as_json(card):
    return card.widget.model_dump(mode="json", exclude_none=True)


async def act_at_once(chat, widget, kind, payload=None):
    action = {"type": kind, "payload": payload}
    params = {"thread_id": chat.thread_id, "item_id": widget.id, "action": action}
    return await chat.ask({"type": "threads.sync_custom_action", "params": params})


async def test_a_button_pressed_twice_does_the_same_as_once(chat):
    [card] = (await chat.say("Show me a card")).widgets
    press = {"index": 0, "done": True}
    first = await act_at_once(chat, card, "checklist.set_step", press)
    assert first == await act_at_once(chat, card, "checklist.set_step", press)
    assert first["updated_item"]["widget"]["children"][1]["value"] == "1 of 3 done"


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("checklist.set_step", {"index": 11, "done": True}),
        ("checklist.set_step", {"index": -1, "done": True}),
        ("checklist.set_step", "all of it"),
        ("something.else", {"index": 0, "done": True}),
        ("gallery.submit", {"name": "the card is no form"}),
    ],
)
async def test_an_action_that_makes_no_sense_is_an_error_and_changes_nothing(chat, kind, payload):
    [card] = (await chat.say("Show me a card")).widgets
    before = await chat.history()
    done = await chat.act(kind, payload, widget=card)
    [error] = done.errors
    assert (error.code, error.allow_retry) == ("custom", False)
    assert await chat.history() == before


@pytest.mark.parametrize(
    ("words", "kind", "payload"),
    [
        ("give me a list", "gallery.choose", {"page": "../secret.md"}),
        ("give me a list", "gallery.choose", {"page": ["docs/guide.md"]}),
        ("give me a list", "gallery.choose", None),
        ("give me figures", "gallery.draw", {"as": "pie"}),
        ("give me figures", "gallery.draw", {"as": {}}),
        ("give me figures", "gallery.draw", "line"),
    ],
)
async def test_a_widget_of_the_gallery_takes_what_it_offers_alone(chat, words, kind, payload):
    [widget] = (await chat.say(words)).widgets
    before = await chat.history()
    [error] = (await chat.act(kind, payload, widget=widget)).errors
    assert (error.code, await chat.history()) == ("custom", before)


async def test_a_form_becomes_what_was_sent_and_nothing_else(chat):
    [form] = (await chat.say("give me a form")).widgets
    values = {
        "name": "Docs site",
        "notify": False,
        "note": "x" * 10_000,
        "since": "",
        "other": "unasked",
        "size": 3,
    }
    done = await chat.act("gallery.submit", values, widget=form)
    [card] = [event.item for event in done.events if isinstance(event, ThreadItemReplacedEvent)]
    lines = card.copy_text.splitlines()
    assert lines[:3] == ["Sent", "- Name: Docs site", "- Tell me about updates: no"]
    assert len(lines) == 4
    assert len(lines[3]) < 600


async def test_a_form_is_closed_at_once(chat):
    [form] = (await chat.say("give me a form")).widgets
    closed = await act_at_once(chat, form, "gallery.leave")
    assert closed["updated_item"]["widget"]["children"][0]["value"] == "The form was closed."


async def test_a_page_of_the_list_is_quoted(chat):
    [pages] = (await chat.say("give me a list")).widgets
    action = as_json(pages)["children"][1]["onClickAction"]
    assert action["payload"] == {"page": "docs/guide.md"}
    assert (await chat.act(action, widget=pages)).text == "**Guide** (`docs/guide.md`):\n\n> Welcome."


async def test_figures_are_drawn_the_other_way_and_pressing_twice_does_no_harm(chat):
    [figures] = (await chat.say("give me figures")).widgets
    for _ in range(2):
        done = await chat.act("gallery.draw", {"as": "line"}, widget=figures)
        [figures] = [event.item for event in done.events if isinstance(event, ThreadItemReplacedEvent)]
        chart = next(child for child in as_json(figures)["children"] if child["type"] == "Chart")
        assert {series["type"] for series in chart["series"]} == {"line"}


async def test_questions_end_the_turn_and_their_answers_begin_the_next(chat):
    asked = await chat.say("ask me something")
    assert asked.text == ""
    assert [question.question for question in asked.questions.inputs] == [
        "Where will it run?",
        "What do you want to know first?",
    ]
    answer = await asked.answer_questions({"Where will it run?": "Kubernetes"})
    assert answer.text == (
        'Thank you. Your answers: `{"Where will it run?": ["Kubernetes"],'
        ' "What do you want to know first?": "skipped"}`'
    )


async def test_a_tool_that_the_user_has_chosen_is_called_once(chat):
    """Whatever the message says; the model goes on from its output by itself."""
    answer = await chat.say("hello", tool="search_docs")
    assert answer.progress[0] == "Searching the docs for “hello”"
    assert answer.text
    assert (
        (await chat.say("a table, please", tool="show_widget"))
        .widgets[0]
        .copy_text.startswith("Answers a day")
    )
    assert (await chat.say("hello", tool="ask_user")).questions is not None


@pytest.mark.parametrize("tool", ["open_page", "no such tool", "required"])
async def test_a_tool_that_the_page_does_not_offer_is_not_called(chat, tool):
    answer = await chat.say("hello", tool=tool)
    assert answer.text.startswith("Hello!")
    assert answer.effects == []


async def test_the_model_that_the_user_has_chosen_answers(chat):
    assert (await chat.say("What is a cursor?", model="scripted-brief")).text == (
        "A cursor is the id of the last entry a client has."
    )
    default = (await chat.say("What is a cursor?")).text
    assert default.startswith("From **")
    assert (await chat.say("What is a cursor?", model="gpt-of-somebody-else")).text == default


async def test_what_the_page_offers_is_what_the_server_takes(chat):
    options = json.loads(json.dumps(chat.server.relaykit_page_options))
    assert [model["id"] for model in options["models"]] == ["scripted", "scripted-brief"]
    assert {tool["id"] for tool in options["tools"]} <= {tool.name for tool in chat.server._tools}
    assert [entity["id"] for entity in options["entities"]] == ["README.md", "docs/guide.md"]
    assert options["entities"][1]["description"] == "Welcome."


async def test_a_page_of_the_docs_is_read_to_the_model_and_another_entity_as_data(chat):
    tags = [{"id": "docs/guide.md", "text": "Guide"}, {"id": "p1", "text": "Pricing", "data": {"price": 3}}]
    answer = await chat.say("Look: ", tags=tags)
    assert answer.text.splitlines()[2:] == ["- the page docs/guide.md: Guide", "- a mention of Pricing"]


async def test_feedback_is_stored_and_reaches_the_model(chat):
    first, second = await chat.say("hello"), await chat.say("hello again")
    await chat.feedback("positive", first.items[-1], second.items[-1])
    await chat.feedback("negative", second.items[-1])
    answer = await chat.say("What feedback did I give?")
    assert answer.text == "Of my answers you liked 1 and disliked 1."
    chat.new_thread()
    assert (await chat.say("What feedback did I give?")).text == "Of my answers you liked 0 and disliked 0."


async def test_feedback_on_what_is_no_answer_of_the_thread_is_not_kept(chat):
    await chat.say("hello")
    message = (await chat.history())[0]
    await chat.feedback("positive", message)
    assert await metadata_of(chat) == {}
    with pytest.raises(testing.RelaykitError) as refused:
        await chat.feedback("positive", message.model_copy(update={"id": "msg_none"}))
    assert refused.value.code == "item_not_found"


async def test_feedback_does_not_grow_without_end(chat):
    answer = await chat.say("hello")
    thread = await chat.server.store.load_thread(chat.thread_id, chat.context())
    thread.metadata = {f"feedback:m{number}": "negative" for number in range(MAX_RATED)} | {"mine": 1}
    await chat.server.store.save_thread(thread, chat.context())
    await chat.feedback("positive", answer.items[-1])
    kept = await metadata_of(chat)
    assert len(kept) == MAX_RATED + 1
    assert (kept["mine"], kept[f"feedback:{answer.items[-1].id}"]) == (1, "positive")
    assert "feedback:m0" not in kept


def recording(data, mime_type="audio/webm;codecs=opus"):
    params = {"audio_base64": base64.b64encode(data).decode(), "mime_type": mime_type}
    return {"type": "input.transcribe", "params": params}


async def test_a_recording_becomes_text(chat):
    assert await chat.ask(recording(b"x" * 100)) == {"text": "This is a recording of 100 bytes."}


@pytest.mark.parametrize(
    ("data", "mime_type", "status"),
    [(b"", "audio/webm", 400), (b"x", "text/html", 415), (b"x" * (MAX_AUDIO_BYTES + 1), "audio/ogg", 400)],
)
async def test_what_is_no_recording_is_refused_in_words(chat, data, mime_type, status):
    with pytest.raises(testing.RelaykitError) as refused:
        await chat.ask(recording(data, mime_type))
    assert (refused.value.code, refused.value.status) == ("server_refused", status)


async def test_a_long_answer_comes_in_pieces_of_token_size():
    """One delta an event, as the model gives them: neighbours may come joined otherwise."""
    answer = ""
    chat = Chat(AssistantServer(MemoryStore()))
    deltas = [
        event["update"]["delta"]
        for event in await chat.say("Write a long answer of 30 paragraphs")
        if event.get("update", {}).get("delta")
    ]
    answer = "".join(deltas)
    assert answer == long_answer(30)
    assert max(map(len, deltas)) <= 12
    assert len(deltas) == len(tokens(long_answer(30))) > 1500


async def test_an_answer_of_so_many_seconds_takes_them(monkeypatch):
    """Of the loop's clock, which nobody waits for."""
    monkeypatch.setenv("ASSISTANT_DELTA_MS", "50")
    async with testing.chat(AssistantServer) as chat:
        began_at = asyncio.get_running_loop().time()
        answer = await chat.say("Talk for 20 seconds")
        assert len(tokens(answer.text)) == 400
        assert asyncio.get_running_loop().time() - began_at > 19


async def stopped_in_mid_answer(chat):
    answer = await chat.begin("Write a very long answer")
    await answer.until(lambda answer: len(answer.text) > 200)
    return await answer.cancel()


async def test_a_stop_in_mid_answer_keeps_the_text_and_leaves_nothing_running(monkeypatch):
    monkeypatch.setenv("ASSISTANT_DELTA_MS", "5")
    async with testing.chat(AssistantServer) as chat:
        before = asyncio.all_tasks()
        answer = await stopped_in_mid_answer(chat)
        assert answer.status == "cancelled"
        *_, partial, note = await stored(chat)
        assert partial.content[0].text == "".join(deltas_of(answer))
        assert note.type == "sdk_hidden_context"
        await asyncio.sleep(1)  # of virtual time: whatever can still go on has done so
        assert asyncio.all_tasks() - before == set()
        assert "“Write a very long answer”" in (await chat.say("What do you remember?")).text


async def test_a_stop_leaves_nothing_for_asyncio_to_complain_about(monkeypatch):
    """In a process of its own: a lost exception or a pending task is told of when the last reference goes."""
    monkeypatch.setenv("ASSISTANT_DELTA_MS", "5")
    program = (
        "import asyncio\n"
        "from relaykit import testing\n"
        "from relaykit.examples.assistant import AssistantServer\n"
        "from tests.integration.test_assistant import stopped_in_mid_answer\n"
        "async def main():\n"
        "    async with testing.chat(AssistantServer) as chat:\n"
        "        await stopped_in_mid_answer(chat)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "ignore",
        "-c",
        program,
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, complaints = await asyncio.wait_for(process.communicate(), START_SECONDS)
    assert complaints.decode() == ""
    assert process.returncode == 0


@pytest.mark.parametrize(("question", "words"), [("error please", 0), ("error in the middle", 5)])
async def test_a_model_that_fails_is_an_error_event_that_can_be_retried(chat, question, words):
    answer = await chat.say(question)
    [error] = answer.errors
    assert error.allow_retry is True
    assert bool(deltas_of(answer)) == bool(words)
    done = [event.item for event in answer.events if isinstance(event, ThreadItemDoneEvent)]
    [message] = [item for item in done if item.type == "user_message"]
    assert [item for item in done if item.type == "assistant_message"] == []
    assert (await chat.retry(message.id)).errors


async def test_a_lost_worker_leaves_one_answer(chat):
    """The next attempt begins anew; the first one's text, title and card are taken back."""
    answer = await chat.say("Show me a card", lost_after=3)
    assert answer.attempts == 2
    assert [item.type for item in await chat.history()] == ["user_message", "widget", "assistant_message"]


async def test_quote_mention_and_attachments_are_understood(chat):
    files = [
        await chat.attach("a.png", b"\x89PNG...."),
        await chat.attach("b.pdf", b"%PDF-1.7"),
        await chat.attach("c.txt", "First line\nsecond"),
    ]
    answer = await chat.say(
        "Look: ",
        attachments=[file.id for file in files],
        tags=[{"id": "p1", "text": "Pricing"}],
        quoted_text="quoted words",
    )
    assert answer.text.splitlines()[2:] == [
        "- an image, image/png",
        "- a file, b.pdf",
        "- an attachment, c.txt: First line",
        "- a mention of Pricing",
        "- a quote: quoted words",
    ]


async def test_a_file_of_another_kind_is_named_and_not_read():
    types = {"attachment_mime_types": ["audio/wav"]}
    async with testing.chat(AssistantServer, settings=types) as chat:
        file = await chat.attach("d.wav", b"\x00" * 10, "audio/wav")
        answer = await chat.say("Look", attachments=[file.id])
        assert "an attachment, d.wav: [No content: its type cannot be read.]" in answer.text


async def test_an_attachment_whose_bytes_are_gone_does_not_end_the_thread(chat):
    file = await chat.attach("c.txt", "text")
    chat.lose_uploads()
    assert "not there any more" in (await chat.say("see", attachments=[file.id])).text
    assert (await chat.say("hello")).text.startswith("Hello!")


class Away(AttachmentStore):
    async def delete_attachment(self, attachment_id, context):
        raise ConnectionError

    async def read(self, attachment_id, context, *, max_bytes):
        raise ConnectionError


async def with_a_file(chat):
    """One that no store of Relaykit's has the bytes of; its id."""
    file = FileAttachment(id="atc_1", name="c.txt", mime_type="text/plain")
    await chat.server.store.save_attachment(file, chat.context())
    return file.id


async def test_a_storage_that_is_away_is_an_error_that_can_be_retried():
    async with testing.chat(lambda store: AssistantServer(store, Away())) as chat:
        answer = await chat.say("see", attachments=[await with_a_file(chat)])
        [error] = answer.errors
        assert error.allow_retry is True


async def test_a_store_that_hands_out_no_bytes_is_fine_too():
    async with testing.chat(AssistantServer, settings={"attachments_url": None}) as chat:
        answer = await chat.say("see", attachments=[await with_a_file(chat)])
        assert "does not hand out" in answer.text


async def test_two_users_at_once_see_only_their_own_turns(chat):
    users = [chat.beside(f"user-{number}") for number in range(10)]
    pages = [on_page(title=f"Page {number}") for number in range(10)]
    answers = await asyncio.gather(
        *(user.say("Which page is this?", metadata=page) for user, page in zip(users, pages, strict=True))
    )
    assert [answer.text for answer in answers] == [f"You are on **Page {number}**." for number in range(10)]


async def test_the_token_is_in_no_event_and_nothing_stored():
    token = base64.urlsafe_b64encode(b"a caller's own token").decode()
    metadata = {"pageContext": {"title": f"Page {token}"}, "access_token": token}
    async with testing.chat(AssistantServer, token=token) as chat:
        answer = await chat.say("Which page is this?", metadata=metadata)
        assert answer.text == "You are on **Page [removed]**."
        kept = [item.model_dump_json() for item in await stored(chat)]
        shown = [event.model_dump_json() for event in answer.events]
        assert token not in json.dumps([*kept, *shown])


async def test_an_unknown_thread_is_not_found(chat):
    chat.open_thread("thr_none")
    with pytest.raises(testing.RelaykitError) as refused:
        await chat.retry("msg_none")
    assert refused.value.code == "thread_not_found"
