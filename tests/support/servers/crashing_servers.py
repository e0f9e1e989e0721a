"""A ChatKit server that raises what the message names, where the message names it: `Crash` as JSON.

Beside a crash stands whatever a library of C or Rust, a script's `sys.exit()` or a broken loop raises in a real server.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from agents import Agent, Runner, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call
from chatkit.agents import AgentContext, stream_agent_response
from chatkit.server import ChatKitServer
from chatkit.store import Store
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageItem,
    AudioInput,
    FeedbackKind,
    ProgressUpdateEvent,
    StreamOptions,
    ThreadItem,
    ThreadItemDoneEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    TranscriptionResult,
    UserMessageItem,
)

from tests.support.servers.user_servers import SqliteStore

Events = AsyncIterator[ThreadStreamEvent]


class Panic(BaseException):
    """Stands for pyo3_runtime.PanicException, which derives from BaseException."""


RAISED: dict[str, Callable[[], BaseException]] = {
    "panic": lambda: Panic("a secret"),
    "group": lambda: BaseExceptionGroup("a secret", [Panic("a secret"), ValueError("a secret")]),
    "generator exit": GeneratorExit,
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "cancelled": asyncio.CancelledError,
    "error": lambda: RuntimeError("a secret"),
}
CANCELS = "cancelled task"
"""What raises nothing, and cancels the task that it is in, as a leaked cancel scope does."""

RUN_PLACES = (
    "respond",
    "finally",
    "task",
    "group of tasks",
    "gather",
    "thread",
    "tool",
    "stream options",
    "store",
)
"""Where a run of the worker may raise it."""


@dataclass(frozen=True, kw_only=True)
class Crash:
    raises: str = ""
    at: str = ""
    gate: str = ""
    """A folder: after its first event the answer waits for the file `open` in it."""

    def __str__(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, item: UserMessageItem | None) -> Crash:
        return cls(**json.loads(item.content[0].text)) if item else cls()

    def here(self, *places: str) -> None:
        if self.at in places:
            fail(self.raises)


def fail(what: str) -> None:
    if what != CANCELS:
        raise RAISED[what]()
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


current: dict[str, Crash] = {}
"""By thread: for the methods that are not given the message."""


class Crashing(ChatKitServer[Any]):
    def __init__(self, store: Store[Any] | None = None) -> None:
        super().__init__(store)  # type: ignore[arg-type]

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        crash = Crash.of(input_user_message)
        yield ProgressUpdateEvent(text="ready")
        while crash.gate and not (Path(crash.gate) / "open").exists():
            await asyncio.sleep(0.01)
        match crash.at:
            case "finally":
                try:
                    yield self.message(thread, context)
                finally:
                    crash.here("finally")
            case "task":
                await asyncio.create_task(self.fail(crash))
            case "group of tasks":
                async with asyncio.TaskGroup() as group:
                    group.create_task(self.fail(crash))
                    group.create_task(asyncio.sleep(3600))
            case "gather":
                await asyncio.gather(self.fail(crash), asyncio.sleep(0))
            case "thread":
                await asyncio.to_thread(crash.here, "thread")
            case "tool":
                async for event in self.agent(crash, thread, context):
                    yield event
            case "abandoned task":
                self.kept = asyncio.create_task(self.fail(crash))
                await asyncio.wait({self.kept})
            case "callback":
                called = asyncio.Event()
                asyncio.get_running_loop().call_soon(lambda: (called.set(), crash.here("callback")))
                await called.wait()
            case "loop":
                asyncio.get_running_loop().stop()
                await asyncio.sleep(0.01)
            case "all tasks":
                for task in asyncio.all_tasks():
                    task.cancel()
                await asyncio.sleep(3600)
            case "hung thread":
                await asyncio.to_thread(threading.Event().wait)
            case "deaf task":
                self.kept = asyncio.create_task(self.deaf())
            case "deaf":
                await self.deaf()
        crash.here("respond")
        yield self.message(thread, context)

    async def fail(self, crash: Crash) -> None:
        await asyncio.sleep(0.01)
        crash.here(crash.at)

    async def deaf(self) -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except BaseException as error:
                if isinstance(error, GeneratorExit):
                    raise

    async def agent(self, crash: Crash, thread: ThreadMetadata, context: Any) -> Events:
        @function_tool
        async def work() -> str:
            """Works."""
            await self.fail(crash)
            return "done"

        model = ScriptedModel([[function_call("work", {}, call_id="call_1")], [assistant_message("Done.")]])
        turn = AgentContext(thread=thread, store=self.store, request_context=context)
        result = Runner.run_streamed(Agent(name="works", model=model, tools=[work]), "work", context=turn)
        async for event in stream_agent_response(turn, result):
            yield event

    def message(self, thread: ThreadMetadata, context: Any) -> ThreadItemDoneEvent:
        item = AssistantMessageItem(
            id=self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),
            content=[AssistantMessageContent(text="Hello.")],
        )
        return ThreadItemDoneEvent(item=item)

    # What is called without the message takes what to raise from the thread's title, or from its argument.

    def get_stream_options(self, thread: ThreadMetadata, context: Any) -> StreamOptions:
        titled(thread, "stream options" if context.attempt is None else "stream options of the worker")
        return super().get_stream_options(thread, context)

    async def handle_stream_cancelled(
        self, thread: ThreadMetadata, pending_items: list[ThreadItem], context: Any
    ) -> None:
        titled(thread, "stop")
        await super().handle_stream_cancelled(thread, pending_items, context)

    async def add_feedback(
        self, thread_id: str, item_ids: list[str], feedback: FeedbackKind, context: Any
    ) -> None:
        titled(await self.store.load_thread(thread_id, context), "feedback")

    async def transcribe(self, audio_input: AudioInput, context: Any) -> TranscriptionResult:
        what, _, where = audio_input.data.decode().partition(" at ")
        match where:
            case "a task":
                await asyncio.create_task(self.fail(Crash(raises=what, at="task")))
            case "an abandoned task":
                self.kept = asyncio.create_task(self.fail(Crash(raises=what, at="task")))
                await asyncio.wait({self.kept})
            case "deaf task":
                self.kept = asyncio.create_task(self.deaf())
            case "hung thread":
                threading.Thread(target=threading.Event().wait, name="exporter").start()
            case _:
                raise RAISED[what]()
        return TranscriptionResult(text="")


def titled(thread: ThreadMetadata, place: str) -> None:
    what, _, where = (thread.title or "").partition(" at ")
    if where == place:
        fail(what)


def context(request: Any) -> Any:
    """Raises what the request's metadata name, in the process that they name."""
    what, _, where = str(request.metadata.get("raises", "")).partition(" at ")
    if where == ("the API" if request.attempt is None else "the worker"):
        fail(what)
    return request


