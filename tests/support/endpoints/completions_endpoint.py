"""A server that speaks OpenAI's Chat Completions API over HTTP, streaming, as Ollama, vLLM and LiteLLM do.

What it streams has no ids of items: the agents SDK names every item `__fake_id__`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.integration.http_app import serving


@dataclass
class CompletionsEndpoint:
    """Calls the first tool that it is offered, a handoff after a sentence; without one it answers in some words.

    To "slow" it gives its first words and holds the rest until `go_on` is set.
    """

    base_url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        return StreamingResponse(self._stream(body), media_type="text/event-stream")

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[str]:
        async for delta, finish in self._deltas(body):
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "small"}
            yield f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n"
        yield "data: [DONE]\n\n"

    async def _deltas(self, body: dict[str, Any]) -> AsyncIterator[tuple[dict[str, Any], str | None]]:
        tools = [tool["function"]["name"] for tool in body.get("tools") or []]
        if tools:
            if tools[0].startswith("transfer_to"):
                yield {"role": "assistant", "content": "I hand you over."}, None
            call = {"name": tools[0], "arguments": "{}"}
            number = len(self.requests)
            called = {"index": 0, "id": f"call_{number}", "type": "function", "function": call}
            yield {"role": "assistant", "tool_calls": [called]}, None
            yield {}, "tool_calls"
            return
        text = asked(body["messages"])
        yield {"role": "assistant", "content": ""}, None
        for word in ("Answer", " to ", text):
            yield {"content": word}, None
        if "slow" in text:
            await self.go_on.wait()
        yield {}, "stop"


def asked(messages: list[dict[str, Any]]) -> str:
    """The newest message of the user."""
    content = next(message["content"] for message in reversed(messages) if message["role"] == "user")
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


@asynccontextmanager
async def completions_endpoint() -> AsyncIterator[CompletionsEndpoint]:
    """Listens on a free loopback port while the block runs."""
    endpoint = CompletionsEndpoint()
    app = Starlette(routes=[Route("/v1/chat/completions", endpoint.complete, methods=["POST"])])
    async with serving(app, cuts_answers=True) as url:
        endpoint.base_url = f"{url}/v1"
        yield endpoint
