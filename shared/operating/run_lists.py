"""Runs of every owner, found by what an operator knows of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, Self

import asyncpg

from relaykit.shared.errors import InvalidFilter
from relaykit.shared.owner import Owner
from relaykit.shared.postgres.database import Database
from relaykit.shared.runs.run import ENDED, Status

COLUMNS: Final = """id, tenant, owner, thread_id, kind, status, attempt, handed_back, cancel_requested, error,
    queued_at, due_at, started_at, ended_at"""

# One condition for both upper bounds: an index scan begins at the first that it finds, and would walk to the other.
_MATCHES: Final = """
    status = ANY ($1::text[])
    AND queued_at >= coalesce(now() - $2::double precision * interval '1 second', '-infinity')
    AND (queued_at, id) < (
        least($9::timestamptz, coalesce(now() - $3::double precision * interval '1 second', 'infinity')),
        CASE WHEN $9 <= coalesce(now() - $3::double precision * interval '1 second', 'infinity') THEN $10::text
            ELSE '' END
    )
    AND ($4::text IS NULL OR error = $4) AND ($5::text IS NULL OR tenant = $5)
    AND ($6::text IS NULL OR owner = $6) AND ($7::text IS NULL OR thread_id = $7)
"""

# All take the same parameters. Each has an index in whose order it reads, newest first, until it has enough.
BY_STATUS: Final = f"""
SELECT {COLUMNS} FROM unnest($1::text[]) AS wanted (wanted_status), LATERAL (
    SELECT {COLUMNS} FROM runs WHERE status = wanted_status AND {_MATCHES}
    ORDER BY status DESC, queued_at DESC, id DESC LIMIT $8
) AS found
ORDER BY queued_at DESC, id DESC LIMIT $8
"""  # noqa: S608
BY_ERROR: Final = f"""
SELECT {COLUMNS} FROM runs WHERE error = $4 AND {_MATCHES}
ORDER BY error DESC, queued_at DESC, id DESC LIMIT $8
"""  # noqa: S608
BY_TENANT: Final = f"""
SELECT {COLUMNS} FROM runs WHERE tenant = $5 AND tenant <> '' AND {_MATCHES}
ORDER BY tenant DESC, queued_at DESC, id DESC LIMIT $8
"""  # noqa: S608
BY_USER: Final = f"""
SELECT {COLUMNS} FROM runs WHERE owner = $6 AND {_MATCHES}
ORDER BY owner DESC, queued_at DESC, id DESC LIMIT $8
"""  # noqa: S608
# Of a thread all are read.
BY_THREAD: Final = f"""
WITH of_thread AS MATERIALIZED (
    SELECT {COLUMNS} FROM runs WHERE thread_id = $7
)
SELECT {COLUMNS} FROM of_thread WHERE {_MATCHES}
ORDER BY queued_at DESC, id DESC LIMIT $8
"""  # noqa: S608
# One, by its id.
BY_ID: Final = f"""
SELECT {COLUMNS} FROM runs WHERE id = $11 AND {_MATCHES} LIMIT $8
"""  # noqa: S608

# A plan that is made without the filters takes one that may be none for one that leaves few runs: it would read and
# sort all of them.
PLAN_EACH: Final = "SET LOCAL plan_cache_mode = force_custom_plan"

ENDED_LATELY: Final = """
SELECT status, error, count(*) AS count FROM runs WHERE ended_at > now() - $1 * interval '1 second'
GROUP BY status, error ORDER BY count(*) DESC, status, error
"""


WITH_ERRORS: Final = ENDED - {Status.COMPLETED}
"""The statuses in which a run may have an error."""


_POSITION: Final = re.compile(r"(0|[1-9][0-9]{0,15})\.([^\x00]{1,512})", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class RunPosition(NamedTuple):
    """A run's place in the list of all: the newest first, and of the same microsecond by their ids."""

    accepted_at: datetime
    run_id: str

    @classmethod
    def of(cls, run: ListedRun) -> Self:
        return cls(run.accepted_at, run.id)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidFilter for anything but what `str` of a position gives."""
        match = _POSITION.fullmatch(text)
        if match is None:
            raise InvalidFilter("before: is not what a list of runs has given as next.")
        return cls(_EPOCH + int(match[1]) * _MICROSECOND, match[2])

    def __str__(self) -> str:
        return f"{(self.accepted_at - _EPOCH) // _MICROSECOND}.{self.run_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs. Ages count from when a run was accepted; what is None does not matter."""

    statuses: frozenset[Status] = frozenset()
    """Empty: all, or with `error` those in which runs have one."""
    since_seconds: float | None = None
    """Accepted within this time."""
    older_seconds: float | None = None
    """Accepted longer ago than this."""
    tenant: str | None = None
    user_id: str | None = None
    thread_id: str | None = None
    error: str | None = None
    run_id: str | None = None
    before: RunPosition | None = None
    """Those that follow this one in the list."""

    @property
    def wanted(self) -> list[str]:
        """The statuses to look at."""
        every = frozenset(Status) if self.error is None else WITH_ERRORS
        return sorted(status.value for status in self.statuses or every)

    def check(self) -> None:
        """Raises InvalidFilter where no run could ever match."""
        if self.error is not None and self.statuses - WITH_ERRORS:
            raise InvalidFilter("Only runs that have failed or were cancelled have an error.")
        since, older = self.since_seconds, self.older_seconds
        if since is not None and older is not None and since <= older:
            raise InvalidFilter("No run is both as young and as old as that.")


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run's row, without anything that its user, its server or a model wrote."""

    id: str
    owner: Owner
    thread_id: str
    kind: str
    status: Status
    attempt: int
    handed_back: int
    cancel_requested: bool
    error: str | None
    accepted_at: datetime
    due_at: datetime
    """When it was last given to the queue."""
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class EndCount:
    """How many runs have ended in this way."""

    status: str
    error: str | None
    count: int


