"""The header fields of a request that its server asks to see: those that CONTEXT_HEADERS names."""

from __future__ import annotations

from starlette.datastructures import Headers

from relaykit.shared.errors import ContextHeadersTooLarge
from relaykit.shared.identity import RequestHeaders
from relaykit.shared.settings import Settings


def context_headers(given: Headers, settings: Settings) -> RequestHeaders:
    """The named fields that the request has; the values of one that comes several times are joined (RFC 9110, 5.3).

    Raises ContextHeadersTooLarge.
    """
    found: dict[str, str] = {}
    for name in settings.context_headers:
        if values := given.getlist(name):
            found[name] = ", ".join(values)
    size_bytes = sum(len(name) + len(value) for name, value in found.items())  # Latin-1: a byte each
    if size_bytes > settings.context_headers_max_bytes:
        raise ContextHeadersTooLarge
    return RequestHeaders(found)
