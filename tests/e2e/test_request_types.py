"""Each of the sixteen request types of ChatKit, through HTTP, the queue and a worker process.

What comes back is compared with what the SDK would write, byte for byte, and what is stored with what came back.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import httpx2
import pytest
import pytest_asyncio
from chatkit.types import (
    Attachment,
    ChatKitReq,
    Page,
    SyncCustomActionResponse,
    Thread,
    ThreadItem,
    ThreadStreamEvent,
    TranscriptionResult,
)
from pydantic import TypeAdapter

from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import (
    Answer,
    Caller,
    Processes,
    create,
    fork_process,
    free_port,
    make_settings,
    message,
    running_processes,
    user_input,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
EVENT: TypeAdapter[Any] = TypeAdapter(ThreadStreamEvent)
USER_TURN = ["thread.item.done", "stream_options"]
SAID = ["thread.item.added", "thread.item.updated", "thread.item.done"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(
    databases: Databases,
    redis_databases: RedisDatabases,
    issuer_key_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Processes]:
    folder = tmp_path_factory.mktemp("request-types")
    with databases.fresh() as database_url, redis_databases.fresh() as redis_url:
        settings = make_settings(
            redis_url,
            database_url,
            issuer_key_file,
            free_port(),
            chatkit_server="tests.support.servers.protocol_servers:ProtocolServer",
            attachments_url=f"file://{folder}/attachments",
            attachments_key="k" * 43,
        )
        (folder / "attachments").mkdir()
        async with running_processes(settings, folder, start=fork_process) as processes:
            yield processes


@pytest_asyncio.fixture(loop_scope="module")
async def alice(system: Processes) -> Caller:
    return await system.caller("alice", "acme")


@pytest_asyncio.fixture(loop_scope="module")
async def empty_handed(system: Processes, request: pytest.FixtureRequest) -> Caller:
    """A caller who has no thread yet."""
    return await system.caller(request.node.name)


def as_the_sdk_writes(kind: Any, body: bytes) -> Any:
    """The body as a value of `kind`. Fails unless the SDK would write that value as exactly these bytes."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    value = adapter.validate_json(body)
    written = adapter.dump_json(value, by_alias=True, exclude_none=True, context={"exclude_metadata": True})
    assert written == body
    return value


async def ask(caller: Caller, kind: str, params: dict[str, Any]) -> bytes:
    response = await caller.post({"type": kind, "params": params})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.content


async def stream(caller: Caller, kind: str, params: dict[str, Any]) -> Answer:
    return checked(await caller.stream({"type": kind, "params": params}))


def checked(answer: Answer) -> Answer:
    """The answer of a completed run. Fails unless each event is as the SDK writes it."""
    lines = [line for line in answer.raw.split(b"\n") if line.startswith(b"data: ")]
    for line in lines:
        as_the_sdk_writes(ThreadStreamEvent, line.removeprefix(b"data: "))
    assert answer.end == "completed"
    assert answer.headers["cache-control"] == "no-store, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    return answer


def kinds(answer: Answer) -> list[str]:
    """The types of the events; how many updates a text comes in is left open."""
    found: list[str] = []
    for event in answer.events:
        if event["type"] == "thread.item.updated" and found[-1] == "thread.item.updated":
            continue
        found.append(event["type"])
    return found


def done(answer: Answer) -> list[dict[str, Any]]:
    return [event["item"] for event in answer.of_type("thread.item.done")]


def action(thread_id: str, item_id: str | None) -> dict[str, Any]:
    sender = {} if item_id is None else {"item_id": item_id}
    return {"thread_id": thread_id, **sender, "action": {"type": "count", "payload": {"by": 2}}}


async def start(caller: Caller, text: str) -> Answer:
    return checked(await caller.stream(create(text)))


async def test_the_protocol_has_the_sixteen_types_that_are_tested_here() -> None:
    """A new type in a new SDK fails here, and then wants a test of its own."""
    union = get_args(get_args(ChatKitReq)[0])
    types = {model.model_fields["type"].default for model in union}
    source = Path(__file__).read_text()
    assert len(types) == 16
    assert not {kind for kind in types if f'"{kind}"' not in source}


# --- streaming


