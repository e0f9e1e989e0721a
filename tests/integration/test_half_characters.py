"""Half an emoji, as a browser cuts it, in anything that a client sends or a token holds: taken, as U+FFFD."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from chatkit.actions import Action
from chatkit.types import (
    AudioInput,
    Page,
    SyncCustomActionResponse,
    ThreadItem,
    ThreadMetadata,
    TranscriptionResult,
    UserMessageItem,
    WidgetItem,
)

from relaykit.shared.settings import Settings
from tests.support.servers.protocol_servers import Events, ProtocolServer
from tests.support.servers.user_servers import SqliteStore
from tests.support.system import Caller, System, create, message, running

CUT = "cut \ud83d"  # json.dumps spells it as an escape, as JSON.stringify does
WHOLE = "cut \ufffd"
FILE = {"name": CUT, "size": 3, "mime_type": "text/plain"}


class Repeating(ProtocolServer):
    """Says what its context holds, so that it is known in the worker."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        if input_user_message is not None and input_user_message.content[0].text == "metadata":
            async for event in self.say(thread, f"{context.metadata} {context.claims.get('name')}", context):
                yield event
            return
        async for event in super().respond(thread, input_user_message, context):
            yield event

    async def transcribe(self, audio_input: AudioInput, context: Any) -> TranscriptionResult:
        return TranscriptionResult(text=CUT)

    async def sync_action(
        self, thread: ThreadMetadata, action: Action[str, Any], sender: WidgetItem | None, context: Any
    ) -> SyncCustomActionResponse:
        assert sender is not None
        changed = sender.model_copy(update={"copy_text": CUT})
        await self.store.save_item(thread.id, changed, context)
        return SyncCustomActionResponse(updated_item=changed)

    async def action(
        self, thread: ThreadMetadata, action: Action[str, Any], sender: WidgetItem | None, context: Any
    ) -> Events:
        async for event in self.say(thread, f"{action.type}: {action.payload}", context):
            yield event


@pytest.fixture
async def system(settings: Settings, tmp_path: Path) -> AsyncIterator[System]:
    files = {"attachments_url": f"file://{tmp_path}", "attachments_key": "k" * 43}
    async with running(settings.model_copy(update=files), lambda: Repeating(store=None)) as system:
        yield system


@pytest.fixture
async def alice(system: System) -> Caller:
    return await system.caller("alice")


async def test_a_message_with_half_a_character_is_stored_and_answered(alice: Caller) -> None:
    """Its text, its tags with their data, its quote and its file's name; two halves that follow each other are one."""
    file = await alice.ask({"type": "attachments.create", "params": FILE})
    assert file["name"] == WHOLE
    await alice.client.put(file["upload_descriptor"]["url"], content=b"abc")
    tag = {"type": "input_tag", "id": "t", "text": CUT, "data": {CUT: [CUT]}, "group": CUT}
    content = [{"type": "input_text", "text": f"{CUT} \ud83d\ude00 \ude00"}, tag]
    given = {
        "content": content,
        "attachments": [file["id"]],
        "quoted_text": CUT,
        "inference_options": {"model": CUT},
    }
    answer = await alice.stream({"type": "threads.create", "params": {"input": given}})
    assert answer.end == "completed"
    (stored, *_) = await alice.items(answer.thread_id)
    assert stored["content"][0]["text"] == f"{WHOLE} \U0001f600 \ufffd"
    assert stored["content"][1]["text"] == stored["content"][1]["group"] == WHOLE
    assert stored["content"][1]["data"] == {WHOLE: [WHOLE]}
    assert stored["quoted_text"] == stored["inference_options"]["model"] == WHOLE
    assert stored["attachments"][0]["name"] == WHOLE


async def test_metadata_with_half_a_character_reach_the_server(alice: Caller) -> None:
    body = {**create("metadata", metadata={"page": {"title": CUT}}), "metadata": {CUT: 1}}
    assert (await alice.stream(body)).text == str({WHOLE: 1, "page": {"title": WHOLE}}) + " None"


