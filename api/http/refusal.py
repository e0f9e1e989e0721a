"""The answer to a request that no route sees, as bytes: the HTTP protocol writes it, and closes."""

from __future__ import annotations

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from relaykit.api.http.errors import error_response
from relaykit.api.http.headers import SECURITY_HEADERS
from relaykit.shared.errors import RelaykitError

_HEADERS = [
    *((name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()),
    (b"connection", b"close"),
]


def refusal(error: RelaykitError, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The error in the API's one shape, counted as every refusal is."""
    response = error_response(error)
    headers = [*default_headers, *response.raw_headers, *_HEADERS]
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return b"".join([STATUS_LINE[response.status_code], lines, b"\r\n", response.body])
