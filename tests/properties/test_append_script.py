"""append.lua on a real Redis against a model: at most once, in order, fenced, nothing after the end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaykit.shared.journal import (
    LOST,
    NEXT_SEQ,
    START,
    Appended,
    Batch,
    Cursor,
    Entry,
    Field,
    Journals,
    decode_notice,
)
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, open_redis
from relaykit.shared.runs.run import Status
from tests.support.examples import examples
from tests.support.journals import TTL
from tests.support.system import wait_until

quick = examples(80)

T = TypeVar("T")

NOTHING = Cursor(-1, 0)


@dataclass
class Real:
    """A Redis client and the loop it lives in, for tests that run many examples on it."""

    runner: asyncio.Runner
    redis: Redis

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)


@pytest.fixture
def real(redis_url: str) -> Iterator[Real]:
    with asyncio.Runner() as runner:
        opened = open_redis(redis_url, connections=2)
        client = runner.run(opened.__aenter__())
        try:
            yield Real(runner, client)
        finally:
            runner.run(opened.__aexit__(None, None, None))


@dataclass
class Model:
    """The contract in the header of append.lua, in Python."""

    kept: list[Entry] = field(default_factory=list)
    last: Cursor = NOTHING
    ended: bool = False

    def append(self, batch: Batch) -> Appended:
        if self.last.attempt > batch.attempt:
            return Appended("fenced", self.last)
        known = self.last.seq if self.last.attempt == batch.attempt else 0
        first = batch.first_seq if batch.first_seq != NEXT_SEQ else known + 1
        starts = batch.entries[0][0] is Field.ATTEMPT_START and known == 0
        if self.last == NOTHING and (starts or batch.first_seq == NEXT_SEQ):
            return Appended("empty", START)
        is_lost = starts and batch.attempt > 1 and not self._is_whole()
        start = LOST if is_lost else str(self.last).encode()
        news = [
            Entry(Cursor(batch.attempt, first + number), kind, start if starts and number == 0 else payload)
            for number, (kind, payload) in enumerate(batch.entries)
            if first + number > known
        ]
        is_repeated = not news and batch.entries[-1][0] is Field.END
        final = first + len(batch.entries) - 1
        if self.ended and (news or batch.first_seq == NEXT_SEQ or (final == known and not is_repeated)):
            return Appended("ended", self.last)
        if news:
            self.kept += news
            self.last = news[-1].cursor
            self.ended = news[-1].field is Field.END
            oldest = batch.oldest_kept or START
            self.kept = [entry for entry in self.kept if entry.cursor >= oldest]
        return Appended("ok", self.last)

    def _is_whole(self) -> bool:
        """Whether it holds its beginning and that of the attempt that wrote last, if one did."""
        cursors = [entry.cursor for entry in self.kept]
        return cursors[0] == (0, 1) and self.last.attempt > 0 and (self.last.attempt, 1) in cursors


@dataclass
class Writer:
    """An attempt as its publisher is: a batch at a time, the seqs without holes, any batch perhaps sent again."""

    run_id: str
    attempt: int
    batches: list[Batch] = field(default_factory=list)
    next_seq: int = 1

    def next(self, count: int, *, ends: bool, keeps: int | None) -> Batch:
        entries = [(Field.EVENT, f"{self.attempt}-{self.next_seq + n}".encode()) for n in range(count)]
        if self.attempt and self.next_seq == 1:
            entries[0] = (Field.ATTEMPT_START, b"")
        if ends:
            entries.append((Field.END, b"completed"))
        oldest = None if keeps is None else Cursor(self.attempt, max(self.next_seq - keeps, 1))
        batch = Batch(
            run_id=self.run_id,
            attempt=self.attempt,
            first_seq=self.next_seq,
            entries=entries,
            oldest_kept=oldest,
        )
        self.batches.append(batch)
        self.next_seq += len(entries)
        return batch


def end_of(run_id: str, attempt: int) -> Batch:
    """What Journals.end writes: after whatever is there."""
    return Batch(run_id=run_id, attempt=attempt, first_seq=NEXT_SEQ, entries=[(Field.END, b"failed")])


WRITES = st.tuples(
    st.just("write"),
    st.integers(0, 3),
    st.integers(1, 4),
    st.sampled_from([False, False, False, True]),
    st.sampled_from([None, None, 0, 1, 3]),
)
AGAIN = st.tuples(st.just("again"), st.integers(0, 3), st.integers(0, 5))
ENDS = st.tuples(st.just("end"), st.integers(0, 3))
STEPS = st.lists(st.one_of(WRITES, WRITES, AGAIN, AGAIN, ENDS), max_size=15)


def batches(steps: list[tuple[Any, ...]], run_id: str) -> Iterator[Batch]:
    """Attempts write in any order: a stale one after a newer one, too."""
    writers = [Writer(run_id, attempt) for attempt in range(4)]
    for kind, attempt, *more in steps:
        writer = writers[attempt]
        if kind == "write":
            count, ends, keeps = more
            yield writer.next(count, ends=ends, keeps=keeps)
        elif kind == "again" and writer.batches:
            yield writer.batches[-1 - more[0] % len(writer.batches)]
        elif kind == "end":
            yield end_of(run_id, attempt)


@quick
@given(STEPS)
def test_any_sequence_of_appends_leaves_what_the_model_has(real, steps):
    """First sendings, repetitions of any batch, late writes of fenced attempts, ends, trimming."""

    async def check() -> None:
        run_id = f"run_{uuid4().hex}"
        journals, model = Journals(real.redis, TTL), Model()
        for batch in batches(steps, run_id):
            assert await journals.append(batch) == model.append(batch)
            assert await journals.read(run_id, START, 1000) == model.kept
            if model.kept:
                assert 0 < await real.redis.pttl(keys.journal(run_id)) <= 60_000

    real.run(check())


@quick
@given(STEPS)
def test_a_journal_has_no_hole_no_double_and_nothing_after_its_end(real, steps):
    """The same, said without the model, of all that a reader ever saw of a journal that is not trimmed."""

    async def check() -> None:
        run_id = f"run_{uuid4().hex}"
        journals = Journals(real.redis, TTL)
        await journals.write_first_entries(run_id, [b"{}"])
        seen: list[Entry] = []
        for batch in batches([step for step in steps if step[0] != "write" or step[4] is None], run_id):
            await journals.append(batch)
            entries = await journals.read(run_id, START, 1000)
            assert entries[: len(seen)] == seen
            seen = entries
        by_whom = [entry.cursor.attempt for entry in seen]
        assert not any(entry.loses and set(by_whom[:place]) != {0} for place, entry in enumerate(seen))
        by_attempt: dict[int, list[int]] = {}
        for entry in seen:
            by_attempt.setdefault(entry.cursor.attempt, []).append(entry.cursor.seq)
        assert list(by_attempt) == sorted(by_attempt)
        for seqs in by_attempt.values():
            assert seqs == list(range(1, len(seqs) + 1))
        assert [entry.field for entry in seen].count(Field.END) <= 1
        assert all(entry.field is not Field.END for entry in seen[:-1])

    real.run(check())


@quick
@given(st.lists(st.integers(1, 3), min_size=1, max_size=6), st.integers(0, 5), st.data())
def test_a_batch_of_which_a_part_arrived_is_completed(real, sizes, place, data):
    """A batch that overlaps what is there, in whole or in part, adds only what is missing."""

    async def check() -> None:
        run_id = f"run_{uuid4().hex}"
        journals, writer = Journals(real.redis, TTL), Writer(run_id, 0)
        for size in sizes:
            await journals.append(writer.next(size, ends=False, keeps=None))
        written = writer.next_seq - 1
        first = data.draw(st.integers(1, written + 1))
        overlapping = Writer(run_id, 0, next_seq=first).next(3, ends=False, keeps=None)
        outcome, last = await journals.append(overlapping)
        assert (outcome, last) == ("ok", Cursor(0, max(written, first + 2)))
        entries = await journals.read(run_id, START, 1000)
        assert [entry.cursor.seq for entry in entries] == list(range(1, last.seq + 1))

    real.run(check())


async def test_each_append_that_adds_something_is_noticed_and_no_other(redis_url):
    async with open_redis(redis_url, connections=4) as redis:
        journals, writer = Journals(redis, TTL), Writer("run_1", 1)
        await journals.write_first_entries("run_1", [b"{}"])
        heard: list[bytes] = []
        async with redis.pubsub(ignore_subscribe_messages=True) as pubsub:

            async def hear(count: int) -> bool:
                message = await pubsub.get_message(timeout=0.05)
                if message is not None:
                    heard.append(message["data"])
                return len(heard) == count

            await pubsub.subscribe(keys.notices("run_1"))
            first = writer.next(2, ends=False, keeps=None)
            await journals.append(first)
            await journals.append(first)
            await journals.append(Writer("run_1", 0).next(1, ends=False, keeps=None))
            await journals.append(writer.next(1, ends=True, keeps=None))
            await journals.append(end_of("run_1", 1))
            await redis.publish(keys.notices("run_1"), b"last")
            await wait_until("both notices and the last word are heard", lambda: hear(3))
        assert heard[2:] == [b"last"]
        assert [entry for data in heard[:2] for entry in decode_notice(data)] == await journals.read(
            "run_1", Cursor(1, 0), 9
        )


async def test_a_mark_finds_no_journal(redis_url):
    """It writes nothing then: what admission said comes first. Beginning again, a later attempt says what was lost."""
    async with open_redis(redis_url, connections=2) as redis:
        journals = Journals(redis, TTL)
        assert (await journals.start_attempt("run_1", 2)).outcome == "empty"
        assert await journals.read("run_1", START, 10) == []
        await journals.write_first_entries("run_1", [b"{}"])
        assert await journals.start_attempt("run_1", 2) == ("ok", Cursor(2, 1))
        assert [entry.loses for entry in await journals.read("run_1", START, 10)] == [False, True]


async def test_a_mark_says_what_was_lost_before_it(redis_url):
    """Though what admission wrote is there again: of an attempt the beginning is not, or nothing at all."""
    async with open_redis(redis_url, connections=2) as redis:
        journals, writer = Journals(redis, TTL), Writer("run_1", 1)
        await journals.write_first_entries("run_1", [b"{}"])
        await journals.append(writer.next(2, ends=False, keeps=None))
        await redis.flushdb()
        await journals.write_first_entries("run_1", [b"{}"])
        await journals.append(writer.next(1, ends=False, keeps=None))
        for attempt in (2, 3):
            await journals.start_attempt("run_1", attempt)
        starts = [
            entry for entry in await journals.read("run_1", START, 10) if entry.field is Field.ATTEMPT_START
        ]
        assert [(entry.cursor, entry.loses) for entry in starts] == [((2, 1), True), ((3, 1), False)]


async def test_an_end_finds_no_journal(redis_url):
    """It writes nothing: a journal that is the end alone would be an answer that says nothing."""
    async with open_redis(redis_url, connections=2) as redis:
        journals = Journals(redis, TTL)
        assert (await journals.end("run_1", 1, Status.COMPLETED)).outcome == "empty"
        assert await journals.read("run_1", START, 10) == []


async def test_the_end_sets_the_time_to_live_anew(redis_url):
    async with open_redis(redis_url, connections=2) as redis:
        journals, writer = Journals(redis, TTL), Writer("run_1", 0)
        await journals.append(writer.next(1, ends=False, keeps=None))
        await redis.pexpire(keys.journal("run_1"), 1_000_000)
        await journals.append(writer.next(1, ends=False, keeps=None))
        assert await redis.pttl(keys.journal("run_1")) > 60_000, "a plain append renewed it"
        await journals.append(writer.next(1, ends=True, keeps=None))
        assert 0 < await redis.pttl(keys.journal("run_1")) <= 60_000