async def async_context(request: Any) -> Any:
    await asyncio.sleep(0)
    return context(request)


class CrashingStore(SqliteStore):
    """Raises what the thread's title names when the worker loads the thread, or stores an item."""

    async def load_thread(self, thread_id: str, context: Any) -> ThreadMetadata:
        thread = await super().load_thread(thread_id, context)
        if context.attempt is not None:
            titled(thread, "loading")
        return thread

    async def add_thread_item(self, thread_id: str, item: ThreadItem, context: Any) -> None:
        if context.attempt is not None:
            titled(await super().load_thread(thread_id, context), "storing")
        await super().add_thread_item(thread_id, item, context)


class CrashingNotebook(Crashing):
    """With a store of its own."""

    def __init__(self) -> None:
        super().__init__(CrashingStore(os.environ["NOTEBOOK"]))


# --- at the process's end


class Lingering(Crashing):
    """A library of it has a thread that does not end, which the interpreter waits for."""

    def __init__(self, store: Store[Any]) -> None:
        super().__init__(store)
        threading.Thread(target=threading.Event().wait, name="exporter").start()


class Flushing(Crashing):
    """A library of it sends what it has left when the process ends, to a host that does not answer."""

    def __init__(self, store: Store[Any]) -> None:
        super().__init__(store)
        import atexit

        atexit.register(hanging_exit_handler)


def hanging_exit_handler() -> None:
    threading.Event().wait()


class Saying(Crashing):
    """Says on standard output, which is a file and so has a buffer, that its exit handler was called."""

    def __init__(self, store: Store[Any]) -> None:
        super().__init__(store)
        import atexit

        atexit.register(sys.stdout.write, "the exit handler was called\n")
