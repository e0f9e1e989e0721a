"""The SSE codec, judged by a reader written from the WHATWG's description of event streams."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from chatkit.types import ProgressUpdateEvent
from hypothesis import given
from hypothesis import strategies as st

from relaykit.api.relay import sse
from relaykit.shared.journal import START, Cursor, Entry, Field
from tests.properties.journals import PAYLOADS, journals
from tests.support.examples import examples

quick = examples(80)

LINE_ENDS = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
"""All that Python's str.splitlines takes for the end of a line."""


@dataclass(frozen=True)
class Event:
    id: str
    type: str
    data: str


def read(stream: bytes) -> tuple[list[Event], str]:
    """What an EventSource dispatches, and the id with which it would reconnect where the stream ends.

    After html.spec.whatwg.org, 9.2.6. What the end cuts off is dropped; an id counts from the next empty line on,
    with or without data before it.
    """
    lines = re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf"))[:-1]
    events: list[Event] = []
    last_id, kind, data = "", "", ""
    kept_id = ""
    for line in (line.decode(errors="replace") for line in lines):
        if not line:
            kept_id = last_id
            if data:
                events.append(Event(last_id, kind or "message", data.removesuffix("\n")))
            kind, data = "", ""
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data += value + "\n"
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            last_id = value
    return events, kept_id


def dispatched(stream: bytes) -> list[Event]:
    return read(stream)[0]


def expected(entries: list[Entry]) -> list[Event]:
    return [
        Event(str(entry.cursor), "message", escaped(entry.payload))
        for entry in entries
        if entry.field is Field.EVENT
    ]


def escaped(payload: bytes) -> str:
    return re.sub("[\x85\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", payload.decode())


NOISE = st.sampled_from([sse.PING, b"", sse.retry("run_1"), sse.retry("run_2")])


LINES = st.lists(st.one_of(st.text(max_size=20), st.sampled_from(LINE_ENDS)), max_size=12).map("".join)


@quick
@given(journals())
def test_a_reader_sees_the_events_with_their_cursors_and_nothing_else(entries):
    assert dispatched(b"".join(map(sse.encode, entries))) == expected(entries)


@quick
@given(LINES)
def test_any_text_arrives_as_it_was(text):
    """Line breaks of every kind, NUL and U+2028 among them: what would break a line is escaped."""
    payload = ProgressUpdateEvent(text=text).model_dump_json().encode()
    (event,) = dispatched(sse.encode(Entry(Cursor(1, 1), Field.EVENT, payload)))
    assert json.loads(event.data) == json.loads(payload)
    assert ProgressUpdateEvent.model_validate_json(event.data).text == text


@quick
@given(LINES)
def test_a_reader_that_splits_lines_as_python_does_sees_the_same_lines(text):
    """So nothing that a user or a model wrote is read as a line of its own, `id:` or `data:` among them."""
    payload = ProgressUpdateEvent(text=text).model_dump_json().encode()
    frame = sse.encode(Entry(Cursor(1, 1), Field.EVENT, payload)).decode()
    assert frame.splitlines() == frame.split("\n")[:-1]


@quick
@given(st.lists(st.tuples(st.lists(PAYLOADS, max_size=2), NOISE), max_size=8))
def test_heartbeats_and_the_reconnection_time_are_invisible(parts):
    entries: list[Entry] = []
    stream = b""
    for payloads, noise in parts:
        for payload in payloads:
            entries.append(Entry(Cursor(1, len(entries) + 1), Field.EVENT, payload))
            stream += sse.encode(entries[-1])
        stream += noise
    assert dispatched(stream) == expected(entries)


@quick
@given(st.sampled_from(["completed", "failed", "cancelled"]))
def test_the_end_and_a_mark_dispatch_nothing(status):
    end = sse.encode(Entry(Cursor(1, 2), Field.END, status.encode()))
    assert end == f": end {status}\n\n".encode()
    assert dispatched(end) == []
    assert sse.encode(Entry(Cursor(1, 1), Field.ATTEMPT_START, b"")) == b""


@examples(30)
@given(journals())
def test_a_stream_cut_at_any_byte_gives_whole_events_and_the_cursor_to_go_on_from(entries):
    """What was read before the cut, and what follows the id that the reader comes back with, are together the whole."""
    stream = b"".join(map(sse.encode, entries))
    whole = expected(entries)
    for cut in range(len(stream) + 1):
        seen, last_id = read(stream[:cut])
        assert seen == whole[: len(seen)]
        cursor = Cursor.parse(last_id) if last_id else START
        rest = dispatched(b"".join(sse.encode(entry) for entry in entries if entry.cursor > cursor))
        assert seen + rest == whole


def test_what_interrupts_a_stream_is_an_error_that_can_be_retried_and_moves_no_cursor():
    entry = Entry(Cursor(1, 1), Field.EVENT, b"{}")
    before, interruption = dispatched(sse.encode(entry) + sse.INTERRUPTED)
    assert interruption == Event(
        before.id, "message", '{"type":"error","code":"stream.error","allow_retry":true}'
    )
