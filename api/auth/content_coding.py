"""The content codings of a response that this process has asked for (RFC 9110, section 8.4); pure."""

from __future__ import annotations

import zlib
from typing import Final

ACCEPTED: Final = "gzip, deflate"
"""The value of `Accept-Encoding`. Some servers compress without being asked, and these two codings are what they
know."""
_GZIP = zlib.MAX_WBITS | 16
_RAW = -zlib.MAX_WBITS


class ContentCodingError(Exception):
    """The message says what is wrong, and quotes nothing of the response."""


def decoded(body: bytes, coding: str, max_bytes: int) -> bytes:
    """The body without its coding, the value of `Content-Encoding`.

    Raises ContentCodingError where it would be larger than `max_bytes`, before it is, or is broken.
    """
    match coding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return _inflated(body, _GZIP, max_bytes)
        case "deflate":
            return _inflated(body, zlib.MAX_WBITS if _has_zlib_header(body) else _RAW, max_bytes)
        case _:
            raise ContentCodingError("compressed in a way that was not asked for")


def _has_zlib_header(body: bytes) -> bool:
    """`deflate` is the zlib format (RFC 1950), but some servers leave its header and checksum out."""
    return len(body) >= 2 and body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0


def _inflated(body: bytes, format_bits: int, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(format_bits)
    try:
        plain = inflater.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise ContentCodingError("compressed and broken") from error
    if len(plain) > max_bytes:
        raise ContentCodingError(f"larger than {max_bytes} bytes when decompressed")
    if not inflater.eof or inflater.unused_data:
        raise ContentCodingError("compressed and broken")
    return plain
