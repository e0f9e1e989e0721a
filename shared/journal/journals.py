"""Entries, cursors, and the calls that read journals and append to them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from redis.asyncio.client import Pipeline

from relaykit.shared.errors import InvalidCursor, JournalGone
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, names_of, redis_errors
from relaykit.shared.redis.scripts import Call, call, script
from relaykit.shared.runs.run import Status
from relaykit.shared.settings import Settings


class Cursor(NamedTuple):
    """The id of the last entry a client has; compared as (attempt, seq)."""

    attempt: int
    seq: int

    def __str__(self) -> str:
        return f"{self.attempt}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises InvalidCursor for anything but what `str` of a cursor gives."""
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise InvalidCursor
        return cls(int(match[1]), int(match[2]))


_CURSOR = re.compile(r"(0|[1-9][0-9]{0,8})-(0|[1-9][0-9]{0,11})", re.ASCII)

START = Cursor(0, 0)
"""The cursor before the first entry."""

FIRST = Cursor(0, 1)
"""The first entry of admission: a journal without it has lost its beginning."""

NEXT_SEQ = 0
"""As the first seq of an append: the one after the journal's last."""

APPEND = Path(__file__).parent / "append.lua"

LOST = b"lost"
"""The payload of an attempt's start where append.lua has found that earlier entries were lost: a client that has seen
any attempt must load the thread."""


class Field(StrEnum):
    """What an entry is; the one field of its stream record."""

    EVENT = "e"
    """A ChatKit event, as the SDK serialises it."""
    ATTEMPT_START = "m"
    """An attempt has begun. Clients never see this entry."""
    END = "end"
    """The run's status at its end. The last entry."""


_FIELDS = {field.value.encode(): field for field in Field}


class Entry(NamedTuple):
    """One of a journal's entries: its place, what it is, and its bytes."""

    cursor: Cursor
    field: Field
    payload: bytes

    @property
    def loses(self) -> bool:
        """Whether an attempt begins here that could not take back what those before it showed."""
        return self.field is Field.ATTEMPT_START and self.payload == LOST

    def follows(self, cursor: Cursor) -> bool:
        """Whether the attempt that begins here begins right after the cursor, as far as its start knows.

        One of the release before does not know it, nor does one that `loses`.
        """
        return self.payload in (b"", LOST) or self.payload == str(cursor).encode()


class Appended(NamedTuple):
    """What an append came to: `outcome` ok, fenced, ended or empty, and the journal's last id."""

    outcome: str
    last: Cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Entries that follow each other in one attempt, from `first_seq` on."""

    run_id: str
    attempt: int
    first_seq: int
    entries: Sequence[tuple[Field, bytes]]
    oldest_kept: Cursor | None = None
    is_timed: bool = False
    """Whether when it is written is noted beside the journal: for the console."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalTtl:
    """How long Redis keeps a journal after its newest entry."""

    unfinished_seconds: float
    ended_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> JournalTtl:
        return cls(
            unfinished_seconds=settings.journal_ttl_seconds, ended_seconds=settings.journal_ended_ttl_seconds
        )

    def after(self, batch: Batch) -> float:
        """The seconds after the batch. A run that has ended without an attempt, which is 0, has little to tell."""
        if batch.entries[-1][0] is not Field.END:
            return self.unfinished_seconds
        if batch.attempt == 0:
            return min(self.ended_seconds, keys.UNBEGUN_JOURNAL_TTL_SECONDS)
        return self.ended_seconds


