"""What a server may yield that no JSON can hold costs its own run, and neither the worker nor anybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from chatkit.types import (
    AssistantMessageContentPartTextDelta,
    ProgressUpdateEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
)

from shared.settings import Settings
from tests.relay_servers import Script, ScriptedAnswers
from tests.system import create, running

HALF_A_PAIR = "\ud83d"


class Bad(ScriptedAnswers):
    """Answers `delta` and `progress` with half of a surrogate pair, as a stream that was cut within one gives it."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        text = input_user_message.content[0].text if input_user_message else ""
        shown = ""
        async for event in super().respond(thread, input_user_message, context):
            yield event
            if event.type == "thread.item.added":
                shown = event.item.id
            elif text == "delta" and event.type == "thread.item.updated":
                update = AssistantMessageContentPartTextDelta(content_index=0, delta=HALF_A_PAIR)
                yield ThreadItemUpdatedEvent(item_id=shown, update=update)
            elif text == "progress":
                yield ProgressUpdateEvent(text=HALF_A_PAIR)


@pytest.mark.parametrize("kind", ["delta", "progress"])
async def test_text_that_is_no_unicode_fails_its_run_with_an_error_to_retry(
    settings: Settings, kind: str
) -> None:
    async with running(settings, Bad) as system:
        alice = await system.caller()
        answer = await alice.stream(create(kind))
        assert answer.end == "failed"
        assert answer.events[-1] == {"type": "error", "code": "stream.error", "allow_retry": True}
        assert answer.of_type("thread.item.added")
        assert (await alice.stream(create(str(Script())))).end == "completed"
        assert (await alice.get(f"/runs/{answer.run_id}")).json()["attempt"] == 1
