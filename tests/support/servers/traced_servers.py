"""A ChatKit server whose agent calls a model over HTTP and a tool, as a site's does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from agents import Agent, OpenAIResponsesModel, RunContextWrapper, Runner, function_tool
from chatkit.agents import AgentContext, simple_to_agent_input, stream_agent_response
from chatkit.server import ChatKitServer
from chatkit.types import ThreadMetadata, ThreadStreamEvent, UserMessageItem
from openai import AsyncOpenAI


@function_tool
async def look_up(wrapper: RunContextWrapper[AgentContext[Any]], year: int, access_token: str) -> str:
    """Waits in the first attempt for the file GATE, where that is set; gives TOOL_RESULT."""
    gate = os.environ.get("GATE")
    if gate and wrapper.context.request_context.attempt == 1:
        while not Path(gate).exists():
            await asyncio.sleep(0.01)
    return os.environ.get("TOOL_RESULT", "nothing")


class TracedServer(ChatKitServer[Any]):
    """Answers with what the model at MODEL_URL says."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        async with AsyncOpenAI(base_url=os.environ["MODEL_URL"], api_key="sk-none") as client:
            agent = Agent[AgentContext[Any]](
                name="librarian",
                instructions="Answer.",
                model=OpenAIResponsesModel("asked-model", client),
                tools=[look_up],
            )
            turn = AgentContext(thread=thread, store=self.store, request_context=context)
            page = await self.store.load_thread_items(thread.id, None, 20, "desc", context)
            asked = await simple_to_agent_input(list(reversed(page.data)))
            result = Runner.run_streamed(agent, asked, context=turn)
            async for event in stream_agent_response(turn, result):
                yield event
