"""Resuming: from any cursor exactly the rest, and for every other cursor its documented answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from relaykit.shared.redis import keys
from tests.support.clients.stream_clients import Follower, after, asking, body, crowd, cursors, following
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import (
    WAIT_SECONDS,
    Answer,
    Caller,
    System,
    create,
    free_port,
    make_settings,
    message,
    running,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENTRIES = 500
BLOCK = 25
AT_ONCE = 25


@dataclass
class Stage:
    system: System
    alice: Caller
    alice_elsewhere: Caller
    """The same user at the other API."""
    redis: Redis

    async def resume(self, run_id: str, cursor: str | None) -> Answer:
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.alice.resume(run_id, cursor)


@pytest.fixture(scope="module")
def stage_settings(redis_databases: RedisDatabases, databases: Databases, issuer_key_file: Path) -> Iterator:
    with redis_databases.fresh() as redis_url, databases.fresh() as database_url:
        yield make_settings(redis_url, database_url, issuer_key_file, free_port(), ping_seconds=0.5)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(stage_settings) -> AsyncIterator[Stage]:
    async with (
        running(stage_settings, ScriptedAnswers, apis=2) as system,
        Redis.from_url(stage_settings.redis_url) as redis,
    ):
        alice = await crowd(system, await system.caller())
        yield Stage(system, alice, await crowd(system, alice, api=1), redis)


async def finished(stage: Stage, script: Script | None = None) -> Answer:
    return await stage.alice.stream(create(str(script or Script())))


@asynccontextmanager
async def held(stage: Stage, tmp_path: Path, script: Script) -> AsyncIterator[Follower]:
    """A run that goes on until its gate opens, and the client that asked for it."""
    async with asking(stage.alice, create(str(script))) as follower:
        try:
            yield follower
        finally:
            open_gate(tmp_path, *script.holds)
            if not follower.closed:
                await follower.finished()


def gated(tmp_path: Path, *holds: int, deltas: int = 10, **more) -> Script:
    return Script(deltas=deltas, gate=str(tmp_path), holds=list(holds), **more)


def code_of(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.raw.decode().partition('"code":"')[2].partition('"')[0]


async def test_every_cursor_of_a_finished_run_gives_the_rest_byte_for_byte(stage):
    """A run of 500 entries: what each of them leaves over is what a client that has it gets."""
    whole = await finished(stage, Script(deltas=ENTRIES))
    ids = cursors(whole.raw)
    assert len(ids) >= ENTRIES
    assert whole.end == "completed"
    limit = asyncio.Semaphore(AT_ONCE)

    async def check(cursor: str) -> None:
        async with limit:
            resumed = await stage.resume(whole.run_id, cursor)
        assert resumed.status == 200, resumed.raw
        assert body(resumed.raw) == after(body(whole.raw), cursor), cursor

    async with asyncio.TaskGroup() as tasks:
        for cursor in ids[:-1]:
            tasks.create_task(check(cursor))
    last = await stage.resume(whole.run_id, ids[-1])
    assert (last.status, last.raw) == (204, b"")
    start = await stage.resume(whole.run_id, None)
    assert body(start.raw) == body(whole.raw)


async def test_every_cursor_of_a_live_run_gives_the_rest_byte_for_byte(stage, tmp_path):
    """While 500 entries are being written, a client resumes at each of them and follows to the end."""
    holds = list(range(BLOCK, ENTRIES, BLOCK))
    script = gated(tmp_path, *holds, deltas=ENTRIES)
    known = 0
    async with AsyncExitStack() as stack, held(stage, tmp_path, script) as asker:
        followers: dict[str, Follower] = {}
        for hold in holds:
            last_piece = f'"delta":"{script.piece(1, hold - 1)}"'.encode()
            await asker.until(f"delta {hold} is out", lambda answer, piece=last_piece: piece in answer.raw)
            ids = cursors(asker.raw)
            for cursor in ids[known:]:
                followers[cursor] = await stack.enter_async_context(
                    following(stage.alice, asker.run_id, cursor)
                )
            known = len(ids)
            newest = followers[ids[-1]]
            await newest.until("a follower is connected", lambda answer: answer.status == 200)
            open_gate(tmp_path, hold)
        whole = body((await asker.finished()).raw)
        assert len(followers) >= ENTRIES - BLOCK
        for cursor, follower in followers.items():
            answer = await follower.finished()
            assert answer.status == 200
            assert body(answer.raw) == after(whole, cursor), cursor


MALFORMED = [
    "x",
    "1",
    "-",
    "1-",
    "-1",
    "1-2-3",
    "01-2",
    "1-02",
    "00-0",
    "+1-2",
    "1--2",
    "-1-2",
    "1.0-2",
    "1-2.0",
    "1e1-2",
    "0x1-2",
    "1_0-2",
    "1 - 2",
    "1-2,1-3",
    "1:2",
    "1\u20132",
    "$",
    "*",
    "+",
    "(1-2",
    "null",
    "\uff11-\uff12",
    "\u0661-\u0662",
    "1-2\x00",
    "1-2\n",
    "9999999999-1",
    "1-9999999999999",
    "18446744073709551616-1",
    "1" * 5000 + "-1",
]


async def test_a_malformed_cursor_is_400_invalid_cursor(stage):
    """In the query, where every character can travel, and in the header."""
    whole = await finished(stage)
    path = f"/runs/{whole.run_id}/events"
    for text in [*MALFORMED, " 1-2", "1-2 ", "\t"]:
        response = await stage.alice.client.get(path, params={"after": text}, headers=stage.alice._headers)
        assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_cursor"), text[:20]
    for text in MALFORMED:
        if text.isprintable():
            raw = [(b"Last-Event-ID", text.encode())]
            headers = [*((k.encode(), v.encode()) for k, v in stage.alice._headers.items()), *raw]
            response = await stage.alice.client.get(path, headers=headers)
            assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_cursor"), text[
                :20
            ]


async def test_the_cursor_may_stand_in_the_query_and_the_header_wins(stage):
    whole = await finished(stage)
    ids = cursors(whole.raw)
    path = f"/runs/{whole.run_id}/events"
    by_query = await stage.alice.get(f"{path}?after={ids[3]}")
    assert body(by_query.content) == after(body(whole.raw), ids[3])
    both = await stage.alice.get(f"{path}?after={ids[3]}", {"Last-Event-ID": ids[6]})
    assert body(both.content) == after(body(whole.raw), ids[6])
    bad_query = await stage.alice.get(f"{path}?after=rubbish", {"Last-Event-ID": ids[6]})
    assert body(bad_query.content) == after(body(whole.raw), ids[6])
    empty = await stage.alice.get(f"{path}?after=", {"Last-Event-ID": ""})
    assert body(empty.content) == body(whole.raw)
    zero = await stage.alice.get(f"{path}?after=0-0")
    assert body(zero.content) == body(whole.raw)


async def test_a_run_of_someone_else_is_404_whatever_the_cursor(stage):
    """Another user, and the same user of another tenant; like a run that never was."""
    whole = await finished(stage)
    bob = await stage.system.caller("bob")
    other_alice = await stage.system.caller("alice", tenant="other")
    for caller in (bob, other_alice):
        for cursor in (None, cursors(whole.raw)[2], "7-7"):
            assert code_of(await caller.resume(whole.run_id, cursor)) == (404, "run_not_found")
    absent = await stage.resume("run_absent", None)
    assert code_of(absent) == (404, "run_not_found")
    anonymous = await stage.alice.client.get(f"/runs/{whole.run_id}/events")
    assert anonymous.status_code == 401


async def test_a_cursor_beyond_the_journal_is_410(stage, tmp_path):
    """A future one, of a finished run and of one that goes on: it belongs to a journal that is not there."""
    whole = await finished(stage)
    last = cursors(whole.raw)[-1]
    attempt, seq = map(int, last.split("-"))
    for cursor in (
        f"{attempt}-{seq + 2}",
        f"{attempt}-{seq + 1000}",
        f"{attempt + 1}-1",
        "999999999-999999999999",
    ):
        assert code_of(await stage.resume(whole.run_id, cursor)) == (410, "journal_gone"), cursor
    async with held(stage, tmp_path, gated(tmp_path, 5)) as asker:
        await asker.until("five deltas", lambda answer: len(answer.of_type("thread.item.updated")) == 5)
        for cursor in ("1-500", "2-1"):
            future = await stage.resume(asker.run_id, cursor)
            assert code_of(future) == (410, "journal_gone"), cursor


async def test_a_cursor_of_another_run_is_the_position_it_names(stage):
    """Cursors name places, not runs: the answer is what follows that place here, or 410 where there is none."""
    short, long = await finished(stage, Script(deltas=4)), await finished(stage, Script(deltas=40))
    shared_cursor = cursors(short.raw)[4]
    resumed = await stage.resume(long.run_id, shared_cursor)
    assert body(resumed.raw) == after(body(long.raw), shared_cursor)
    beyond = await stage.resume(short.run_id, cursors(long.raw)[30])
    assert code_of(beyond) == (410, "journal_gone")


async def test_a_journal_that_is_gone_is_410(stage):
    whole = await finished(stage)
    await stage.redis.delete(keys.journal(whole.run_id))
    for cursor in (None, "0-0", *cursors(whole.raw)):
        assert code_of(await stage.resume(whole.run_id, cursor)) == (410, "journal_gone"), cursor


async def test_a_journal_that_is_gone_in_mid_run_is_410_to_whoever_has_a_cursor(stage, tmp_path):
    """It cannot be told what the client would miss; and the run goes on all the same."""
    async with held(stage, tmp_path, gated(tmp_path, 5)) as asker:
        await asker.until("five deltas", lambda answer: len(answer.of_type("thread.item.updated")) == 5)
        await stage.redis.delete(keys.journal(asker.run_id))
        resumed = await stage.resume(asker.run_id, cursors(asker.raw)[-1])
        assert code_of(resumed) == (410, "journal_gone")
    assert asker.answer.end == "completed"
    assert [
        part["text"] for part in asker.answer.of_type("thread.item.done")[-1]["item"]["content"]
    ] == Script().whole(1)


async def test_a_trimmed_journal_is_410_before_the_cut_and_whole_after_it(stage):
    """Also from the start: a journal without its head is not shown as a whole one."""
    whole = await finished(stage)
    ids = cursors(whole.raw)
    cut = ids.index("1-6")
    await stage.redis.xtrim(keys.journal(whole.run_id), minid="1-6", approximate=False)
    for cursor in (None, *ids[: cut - 1]):
        assert code_of(await stage.resume(whole.run_id, cursor)) == (410, "journal_gone"), cursor
    for cursor in ids[cut - 1 : -1]:
        resumed = await stage.resume(whole.run_id, cursor)
        assert body(resumed.raw) == after(body(whole.raw), cursor), cursor


async def test_a_hole_behind_the_beginning_of_an_attempt_is_told(stage):
    """The beginning gives a client no id: one that stands before it would come again and again for nothing."""
    whole = await finished(stage)
    ids = cursors(whole.raw)
    first = ids.index("1-2")
    await stage.redis.xdel(keys.journal(whole.run_id), ids[first])
    resumed = await stage.resume(whole.run_id, None)
    assert (resumed.status, resumed.end, cursors(resumed.raw)) == (200, None, ids[:first])
    assert code_of(await stage.resume(whole.run_id, ids[first - 1])) == (410, "journal_gone")


async def test_a_hole_in_the_journal_is_told(stage):
    """The stream closes at the hole without its end; whoever resumes there gets 410; behind the hole all is well."""
    whole = await finished(stage)
    ids = cursors(whole.raw)
    hole = ids.index("1-6")
    await stage.redis.xdel(keys.journal(whole.run_id), ids[hole])
    for cursor in (None, *ids[: hole - 1]):
        resumed = await stage.resume(whole.run_id, cursor)
        expected = body(whole.raw) if cursor is None else after(body(whole.raw), cursor)
        assert resumed.status == 200, resumed.raw
        assert resumed.end is None
        assert expected.startswith(body(resumed.raw))
        assert cursors(resumed.raw)[-1] == ids[hole - 1], cursor
    at_the_hole = await stage.resume(whole.run_id, ids[hole - 1])
    assert code_of(at_the_hole) == (410, "journal_gone")
    behind = await stage.resume(whole.run_id, ids[hole])
    assert body(behind.raw) == after(body(whole.raw), ids[hole])


async def test_a_hole_that_opens_under_a_live_run_is_told(stage, tmp_path):
    """A client that joins at another API gets what is sound, then EOF without the end; there, 410."""
    async with held(stage, tmp_path, gated(tmp_path, 8)) as asker:
        await asker.until("eight deltas", lambda answer: len(answer.of_type("thread.item.updated")) == 8)
        ids = cursors(asker.raw)
        hole = ids.index("1-6")
        await stage.redis.xdel(keys.journal(asker.run_id), ids[hole])
        async with following(stage.alice_elsewhere, asker.run_id, ids[1]) as joined:
            answer = await joined.finished()
        assert answer.status == 200
        assert answer.end is None
        assert cursors(answer.raw) == ids[2:hole]
        async with following(stage.alice_elsewhere, asker.run_id, ids[hole - 1]) as at_the_hole:
            assert code_of(await at_the_hole.finished()) == (410, "journal_gone")
        async with following(stage.alice_elsewhere, asker.run_id, ids[hole]) as behind:
            await behind.until(
                "what is behind the hole", lambda answer: cursors(answer.raw) == ids[hole + 1 :]
            )
    assert asker.answer.end == "completed"


async def test_nothing_after_the_cursor_of_an_ended_run_is_204_and_of_a_live_one_a_stream(stage, tmp_path):
    async with held(stage, tmp_path, gated(tmp_path, 5)) as asker:
        await asker.until("five deltas", lambda answer: len(answer.of_type("thread.item.updated")) == 5)
        newest = cursors(asker.raw)[-1]
        async with following(stage.alice, asker.run_id, newest) as follower:
            await follower.until("a heartbeat", lambda answer: b": ping\n\n" in answer.raw)
            open_gate(tmp_path, 5)
            assert (await follower.finished()).end == "completed"
            assert follower.body == after(body((await asker.finished()).raw), newest)
    ended = await stage.resume(asker.run_id, cursors(asker.raw)[-1])
    assert (ended.status, ended.raw, ended.headers["x-run-id"]) == (204, b"", asker.run_id)


async def test_the_stream_has_its_headers_its_retry_its_heartbeat_and_its_end_last(stage, tmp_path):
    """Both of the answer to a POST and of a resumed stream; none of it an event that a ChatKit client would see."""
    async with held(stage, tmp_path, gated(tmp_path, 5)) as asker:
        await asker.until("a heartbeat", lambda answer: b": ping\n\n" in answer.raw)
        async with following(stage.alice, asker.run_id) as follower:
            await follower.until("a heartbeat", lambda answer: answer.raw.count(b": ping\n\n") >= 2)
            open_gate(tmp_path, 5)
            for answer in (await asker.finished(), await follower.finished()):
                assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
                assert answer.headers["cache-control"] == "no-store, no-transform"
                assert answer.headers["x-accel-buffering"] == "no"
                assert answer.headers["x-run-id"] == asker.run_id
                assert answer.raw.startswith(b"retry: ")
                assert answer.raw.count(b"retry:") == 1
                assert answer.raw.endswith(b"\n\n: end completed\n\n")
                assert answer.raw.count(b": end ") == 1


async def test_a_second_message_resumes_like_the_first(stage):
    """A later turn's run has a journal of its own, whose cursors begin anew."""
    first = await finished(stage)
    second = await stage.alice.stream(message(first.thread_id, str(Script(deltas=6))))
    assert second.run_id != first.run_id
    for cursor in cursors(second.raw)[:-1]:
        resumed = await stage.resume(second.run_id, cursor)
        assert body(resumed.raw) == after(body(second.raw), cursor)
