"""How many descriptors this process may have, how many of them connections may take, and whether any is left."""

from __future__ import annotations

import errno
import os
import resource

import structlog

from relaykit.api.metrics import DESCRIPTORS_EXHAUSTED
from relaykit.shared.errors import SettingsError
from relaykit.shared.settings import Settings

RESERVED = 64
"""Descriptors that are kept beside those of clients and of PostgreSQL: for Redis, the issuer, the event loop, files
and the connections that are being refused (`connections.MAX_REFUSED`)."""
MAX_DERIVED_CONNECTIONS = 65_536
"""Without MAX_CONNECTIONS no more than these, where descriptors are practically unlimited: memory would end first."""
MIN_CONNECTIONS = 8

log = structlog.get_logger()


def raise_descriptor_limit() -> None:
    """Raises the soft limit, which is 1024 on many hosts, to the hard one, which only the operator can raise."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptor_limit() -> int:
    """How many descriptors this process may have; -1 is no limit."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def connection_limit(settings: Settings) -> int:
    """MAX_CONNECTIONS, or as many as the descriptors allow where that is 0 or more than they do.

    A client that uploads or fetches an attachment takes a second descriptor, for the file or the storage.
    Raises SettingsError where the descriptors allow hardly any.
    """
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    of_each = 1 if settings.attachments_url is None else 2
    allowed = (descriptors - RESERVED - settings.database_pool_max) // of_each
    if descriptors == resource.RLIM_INFINITY:
        allowed = MAX_DERIVED_CONNECTIONS if settings.max_connections == 0 else settings.max_connections
    if allowed < MIN_CONNECTIONS:
        raise SettingsError(
            f"LimitNOFILE, ulimit -n: {descriptors} file descriptors leave none for connections"
            f" beside {RESERVED} and DATABASE_POOL_MAX"
        )
    if settings.max_connections == 0:
        return min(allowed, MAX_DERIVED_CONNECTIONS)
    if settings.max_connections > allowed:
        log.warning(
            "MAX_CONNECTIONS is more than the descriptors allow: their number is the limit",
            action="descriptor_limit",
            descriptors=descriptors,
            connections=allowed,
        )
    return min(allowed, settings.max_connections)


class DescriptorWatch:
    """Says when no descriptor is free. libuv closes new connections then, and tells its caller nothing."""

    def __init__(self) -> None:
        self._exhausted = False

    def look(self) -> None:
        """Counts and logs the exhaustion: one log line when it begins, one when it ends."""
        exhausted = not _one_is_free()
        if exhausted:
            DESCRIPTORS_EXHAUSTED.inc()
        if exhausted and not self._exhausted:
            log.error(
                "no descriptor is free: new connections are closed unanswered",
                action="descriptors_exhausted",
                descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            )
        elif self._exhausted and not exhausted:
            log.info("descriptors are free again", action="descriptors_free")
        self._exhausted = exhausted


def _one_is_free() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return False
        raise
    return True
