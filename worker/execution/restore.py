"""What admission wrote to a run's journal, again: for a journal that was lost, or that the API died before writing."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from chatkit.server import ChatKitServer
from chatkit.types import (
    Page,
    StreamOptions,
    StreamOptionsEvent,
    Thread,
    ThreadCreatedEvent,
    ThreadItemDoneEvent,
    ThreadItemReplacedEvent,
)

from relaykit.shared.runs.run import Kind, Run
from relaykit.shared.site.store_extras import ABSENT
from relaykit.worker.publishing.journal_writer import JournalWriter


async def admission_events(server: ChatKitServer[Any], run: Run, context: Any) -> list[bytes]:
    """The events as the SDK serialises them. Raises what the server's store raises."""
    events: list[Any] = []
    if run.kind is Kind.CREATE:
        stored = await server.store.load_thread(run.thread_id, context)
        thread = Thread(**stored.model_dump(), items=Page())
        events.append(ThreadCreatedEvent(thread=server._to_thread_response(thread)))
    if run.kind in (Kind.CREATE, Kind.MESSAGE):
        item = await server.store.load_item(run.thread_id, run.input["item_id"], context)
        events.append(ThreadItemDoneEvent(item=item))
    options = StreamOptions.model_validate(run.input["stream_options"])
    events.append(StreamOptionsEvent(stream_options=options))
    return [server._serialize(event) for event in events]


async def show_call(server: ChatKitServer[Any], run: Run, journal: JournalWriter, context: Any) -> None:
    """Tells the run's clients how the client tool call ended that was given up before the run."""
    assert run.given_up_call is not None
    with suppress(*ABSENT):
        item = await server.store.load_item(run.thread_id, run.given_up_call, context)
        journal.put(ThreadItemReplacedEvent(item=item))
