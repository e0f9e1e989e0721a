"""Every statement that a benchmark's PostgreSQL is given, from its own log."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from bench.systems.stack import Stack
from relaykit.worker.reaper import sweeps

LOGGED = re.compile(r"^(\S+) LOG:  (?:statement|execute [^:]+): (.*(?:\n\t.*)*)", re.MULTILINE)
"""A statement, after the name of who sent it; its further lines are indented."""
APPLICATION_NAME = "relaykit"
"""Of the product's sessions."""
FLUSH_SECONDS = 0.2
REAPER_ROUND = "SET LOCAL idle_in_transaction_session_timeout"
STATEMENTS_OF_ROUND = 4
"""BEGIN, this, the lock and COMMIT, beside the sweeps."""


@dataclass
class Counted:
    count: int = 0


class StatementLog:
    """Has PostgreSQL log all statements from now on."""

    def __init__(self, stack: Stack) -> None:
        self._file = stack.directory.path / "logs" / "postgres.log"
        with psycopg.connect(stack.services.database_url, autocommit=True) as connection:
            for setting in ("log_statement = 'all'", "log_line_prefix = '%a '"):
                connection.execute(f"ALTER SYSTEM SET {setting}".encode())
            connection.execute("SELECT pg_reload_conf()")
        time.sleep(FLUSH_SECONDS)

    @contextmanager
    def counted(self) -> Iterator[Counted]:
        """Counts what the product says in the block, but for its reaper."""
        before = self._file.stat().st_size
        found = Counted()
        yield found
        time.sleep(FLUSH_SECONDS)
        with self._file.open("rb") as file:
            file.seek(before)
            text = file.read().decode(errors="replace")
        said = [_plain(match[2]) for match in LOGGED.finditer(text) if match[1] == APPLICATION_NAME]
        rounds = sum(statement.startswith(REAPER_ROUND) for statement in said)
        found.count = sum(statement not in SWEEPS for statement in said) - STATEMENTS_OF_ROUND * rounds


def _plain(statement: str) -> str:
    return " ".join(statement.split())


SWEEPS = frozenset(_plain(value) for value in vars(sweeps).values() if isinstance(value, str))
