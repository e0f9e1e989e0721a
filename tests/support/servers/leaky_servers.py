"""A ChatKit server that says in its exceptions what the user wrote, as many do."""

from __future__ import annotations

import asyncio
from typing import Any

from chatkit.actions import Action
from chatkit.types import (
    AudioInput,
    FeedbackKind,
    StreamOptions,
    SyncCustomActionResponse,
    ThreadMetadata,
    TranscriptionResult,
    UserMessageItem,
    WidgetItem,
)
from fastapi import HTTPException

from tests.support.servers.protocol_servers import Events, ProtocolServer, text_of


async def context(request: Any) -> Any:
    """Fails or refuses for a request that says so, in the API or, with an attempt, in the worker."""
    side = "api" if request.attempt is None else "worker"
    if request.metadata.get("context fails") == side:
        raise ValueError(f"bad metadata {request.metadata} of {request.bearer_token}")
    if request.metadata.get("context refuses") == side:
        raise HTTPException(403, f"bad {request.metadata} {dict(request.headers)}")
    return request


class LoudServer(ProtocolServer):
    def get_stream_options(self, thread: ThreadMetadata, context: Any) -> StreamOptions:
        if "options fail" in context.metadata:
            raise RuntimeError(f"no options for {context.metadata}")
        return super().get_stream_options(thread, context)

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        text = "" if input_user_message is None else text_of(input_user_message)
        match text.partition(" ")[0]:
            case "fail":
                raise ValueError(f"cannot answer {text!r} of {thread.title!r} with {context.metadata}")
            case "chain":
                try:
                    raise KeyError(text)
                except KeyError as error:
                    raise RuntimeError(f"because of {text}") from error
            case "refuse":
                raise HTTPException(402, f"nothing for {text} with {context.metadata}")
            case "forget":
                background.append(asyncio.create_task(_fail_later(text)))
                await asyncio.sleep(0)
                background.clear()
            case "save":
                thread.metadata["x"] = object()  # which no store can write
            case "wait":
                await asyncio.sleep(600)
        async for event in super().respond(thread, input_user_message, context):
            yield event

    async def action(
        self, thread: ThreadMetadata, action: Action[str, Any], sender: WidgetItem | None, context: Any
    ) -> Events:
        raise LookupError(f"no action {action.type} {action.payload}")
        yield

    async def sync_action(
        self, thread: ThreadMetadata, action: Action[str, Any], sender: WidgetItem | None, context: Any
    ) -> SyncCustomActionResponse:
        raise LookupError(f"no action {action.type} {action.payload}")

    async def transcribe(self, audio_input: AudioInput, context: Any) -> TranscriptionResult:
        raise OSError(f"cannot hear {audio_input.data!r} of {context.bearer_token}")

    async def add_feedback(
        self, thread_id: str, item_ids: list[str], feedback: FeedbackKind, context: Any
    ) -> None:
        raise AssertionError(f"{thread_id} {item_ids} {context.metadata}")


background: list[asyncio.Task[None]] = []


async def _fail_later(text: str) -> None:
    raise ValueError(f"nobody waits for {text}")