async def test_threads_create(alice: Caller) -> None:
    """A new thread, the user's message, the answer word by word; then all of it is in the thread."""
    answer = checked(
        await alice.stream({"type": "threads.create", "params": {"input": user_input("one two")}})
    )
    assert kinds(answer) == ["thread.created", *USER_TURN, *SAID]
    assert answer.text == "You said: one two"
    assert answer.of_type("stream_options") == [
        {"type": "stream_options", "stream_options": {"allow_cancel": True}}
    ]
    user, said = done(answer)
    assert user["content"] == [{"type": "input_text", "text": "one two"}]
    assert said["content"][0]["text"] == "You said: one two"
    assert await alice.items(answer.thread_id) == [user, said]
    status = (await alice.get(f"/runs/{answer.run_id}")).json()
    assert status == {
        "id": answer.run_id,
        "thread_id": answer.thread_id,
        "kind": "threads.create",
        "status": "completed",
        "attempt": 1,
        "error": None,
    }


async def test_threads_add_user_message(alice: Caller) -> None:
    """Tags, quoted text and inference options reach the store and come back."""
    thread_id = (await start(alice, "first")).thread_id
    before = await alice.items(thread_id)
    tag = {
        "type": "input_tag",
        "id": "p1",
        "text": "the page",
        "data": {"deep": [1, None]},
        "interactive": True,
    }
    given = {
        "content": [{"type": "input_text", "text": "look at "}, tag],
        "attachments": [],
        "quoted_text": "quoted",
        "inference_options": {"model": "small", "tool_choice": {"id": "search"}},
    }
    answer = await stream(alice, "threads.add_user_message", {"thread_id": thread_id, "input": given})
    assert kinds(answer) == [*USER_TURN, *SAID]
    user, said = done(answer)
    assert user["quoted_text"] == "quoted"
    assert user["inference_options"] == given["inference_options"]
    assert user["content"][1]["text"] == "the page"
    assert user["content"][1]["data"] == {"deep": [1, None]}
    assert answer.text == "You said: look at the page"
    assert await alice.items(thread_id) == [*before, user, said]


async def test_threads_add_client_tool_output(alice: Caller) -> None:
    """The pending call is completed with the output, and the server goes on from it."""
    asked = await start(alice, "tool")
    call = done(asked)[1]
    assert (call["type"], call["status"], call["arguments"]) == (
        "client_tool_call",
        "pending",
        {"part": "title"},
    )
    answer = await stream(
        alice, "threads.add_client_tool_output", {"thread_id": asked.thread_id, "result": {"title": "Home"}}
    )
    assert kinds(answer) == ["stream_options", *SAID]
    assert answer.text == "The page says {'title': 'Home'}."
    user, stored_call, said = await alice.items(asked.thread_id)
    assert user == done(asked)[0]
    assert stored_call == {**call, "status": "completed", "output": {"title": "Home"}}
    assert said == done(answer)[0]


@pytest.mark.parametrize(
    ("given", "status", "answers", "text"),
    [
        (
            {"answers": {"color": {"values": ["blue", "red"]}, "why": {"skipped": True}, "other": {}}},
            "answered",
            [{"values": ["blue"], "skipped": False}, {"values": [], "skipped": True}],
            "You are answered: [['blue'], []].",
        ),
        (
            {"status": "skipped"},
            "skipped",
            [{"values": [], "skipped": True}, {"values": [], "skipped": True}],
            "You are skipped: [[], []].",
        ),
    ],
    ids=["answered", "skipped"],
)
async def test_threads_add_structured_input(
    alice: Caller, given: dict[str, Any], status: str, answers: list[dict[str, Any]], text: str
) -> None:
    """The answers replace the pending item, for clients and in the store; one choice is one value."""
    asked = await start(alice, "questions")
    pending = done(asked)[1]
    assert (pending["type"], pending["status"]) == ("structured_input", "pending")
    answer = await stream(
        alice,
        "threads.add_structured_input",
        {"thread_id": asked.thread_id, "item_id": pending["id"], "input": given},
    )
    assert kinds(answer) == ["stream_options", "thread.item.replaced", *SAID]
    replaced = answer.of_type("thread.item.replaced")[0]["item"]
    assert replaced["status"] == status
    assert [question["answer"] for question in replaced["inputs"]] == answers
    assert answer.text == text
    assert (await alice.items(asked.thread_id))[1:] == [replaced, *done(answer)]


async def test_threads_retry_after_item(alice: Caller) -> None:
    """Everything after the message goes, and the message is answered anew."""
    first = await start(alice, "again please")
    thread_id = first.thread_id
    checked(await alice.stream(message(thread_id, "second")))
    user = done(first)[0]
    answer = await stream(alice, "threads.retry_after_item", {"thread_id": thread_id, "item_id": user["id"]})
    assert kinds(answer) == ["stream_options", *SAID]
    assert answer.text == "You said: again please"
    assert done(answer)[0]["id"] != done(first)[1]["id"]
    assert await alice.items(thread_id) == [user, *done(answer)]