class JournalReader:
    """Reads journals, over one Redis client."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._named = names_of(redis)

    async def read(self, run_id: str, after: Cursor, limit: int) -> list[Entry]:
        """Up to `limit` entries after the cursor. Raises QueueUnavailable, JournalGone."""
        with redis_errors():
            return entries(
                await self._redis.xrange(self._named(keys.journal(run_id)), f"({after}", "+", count=limit)
            )

    async def bounds(self, run_id: str, cursor: Cursor) -> tuple[Entry, Entry, Entry | None] | None:
        """The first entry, the last, and the first after the cursor; None where there is no journal.

        Raises QueueUnavailable, JournalGone.
        """
        key = self._named(keys.journal(run_id))
        with redis_errors():
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.xrange(key, count=1)
                pipeline.xrevrange(key, count=1)
                pipeline.xrange(key, f"({cursor}", "+", count=1)
                first, last, following = await pipeline.execute()
        if not first:
            return None
        return entries(first)[0], entries(last)[0], entries(following)[0] if following else None

    async def holding(self, run_ids: Sequence[str], cursor: Cursor) -> set[str]:
        """Those of the runs whose journals have the entry that the cursor names. Raises QueueUnavailable."""
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for run_id in run_ids:
                    pipeline.xrange(self._named(keys.journal(run_id)), str(cursor), str(cursor))
                replies = await pipeline.execute(raise_on_error=False)
        return {
            run_id
            for run_id, found in zip(run_ids, replies, strict=True)
            if isinstance(found, list) and found
        }


class Journals(JournalReader):
    """Reads journals and appends to them."""

    def __init__(self, redis: Redis, ttl: JournalTtl) -> None:
        super().__init__(redis)
        self._ttl = ttl
        self._append = redis.register_script(script(APPEND))

    async def append(self, batch: Batch) -> Appended:
        """Appends once, however often it is called. Raises QueueUnavailable."""
        with redis_errors():
            return decode_append_reply(await self._append(**self._call(batch)))

    def pipe_append(self, batch: Batch, pipeline: Pipeline) -> None:
        """Adds an append to `pipeline`; `decode_append_reply` reads the reply. A NoScriptError wants `load_scripts`."""
        call = self._call(batch)
        pipeline.evalsha(self._append.sha, len(call["keys"]), *call["keys"], *call["args"])

    async def load_scripts(self) -> None:
        with redis_errors():
            await self._redis.script_load(self._append.script)

    async def start_attempt(self, run_id: str, attempt: int) -> Appended:
        """Begins an attempt: from then on the one before can write no more. `empty` where there is no journal."""
        return await self.append(
            Batch(
                run_id=run_id,
                attempt=attempt,
                first_seq=1,
                entries=[(Field.ATTEMPT_START, b"")],
            )
        )

    async def write_first_entries(self, run_id: str, events: Sequence[bytes]) -> Appended:
        """Writes what admission has to say: the journal's first entries. Once, however often it is called."""
        [reply] = await call(self._redis, self.first_entries_call(run_id, events))
        return decode_append_reply(reply)

    def first_entries_call(self, run_id: str, events: Sequence[bytes]) -> Call:
        """The same as a call, to go with others."""
        batch = Batch(
            run_id=run_id,
            attempt=0,
            first_seq=1,
            entries=[(Field.EVENT, event) for event in events],
        )
        return Call(self._append, **self._call(batch))

    async def end(self, run_id: str, attempt: int, status: Status) -> Appended:
        """Writes the end entry after whatever is there; once. `empty` where there is no journal.

        For the end of a run without an attempt that could: one that has an attempt ends with that one's last batch.
        """
        return await self.append(
            Batch(
                run_id=run_id,
                attempt=attempt,
                first_seq=NEXT_SEQ,
                entries=[(Field.END, status.value.encode())],
            )
        )

    def _call(self, batch: Batch) -> dict[str, Any]:
        is_end = batch.entries[-1][0] is Field.END
        arguments: list[str | bytes | int] = [
            batch.attempt,
            batch.first_seq,
            self._named(keys.notices(batch.run_id)),
            int(self._ttl.after(batch) * 1000),
            "1" if is_end else "",
            str(batch.oldest_kept) if batch.oldest_kept else "",
        ]
        for field, payload in batch.entries:
            arguments += (field.value, payload)
        named = [keys.journal(batch.run_id), *[keys.entry_times(batch.run_id)] * batch.is_timed]
        return {"keys": self._named.each(*named), "args": arguments}


def follows(first: Cursor, cursor: Cursor) -> bool:
    """Whether a journal whose oldest entry is `first` holds everything after `cursor`.

    A first seq of 1 in a later attempt means that the earlier attempts are gone, so only a cursor within that
    attempt is sure to have missed nothing.
    """
    if first.seq > 1:
        return cursor >= Cursor(first.attempt, first.seq - 1)
    return first.attempt == 0 or cursor.attempt >= first.attempt


def entries(records: Any) -> list[Entry]:
    """Entries from the reply to XRANGE. Raises JournalGone for what no journal of ours holds."""
    result = []
    try:
        for record_id, record in records:
            attempt, _, seq = record_id.partition(b"-")
            ((field, payload),) = record.items()
            result.append(Entry(Cursor(int(attempt), int(seq)), _FIELDS[field], payload))
    except (ValueError, KeyError):
        raise JournalGone from None
    return result


def decode_notice(data: bytes) -> list[Entry]:
    """The entries that a notice carries, which may be none. Raises JournalGone where it is no notice of ours."""
    result = []
    position = 0
    try:
        while position < len(data):
            head_end = data.index(b"\n", position)
            record_id, field, length = data[position:head_end].split(b" ")
            attempt, _, seq = record_id.partition(b"-")
            position = head_end + 1 + int(length)
            cursor = Cursor(int(attempt), int(seq))
            result.append(Entry(cursor, _FIELDS[field], data[head_end + 1 : position]))
    except (ValueError, KeyError):
        raise JournalGone from None
    return result


def decode_append_reply(reply: Any) -> Appended:
    """What an append came to, from the reply of append.lua."""
    outcome, attempt, seq = reply
    return Appended(outcome.decode(), Cursor(int(attempt), int(seq)))
