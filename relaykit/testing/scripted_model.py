"""The Agents SDK's own scripted model, with texts as steps, and texts that stream in deltas as a model's do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from typing import Any
from uuid import uuid4

from agents.items import TResponseStreamEvent
from agents.testing import ScriptedModel as AgentsScriptedModel
from agents.testing import assistant_message
from agents.testing.model import ModelScriptItem
from openai.types.responses import ResponseTextDeltaEvent


class ScriptedModel(AgentsScriptedModel):
    """A model that answers by a script, for `Agent(model=...)`; it goes through the real Runner.

    Each call takes the next step: a text that it says; a list of output items such as `function_call(...)`, where a
    handoff is a call of its `transfer_to_...` tool; an exception that the call raises; or a `ModelStep`. Texts stream
    a word at a time, `delta_seconds` apart. What is left of `agents.testing.ScriptedModel` holds: `calls` are the calls
    so far, `assert_complete()` fails while steps are left, and a call without a step raises UnexpectedModelCall. An
    attempt that is lost has used its steps.
    """

    def __init__(self, steps: Iterable[str | ModelScriptItem] = (), *, delta_seconds: float = 0.02) -> None:
        super().__init__(_step(step) for step in steps)
        self._delta_seconds = delta_seconds

    def enqueue(self, step: str | ModelScriptItem) -> None:
        super().enqueue(_step(step))

    def extend(self, steps: Iterable[str | ModelScriptItem]) -> None:
        super().extend(_step(step) for step in steps)

    async def stream_response(self, *arguments: Any, **named: Any) -> AsyncIterator[TResponseStreamEvent]:
        async for event in super().stream_response(*arguments, **named):
            if not isinstance(event, ResponseTextDeltaEvent):
                yield event
                continue
            for word in re.findall(r"\s*\S+\s*$|\s*\S+|\s+$", event.delta):
                await asyncio.sleep(self._delta_seconds)
                yield event.model_copy(update={"delta": word})


def _step(step: str | ModelScriptItem) -> ModelScriptItem:
    # an id of its own, as a real model's items have: those of two turns stand in one thread
    return [assistant_message(step, item_id=f"msg_{uuid4().hex}")] if isinstance(step, str) else step