async def test_threads_custom_action(alice: Caller) -> None:
    """The widget that sent the action changes, for clients and in the store, and the server answers."""
    shown = await start(alice, "widget")
    widget = done(shown)[1]
    assert widget["widget"]["children"][1]["onClickAction"]["payload"] == {"by": 1}
    answer = await stream(alice, "threads.custom_action", action(shown.thread_id, widget["id"]))
    assert kinds(answer) == ["stream_options", "thread.item.replaced", *SAID]
    replaced = answer.of_type("thread.item.replaced")[0]["item"]
    assert (replaced["id"], replaced["copy_text"]) == (widget["id"], "count: 2")
    assert answer.text == "Action count with {'by': 2}."
    assert (await alice.items(shown.thread_id))[1:] == [replaced, *done(answer)]


async def test_threads_custom_action_of_no_widget(alice: Caller) -> None:
    """A client may send an action of its own, without a sender and without a payload."""
    thread_id = (await start(alice, "hi")).thread_id
    answer = await stream(
        alice, "threads.custom_action", {"thread_id": thread_id, "action": {"type": "refresh"}}
    )
    assert answer.text == "Action refresh with None."
    assert (await alice.items(thread_id))[-1] == done(answer)[0]


# --- answered in the request


async def test_threads_get_by_id(alice: Caller) -> None:
    """The thread with its first items, oldest first, and the place where the next begin."""
    answer = await start(alice, "message 0")
    thread_id = answer.thread_id
    for number in range(1, 11):
        await alice.stream(message(thread_id, f"message {number}"))
    body = await ask(alice, "threads.get_by_id", {"thread_id": thread_id})
    thread = as_the_sdk_writes(Thread, body)
    everything = await alice.items(thread_id)
    assert json.loads(body)["items"]["data"] == everything[:20]
    assert (thread.id, thread.items.has_more, thread.items.after) == (thread_id, True, everything[19]["id"])
    created = answer.of_type("thread.created")[0]["thread"]
    assert json.loads(body)["created_at"] == created["created_at"]
    assert json.loads(body)["status"] == {"type": "active"}


async def test_threads_list(empty_handed: Caller) -> None:
    """The caller's threads and nobody else's, newest first or oldest first, page after page."""
    assert as_the_sdk_writes(Page[Thread], await ask(empty_handed, "threads.list", {})) == Page[Thread]()
    ids = [(await start(empty_handed, f"thread {number}")).thread_id for number in range(3)]
    page = as_the_sdk_writes(Page[Thread], await ask(empty_handed, "threads.list", {}))
    assert [thread.id for thread in page.data] == ids[::-1]
    assert page.has_more is False
    assert all(thread.items.data == [] for thread in page.data)
    first = as_the_sdk_writes(
        Page[Thread], await ask(empty_handed, "threads.list", {"limit": 2, "order": "asc"})
    )
    assert ([thread.id for thread in first.data], first.has_more) == (ids[:2], True)
    rest = as_the_sdk_writes(
        Page[Thread],
        await ask(empty_handed, "threads.list", {"limit": 2, "order": "asc", "after": first.after}),
    )
    assert ([thread.id for thread in rest.data], rest.has_more) == (ids[2:], False)


async def test_items_list(alice: Caller) -> None:
    """Pages of both orders meet without a gap; hidden items are not among them."""
    thread_id = (await start(alice, "one")).thread_id
    await alice.stream(message(thread_id, "two"))
    ids = [item["id"] for item in await alice.items(thread_id)]
    assert len(ids) == 4
    await ask(alice, "items.feedback", {"thread_id": thread_id, "item_ids": ids, "kind": "positive"})
    newest = as_the_sdk_writes(Page[ThreadItem], await ask(alice, "items.list", {"thread_id": thread_id}))
    assert [item.id for item in newest.data] == ids[::-1]
    collected: list[str] = []
    params: dict[str, Any] = {"thread_id": thread_id, "order": "asc", "limit": 3}
    while True:
        page = as_the_sdk_writes(Page[ThreadItem], await ask(alice, "items.list", params))
        collected += [item.id for item in page.data]
        if not page.has_more:
            break
        params["after"] = page.after
    assert collected == ids


