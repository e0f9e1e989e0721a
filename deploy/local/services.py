"""Redis and PostgreSQL for local mode and for the tests: the ones that are given, else embedded ones."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from relaykit.local.child import Child
from relaykit.local.data_directory import DataDirectory
from relaykit.local.errors import LocalModeError
from relaykit.local.postgres_server import postgres_server
from relaykit.local.redis_server import WHEELS, redis_server
from relaykit.local.terminal import Terminal
from relaykit.local.waiting import StopRequest

SERVICES = 2
MAX_ENDS = 5
ENDS_SECONDS = 60.0
"""A service that ends for the sixth time within a minute is not started again."""


@dataclass(frozen=True)
class Services:
    """Where the services are. `children` are the embedded ones, none for a service that was given."""

    redis_url: str = field(repr=False)
    database_url: str = field(repr=False)
    children: tuple[Child, ...] = ()
    _ends: dict[str, list[float]] = field(default_factory=dict)
    """When each service ended lately, by the monotonic clock."""

    def start_ended(self, terminal: Terminal) -> None:
        """Starts again what has ended, with its data and at its port. Raises LocalModeError where it ends each time."""
        for child in self.children:
            if child.exit_code() is None:
                continue
            ends = self._ends.setdefault(child.name, [])
            ends[:] = [at for at in ends if time.monotonic() - at < ENDS_SECONDS]
            if len(ends) == MAX_ENDS:
                raise LocalModeError(child.obituary())
            ends.append(time.monotonic())
            terminal.say(f"{child.end}; it is started again.")
            child.start_again()

    @property
    def are_ours(self) -> bool:
        return len(self.children) == SERVICES


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
