"""Half an emoji: two halves that follow each other are joined, wherever they were cut, and a lone one is U+FFFD."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chatkit.types import (
    AssistantMessageContentPartTextDelta,
    ClientEffectEvent,
    ProgressUpdateEvent,
    ThreadItemUpdatedEvent,
    WidgetStreamingTextValueDelta,
)
from hypothesis import given
from hypothesis import strategies as st

from relaykit.shared.text import dump_json, well_formed, well_formed_copy
from relaykit.worker.publishing.delta_text import DeltaText
from tests.support.examples import examples

quick = examples(200)

CHARS = st.sampled_from(["a", "é", "漢", "😀", "\ud83d", "\ude00", "\udbff", "\udc00"])
TEXT = st.lists(CHARS, max_size=8).map("".join)
PARTS = st.integers(0, 1)


def cut(text: str) -> list[str]:
    """In its UTF-16 code units, each a text of its own."""
    units = text.encode("utf-16-le", "surrogatepass")
    return [units[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(units), 2)]


def joined(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@quick
@given(TEXT)
def test_a_text_without_halves_stays_and_any_other_can_be_encoded(text: str) -> None:
    result = well_formed(text)
    result.encode()
    assert result == joined(text)
    assert well_formed(result) is result


def delta(part: int, text: str) -> ThreadItemUpdatedEvent:
    update = AssistantMessageContentPartTextDelta(content_index=part, delta=text)
    return ThreadItemUpdatedEvent(item_id="msg_1", update=update)


@quick
@given(st.lists(st.tuples(PARTS, TEXT, st.booleans()), max_size=8))
def test_the_deltas_of_a_text_that_was_cut_anywhere_add_up_to_it(pieces: list[tuple[int, str, bool]]) -> None:
    """But for a first half at its very end, which waits for the second one."""
    texts, whole, told = DeltaText(), {0: "", 1: ""}, {0: "", 1: ""}
    for part, text, is_cut in pieces:
        whole[part] += text
        for piece in cut(text) if is_cut else [text]:
            event = delta(part, piece)
            before = event.model_copy(deep=True)
            result = texts.apply(event, event.update)  # type: ignore[arg-type]
            assert event == before
            result.update.delta.encode()  # type: ignore[union-attr]
            told[part] += result.update.delta  # type: ignore[union-attr]
    for part in (0, 1):
        rest = whole[part]
        waits = rest[-1:] and "\ud800" <= rest[-1] <= "\udbff"
        assert told[part] == joined(rest[:-1] if waits else rest)


def test_the_last_delta_of_a_widgets_text_holds_nothing_back() -> None:
    texts = DeltaText()
    told = []
    for text, done in [("a\ud83d", False), ("\ude00b\ud83d", True)]:
        update = WidgetStreamingTextValueDelta(component_id="c", delta=text, done=done)
        event = ThreadItemUpdatedEvent(item_id="w", update=update)
        told.append(texts.apply(event, update).update.delta)  # type: ignore[union-attr]
    assert told == ["a", "😀b\ufffd"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


@quick
@given(st.dictionaries(TEXT, JSON, max_size=3))
def test_every_text_at_any_depth_of_an_event_is_mended_in_a_copy(data: dict[str, Any]) -> None:
    event = ClientEffectEvent(name="x", data=data)
    before = event.model_copy(deep=True)
    mended = well_formed_copy(event)
    assert event == before
    mended.model_dump_json()
    if json.dumps(data, ensure_ascii=False) == joined(json.dumps(data, ensure_ascii=False)):
        assert mended is event


@pytest.mark.parametrize("text", ["plain", "漢字", "😀"])
def test_what_is_well_formed_is_not_copied(text: str) -> None:
    event = ProgressUpdateEvent(text=text)
    assert well_formed_copy(event) is event
    update = delta(0, text)
    assert DeltaText().apply(update, update.update) is update  # type: ignore[arg-type]


class Markup(str):
    """As a template's output is: a text of a class of its own."""


def test_texts_of_other_classes_and_texts_in_sets_are_mended_too() -> None:
    """A server's metadata may hold whatever can be written as JSON."""
    half, whole = "cut \ud83d", "cut \ufffd"
    metadata = {"class": Markup(half), "set": {half}, "frozen": frozenset({half}), Markup(half): 1}
    event = ClientEffectEvent(name="x", data={"metadata": metadata})
    stored = json.loads(dump_json(event))["data"]["metadata"]
    assert stored == {"class": whole, "set": [whole], "frozen": [whole], whole: 1}
    assert well_formed_copy({frozenset({half})}) == {frozenset({whole})}
    kept = {"class": Markup("漢字"), "set": {"漢字"}}
    assert well_formed_copy(kept) is kept
