"""Redis' stand-in: journals in memory under the contract of append.lua, and the publisher that writes to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from relaykit.shared.journal import (
    LOST,
    NEXT_SEQ,
    Appended,
    Batch,
    Cursor,
    Entry,
    Field,
    Journals,
)
from relaykit.shared.redis.client import Redis
from relaykit.shared.redis.scripts import Call
from relaykit.shared.settings import Settings
from relaykit.worker.publishing.publisher import Publisher

LostAfter = int | Sequence[int] | None


@dataclass
class _Journal:
    entries: list[Entry] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class MemoryJournals(Journals):
    """Keeps every journal for as long as it is there itself."""

    def __init__(self) -> None:
        self._journals: dict[str, _Journal] = {}

    async def append(self, batch: Batch) -> Appended:
        return self.append_now(batch)

    def append_now(self, batch: Batch) -> Appended:
        """As append.lua does."""
        journal = self._journals.setdefault(batch.run_id, _Journal())
        entries, attempt, first = journal.entries, batch.attempt, batch.first_seq
        last = entries[-1].cursor if entries else None
        ended = bool(entries) and entries[-1].field is Field.END
        if last is not None and last.attempt > attempt:
            return Appended("fenced", last)
        known = last.seq if last is not None and last.attempt == attempt else 0
        if first == NEXT_SEQ:
            if last is None:
                return Appended("empty", Cursor(0, 0))
            if ended:
                return Appended("ended", last)
            first = known + 1
        new = list(batch.entries)
        if new[0][0] is Field.ATTEMPT_START and known == 0:
            if last is None:
                return Appended("empty", Cursor(0, 0))
            is_lost = attempt > 1 and not (
                last.attempt > 0 and self._is_whole(entries, 0) and self._is_whole(entries, last.attempt)
            )
            new[0] = (Field.ATTEMPT_START, LOST if is_lost else str(last).encode())
        final = first + len(new) - 1
        if ended and last is not None and (final > known or new[-1][0] is not Field.END):
            return Appended("ended", last)
        for place, (kind, payload) in enumerate(new):
            if first + place > known:
                entries.append(Entry(Cursor(attempt, first + place), kind, payload))
        if batch.oldest_kept is not None:
            entries[:] = [entry for entry in entries if entry.cursor >= batch.oldest_kept]
        self._wake(journal)
        return Appended("ok", Cursor(attempt, max(known, final)))

    @staticmethod
    def _is_whole(entries: Sequence[Entry], attempt: int) -> bool:
        first = next((entry for entry in entries if entry.cursor.attempt == attempt), None)
        return first is not None and first.cursor.seq == 1

    def _wake(self, journal: _Journal) -> None:
        changed, journal.changed = journal.changed, asyncio.Event()
        changed.set()

    def changed(self, run_id: str) -> asyncio.Event:
        """Set at the journal's next entry."""
        return self._journals.setdefault(run_id, _Journal()).changed

    def wake(self) -> None:
        """Has all look again that wait for a journal's next entry."""
        for journal in list(self._journals.values()):
            self._wake(journal)

    async def read(self, run_id: str, after: Cursor, limit: int) -> list[Entry]:
        return self.read_now(run_id, after)[:limit]

    def read_now(self, run_id: str, after: Cursor) -> list[Entry]:
        journal = self._journals.get(run_id)
        return [] if journal is None else [entry for entry in journal.entries if entry.cursor > after]

    async def bounds(self, run_id: str, cursor: Cursor) -> tuple[Entry, Entry, Entry | None] | None:
        entries = self.read_now(run_id, Cursor(-1, 0))
        following = next((entry for entry in entries if entry.cursor > cursor), None)
        return (entries[0], entries[-1], following) if entries else None

    async def holding(self, run_ids: Sequence[str], cursor: Cursor) -> set[str]:
        return {
            run_id
            for run_id in run_ids
            if any(entry.cursor == cursor for entry in self.read_now(run_id, Cursor(-1, 0)))
        }

    async def write_first_entries(self, run_id: str, events: Sequence[bytes]) -> Appended:
        return self.append_now(first_entries(run_id, events))

    def first_entries_call(self, run_id: str, events: Sequence[bytes]) -> Call:
        """For MemoryQueue alone, which calls it."""
        return cast(Call, lambda: self.append_now(first_entries(run_id, events)))


def first_entries(run_id: str, events: Sequence[bytes]) -> Batch:
    entries = [(Field.EVENT, event) for event in events]
    return Batch(run_id=run_id, attempt=0, first_seq=1, entries=entries)


class MemoryPublisher(Publisher):
    """The product's loop; what Redis does with a batch is MemoryJournals'."""

    def __init__(self, journals: MemoryJournals, settings: Settings, lose: Callable[[str], None]) -> None:
        super().__init__(cast(Redis, None), journals, settings)
        self._memory = journals
        self._lose = lose
        self.losses: dict[str, list[int]] = {}
        """For each run how many events its next attempts publish before their worker is lost."""

    async def _send(self, batches: list[Batch]) -> list[Any]:
        await asyncio.sleep(0)  # a round trip: what comes meanwhile goes with the next
        return [self._append(batch) for batch in batches]

    def _append(self, batch: Batch) -> list[Any]:
        losses = self.losses.get(batch.run_id)
        if losses is None:
            appended = self._memory.append_now(batch)
        else:
            entries = _before_loss(batch, losses)
            appended = Appended("ok", Cursor(batch.attempt, batch.first_seq))
            if entries:
                appended = self._memory.append_now(replace(batch, entries=entries))
            if losses[0] == 0:
                del losses[0]
                if not losses:
                    del self.losses[batch.run_id]
                self._lose(batch.run_id)
        return [appended.outcome.encode(), *appended.last]


def _before_loss(batch: Batch, losses: list[int]) -> list[tuple[Field, bytes]]:
    """The entries that are published before the worker is lost."""
    entries: list[tuple[Field, bytes]] = []
    for entry in batch.entries:
        if losses[0] == 0:
            break
        losses[0] -= entry[0] is Field.EVENT
        entries.append(entry)
    return entries


def losses_of(lost_after: LostAfter) -> list[int]:
    """After how many events of each attempt its worker is lost. Raises ValueError."""
    losses = [lost_after] if isinstance(lost_after, int) else list(lost_after or ())
    if any(events < 0 for events in losses):
        raise ValueError(f"lost_after={lost_after}: is not a number of events")
    return losses
