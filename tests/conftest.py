"""Real services for every test that names one of these fixtures.

REDIS_URL and DATABASE_URL are used where they are set, else the servers of local mode run in a temporary folder.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from httpx2._config import DEFAULT_TIMEOUT_CONFIG

from relaykit.local.services import Services
from relaykit.shared.settings import Settings
from tests.support.caches import make_once
from tests.support.services.databases import Databases, RedisDatabases, temporary_services
from tests.support.system import WAIT_SECONDS, free_port, make_settings

make_once()
# A shell without job control starts what it puts in the background with these ignored, and processes that the tests
# start would inherit that: Ctrl-C would not reach them.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
# Five seconds by itself, which a busy machine may need for a request.
for phase in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, phase, WAIT_SECONDS)


@pytest.fixture(scope="session")
def test_services() -> Iterator[Services]:
    with temporary_services(os.environ) as running:
        yield running


@pytest.fixture(scope="session")
def redis_server_url(test_services: Services) -> str:
    """The server, for tests about the server itself; its database is not cleaned."""
    return test_services.redis_url


@pytest.fixture(scope="session")
def database_server_url(test_services: Services) -> str:
    """The server, with a database that is not migrated."""
    return test_services.database_url


@pytest.fixture(scope="session")
def redis_databases(redis_server_url: str) -> RedisDatabases:
    """For fixtures of a wider scope: `with redis_databases.fresh() as redis_url`."""
    return RedisDatabases(redis_server_url)


@pytest.fixture(scope="session")
def databases(database_server_url: str) -> Iterator[Databases]:
    """For fixtures of a wider scope: `with databases.fresh() as database_url`."""
    made = Databases(database_server_url)
    yield made
    made.close()


@pytest.fixture
def redis_url(redis_databases: RedisDatabases) -> Iterator[str]:
    """An empty Redis database. The test fails when it leaves a key without a time to live."""
    with redis_databases.fresh() as url:
        yield url


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """A migrated database with nothing in it."""
    with databases.fresh() as url:
        yield url


@pytest.fixture(scope="session")
def issuer_key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The private key of the tests' own issuer."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    file = tmp_path_factory.mktemp("issuer") / "key.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file


@pytest.fixture
def settings(redis_url: str, database_url: str, issuer_key_file: Path) -> Settings:
    """Settings of a system on clean services, which is its own issuer; change them with `model_copy`."""
    return make_settings(redis_url, database_url, issuer_key_file, free_port())
