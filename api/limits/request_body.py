"""The body of a POST: paid for by its caller, then read within its limits."""

from __future__ import annotations

from fastapi import Request

from relaykit.api.auth.identity import Identity
from relaykit.api.limits.caller_limits import Limits
from relaykit.shared.errors import BodyTooLarge


async def read_body(request: Request, limits: Limits, identity: Identity, max_bytes: int) -> bytes:
    """The whole body. A length that is declared is paid for before a byte is read, any other after the last one.

    Raises BodyTooLarge, RateLimited and TooManyBodies.
    """
    declared = request.headers.get("content-length", "")
    is_declared = declared.isdigit()
    if is_declared:
        if int(declared) > max_bytes:
            raise BodyTooLarge
        await limits.spend_bytes(identity, int(declared))
    with limits.body(identity):
        body = await _read(request, max_bytes)
    if not is_declared:
        await limits.spend_bytes(identity, len(body))
    return body


async def _read(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > max_bytes:
            raise BodyTooLarge
    return bytes(body)
