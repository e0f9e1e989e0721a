"""Ports of this machine's loopback."""

from __future__ import annotations

import random
import socket
from itertools import count
from typing import Final

FIRST: Final = 15_000
LAST: Final = 30_000
"""Below the range from which the kernel takes the ports of outgoing connections: one of those could be in use by the
time that a server listens."""

_turns = count(random.randrange(LAST - FIRST))  # noqa: S311


def free_port(host: str = "127.0.0.1") -> int:
    """A port of this host that is free.

    Raises OSError for a host that is none of this machine, and where none of FIRST to LAST could be had. In turn, so
    that two that are asked for before a server listens on the first are not the same.
    """
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
    refused: OSError | None = None
    for _ in range(LAST - FIRST):
        port = FIRST + next(_turns) % (LAST - FIRST)
        try:
            _take(host, port)
        except OSError as error:
            refused = error
        else:
            return port
    assert refused is not None
    raise refused


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    try:
        _take(host, port)
    except OSError:
        return False
    return True


def _take(host: str, port: int) -> None:
    with socket.socket(_family(host)) as probe:
        probe.bind((host, port))


def authority(host: str, port: int) -> str:
    """Host and port as a URL has them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
