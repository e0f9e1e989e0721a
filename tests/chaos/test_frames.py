"""The clients' own reading of a stream: whatever the cuts between its pieces, and nothing that the protocol lacks."""

from __future__ import annotations

import pytest

from relaykit.shared.journal import Cursor
from tests.chaos.frames import BadStream, End, Frame, Frames

STREAM = (
    b"retry: 900\n\nid: 0-1\ndata: {}\n\n: ping\n\n"
    b'id: 1-2\ndata: {"text":"id: 1-3"}\n\n: ping\n\n: end completed\n\n'
)
READ = [Frame(Cursor(0, 1), b"{}"), Frame(Cursor(1, 2), b'{"text":"id: 1-3"}'), End("completed")]


def read(*parts: bytes) -> list[Frame | End]:
    frames = Frames()
    return [frame for part in parts for frame in frames.feed(part)]


def test_a_stream_is_read_whatever_its_pieces() -> None:
    assert read(STREAM) == READ
    for cut in range(len(STREAM)):
        assert read(STREAM[:cut], STREAM[cut:]) == READ
    assert read(*(STREAM[place : place + 1] for place in range(len(STREAM)))) == READ


def test_what_is_cut_off_never_came() -> None:
    assert read(STREAM[: STREAM.index(b": end")]) == READ[:2]
    assert read(STREAM[:-1]) == READ[:2]
    assert read(STREAM[: STREAM.index(b"{}") + 3]) == READ[:0]


@pytest.mark.parametrize(
    "stream",
    [
        b"data: {}\n\n",
        b"id: 1-2\n\n",
        b"id: 1-2\ndata: {}\ndata: {}\n\n",
        b": end failed\n\nid: 1-2\ndata: {}\n\n",
        b": end failed\n\n: ping\n\n",
        b": end failed\n\nid: 1",
        b"event: item\nid: 1-2\ndata: {}\n\n",
        b": hello\n\n",
    ],
)
def test_what_the_protocol_lacks_is_refused(stream: bytes) -> None:
    with pytest.raises(BadStream):
        read(stream)
