"""A ChatKit server that ends its process where the message says so, for the tests of the quarantine."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

from chatkit.types import ThreadMetadata, ThreadStreamEvent, UserMessageItem

from tests.support.servers.relay_servers import ScriptedAnswers

DIE_SECONDS = 0.3


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)  # the place: kill


def leave() -> None:
    os._exit(7)  # the place: leave


def fault() -> None:
    ctypes.string_at(0)  # the place: fault


def freeze() -> None:
    """As native code that never returns and never lets another thread go on."""
    ctypes.PyDLL(None).pause()  # the place: freeze


WAYS: dict[str, Callable[[], None]] = {"kill": kill, "leave": leave, "fault": fault, "freeze": freeze}


class DeadlyAnswers(ScriptedAnswers):
    """Ends its process for a message that is the name of a way; answers others by their script."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        content = input_user_message.content if input_user_message else []
        way = WAYS.get("".join(getattr(part, "text", "") for part in content).split(" ")[0])
        if way is not None:
            await asyncio.sleep(DIE_SECONDS)
            way()
        async for event in super().respond(thread, input_user_message, context):
            yield event
