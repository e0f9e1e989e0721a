"""One run's journal as a worker would write it: the product's calls, the SDK's bytes."""

from __future__ import annotations

from typing import Any, cast

from redis.asyncio.client import Pipeline

from bench.redis.pipe import Pipe
from bench.systems.timestamps import stamp
from relaykit.shared.journal import APPEND, Batch, Field, Journals, JournalTtl
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis
from relaykit.shared.redis.scripts import script
from relaykit.shared.runs.run import Status

ATTEMPT = 1
TTL_SECONDS = 3_600.0
LEASE_MS = 3_600_000
HOLDER = "bench"
ENTRIES_BEFORE = 2
"""Of the attempt: its start and the item."""

_journals = Journals(Redis(), JournalTtl(unfinished_seconds=TTL_SECONDS, ended_seconds=TTL_SECONDS))
"""Connected to nothing: it only knows the calls."""


class FeederJournal:
    """Writes into a pipe; what it has written is on its way when that is flushed."""

    def __init__(self, events: dict[str, Any]) -> None:
        """`events` is a FeederEvents as a dict."""
        self._run_id: str = events["run_id"]
        self._created, self._added, self._before, self._after = (
            events[name].encode() for name in ("created", "added", "before", "after")
        )
        self._next_seq = 1

    def begin(self, pipe: Pipe) -> None:
        """The script, the lease, admission's entry, the attempt start, and the item that the deltas belong to."""
        pipe.command("SCRIPT", "LOAD", script(APPEND))
        pipe.command("SET", keys.lease(self._run_id), HOLDER, "PX", LEASE_MS)
        self._write(pipe, 0, 1, [(Field.EVENT, self._created)])
        self._put(pipe, [(Field.ATTEMPT_START, b"")])
        self._put(pipe, [(Field.EVENT, self._added)])

    def append(self, pipe: Pipe, deltas: int) -> None:
        """So many deltas in one append."""
        self._put(pipe, [(Field.EVENT, self._delta()) for _ in range(deltas)])

    def end(self, pipe: Pipe) -> None:
        self._put(pipe, [(Field.END, Status.COMPLETED.value.encode())])

    def delete(self, pipe: Pipe) -> None:
        """The journal and the lease."""
        pipe.command("UNLINK", keys.journal(self._run_id), keys.lease(self._run_id))

    def _delta(self) -> bytes:
        return b"%b%b%b" % (self._before, stamp().encode(), self._after)

    def _put(self, pipe: Pipe, entries: list[tuple[Field, bytes]]) -> None:
        self._write(pipe, ATTEMPT, self._next_seq, entries)
        self._next_seq += len(entries)

    def _write(self, pipe: Pipe, attempt: int, seq: int, entries: list[tuple[Field, bytes]]) -> None:
        batch = Batch(run_id=self._run_id, attempt=attempt, first_seq=seq, entries=entries)
        _journals.pipe_append(batch, cast(Pipeline, pipe))


def delta_cursor(number: int) -> str:
    """The place of the nth delta, from 1, of any journal here."""
    return f"{ATTEMPT}-{ENTRIES_BEFORE + number}"
