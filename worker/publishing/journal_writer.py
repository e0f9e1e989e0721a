"""An attempt's end of the journal: takes events at once, and keeps them until the publisher has sent them."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from chatkit.types import ThreadItemUpdatedEvent, ThreadStreamEvent

from relaykit.shared.errors import Fenced
from relaykit.shared.journal import Batch, Cursor, Field, decode_append_reply
from relaykit.shared.journal.times import NOTE_SECONDS
from relaykit.shared.settings import Settings
from relaykit.worker.metrics import PUBLISH_SECONDS
from relaykit.worker.publishing.coalesce import Pending, Serialize

if TYPE_CHECKING:
    from relaykit.worker.publishing.publisher import Publisher

MAX_PENDING = 512
"""The agent of a run is held while more of its entries wait."""
MAX_PENDING_BYTES = 1024 * 1024


class JournalWriter:
    """One attempt's end of the journal: `put` takes an event at once, and the publisher sends it later."""

    def __init__(self, publisher: Publisher, run_id: str, attempt: int, serialize: Serialize) -> None:
        self.run_id = run_id
        self.attempt = attempt
        self.is_started = False
        """Whether the journal has the attempt start."""
        self.refused: asyncio.Future[Fenced] = asyncio.get_running_loop().create_future()
        """Done when the journal takes no more from this attempt."""
        self._publisher = publisher
        self._pending = Pending(serialize)
        self._is_urgent = False
        """Whether an entry is pending that should not linger."""
        self._shows = False
        """Whether a piece of an item has been sent: the first one of an attempt does not linger."""
        self._others: list[tuple[Field, bytes]] = []
        self._in_flight: Batch | None = None
        self._next_seq = 1
        self._kept: deque[tuple[int, int, int]] = deque()
        self._kept_entries = 0
        self._kept_bytes = 0
        self._moved = asyncio.Event()
        self._made_at = 0.0
        """When the oldest event that is pending was made; 0 where none is."""
        self._sent_made_at = 0.0
        """The same of the batch in flight."""
        self._noted_at = -math.inf

    def put(self, event: ThreadStreamEvent) -> None:
        """Takes an event. Never waits."""
        self._pending.put(event)
        if not self._made_at:
            self._made_at = time.monotonic()
        is_piece = isinstance(event, ThreadItemUpdatedEvent)
        if not (is_piece and self._shows) or self._is_filling():
            self._is_urgent = True
        self._shows = self._shows or is_piece
        self._publisher.schedule(self, urgent=self._is_urgent)

    def _is_filling(self) -> bool:
        return len(self._pending) > MAX_PENDING // 2 or self._pending.size > MAX_PENDING_BYTES // 2

    @property
    def entries(self) -> int:
        """How many entries the attempt has sent, the attempt start among them."""
        return self._next_seq - 1

    @property
    def has_capacity(self) -> bool:
        """Whether the server may go on: no more is pending than may be."""
        return len(self._pending) <= MAX_PENDING and self._pending.size <= MAX_PENDING_BYTES

    async def wait_for_capacity(self) -> None:
        """Waits while more is pending than may be. Raises Fenced."""
        while not self.has_capacity:
            await self._progress()

    async def start_attempt(self, admission: Callable[[], Awaitable[Sequence[bytes]]]) -> None:
        """Begins the attempt in the journal: from then on the one before can write no more.

        Where the journal is gone, what `admission` gives is written before it. Once; safe to repeat after a failure.
        Raises Fenced, QueueUnavailable.
        """
        if not self.is_started:
            self._take_start(await self._publisher.start_attempt(self, admission))

    def _take_start(self, outcome: str) -> None:
        if outcome != "ok":
            self.close()
            raise Fenced
        self.is_started = True
        self._next_seq = 2

    async def flush(self) -> None:
        """Waits until everything put is in the journal. Raises Fenced."""
        while self._in_flight is not None or self._pending or self._others:
            self._is_urgent = True
            self._publisher.schedule(self, urgent=True)
            await self._progress()
        if self.refused.done():
            raise self.refused.result()

    def end(self, status: str) -> None:
        """Puts the end entry, which must be the last."""
        self._others = [*self._drain(), (Field.END, status.encode())]
        self._is_urgent = True
        self._publisher.schedule(self, urgent=True)

    async def _progress(self) -> None:
        if self.refused.done():
            raise self.refused.result()
        await self._moved.wait()

    def _drain(self) -> list[tuple[Field, bytes]]:
        entries = self._others + [(Field.EVENT, payload) for payload in self._pending.drain()]
        self._others = []
        self._is_urgent = False
        return entries

    @property
    def waits(self) -> bool:
        """Whether entries are pending, and none is in flight."""
        return self._in_flight is None and bool(self._pending or self._others)

    @property
    def is_urgent(self) -> bool:
        return self._is_urgent

    def next_batch(self, settings: Settings) -> Batch | None:
        """The batch to send: the one in flight again, else what is pending, if anything."""
        if self.refused.done():
            return None
        if self._in_flight is not None:
            return self._in_flight
        entries = self._drain()
        if not entries:
            return None
        self._in_flight = Batch(
            run_id=self.run_id,
            attempt=self.attempt,
            first_seq=self._next_seq,
            entries=entries,
            oldest_kept=self._oldest_kept(entries, settings),
            is_timed=self._is_timed(entries, settings),
        )
        self._next_seq += len(entries)
        self._sent_made_at, self._made_at = self._made_at, 0.0
        return self._in_flight

    def _is_timed(self, entries: list[tuple[Field, bytes]], settings: Settings) -> bool:
        """Whether their time is to be noted: the last that was is long enough ago, or they have the end."""
        if settings.ops_claim is None:
            return False
        now = time.monotonic()
        if now - self._noted_at < NOTE_SECONDS and entries[-1][0] is not Field.END:
            return False
        self._noted_at = now
        return True

    def on_reply(self, reply: Any) -> None:
        """Notes what became of the batch in flight."""
        outcome, _ = decode_append_reply(reply)
        self._in_flight = None
        if outcome == "ok":
            if self._sent_made_at:
                PUBLISH_SECONDS.observe(time.monotonic() - self._sent_made_at)
            self._wake()
        else:
            self.close()

    def close(self) -> None:
        """Sends nothing more, because the journal is another attempt's."""
        if not self.refused.done():
            self.refused.set_result(Fenced())
        self._wake()

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _oldest_kept(self, entries: list[tuple[Field, bytes]], settings: Settings) -> Cursor | None:
        size = sum(len(payload) for _, payload in entries)
        self._kept.append((self._next_seq, len(entries), size))
        self._kept_entries += len(entries)
        self._kept_bytes += size
        oldest = None
        while len(self._kept) > 1 and (
            self._kept_entries > settings.journal_max_entries or self._kept_bytes > settings.journal_max_bytes
        ):
            _, count, dropped = self._kept.popleft()
            self._kept_entries -= count
            self._kept_bytes -= dropped
            oldest = Cursor(self.attempt, self._kept[0][0])
        return oldest
