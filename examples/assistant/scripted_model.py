"""A model without a model: it goes through the real Runner and answers from a script."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

from agents import (
    AgentOutputSchemaBase,
    Handoff,
    Model,
    ModelResponse,
    ModelSettings,
    ModelTracing,
    Tool,
    TResponseInputItem,
    Usage,
)
from agents.items import TResponseStreamEvent
from openai.types.responses import ResponseFunctionToolCall, ResponseTextDeltaEvent
from openai.types.responses.response_prompt_param import ResponsePromptParam

from relaykit.examples.assistant.long_answer import tokens
from relaykit.examples.assistant.parsed_prompt import parse_prompt
from relaykit.examples.assistant.response_events import call_events, message, message_events
from relaykit.examples.assistant.script import Call, Reply, Say, Situation, reply_to

DEFAULT_DELTA_SECONDS = 0.02
"""The pace of a "for 30 seconds" where deltas come without any delay."""
FAILURE_DELAY_SECONDS = 0.1
"""So that what was said before is seen: the Runner drops what is still queued when its model fails."""


class ScriptedFailure(Exception):
    """The scripted model was asked to fail."""


class ScriptedModel(Model):
    """Says the same to the same input; only the ids of its items are new each time, as a real model's are.

    `delta_seconds` lie between two deltas, measured from the first, so that a slow reader does not slow the pace. One
    that `is_brief` quotes one sentence where the other quotes a paragraph.
    """

    def __init__(self, *, delta_seconds: float, is_brief: bool = False) -> None:
        self._delta_seconds = delta_seconds
        self._is_brief = is_brief

    async def get_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: ResponsePromptParam | None,
    ) -> ModelResponse:
        reply = self._reply(system_instructions, input, model_settings, tools)
        if isinstance(reply, Say) and reply.fails_after is not None:
            raise ScriptedFailure
        output = _call(reply) if isinstance(reply, Call) else message(_new_id("msg"), reply.text)
        return ModelResponse(output=[output], usage=Usage(), response_id=None)

    async def stream_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: ResponsePromptParam | None,
    ) -> AsyncIterator[TResponseStreamEvent]:
        reply = self._reply(system_instructions, input, model_settings, tools)
        if isinstance(reply, Call):
            for event in call_events(_call(reply)):
                yield event
            return
        started = asyncio.get_running_loop().time()
        said = 0
        for event in message_events(_new_id("msg"), tokens(reply.text)):
            if isinstance(event, ResponseTextDeltaEvent):
                if said == reply.fails_after:
                    await asyncio.sleep(FAILURE_DELAY_SECONDS)
                    raise ScriptedFailure
                await self._wait_until(started + said * self._delta_seconds)
                said += 1
            yield event

    async def _wait_until(self, due: float) -> None:
        """Gives way to others even when it is late."""
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))

    def _reply(
        self,
        instructions: str | None,
        input: str | list[TResponseInputItem],
        settings: ModelSettings,
        tools: Sequence[Tool],
    ) -> Reply:
        items: list[TResponseInputItem] = (
            [{"role": "user", "content": input}] if isinstance(input, str) else input
        )
        situation = Situation(
            tools={tool.name for tool in tools},
            deltas_per_second=1 / (self._delta_seconds or DEFAULT_DELTA_SECONDS),
            tool_choice=settings.tool_choice if isinstance(settings.tool_choice, str) else None,
            is_brief=self._is_brief,
        )
        return reply_to(parse_prompt(instructions, items), situation)


def _call(reply: Call) -> ResponseFunctionToolCall:
    return ResponseFunctionToolCall(
        id=_new_id("fc"),
        call_id=_new_id("call"),
        type="function_call",
        name=reply.tool,
        arguments=json.dumps(reply.arguments, ensure_ascii=False),
        status="completed",
    )


def _new_id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex}"