async def test_results_actions_answers_and_titles_with_half_a_character_are_taken(alice: Caller) -> None:
    first = await alice.stream(create("tool"))
    on = {"thread_id": first.thread_id}
    result = {"type": "threads.add_client_tool_output", "params": {**on, "result": {CUT: CUT}}}
    assert (await alice.stream(result)).text == f"The page says { ({WHOLE: WHOLE}) }."
    action = {
        "type": "threads.custom_action",
        "params": {**on, "action": {"type": CUT, "payload": {"a": CUT}}},
    }
    assert (await alice.stream(action)).text == f"{WHOLE}: { ({'a': WHOLE}) }"
    await alice.stream(message(first.thread_id, "questions"))
    item_id = (await alice.items(first.thread_id))[-1]["id"]
    answers = {"answers": {"why": {"values": [CUT]}}}
    given = {"type": "threads.add_structured_input", "params": {**on, "item_id": item_id, "input": answers}}
    assert WHOLE in (await alice.stream(given)).text
    titled = await alice.ask({"type": "threads.update", "params": {**on, "title": CUT}})
    assert titled["title"] == WHOLE


async def test_an_id_with_half_a_character_is_absent(alice: Caller) -> None:
    response = await alice.post({"type": "threads.get_by_id", "params": {"thread_id": CUT}})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "thread_not_found")


async def test_the_same_body_again_attaches_to_its_run(alice: Caller) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await alice.stream(create(CUT), headers)
    assert (await alice.stream(create(CUT), headers)).run_id == first.run_id


async def test_a_claim_with_half_a_character_reaches_the_server(settings: Settings, alice: Caller) -> None:
    assert settings.local_issuer_key_file is not None
    claims = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "sub": "bob",
        "name": CUT,
        "exp": int(time.time()) + 600,
    }
    kid = jwt.get_unverified_header(alice.token)["kid"]
    key = settings.local_issuer_key_file.read_bytes()
    token = jwt.encode(claims, key, algorithm="RS256", headers={"kid": kid})
    bob = Caller(alice.client, token)
    assert (await bob.stream(create("metadata"))).text == f"{{}} {WHOLE}"


async def test_a_transcript_with_half_a_character_is_an_answer(alice: Caller) -> None:
    params = {"audio_base64": "AAAA", "mime_type": "audio/webm"}
    assert (await alice.ask({"type": "input.transcribe", "params": params}))["text"] == WHOLE


async def test_an_item_with_half_a_character_that_an_action_gives_back_is_an_answer(alice: Caller) -> None:
    thread_id = (await alice.stream(create("widget"))).thread_id
    [widget] = [item["id"] for item in await alice.items(thread_id) if item["type"] == "widget"]
    params = {"thread_id": thread_id, "item_id": widget, "action": {"type": "count", "payload": {}}}
    answer = await alice.ask({"type": "threads.sync_custom_action", "params": params})
    assert answer["updated_item"]["copy_text"] == WHOLE
    assert (await alice.items(thread_id))[-1]["copy_text"] == WHOLE


class CuttingStore(SqliteStore):
    """A site's own that cuts texts where they are read, as one that is limited to some units of UTF-16 does."""

    async def load_thread(self, thread_id: str, context: Any) -> ThreadMetadata:
        return self._cut_thread(await super().load_thread(thread_id, context))

    async def load_threads(
        self, limit: int, after: str | None, order: str, context: Any
    ) -> Page[ThreadMetadata]:
        page = await super().load_threads(limit, after, order, context)
        return page.model_copy(update={"data": [self._cut_thread(each) for each in page.data]})

    async def load_thread_items(
        self, thread_id: str, after: str | None, limit: int, order: str, context: Any
    ) -> Page[ThreadItem]:
        page = await super().load_thread_items(thread_id, after, limit, order, context)
        for item in page.data:
            item.content[0].text = CUT  # type: ignore[union-attr]
        return page

    def _cut_thread(self, thread: ThreadMetadata) -> ThreadMetadata:
        return thread.model_copy(update={"title": CUT})


async def test_what_a_store_of_the_site_s_own_has_with_half_a_character_is_read(
    settings: Settings, tmp_path: Path
) -> None:
    """In items, and in the titles of threads, one by one and in pages."""

    def server() -> ProtocolServer:
        made = ProtocolServer(store=None)
        made.store = CuttingStore(str(tmp_path / "own.db"))
        return made

    async with running(settings.model_copy(update={"chatkit_store": "own"}), server) as system:
        alice = await system.caller()
        thread_id = (await alice.stream(create("hello"))).thread_id
        assert [item["content"][0]["text"] for item in await alice.items(thread_id)] == [WHOLE, WHOLE]
        page = await alice.ask({"type": "threads.list", "params": {}})
        assert [thread["title"] for thread in page["data"]] == [WHOLE]
        thread = await alice.ask({"type": "threads.get_by_id", "params": {"thread_id": thread_id}})
        assert thread["title"] == WHOLE
        assert [item["content"][0]["text"] for item in thread["items"]["data"]] == [WHOLE, WHOLE]
