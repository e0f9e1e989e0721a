"""When entries were written: notes beside a journal, where the console is on. Entries have no times of their own."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from redis.exceptions import ResponseError

from relaykit.shared.error_codes import cause_of
from relaykit.shared.errors import InvalidCursor, JournalGone
from relaykit.shared.journal.journals import Cursor
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, names_of, redis_errors

NOTE_SECONDS: Final = 0.25
"""A run's batches are noted no more often: a time is at most so much too early."""
MAX_NOTES: Final = 4_000
"""Of a run, as append.lua has it; those of a quarter of an hour. The oldest go first."""
_FIELD: Final = b"c"


class EntryTimes:
    """When the entries of a journal were written, by the clock of Redis, as far as that was noted."""

    def __init__(self, notes: Sequence[tuple[Cursor, datetime]]) -> None:
        self._cursors = [cursor for cursor, _ in notes]
        self._times = [at for _, at in notes]

    def at(self, cursor: Cursor) -> datetime | None:
        """That of the newest note up to the entry, if it is of the same attempt."""
        place = bisect_right(self._cursors, cursor) - 1
        if place < 0 or self._cursors[place].attempt != cursor.attempt:
            return None
        return self._times[place]


class JournalTimes:
    """Reads the notes, which append.lua writes together with the entries."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._named = names_of(redis)

    async def of(self, run_id: str) -> EntryTimes:
        """Raises QueueUnavailable, JournalGone for what is none of ours."""
        with redis_errors():
            try:
                records = await self._redis.xrange(self._named(keys.entry_times(run_id)), count=2 * MAX_NOTES)
            except ResponseError as error:
                if cause_of(error) == "WRONGTYPE":
                    raise JournalGone from None
                raise
        notes: list[tuple[Cursor, datetime]] = []
        try:
            for record_id, record in records:
                note = Cursor.parse(record[_FIELD].decode()), _time(record_id)
                if not notes or note[0] > notes[-1][0]:  # bisected: what stands there may be in any order
                    notes.append(note)
        except (InvalidCursor, ValueError, KeyError, OverflowError):
            raise JournalGone from None
        return EntryTimes(notes)


def _time(record_id: Any) -> datetime:
    return datetime.fromtimestamp(int(record_id.partition(b"-")[0]) / 1000, UTC)
