"""The fold of events into items: what a client shows after each, and what it cannot make sense of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.chaos.fold import FoldError, fold, normal

Event = dict[str, Any]


def message(item_id: str, text: str) -> dict[str, Any]:
    return {"id": item_id, "type": "assistant_message", "content": [{"type": "output_text", "text": text}]}


def added(item_id: str, text: str = "") -> Event:
    return {"type": "thread.item.added", "item": message(item_id, text)}


def done(item_id: str, text: str) -> Event:
    return {"type": "thread.item.done", "item": message(item_id, text)}


def delta(item_id: str, text: str) -> Event:
    update = {"type": "assistant_message.content_part.text_delta", "content_index": 0, "delta": text}
    return {"type": "thread.item.updated", "item_id": item_id, "update": update}


def removed(item_id: str) -> Event:
    return {"type": "thread.item.removed", "item_id": item_id}


def replaced(item_id: str, text: str) -> Event:
    return {"type": "thread.item.replaced", "item": message(item_id, text)}


def shown(*events: Event) -> dict[str, str]:
    """Item ids and their texts."""
    items = fold(json.dumps(event).encode() for event in events).shown()
    return {item_id: item["content"][0]["text"] for item_id, item in items.items()}


@pytest.mark.parametrize(
    ("events", "items"),
    [
        ([added("a"), delta("a", "1"), delta("a", "2")], {"a": "12"}),
        ([added("a"), delta("a", "1"), done("a", "whole")], {"a": "whole"}),
        ([done("a", "at once")], {"a": "at once"}),
        ([done("a", "")], {"a": ""}),
        ([added("a")], {}),
        ([added("a"), delta("a", "1"), removed("a")], {}),
        ([removed("never shown")], {}),
        ([done("a", "1"), removed("a"), added("a"), delta("a", "2")], {"a": "2"}),
        ([done("a", "1"), replaced("a", "2")], {"a": "2"}),
        (
            [done("a", "1"), {"type": "progress_update", "text": "1 of 2"}, done("b", "2")],
            {"a": "1", "b": "2"},
        ),
    ],
)
def test_events_add_up_to_items(events: list[Event], items: dict[str, str]) -> None:
    assert shown(*events) == items


@pytest.mark.parametrize(
    "events",
    [
        [added("a"), added("a")],
        [done("a", "1"), done("a", "1")],
        [done("a", "1"), added("a")],
        [delta("a", "1")],
        [added("a"), removed("a"), delta("a", "1")],
        [done("a", "1"), delta("a", "1")],
        [replaced("a", "1")],
    ],
)
def test_events_that_make_no_sense_are_refused(events: list[Event]) -> None:
    with pytest.raises(FoldError):
        shown(*events)


def test_a_repeated_delta_shows() -> None:
    once, twice = [added("a"), delta("a", "1")], [added("a"), delta("a", "1"), delta("a", "1")]
    assert shown(*once) != shown(*twice)


def test_error_events_are_counted() -> None:
    assert fold([b'{"type": "error", "code": "stream.error"}']).errors == 1


def test_what_is_none_is_absent() -> None:
    assert normal({"a": None, "b": [{"c": None, "d": 0}], "e": ""}) == {"b": [{"d": 0}], "e": ""}


@pytest.mark.parametrize(
    ("events", "ledgers"),
    [
        ([done("old", "ledger: 0.0")], ["ledger: 0.0"]),
        ([replaced("old", "ledger: 0.0 0.1")], ["ledger: 0.0 0.1"]),
        ([removed("old"), done("new", "ledger: 0.0 0.1")], ["ledger: 0.0 0.1"]),
        (
            [
                removed("old"),
                done("lost", "ledger: 0.0 0.1"),
                removed("lost"),
                replaced("old", "ledger: 0.0"),
            ],
            ["ledger: 0.0"],
        ),
        ([done("old", "ledger: 0.0"), done("new", "ledger: 0.0")], ["ledger: 0.0", "ledger: 0.0"]),
    ],
)
def test_a_ledger_is_kept_apart_from_what_the_run_shows(events: list[Event], ledgers: list[str]) -> None:
    folded = fold(json.dumps(event).encode() for event in events)
    assert [*folded.ledgers.values()] == ledgers
    assert folded.shown() == {}
