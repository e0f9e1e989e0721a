"""Ports of this machine's loopback."""

from __future__ import annotations

import random
import socket
from typing import Final

TRIES: Final = 100


def free_port(host: str = "127.0.0.1", *, following: int = 0) -> int:
    """A port of this host that is free, with as many after it.

    Raises OSError for a host that is none of this machine, and where TRIES ports could not be had.

    Below the range from which the kernel takes the ports of outgoing connections: one of those could be in use by
    the time that a server listens.
    """
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
    refused: OSError | None = None
    for _ in range(TRIES):
        first = random.randint(15_000, 30_000)  # noqa: S311
        try:
            for port in range(first, first + following + 1):
                with socket.socket(_family(host)) as probe:
                    probe.bind((host, port))
        except OSError as error:
            refused = error
        else:
            return first
    assert refused is not None
    raise refused


def authority(host: str, port: int) -> str:
    """Host and port as a URL has them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
