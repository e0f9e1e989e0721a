"""How many connections the limit of descriptors allows."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from relaykit.api.http.descriptors import MIN_CONNECTIONS, RESERVED, connection_limit
from relaykit.shared.errors import SettingsError
from relaykit.shared.settings import Settings
from tests.support.system import make_settings

POOL = 16


@contextmanager
def soft_limit(descriptors: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def settings(**more: object) -> Settings:
    return make_settings("redis://a", "postgresql://a/a", Path("key"), 1, database_pool_max=POOL, **more)


@pytest.mark.parametrize(
    ("descriptors", "more", "connections"),
    [
        (1000, {}, 1000 - RESERVED - POOL),
        (1000, {"attachments_url": "memory:///", "attachments_key": "k" * 43}, (1000 - RESERVED - POOL) // 2),
        (1000, {"max_connections": 100}, 100),
        (1000, {"max_connections": 5000}, 1000 - RESERVED - POOL),
        (RESERVED + POOL + MIN_CONNECTIONS, {}, MIN_CONNECTIONS),
    ],
    ids=[
        "all but the reserve",
        "two for each with attachments",
        "as set",
        "no more than allowed",
        "the least",
    ],
)
def test_the_connections_that_descriptors_allow(
    descriptors: int, more: dict[str, object], connections: int
) -> None:
    with soft_limit(descriptors):
        assert connection_limit(settings(**more)) == connections


def test_a_process_that_could_hold_hardly_any_connection_does_not_start() -> None:
    with soft_limit(RESERVED + POOL + MIN_CONNECTIONS - 1), pytest.raises(SettingsError, match="LimitNOFILE"):
        connection_limit(settings())
