"""The SSE form of a journal's entries. Pure: whoever waits and writes is in relay.py."""

from __future__ import annotations

import zlib

from chatkit.errors import ErrorCode
from chatkit.types import ErrorEvent

from shared.journal import Entry, Field

PING = b": ping\n\n"

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)

INTERRUPTED = (
    b"data: "
    + ErrorEvent(code=ErrorCode.STREAM_ERROR, allow_retry=True).model_dump_json(exclude_none=True).encode()
    + b"\n\n"
)
"""What a client that cannot resume is told before a stream closes without its end: an error it can retry."""

RETRY_MIN_MS = 500
RETRY_SPREAD_MS = 2000


def encode(entry: Entry) -> bytes:
    """One event with its id, the end as a comment, nothing for a mark.

    The data is what the SDK serialised, one line of JSON: it never holds a line break.
    """
    match entry.field:
        case Field.EVENT:
            return b"id: %d-%d\ndata: %b\n\n" % (*entry.cursor, entry.payload)
        case Field.END:
            return b": end %b\n\n" % entry.payload
        case Field.MARK:
            return b""


def retry(run_id: str) -> bytes:
    """How long a client waits before it reconnects: unlike from run to run, so that many do not come at once."""
    return b"retry: %d\n\n" % (RETRY_MIN_MS + zlib.crc32(run_id.encode()) % RETRY_SPREAD_MS)
