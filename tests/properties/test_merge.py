"""What waits for a flush: nothing lost, nothing reordered, only neighbouring deltas of one item and part joined."""

from __future__ import annotations

import json
from typing import Any

from chatkit.server import ChatKitServer
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartAdded,
    AssistantMessageContentPartDone,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ErrorEvent,
    NoticeEvent,
    ProgressUpdateEvent,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemRemovedEvent,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
    WidgetStreamingTextValueDelta,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from relaykit.worker.publishing.coalesce import MAX_TEXT_BYTES, Pending
from tests.support.examples import examples

quick = examples(80)

EVENT: TypeAdapter[ThreadStreamEvent] = TypeAdapter(ThreadStreamEvent)


class Silent(ChatKitServer[Any]):
    async def respond(self, thread, input_user_message, context):
        for event in ():
            yield event


serialize = Silent(store=None)._serialize  # type: ignore[arg-type]

ITEM_IDS = st.sampled_from(["msg_1", "msg_2"])
PARTS = st.integers(0, 1)
TEXT = st.text(max_size=6)
CONTENT = st.builds(AssistantMessageContent, text=TEXT)
ITEMS = st.builds(
    AssistantMessageItem,
    id=ITEM_IDS,
    thread_id=st.just("thr_1"),
    created_at=st.datetimes(),
    content=st.lists(CONTENT, max_size=2),
)
DELTAS = st.builds(
    ThreadItemUpdatedEvent,
    item_id=ITEM_IDS,
    update=st.builds(AssistantMessageContentPartTextDelta, content_index=PARTS, delta=TEXT),
)
OTHERS = st.one_of(
    st.builds(ThreadItemAddedEvent, item=ITEMS),
    st.builds(ThreadItemDoneEvent, item=ITEMS),
    st.builds(ThreadItemRemovedEvent, item_id=ITEM_IDS),
    st.builds(ProgressUpdateEvent, text=TEXT),
    st.builds(NoticeEvent, level=st.just("info"), message=TEXT),
    st.builds(ErrorEvent, message=TEXT),
    st.builds(
        ThreadItemUpdatedEvent,
        item_id=ITEM_IDS,
        update=st.one_of(
            st.builds(AssistantMessageContentPartAdded, content_index=PARTS, content=CONTENT),
            st.builds(AssistantMessageContentPartDone, content_index=PARTS, content=CONTENT),
            st.builds(WidgetStreamingTextValueDelta, component_id=ITEM_IDS, delta=TEXT, done=st.booleans()),
        ),
    ),
)
STEPS = st.lists(st.one_of(DELTAS, DELTAS, OTHERS, st.just("take")), max_size=20)


def delta_of(payload: bytes) -> tuple[tuple[str, int], str] | None:
    """(item and part, text) of a text delta."""
    event = json.loads(payload)
    update = event.get("update", {})
    if update.get("type") != "assistant_message.content_part.text_delta":
        return None
    return (event["item_id"], update["content_index"]), update["delta"]


def joined(payloads: list[bytes]) -> list[object]:
    """The payloads with neighbouring deltas of the same item and part made one."""
    result: list[object] = []
    for payload in payloads:
        delta = delta_of(payload)
        if delta is None:
            result.append(payload)
        elif result and isinstance(result[-1], list) and result[-1][0] == delta[0]:
            result[-1][1] += delta[1]
        else:
            result.append([*delta])
    return result


@quick
@given(STEPS)
def test_taken_all_together_it_is_what_was_put(steps):
    """Each event that is no text delta as the SDK's own bytes; of the deltas, the text in its place."""
    pending = Pending(serialize)
    taken: list[bytes] = []
    for step in steps:
        if step == "take":
            taken += pending.drain()
        else:
            pending.put(step)
    taken += pending.drain()
    assert joined(taken) == joined([serialize(step) for step in steps if step != "take"])


@quick
@given(STEPS)
def test_one_take_holds_no_two_deltas_that_could_be_one(steps):
    pending = Pending(serialize)
    for step in [*steps, "take"]:
        if step != "take":
            pending.put(step)
            continue
        batch = pending.drain()
        assert len(batch) == len(joined(batch))
        assert len(pending) == pending.size == 0
        assert pending.drain() == []


@quick
@given(STEPS)
def test_it_counts_what_waits(steps):
    """What holds the agent back: at least as many bytes as the entries have text, and as many entries as come out."""
    pending = Pending(serialize)
    for step in steps:
        if step == "take":
            pending.drain()
        else:
            pending.put(step)
    count, size = len(pending), pending.size
    batch = pending.drain()
    assert count == len(batch)
    assert size >= sum(len(delta[1]) for delta in map(delta_of, batch) if delta)


