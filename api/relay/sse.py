"""The SSE form of a journal's entries. Pure: stream.py waits and writes."""

from __future__ import annotations

import zlib

from chatkit.errors import ErrorCode
from chatkit.types import ErrorEvent, ProgressUpdateEvent

from relaykit.shared.journal import Entry, Field

PING = b": ping\n\n"

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
)
"""`no-transform` keeps a proxy from compressing the stream: a compressor holds back what it is given until it has
enough of it, events and pings alike. `X-Accel-Buffering` is nginx's own word."""

INTERRUPTED = (
    b"data: "
    + ErrorEvent(code=ErrorCode.STREAM_ERROR, allow_retry=True).model_dump_json(exclude_none=True).encode()
    + b"\n\n"
)
"""What a client that cannot resume is told before a stream closes without its end: an error it can retry."""

LINE_ENDS_OF_UNICODE = (
    (b"\xc2\x85", rb"\u0085"),
    (b"\xe2\x80\xa8", rb"\u2028"),
    (b"\xe2\x80\xa9", rb"\u2029"),
)
"""In UTF-8 and as JSON escapes. By the standard they end no line; for Python's `splitlines`, which clients use, they
do."""


def notice(text: str) -> bytes:
    """Tells a client that its run waits for a worker: a progress update without an id, which no journal holds."""
    return b"data: " + ProgressUpdateEvent(text=text).model_dump_json(exclude_none=True).encode() + b"\n\n"


RETRY_MIN_MS = 500
RETRY_SPREAD_MS = 2000


def encode(entry: Entry) -> bytes:
    """One event with its id, the end as a comment, nothing for an attempt's start.

    The data is what the SDK serialised, one line of JSON, which escapes every line break of ASCII. Those of Unicode
    are escaped here; they stand in strings alone, so that the JSON means the same.
    """
    match entry.field:
        case Field.EVENT:
            payload = entry.payload
            if not payload.isascii():
                payload = _without_line_ends(payload)
            return b"id: %d-%d\ndata: %b\n\n" % (*entry.cursor, payload)
        case Field.END:
            return b": end %b\n\n" % entry.payload
        case Field.ATTEMPT_START:
            return b""


def _without_line_ends(payload: bytes) -> bytes:
    for line_end, escape in LINE_ENDS_OF_UNICODE:
        if line_end[-1] in payload:  # a search for one byte costs a tenth
            payload = payload.replace(line_end, escape)
    return payload


def retry(run_id: str) -> bytes:
    """Tells a client how long to wait before it reconnects: another time for each run, so that not all come at once."""
    return b"retry: %d\n\n" % (RETRY_MIN_MS + zlib.crc32(run_id.encode()) % RETRY_SPREAD_MS)
