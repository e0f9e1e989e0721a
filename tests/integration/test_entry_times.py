"""When the entries of a journal were written: noted beside it where the console is on, and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from relaykit.shared.errors import JournalGone
from relaykit.shared.journal import Batch, Cursor, Field, Journals
from relaykit.shared.journal.erasing import JournalEraser
from relaykit.shared.journal.times import EntryTimes, JournalTimes
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, open_redis
from relaykit.shared.settings import Settings
from tests.support.clients.stream_clients import asking
from tests.support.journals import TTL
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.system import create, running

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url, connections=1) as client:
        yield client


async def note(redis: Redis, attempt: int, seq: int, seconds: int) -> None:
    at_ms = int((NOON + timedelta(seconds=seconds)).timestamp() * 1000)
    name = keys.entry_times("run_a")
    await redis.xadd(name, {b"c": f"{attempt}-{seq}"}, id=f"{at_ms}-1")
    await redis.expire(name, 600)


async def test_an_entry_has_the_time_of_the_batch_that_it_came_with(
    settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    """What came after a wait has a time after the wait, also where what came before was not noted itself."""
    on = settings.model_copy(update={"ops_claim": "ops"})
    async with running(on, ScriptedAnswers) as system:
        script = create(str(Script(deltas=30, gate=str(tmp_path), holds=[10])))
        async with asking(await system.caller(), script) as asker:
            await asker.until("the first ten are there", lambda answer: answer.text.count("1.9"))
            [held_at] = [await redis.time()]
            open_gate(tmp_path, 10)
            answer = await asker.finished()
        times = await JournalTimes(redis).of(answer.run_id)
        held = datetime.fromtimestamp(held_at[0], UTC)
        cursors = [Cursor.parse(cursor) for cursor, _ in answer.frames if cursor.startswith("1-")]
        found = [times.at(cursor) for cursor in cursors]
        assert None not in found
        assert found == sorted(found)
        assert found[0] is not None
        assert found[0] <= held + timedelta(seconds=1)
        assert (
            0 < await redis.pttl(keys.entry_times(answer.run_id)) <= settings.journal_ended_ttl_seconds * 1000
        )


async def test_without_the_console_nothing_is_noted(settings: Settings, redis: Redis) -> None:
    async with running(settings, ScriptedAnswers) as system:
        answer = await (await system.caller()).stream(create(str(Script(deltas=3))))
        assert await redis.exists(keys.journal(answer.run_id))
        assert not await redis.exists(keys.entry_times(answer.run_id))


async def test_an_erased_journal_takes_its_times_with_it(redis: Redis) -> None:
    await Journals(redis, TTL).write_first_entries("run_a", [b"{}"])
    await Journals(redis, TTL).append(timed(1, 1, Field.ATTEMPT_START))
    assert (await JournalTimes(redis).of("run_a")).at(Cursor(1, 1)) is not None
    await JournalEraser(redis).erase(["run_a"])
    assert not await redis.exists(keys.entry_times("run_a"))


def timed(attempt: int, seq: int, *fields: Field) -> Batch:
    entries = [(field, b"{}") for field in fields]
    return Batch(run_id="run_a", attempt=attempt, first_seq=seq, entries=entries, is_timed=True)


async def test_only_what_the_journal_takes_is_noted_and_once(redis: Redis) -> None:
    """A batch that is sent again has the time of its first; an attempt that was overtaken notes nothing."""
    journals = Journals(redis, TTL)
    await journals.write_first_entries("run_a", [b"{}"])

    async def noted() -> list[str]:
        return [fields[b"c"].decode() for _, fields in await redis.xrange(keys.entry_times("run_a"))]

    await journals.append(timed(1, 1, Field.ATTEMPT_START))
    for _ in range(2):
        assert (await journals.append(timed(1, 2, Field.EVENT, Field.EVENT))).outcome == "ok"
    assert await noted() == ["1-1", "1-2"]
    await journals.append(timed(1, 2, Field.EVENT, Field.EVENT, Field.EVENT))
    assert await noted() == ["1-1", "1-2", "1-4"], "of entries of which some are there, the first that is new"
    assert (await journals.append(timed(2, 1, Field.ATTEMPT_START))).outcome == "ok"
    assert (await journals.append(timed(1, 5, Field.EVENT))).outcome == "fenced"
    assert (await journals.append(timed(2, 2, Field.END))).outcome == "ok"
    assert (await journals.append(timed(2, 3, Field.EVENT))).outcome == "ended"
    assert await noted() == ["1-1", "1-2", "1-4", "2-1", "2-2"]
    assert 0 < await redis.pttl(keys.entry_times("run_a")) <= TTL.ended_seconds * 1000


async def test_what_stands_in_the_place_of_the_notes_costs_no_entry(redis: Redis) -> None:
    await redis.set(keys.entry_times("run_a"), b"a text", ex=600)
    journals = Journals(redis, TTL)
    await journals.write_first_entries("run_a", [b"{}"])
    await journals.append(timed(1, 1, Field.ATTEMPT_START))
    assert (await journals.append(timed(1, 2, Field.EVENT))).outcome == "ok"
    assert len(await journals.read("run_a", Cursor(0, 0), 10)) == 3
    with pytest.raises(JournalGone):
        await JournalTimes(redis).of("run_a")


async def test_a_note_holds_until_the_next_and_within_its_attempt(redis: Redis) -> None:
    for attempt, seq, seconds in ((1, 2, 0), (1, 5, 7), (1, 5, 9), (2, 2, 20), (1, 8, 21), (2, 6, 25)):
        await note(redis, attempt, seq, seconds)
    times = await JournalTimes(redis).of("run_a")
    expected = {
        (0, 3): None,
        (1, 1): None,
        (1, 2): 0,
        (1, 4): 0,
        (1, 5): 7,  # the first of two
        (1, 9): 7,  # what the overtaken attempt has noted meanwhile does not count
        (2, 1): None,
        (2, 5): 20,
        (2, 6): 25,
        (2, 99): 25,
        (3, 1): None,
    }
    found = {each: times.at(Cursor(*each)) for each in expected}
    assert found == {
        each: None if seconds is None else NOON + timedelta(seconds=seconds)
        for each, seconds in expected.items()
    }


@pytest.mark.parametrize("record", [{b"x": b"y"}, {b"c": b"x"}, {b"c": b"\xff"}, {b"c": b""}])
async def test_what_somebody_else_has_written_there_is_no_note(redis: Redis, record: dict[Any, Any]) -> None:
    await redis.xadd(keys.entry_times("run_a"), record)
    await redis.expire(keys.entry_times("run_a"), 600)
    with pytest.raises(JournalGone):
        await JournalTimes(redis).of("run_a")
    assert (await JournalTimes(redis).of("run_none")).at(Cursor(1, 1)) is None
    assert EntryTimes(()).at(Cursor(1, 1)) is None
