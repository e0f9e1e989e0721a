"""A server that speaks OpenAI's Responses API over HTTP, streaming and not, and keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.integration.http_app import serving

ITEM_ID = "__fake_id__"
"""Every item of every answer is called this, as some servers do."""


@dataclass
class ResponsesEndpoint:
    """Titles are "A fine title"; "search" calls the tool; "slow" never ends; the rest gets one sentence.

    "held" gets its first words, and the rest once `go_on` is set. Where a schema is asked for, `structured` is the
    answer.
    """

    base_url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    open_streams: int = 0
    structured: str = "{}"
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    title_status: int = 200
    before_title: Callable[[], Awaitable[None]] | None = None
    """Awaited before a title is given."""
    recordings: list[tuple[str, str, bytes]] = field(default_factory=list)
    """What was to be turned into text: the model, the file's name, the sound."""
    transcription_status: int = 200

    @property
    def streamed(self) -> list[dict[str, Any]]:
        return [request for request in self.requests if request.get("stream")]

    async def respond(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.authorizations.append(request.headers.get("authorization"))
        if body.get("stream"):
            return StreamingResponse(self._stream(body), media_type="text/event-stream")
        if body.get("text", {}).get("format", {}).get("type") == "json_schema":
            return JSONResponse(_response([_message(self.structured)]))
        if self.before_title is not None:
            await self.before_title()
        if self.title_status != 200:
            return JSONResponse({"error": {"message": "no"}}, status_code=self.title_status)
        return JSONResponse(_response([_message("“A fine title.”")]))

    async def transcribe(self, request: Request) -> Response:
        if self.transcription_status != 200:
            return JSONResponse({"error": {"message": "no"}}, status_code=self.transcription_status)
        async with request.form() as form:
            file, model = form["file"], form["model"]
            assert isinstance(file, UploadFile)
            self.recordings.append((str(model), str(file.filename), await file.read()))
        return JSONResponse({"text": "What was said."})

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[str]:
        self.open_streams += 1
        try:
            async for number, event in _numbered(_events(body, self.go_on)):
                yield f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n"
        finally:
            self.open_streams -= 1


async def _numbered(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    number = 0
    async for event in events:
        yield number, event
        number += 1


async def _events(body: dict[str, Any], go_on: asyncio.Event) -> AsyncIterator[dict[str, Any]]:
    yield {"type": "response.created", "response": _response([], "in_progress")}
    last = body["input"][-1]
    said = json.dumps(last)
    if last.get("type") == "function_call_output":
        answer = "It is in the docs [1], and [9] is nothing."
    elif called := re.search(r"please call (\w+)", said):
        call = {
            "id": ITEM_ID,
            "call_id": f"call_{len(body['input'])}",
            "type": "function_call",
            "name": called[1],
            "arguments": json.dumps({"year": 2026, "user_id": "mallory", "access_token": "guessed"}),
            "status": "completed",
        }
        yield {"type": "response.output_item.added", "output_index": 0, "item": call}
        yield {"type": "response.output_item.done", "output_index": 0, "item": call}
        yield {"type": "response.completed", "response": _response([call])}
        return
    elif "search" in said:
        call = {
            "id": ITEM_ID,
            "call_id": f"call_{len(body['input'])}",
            "type": "function_call",
            "name": "search_docs",
            "arguments": json.dumps({"query": "cursor"}),
            "status": "completed",
        }
        yield {"type": "response.output_item.added", "output_index": 0, "item": {**call, "arguments": ""}}
        yield {"type": "response.output_item.done", "output_index": 0, "item": call}
        yield {"type": "response.completed", "response": _response([call])}
        return
    else:
        answer = "word " * 100_000 if "slow" in said else "Hello from the endpoint."
    async for event in _answer(answer, 0.02 if "slow" in said else 0, go_on if "held" in said else None):
        yield event


USAGE = {
    "input_tokens": 36,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 87,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 123,
}
"""Of every answer."""


async def _answer(
    text: str, delay_seconds: float, go_on: asyncio.Event | None
) -> AsyncIterator[dict[str, Any]]:
    where = {"item_id": ITEM_ID, "output_index": 0, "content_index": 0}
    opened = {**_message(text), "content": [], "status": "in_progress"}
    part = {"type": "output_text", "text": "", "annotations": []}
    yield {"type": "response.output_item.added", "output_index": 0, "item": opened}
    yield {"type": "response.content_part.added", **where, "part": part}
    for number, delta in enumerate(re.findall(r"\S+\s*", text)):
        if number == 2 and go_on is not None:
            await go_on.wait()
        yield {"type": "response.output_text.delta", **where, "delta": delta, "logprobs": []}
        await asyncio.sleep(delay_seconds)
    yield {"type": "response.output_text.done", **where, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **where, "part": {**part, "text": text}}
    yield {"type": "response.output_item.done", "output_index": 0, "item": _message(text)}
    yield {"type": "response.completed", "response": _response([_message(text)])}


def _message(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"id": ITEM_ID, "type": "message", "role": "assistant", "status": "completed", "content": content}


def _response(output: list[dict[str, Any]], status: str = "completed") -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 0,
        "model": "endpoint",
        "status": status,
        "output": output,
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "usage": USAGE,
    }


@asynccontextmanager
async def responses_endpoint() -> AsyncIterator[ResponsesEndpoint]:
    """Listens on a free loopback port while the block runs."""
    endpoint = ResponsesEndpoint()
    routes = [
        Route("/v1/responses", endpoint.respond, methods=["POST"]),
        Route("/v1/audio/transcriptions", endpoint.transcribe, methods=["POST"]),
    ]
    app = Starlette(routes=routes)
    async with serving(app, cuts_answers=True) as url:
        endpoint.base_url = f"{url}/v1"
        yield endpoint
