"""Which processes have said that they are ready, by sd_notify(3)."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relaykit.shared.process.notify import READY

_READY = re.compile(rf"{READY}\nMAINPID=(\d+)".encode())
MESSAGE_BYTES = 512


class Readiness:
    """`address` is what NOTIFY_SOCKET names."""

    def __init__(self, receiver: socket.socket, address: str) -> None:
        self.address = address
        self._receiver = receiver
        self._ready: set[int] = set()

    def is_ready(self, pid: int) -> bool:
        while (message := self._next()) is not None:
            if ready := _READY.fullmatch(message):
                self._ready.add(int(ready[1]))
        return pid in self._ready

    def forget(self, pid: int) -> None:
        """The process has ended: its number may become another's."""
        self._ready.discard(pid)

    def _next(self) -> bytes | None:
        try:
            return self._receiver.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return None


@contextmanager
def readiness() -> Iterator[Readiness]:
    """In a folder of its own with a short name, because the address of such a socket has 107 characters at most."""
    with (
        tempfile.TemporaryDirectory(prefix="relaykit-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        address = str(Path(folder, "notify"))
        receiver.bind(address)
        os.chmod(address, 0o600)
        receiver.setblocking(False)
        yield Readiness(receiver, address)
