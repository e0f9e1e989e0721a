"""The connections that the kernel holds for this process until it accepts them, and drops when they are too many."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, Protocol

import structlog

from relaykit.api.metrics import ACCEPT_QUEUE_DROPS

_SO_MEMINFO: Final = 55
_MEMINFO: Final = struct.Struct("9I")
_DROPS: Final = 8
"""Linux, include/uapi/linux/sock_diag.h: of a listening socket, the connections that found its queue full."""

log = structlog.get_logger()


class Listener(Protocol):
    """A listening socket, or the event loop's stand-in for it."""

    def getsockopt(self, level: int, name: int, length: int, /) -> bytes: ...


class AcceptQueueWatch:
    """Counts the connections that the kernel drops. It tells the process nothing, and the client tries again later."""

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._drops = {listener: _drops(listener) for listener in listeners}
        self._was_full = False

    def look(self) -> None:
        """Counts the drops since the last look; logs once for as long as each look finds more."""
        dropped = 0
        for listener, before in self._drops.items():
            now = _drops(listener)
            dropped += max(0, now - before)
            self._drops[listener] = now
        if dropped:
            ACCEPT_QUEUE_DROPS.inc(dropped)
        if dropped and not self._was_full:
            log.error(
                "connections come faster than they are accepted: the kernel drops them",
                action="accept_queue_full",
                dropped=dropped,
            )
        self._was_full = bool(dropped)


def _drops(listener: Listener) -> int:
    """Zero where the system keeps no such count."""
    if sys.platform == "linux":
        with suppress(OSError, struct.error):
            found = listener.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
            return int(_MEMINFO.unpack(found)[_DROPS])
    return 0