@quick
@given(st.lists(DELTAS, min_size=1, max_size=6))
def test_a_joined_delta_is_serialised_as_the_sdk_would(events):
    pending = Pending(serialize)
    for event in events:
        pending.put(event)
    for payload in pending.drain():
        assert serialize(EVENT.validate_json(payload)) == payload


def spoil(event: ThreadStreamEvent) -> None:
    """Everything that a server can change of an event that it has yielded."""
    for name in type(event).model_fields:
        value = getattr(event, name)
        if isinstance(value, str) and name != "type":
            setattr(event, name, "spoilt")
        elif hasattr(value, "model_fields_set"):
            spoil(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            setattr(event, name, 99)
        elif isinstance(value, list):
            value.append("spoilt")


@quick
@given(STEPS)
def test_what_a_server_does_to_an_event_afterwards_changes_nothing(steps):
    pending, undisturbed = Pending(serialize), Pending(serialize)
    for step in steps:
        if step == "take":
            assert pending.drain() == undisturbed.drain()
        else:
            event = step.model_copy(deep=True)
            undisturbed.put(step)
            pending.put(event)
            spoil(event)
    assert pending.drain() == undisturbed.drain()


def test_one_event_object_can_be_yielded_again_and_again():
    """A server that keeps one delta event and changes its text each time, or its item."""
    update = AssistantMessageContentPartTextDelta(content_index=0, delta="")
    event = ThreadItemUpdatedEvent(item_id="msg_1", update=update)
    pending = Pending(serialize)
    for item_id, text in [("msg_1", "a"), ("msg_1", "b"), ("msg_2", "c")]:
        event.item_id, event.update.delta = item_id, text
        pending.put(event)
    event.update.delta = "d"
    assert [delta_of(payload) for payload in pending.drain()] == [(("msg_1", 0), "ab"), (("msg_2", 0), "c")]


LONG = st.sampled_from(["x", "é", "漢", "😀", '"']).flatmap(
    lambda char: st.integers(0, 3 * MAX_TEXT_BYTES).map(lambda count: char * count)
)


@examples(30)
@given(st.lists(LONG, min_size=1, max_size=4))
def test_no_entry_has_more_than_64_kib_of_text(texts):
    """Neither of many deltas that are joined nor of one; together they are the text."""
    pending = Pending(serialize)
    for text in texts:
        update = AssistantMessageContentPartTextDelta(content_index=0, delta=text)
        pending.put(ThreadItemUpdatedEvent(item_id="msg_1", update=update))
    told = [delta_of(payload)[1] for payload in pending.drain()]
    assert "".join(told) == "".join(texts)
    assert max(len(text.encode()) for text in told) <= MAX_TEXT_BYTES == 64 * 1024
    assert len(told) <= 1 + 4 * sum(len(text.encode()) for text in texts) // MAX_TEXT_BYTES


@examples(30)
@given(LONG, st.booleans())
def test_no_entry_has_more_than_64_kib_of_a_widget_s_text(text, done):
    """Its pieces are the text, and only the last of them is the end that it was."""
    pending = Pending(serialize)
    update = WidgetStreamingTextValueDelta(component_id="t", delta=text, done=done)
    pending.put(ThreadItemUpdatedEvent(item_id="wdg_1", update=update))
    told = [EVENT.validate_json(payload).update for payload in pending.drain()]
    assert "".join(each.delta for each in told) == text
    assert max(len(each.delta.encode()) for each in told) <= MAX_TEXT_BYTES
    assert [each.done for each in told] == [False] * (len(told) - 1) + [done]
    assert {each.component_id for each in told} == {"t"}


def test_half_a_surrogate_pair_in_any_event_costs_nothing_but_itself():
    """The halves of two neighbouring deltas are one character; a lone one is U+FFFD, in deltas and in all else."""
    pending = Pending(serialize)
    for text in ("a\ud83d", "\ude00", "\ud83d"):
        update = AssistantMessageContentPartTextDelta(content_index=0, delta=text)
        pending.put(ThreadItemUpdatedEvent(item_id="msg_1", update=update))
    pending.put(ProgressUpdateEvent(text="cut \ud83d"))
    delta, progress = pending.drain()
    assert delta_of(delta)[1] == "a😀\ufffd"
    assert json.loads(progress)["text"] == "cut \ufffd"