class RunLists:
    """Everything raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, wanted: RunFilter, limit: int) -> Sequence[ListedRun]:
        """Up to `limit` of them, newest first. Raises InvalidFilter for a filter that means nothing."""
        wanted.check()
        async with self._database.transaction() as connection:
            await connection.execute(PLAN_EACH)
            rows = await connection.fetch(
                _statement(wanted),
                wanted.wanted,
                wanted.since_seconds,
                wanted.older_seconds,
                wanted.error,
                wanted.tenant,
                wanted.user_id,
                wanted.thread_id,
                limit,
                *(wanted.before or (None, None)),
                *([] if wanted.run_id is None else [wanted.run_id]),
            )
        return [listed_run(row) for row in rows]

    async def ended_lately(self, seconds: float) -> Sequence[EndCount]:
        """The runs that have ended within this time, the most frequent end first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(ENDED_LATELY, seconds)
        return [EndCount(row["status"], row["error"], row["count"]) for row in rows]


def _statement(wanted: RunFilter) -> str:
    if wanted.run_id is not None:
        return BY_ID
    if wanted.thread_id is not None:
        return BY_THREAD
    if wanted.user_id is not None:
        return BY_USER
    if wanted.error is not None:
        return BY_ERROR
    return BY_STATUS if wanted.tenant is None else BY_TENANT


def listed_run(row: asyncpg.Record) -> ListedRun:
    """From a row with `COLUMNS`."""
    named: dict[str, Any] = {name: row[name] for name in _AS_THEY_ARE}
    return ListedRun(
        owner=Owner(tenant=row["tenant"], user_id=row["owner"]),
        status=Status(row["status"]),
        accepted_at=row["queued_at"],
        **named,
    )


_AS_THEY_ARE: Final = (
    "id", "thread_id", "kind", "attempt", "handed_back", "cancel_requested", "error", "due_at", "started_at",
    "ended_at",
)  # fmt: skip
