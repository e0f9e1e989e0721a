"""Redis and PostgreSQL for local mode and for the tests: the ones that are given, else embedded ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from relaykit.local.child import Child
from relaykit.local.data_directory import DataDirectory
from relaykit.local.postgres_server import postgres_server
from relaykit.local.redis_server import WHEELS, redis_server
from relaykit.local.waiting import StopRequest


@dataclass(frozen=True)
class Services:
    """Where the services are. `children` are the embedded ones, none for a service that was given."""

    redis_url: str = field(repr=False)
    database_url: str = field(repr=False)
    children: tuple[Child, ...] = ()


@contextmanager
def services(
    directory: DataDirectory,
    environ: Mapping[str, str],
    stop: StopRequest,
    *,
    durable: bool = True,
    redis_wheels: Sequence[str] = tuple(WHEELS),
) -> Iterator[Services]:
    """Runs in `directory` what REDIS_URL and DATABASE_URL of `environ` do not give, until the block ends.

    `durable=False` is for tests: faster, and the data does not survive a crash.
    Raises LocalModeError when a service cannot be started, Stopped when `stop` is set before all are.
    """
    redis_url, database_url = environ.get("REDIS_URL"), environ.get("DATABASE_URL")
    children = []
    with ExitStack() as stack:
        if not redis_url:
            child, redis_url = stack.enter_context(
                redis_server(directory, stop, durable=durable, wheels=redis_wheels)
            )
            children.append(child)
        if not database_url:
            child, database_url = stack.enter_context(postgres_server(directory, stop, durable=durable))
            children.append(child)
        yield Services(redis_url, database_url, tuple(children))
