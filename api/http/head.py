"""A request's head: where it ends in the bytes that a client sends, and how many bytes follow; owns no socket."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from relaykit.shared.errors import MalformedRequest

CHUNKED: Final = -1
"""Stands for the number of a body's bytes where the body is chunked."""
_END = b"\r\n\r\n"
_OVERLAP_BYTES = len(_END) - 1


class HeadScan:
    """The bytes of one head, counted over any number of reads: the verdict does not depend on how they are split.

    The parser joins the pieces of a field's value before it shows them, and so would hold and copy any number of bytes.
    """

    __slots__ = ("_last", "_limit", "taken")

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self.taken = 0
        """Bytes of this head so far, with the line ends that may stand before it."""
        self._last = b""
        """The last bytes of the read before, in which the blank line may have begun."""

    @property
    def is_full(self) -> bool:
        """A head that has not ended by now is too large."""
        return self.taken >= self._limit

    def take(self, data: bytes, start: int) -> int:
        """Counts what belongs to the head from `start` on, at most up to the limit; returns where that ends."""
        stop = min(len(data), start + self._limit - self.taken)
        end = self._end(data, start, stop)
        self.taken += end - start
        self._last = (self._last + data[max(start, end - _OVERLAP_BYTES) : end])[-_OVERLAP_BYTES:]
        return end

    def reset(self) -> None:
        """The head has ended: the next bytes to be counted are the next one's."""
        self.taken = 0
        self._last = b""

    def _end(self, data: bytes, start: int, stop: int) -> int:
        if self._last:
            across = (self._last + data[start : min(stop, start + _OVERLAP_BYTES)]).find(_END)
            if across >= 0:
                return start + across + len(_END) - len(self._last)
        at = data.find(_END, start, stop)
        return at + len(_END) if at >= 0 else stop


def body_bytes(version: str, headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Bytes of the body that follows the head, or CHUNKED; the names are in lower case.

    Raises MalformedRequest where RFC 9112 asks for a 400 and the parser does not (sections 2.3, 3.2 and 6.1).
    """
    hosts = codings = length = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            codings += 1
            if value.strip(b" \t").lower() != b"chunked":
                raise MalformedRequest
    if version not in ("1.0", "1.1") or hosts > 1 or codings > 1:
        raise MalformedRequest
    if codings if version == "1.0" else not hosts:
        raise MalformedRequest
    return CHUNKED if codings else length
