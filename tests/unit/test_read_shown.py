"""What an attempt showed is read from the journal by the events' types: each type of the SDK has its meaning here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, cast, get_args, get_origin

import pytest
from chatkit.types import ThreadStreamEvent

from relaykit.shared.journal import Cursor, Entry, Field, Journals
from relaykit.worker.execution.rewind import Shown, read_shown

SHOWS = {
    "thread.item.added": Shown({"a": True}),
    "thread.item.done": Shown({"a": True}),
    "thread.item.replaced": Shown({"a": True}),
    "thread.item.updated": Shown({"a": True}),
    "thread.item.removed": Shown({"a": False}),
    "thread.updated": Shown({}, True),
    # admission tells of a new thread, and no next attempt makes it anew
    "thread.created": Shown(),
    "stream_options": Shown(),
    "progress_update": Shown(),
    "client_effect": Shown(),
    "error": Shown(),
    "notice": Shown(),
}


def types_of(union: Any) -> Iterator[str]:
    """The values of `type` of a union's members."""
    if get_origin(union) is Annotated:
        yield from types_of(get_args(union)[0])
    elif members := get_args(union):
        for member in members:
            yield from types_of(member)
    else:
        yield union.model_fields["type"].default


class OnePage:
    """A journal of these entries."""

    def __init__(self, *entries: Entry) -> None:
        self._entries = [*entries]

    async def read(self, _run_id: str, _cursor: Cursor, _count: int) -> list[Entry]:
        entries, self._entries = self._entries, []
        return entries


async def shown(attempt: int, *events: dict[str, Any]) -> Shown:
    entries = (
        Entry(Cursor(attempt, number), Field.EVENT, json.dumps(event).encode())
        for number, event in enumerate(events, 1)
    )
    return await read_shown(cast(Journals, OnePage(*entries)), "run")


def test_each_event_of_the_sdk_is_known() -> None:
    assert set(types_of(ThreadStreamEvent)) == set(SHOWS), "say in read_shown what the new one shows"


@pytest.mark.parametrize("kind", SHOWS)
async def test_an_attempt_has_shown_what_its_events_are_about(kind: str) -> None:
    event = {"type": kind, "item": {"id": "a"}, "item_id": "a"}
    assert await shown(1, event) == SHOWS[kind]
    assert await shown(0, event) == Shown(), "these are admission's"


async def test_what_is_removed_and_shown_again_is_shown() -> None:
    removed = {"type": "thread.item.removed", "item_id": "a"}
    done = {"type": "thread.item.done", "item": {"id": "a"}}
    assert (await shown(1, done, removed, done)).items == {"a": True}
    assert (await shown(1, done, removed)).items == {"a": False}
