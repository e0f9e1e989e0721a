"""A server whose runs give every metric something to count: it answers, fails, or asks a model, as the message says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from agents import Agent, Runner
from chatkit.agents import AgentContext, simple_to_agent_input, stream_agent_response
from chatkit.types import (
    ErrorEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
    UserMessageTextContent,
)

from tests.support.servers.relay_servers import ScriptedAnswers

FAIL, ASK, RAISE = "fail", "ask a model", "raise"


class ObservedAnswers(ScriptedAnswers):
    """What is none of FAIL, ASK and RAISE is a Script."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        content = input_user_message.content if input_user_message else []
        text = "".join(part.text for part in content if isinstance(part, UserMessageTextContent))
        if text == FAIL:
            yield ErrorEvent(code="custom", message="no")
        elif text == RAISE:
            raise LookupError("on purpose")
        elif text == ASK:
            agent_context = AgentContext(thread=thread, store=self.store, request_context=context)
            items = await simple_to_agent_input([input_user_message] if input_user_message else [])
            result = Runner.run_streamed(Agent("a", model="gpt-5.6-luna"), items, context=agent_context)
            async for event in stream_agent_response(agent_context, result):
                yield event
        else:
            async for event in super().respond(thread, input_user_message, context):
                yield event
