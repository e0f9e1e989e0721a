"""The append script of the release before and of this one, in any order on the same journal."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from relaykit.shared.journal import START, Batch, Cursor, Entry, Field, Journals
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, open_redis
from tests.previous.real_redis import Real, quick
from tests.previous.redis import PreviousJournals
from tests.support.journals import TTL

SIDE = st.booleans()
"""Whether it is the release before that acts."""


@dataclass
class Writer:
    """One attempt's worker of either release, from its start on. `outcome` is that of its last append."""

    redis: Redis
    run_id: str
    attempt: int
    is_previous: bool
    next_seq: int = 1
    outcome: str = "ok"

    async def write(self, kinds: list[Field]) -> None:
        """As its publisher does: the start alone and first; an attempt that was refused writes no more."""
        if self.outcome != "ok":
            return
        if self.next_seq == 1 and self.attempt:
            await self._start()
        if self.outcome == "ok":
            payload = f"{self.attempt}-{self.next_seq}".encode()
            await self._append([(kind, payload) for kind in kinds])

    async def _start(self) -> None:
        journals = Journals(self.redis, TTL)
        if self.is_previous:
            await self._append([(Field.ATTEMPT_START, b"")])
            return
        self.outcome, _ = await journals.start_attempt(self.run_id, self.attempt)
        if self.outcome == "empty":
            await journals.write_first_entries(self.run_id, [b"{}"])
            self.outcome, _ = await journals.start_attempt(self.run_id, self.attempt)
        self.next_seq = 2

    async def _append(self, entries: list[tuple[Field, bytes]]) -> None:
        if self.is_previous:
            spelt = [(kind.value.encode(), payload) for kind, payload in entries]
            journal = PreviousJournals(self.redis)
            self.outcome = await journal.append(self.run_id, self.attempt, self.next_seq, spelt)
        else:
            batch = Batch(run_id=self.run_id, attempt=self.attempt, first_seq=self.next_seq, entries=entries)
            self.outcome, _ = await Journals(self.redis, TTL).append(batch)
        self.next_seq += len(entries)


def assert_sound(found: list[Entry]) -> None:
    """No hole, no double, one end at most and nothing after it."""
    by_attempt: dict[int, list[int]] = {}
    for entry in found:
        by_attempt.setdefault(entry.cursor.attempt, []).append(entry.cursor.seq)
    assert list(by_attempt) == sorted(by_attempt)
    assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in by_attempt.values())
    assert all(entry.field is not Field.END for entry in found[:-1])


WRITES = st.tuples(
    st.integers(0, 3), st.sampled_from([[Field.EVENT], [Field.EVENT] * 3, [Field.EVENT, Field.END]])
)


@quick
@given(st.tuples(SIDE, SIDE, SIDE, SIDE), st.lists(WRITES, max_size=14), st.integers(0, 14))
def test_attempts_of_either_release_fence_each_other(
    real: Real, sides: tuple[bool, ...], steps: list[tuple[int, list[Field]]], lost_at: int
) -> None:
    """Admission and three attempts, each of either release, in any order; once Redis is emptied in between."""

    async def check() -> None:
        run_id = f"run_{uuid4().hex}"
        writers = [
            Writer(real.redis, run_id, number, is_previous) for number, is_previous in enumerate(sides)
        ]
        await writers[0].write([Field.EVENT] * 3)
        seen: list[Entry] = []
        for number, (attempt, kinds) in enumerate(steps):
            if number == lost_at:
                await real.redis.delete(keys.journal(run_id))
                seen = []
                # who has written in an attempt goes on in it: its entries have their places
                writers = [writer for writer in writers if writer.next_seq == 1]
            for writer in writers:
                if writer.attempt == attempt:
                    await writer.write(kinds)
            found = await Journals(real.redis, TTL).read(run_id, START, 1000)
            assert found[: len(seen)] == seen, "what was read once stays"
            assert_sound(found)
            read = await PreviousJournals(real.redis).read(run_id)
            assert [
                (str(entry.cursor), (entry.field.value.encode(), entry.payload)) for entry in found
            ] == read
            seen = found

    real.run(check())


async def test_what_admission_writes_twice_is_there_once(redis_url: str) -> None:
    """The API of the release before comes late: a worker of this one has written admission's entries and its start."""
    async with open_redis(redis_url, connections=2) as redis:
        journals, late = Journals(redis, TTL), PreviousJournals(redis)
        await journals.write_first_entries("run_1", [b"{}", b"{}"])
        assert await late.append("run_1", 0, 1, [(b"e", b"{}"), (b"e", b"{}")]) == "ok"
        await journals.start_attempt("run_1", 1)
        assert await late.append("run_1", 0, 1, [(b"e", b"{}"), (b"e", b"{}")]) == "fenced"
        found = await journals.read("run_1", START, 10)
        assert [entry.cursor for entry in found] == [Cursor(0, 1), Cursor(0, 2), Cursor(1, 1)]
