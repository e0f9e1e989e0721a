"""One run of the agent: what its tools share, its events, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from agents import RunResultStreaming
from chatkit.agents import AgentContext, stream_agent_response
from chatkit.types import ThreadStreamEvent
from pydantic import Field

from relaykit import RequestContext
from relaykit.examples.assistant.corpus import Section

STOP_TIMEOUT_SECONDS = 5.0


class Turn(AgentContext[RequestContext]):
    """What the tools of one run see and leave behind."""

    sources: list[Section] = Field(default_factory=list)
    """What search_docs found so far; [n] in the answer is the nth."""

    def number_of(self, section: Section) -> int:
        """The section's number in this turn, from 1; the same section keeps its number."""
        if section not in self.sources:
            self.sources.append(section)
        return self.sources.index(section) + 1


async def turn_events(turn: Turn, result: RunResultStreaming) -> AsyncGenerator[ThreadStreamEvent, None]:
    """The run's events. Cancelling or closing this stops the model too.

    The SDK's own stream, cancelled in mid-wait, leaves the model generating and two tasks behind. So each step
    is shielded, and a cancelled run is ended through its result and then read to its end.
    """
    stream = stream_agent_response(turn, result)
    step: asyncio.Future[ThreadStreamEvent] | None = None
    finished = False
    try:
        while True:
            step = asyncio.ensure_future(anext(stream))
            try:
                event = await asyncio.shield(step)
            except StopAsyncIteration:
                break
            yield event
        finished = True
    finally:
        if not finished:
            result.cancel()
            await asyncio.wait({asyncio.ensure_future(_drain(stream, step))}, timeout=STOP_TIMEOUT_SECONDS)


async def _drain(
    stream: AsyncIterator[ThreadStreamEvent], step: asyncio.Future[ThreadStreamEvent] | None
) -> None:
    if step is not None:
        await asyncio.gather(step, return_exceptions=True)
    async for _ in stream:
        pass
