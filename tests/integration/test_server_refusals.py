"""An HTTPException of the site's own code is answered as what it is, in its words; and a run says what it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from chatkit.actions import Action
from chatkit.errors import CustomStreamError
from chatkit.store import AttachmentStore
from chatkit.types import (
    AttachmentCreateParams,
    AudioInput,
    FeedbackKind,
    FileAttachment,
    StreamOptions,
    SyncCustomActionResponse,
    ThreadItem,
    ThreadMetadata,
    TranscriptionResult,
    UserMessageItem,
    WidgetItem,
)
from fastapi import HTTPException
from starlette.exceptions import HTTPException as StarletteHTTPException

from relaykit.shared.settings import Settings
from tests.integration.written import written
from tests.support.clients.stream_clients import asking
from tests.support.repository.error_catalogue import assert_documented_error
from tests.support.servers.protocol_servers import BareServer, Events
from tests.support.system import Caller, System, create, message, running

WORDS = "Only MP4, please."


class Refusing(BareServer):
    """Raises what `raised` says, at the place that it says."""

    at: str = ""
    raised: Exception = HTTPException(415, WORDS)

    def _do(self, place: str) -> None:
        if Refusing.at == place:
            raise Refusing.raised

    def get_stream_options(self, thread: ThreadMetadata, context: Any) -> StreamOptions:
        if context.attempt is None:
            self._do("get_stream_options")
        return super().get_stream_options(thread, context)

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        async for event in self.say(thread, "Hello.", context):
            yield event
        self._do("respond")

    async def action(
        self, thread: ThreadMetadata, action: Action[str, Any], sender: WidgetItem | None, context: Any
    ) -> Events:
        self._do("action")
        return
        yield

    async def sync_action(
        self, thread: ThreadMetadata, action: Action[str, Any], sender: WidgetItem | None, context: Any
    ) -> SyncCustomActionResponse:
        self._do("sync_action")
        return SyncCustomActionResponse()

    async def add_feedback(
        self, thread_id: str, item_ids: list[str], feedback: FeedbackKind, context: Any
    ) -> None:
        self._do("add_feedback")

    async def transcribe(self, audio_input: AudioInput, context: Any) -> TranscriptionResult:
        self._do("transcribe")
        return TranscriptionResult(text="")

    async def handle_stream_cancelled(
        self, thread: ThreadMetadata, pending_items: list[ThreadItem], context: Any
    ) -> None:
        self._do("handle_stream_cancelled")
        await super().handle_stream_cancelled(thread, pending_items, context)


class Files(AttachmentStore[Any]):
    async def create_attachment(self, input: AttachmentCreateParams, context: Any) -> FileAttachment:
        if Refusing.at == "create_attachment":
            raise Refusing.raised
        return FileAttachment(id=self.generate_attachment_id(input.mime_type, context), **input.model_dump())

    async def delete_attachment(self, attachment_id: str, context: Any) -> None:
        if Refusing.at == "delete_attachment":
            raise Refusing.raised


FILE = {"name": "a.mp4", "size": 3, "mime_type": "video/mp4"}
TRANSCRIBE = {"type": "input.transcribe", "params": {"audio_base64": "AAAA", "mime_type": "audio/webm"}}
ACTION = {"type": "a", "payload": {}}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    Refusing.at, Refusing.raised = "", HTTPException(415, WORDS)


@asynccontextmanager
async def serving(settings: Settings, workers: int = 1) -> AsyncIterator[System]:
    async with running(
        settings, lambda: Refusing(store=None, attachment_store=Files()), workers=workers
    ) as system:
        yield system


async def furnished(alice: Caller) -> tuple[str, str]:
    """A thread, and its first item."""
    thread = (await alice.stream(create("hi"))).thread_id
    return thread, (await alice.items(thread))[0]["id"]


def requests(thread: str, item: str, file: str) -> dict[str, dict[str, Any]]:
    """Beside each place the request that comes by it."""
    return {
        "transcribe": TRANSCRIBE,
        "add_feedback": {
            "type": "items.feedback",
            "params": {"thread_id": thread, "item_ids": [item], "kind": "negative"},
        },
        "sync_action": {
            "type": "threads.sync_custom_action",
            "params": {"thread_id": thread, "action": ACTION},
        },
        "create_attachment": {"type": "attachments.create", "params": FILE},
        "delete_attachment": {"type": "attachments.delete", "params": {"attachment_id": file}},
        "get_stream_options": message(thread, "again"),
    }


@pytest.mark.parametrize("kind", [HTTPException, StarletteHTTPException])
async def test_each_place_answers_with_the_exceptions_status_and_words_and_writes_nothing(
    settings: Settings, kind: type[StarletteHTTPException]
) -> None:
    async with serving(settings) as system:
        alice = await system.caller("alice")
        thread, item = await furnished(alice)
        file = (await alice.ask({"type": "attachments.create", "params": FILE}))["id"]
        before = await written(settings.database_url, settings.redis_url)
        Refusing.raised = kind(415, WORDS)
        for Refusing.at, body in requests(thread, item, file).items():
            response = await alice.post(body)
            assert response.status_code == 415, (Refusing.at, response.text)
            assert response.json() == {"error": {"code": "server_refused", "message": WORDS}}
        assert await written(settings.database_url, settings.redis_url) == before


ODD: dict[str, tuple[Exception, int, dict[str, Any]]] = {
    "no words": (HTTPException(403), 403, {"message": "Forbidden"}),
    "empty words": (HTTPException(403, ""), 403, {"message": "Forbidden."}),
    "an unknown status": (HTTPException(499, ""), 499, {"message": "The chat's server refuses this request."}),
    "an object with a message": (
        HTTPException(422, {"message": WORDS, "allowed": ["mp4"]}),
        422,
        {"message": WORDS, "detail": {"message": WORDS, "allowed": ["mp4"]}},
    ),
    "an object without": (
        HTTPException(409, {"allowed": ["mp4"]}),
        409,
        {"message": "Conflict.", "detail": {"allowed": ["mp4"]}},
    ),
    "a list": (HTTPException(400, ["a"]), 400, {"message": "Bad Request.", "detail": ["a"]}),
    "half a character": (HTTPException(400, "cut \ud83d"), 400, {"message": "cut \ufffd"}),
    "half a character in an object": (
        HTTPException(400, {"a\ud83d": "\ud83d\ude00"}),
        400,
        {"message": "Bad Request.", "detail": {"a\ufffd": "\U0001f600"}},
    ),
    "what is no JSON": (HTTPException(400, {"a": object()}), 400, {"message": "Bad Request."}),
    "NaN": (HTTPException(400, [float("nan")]), 400, {"message": "Bad Request."}),
    "many words": (HTTPException(400, "x" * 1_000_000), 400, {"message": "x" * 2000}),
    "a large object": (HTTPException(400, {"a": "x" * 1_000_000}), 400, {"message": "Bad Request."}),
    "ChatKit's own error with words": (CustomStreamError(WORDS), 400, {"message": WORDS}),
    "a defect of the site's": (HTTPException(502, "The speech service is away."), 502, {
        "message": "The speech service is away."
    }),
}  # fmt: skip


@pytest.mark.parametrize(("raised", "status", "shown"), ODD.values(), ids=ODD)
async def test_what_the_exception_says_is_sent_within_bounds(
    settings: Settings, raised: Exception, status: int, shown: dict[str, Any]
) -> None:
    async with serving(settings, workers=0) as system:
        alice = await system.caller("alice")
        Refusing.at, Refusing.raised = "transcribe", raised
        response = await alice.post(TRANSCRIBE)
        assert response.status_code == status
        assert response.json() == {"error": {"code": "server_refused", **shown}}


async def test_of_its_header_fields_retry_after_alone_is_sent(settings: Settings) -> None:
    async with serving(settings, workers=0) as system:
        alice = await system.caller("alice")
        Refusing.at = "transcribe"
        for given, sent in (("7", "7"), ("0", "1"), ("9" * 9, "86400"), ("soon", None), ("-1", None)):
            Refusing.raised = HTTPException(429, WORDS, {"RETRY-After": given, "Set-Cookie": "a=b"})
            response = await alice.post(TRANSCRIBE)
            assert response.headers.get("retry-after") == sent, given
            assert "set-cookie" not in response.headers
        Refusing.raised = HTTPException(401, WORDS)
        response = await alice.post(TRANSCRIBE)
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("status", [204, 302, 304, 600, 0])
async def test_an_exception_whose_status_is_no_error_is_internal(settings: Settings, status: int) -> None:
    """A client of ChatKit follows no redirect to a page where one signs in."""
    async with serving(settings, workers=0) as system:
        alice = await system.caller("alice")
        Refusing.at = "transcribe"
        Refusing.raised = HTTPException(status, WORDS, {"Location": "https://elsewhere.example"})
        response = await alice.post(TRANSCRIBE)
        assert_documented_error(response, 500)
        assert "location" not in response.headers


@pytest.mark.parametrize(("status", "may_retry"), [(402, False), (429, True), (503, True)])
@pytest.mark.parametrize("place", ["respond", "action"])
async def test_in_a_run_it_is_an_error_event_in_its_words(
    settings: Settings, place: str, status: int, may_retry: bool
) -> None:
    async with serving(settings) as system:
        alice = await system.caller("alice")
        thread, _ = await furnished(alice)
        Refusing.at, Refusing.raised = place, HTTPException(status, WORDS)
        action = {"type": "threads.custom_action", "params": {"thread_id": thread, "action": ACTION}}
        answer = await alice.stream(message(thread, "again") if place == "respond" else action)
        error = {"type": "error", "code": "custom", "message": WORDS, "allow_retry": may_retry}
        assert (answer.events[-1], answer.end) == (error, "failed")
        assert (await alice.get(f"/runs/{answer.run_id}")).json()["error"] == "custom"


async def test_a_stop_is_one_though_the_server_refuses_to_hear_of_it(settings: Settings) -> None:
    async with serving(settings, workers=0) as system:
        alice = await system.caller("alice")
        Refusing.at = "handle_stream_cancelled"
        async with asking(alice, create("hi")) as waiting:
            await waiting.until("it waits", lambda answer: answer.of_type("stream_options"))
            response = await alice.cancel(waiting.run_id)
            assert (response.status_code, response.json()["status"]) == (202, "cancelled")
            assert (await waiting.finished()).end == "cancelled"
