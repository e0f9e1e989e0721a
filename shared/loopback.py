"""Addresses of this machine alone, which nobody else can reach."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs, urlsplit

LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def is_on_loopback(host: str, *urls: str) -> bool:
    """Whether the host and the services of the URLs are this machine's own."""
    return host in LOOPBACK_HOSTS and all(map(_is_local, urls))


def _is_local(url: str) -> bool:
    """By a loopback address, or by a Unix socket."""
    parts = urlsplit(url)
    hosts = [parts.hostname or "", *parse_qs(parts.query).get("host", ())]
    return all(not host or host.startswith("/") or host in LOOPBACK_HOSTS for host in hosts)