async def test_items_feedback(alice: Caller) -> None:
    """The user's own add_feedback() runs in the API; a worker sees what it stored."""
    answer = await start(alice, "rate me")
    item_id = done(answer)[1]["id"]
    params = {"thread_id": answer.thread_id, "item_ids": [item_id], "kind": "negative"}
    assert await ask(alice, "items.feedback", params) == b"{}"
    heard = checked(await alice.stream(message(answer.thread_id, "feedback")))
    assert heard.text == f"negative:{item_id}"


async def test_attachments_create_and_delete(alice: Caller) -> None:
    """A file is registered, sent, read by the server in the worker, seen again by its link, and goes with its thread;
    one that was not sent is deleted."""
    file = {"name": "ü dot.png", "size": len(PNG), "mime_type": "image/png"}
    unsent = as_the_sdk_writes(Attachment, await ask(alice, "attachments.create", file))
    body = await ask(alice, "attachments.create", file)
    image = as_the_sdk_writes(Attachment, body)
    async with httpx2.AsyncClient() as client:
        upload = image.upload_descriptor
        sent = await client.request(upload.method, str(upload.url), headers=upload.headers, content=PNG)
        assert sent.status_code == 204, sent.text
        seen = await client.get(str(image.preview_url))
        assert (seen.status_code, seen.content, seen.headers["content-type"]) == (200, PNG, "image/png")

    answer = checked(await alice.stream(create("look", attachments=[image.id])))
    assert answer.text == f"You said: look [{len(PNG)} bytes]"
    stored = (await alice.items(answer.thread_id))[0]["attachments"]
    assert stored == done(answer)[0]["attachments"]
    assert (stored[0]["id"], stored[0]["name"], stored[0]["type"]) == (image.id, "ü dot.png", "image")
    assert stored[0]["thread_id"] == answer.thread_id
    assert "upload_descriptor" not in stored[0]

    assert await ask(alice, "attachments.delete", {"attachment_id": unsent.id}) == b"{}"
    refused = await alice.post({"type": "attachments.delete", "params": {"attachment_id": image.id}})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "attachment_in_use")
    await ask(alice, "threads.delete", {"thread_id": answer.thread_id})
    async with httpx2.AsyncClient() as client:
        assert (await client.get(str(image.preview_url))).status_code == 404
    for gone in (image, unsent):
        again = await alice.post(create("look", attachments=[gone.id]))
        assert (again.status_code, again.json()["error"]["code"]) == (404, "attachment_not_found")


async def test_threads_update(alice: Caller) -> None:
    """The title, which the thread then has everywhere."""
    thread_id = (await start(alice, "name me")).thread_id
    body = await ask(alice, "threads.update", {"thread_id": thread_id, "title": "Ünïcode ☃ \u0000 title"})
    assert as_the_sdk_writes(Thread, body).title == "Ünïcode ☃ \u0000 title"
    shown = json.loads(await ask(alice, "threads.get_by_id", {"thread_id": thread_id}))
    assert shown["title"] == "Ünïcode ☃ \u0000 title"
    assert len(shown["items"]["data"]) == 2


async def test_threads_delete(alice: Caller) -> None:
    """The thread is gone with its items and its run."""
    answer = await start(alice, "forget me")
    assert await ask(alice, "threads.delete", {"thread_id": answer.thread_id}) == b"{}"
    for kind in ("threads.get_by_id", "items.list", "threads.delete"):
        response = await alice.post({"type": kind, "params": {"thread_id": answer.thread_id}})
        assert (response.status_code, response.json()["error"]["code"]) == (404, "thread_not_found")
    assert (await alice.get(f"/runs/{answer.run_id}")).status_code == 404


async def test_input_transcribe(alice: Caller) -> None:
    """The user's own transcribe() gets the bytes and the type."""
    audio = base64.b64encode("gesprochen: ü".encode()).decode()
    params = {"audio_base64": audio, "mime_type": "audio/webm;codecs=opus"}
    body = await ask(alice, "input.transcribe", params)
    assert as_the_sdk_writes(TranscriptionResult, body).text == "audio/webm: gesprochen: ü"


async def test_threads_sync_custom_action(alice: Caller) -> None:
    """The user's own sync_action() answers with the changed widget, which is stored."""
    shown = await start(alice, "widget")
    widget = done(shown)[1]
    body = await ask(alice, "threads.sync_custom_action", action(shown.thread_id, widget["id"]))
    updated = as_the_sdk_writes(SyncCustomActionResponse, body).updated_item
    assert (updated.id, updated.copy_text) == (widget["id"], "count: 2")
    assert (await alice.items(shown.thread_id))[1] == json.loads(body)["updated_item"]
    assert await ask(alice, "threads.sync_custom_action", action(shown.thread_id, None)) == b"{}"
