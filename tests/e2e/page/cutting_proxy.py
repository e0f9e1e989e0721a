"""A TCP proxy that can cut every connection through it, and refuse new ones, as a lost network does."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Self
from urllib.parse import urlsplit

CHUNK_BYTES = 65_536


class CuttingProxy:
    """Forwards to `target` on a port of its own; `address` is where to connect."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._is_down = False
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Resets every connection; the next one is welcome."""
        with self._lock:
            cut, self._sockets = self._sockets, set()
        for connection in cut:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.shutdown(socket.SHUT_RDWR)
                connection.close()

    def go_down(self) -> None:
        """Cuts, and refuses until come_back()."""
        self._is_down = True
        self.cut()

    def come_back(self) -> None:
        self._is_down = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_down:
                client.close()
                continue
            server = socket.create_connection(self._target)
            with self._lock:
                self._sockets |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                sink.sendall(chunk)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            with self._lock:
                self._sockets.discard(end)
