"""The example assistant behind the queue: API, Redis, PostgreSQL and a worker, as a deployment runs it.

These stay on real services, because they show that the default server, its attachments and its stop go through all of
them; what the assistant answers is tested in memory.
"""

from __future__ import annotations

import secrets

import pytest

from relaykit.shared.settings import Settings
from tests.support.system import Answer, create, message, running


@pytest.fixture
def assistant(settings: Settings, monkeypatch, tmp_path) -> Settings:
    """Settings that name no server, so that the product takes its default."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ASSISTANT_MCP_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ASSISTANT_DELTA_MS", "5")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "guide.md").write_text("# Cursors\n\nA cursor is an id.\n")
    monkeypatch.setenv("ASSISTANT_DOCS_DIR", str(tmp_path))
    url, key = f"file://{tmp_path / 'objects'}", secrets.token_urlsafe(48)
    (tmp_path / "objects").mkdir()
    return settings.model_copy(update={"attachments_url": url, "attachments_key": key})


async def test_a_conversation_with_search_card_and_client_tool(assistant):
    async with running(assistant) as system:
        alice = await system.caller()
        answer = await alice.stream(create("What is a cursor?"))
        assert answer.end == "completed"
        assert "A cursor is an id." in answer.text
        assert len(answer.of_type("progress_update")) == 2
        thread_id = answer.thread_id
        [*_, stored] = await alice.items(thread_id)
        assert stored["content"][0]["annotations"][0]["source"]["id"] == "docs/guide.md#cursors"

        answer = await alice.stream(message(thread_id, "show me a card"))
        [card] = [e["item"] for e in answer.of_type("thread.item.done") if e["item"]["type"] == "widget"]
        action = {"type": "checklist.set_step", "payload": {"index": 1, "done": True}}
        params = {"thread_id": thread_id, "item_id": card["id"], "action": action}
        answer = await alice.stream({"type": "threads.custom_action", "params": params})
        [replaced] = answer.of_type("thread.item.replaced")
        assert replaced["item"]["widget"]["children"][1]["value"] == "1 of 3 done"

        answer = await alice.stream(message(thread_id, "What time is it?"))
        assert [e["item"]["type"] for e in answer.of_type("thread.item.done")][-1] == "client_tool_call"
        params = {"thread_id": thread_id, "result": {"iso": "12:34"}}
        answer = await alice.stream({"type": "threads.add_client_tool_output", "params": params})
        assert "12:34" in answer.text
        answer = await alice.stream(message(thread_id, "What do you remember?"))
        assert "“What is a cursor?”" in answer.text


async def test_page_data_reaches_the_worker(assistant):
    async with running(assistant) as system:
        alice = await system.caller()
        request = create("Which page is this?")
        request["params"]["input"]["metadata"] = {"pageContext": {"title": "Pricing"}}
        answer = await alice.stream(request)
        assert answer.text == "You are on **Pricing**."


async def test_a_stop_keeps_what_was_said(assistant):
    async with running(assistant) as system:
        alice = await system.caller()
        raw = b""
        async with alice.open_stream(create("a very long answer")) as response:
            async for chunk in response.aiter_bytes():
                raw += chunk
                if len(Answer(200, response.headers, raw.rpartition(b"\n\n")[0]).text) > 100:
                    assert (await alice.cancel(response.headers["x-run-id"])).status_code == 202
        answer = Answer(200, response.headers, raw)
        assert answer.end == "cancelled"
        [*_, partial] = await alice.items(answer.thread_id)
        assert partial["content"][0]["text"] == answer.text
        assert answer.text.startswith("## The way of a message")


async def test_an_attachment_is_read_by_the_worker(assistant):
    async with running(assistant) as system:
        alice = await system.caller()
        content = b"First line of the notes\nsecond"
        params = {"name": "notes.txt", "size": len(content), "mime_type": "text/plain"}
        attachment = await alice.ask({"type": "attachments.create", "params": params})
        upload = attachment["upload_descriptor"]
        response = await alice.client.request(
            upload["method"], upload["url"], content=content, headers=upload.get("headers", {})
        )
        assert response.status_code in {200, 201, 204}, response.text
        answer = await alice.stream(create("see", attachments=[attachment["id"]]))
        assert "- an attachment, notes.txt: First line of the notes" in answer.text
