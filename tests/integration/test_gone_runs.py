"""A deleted thread leaves nothing of its runs: their journals go from Redis, and their rows, whoever deletes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import structlog
from prometheus_client import REGISTRY

from relaykit.shared import gone_runs as gone_runs_module
from relaykit.shared.errors import DatabaseUnavailable, QueueUnavailable
from relaykit.shared.gone_runs import FOLLOWED_SECONDS, GoneRuns
from relaykit.shared.journal import Batch, Field, Journals
from relaykit.shared.journal.erasing import SEAL_TTL_SECONDS, JournalEraser
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, open_redis
from relaykit.shared.runs.rows import Runs
from relaykit.shared.runs.run import Status
from relaykit.shared.settings import Settings
from relaykit.worker.reaper import reaper as reaper_module
from relaykit.worker.reaper.reaper import ROUND_INTERVAL_SECONDS
from tests.integration.persistence import outside
from tests.integration.test_reaper import ALICE, Bench, bench
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.servers.user_servers import NotebookServer
from tests.support.system import Answer, create, free_port, message, running, wait_until

__all__ = ["bench"]

SECRET = "only in this chat"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reaper that has little patience."""
    monkeypatch.setattr(reaper_module, "ROUND_INTERVAL_SECONDS", 0.2)
    monkeypatch.setattr(gone_runs_module, "FOLLOWED_SECONDS", 0.2)


async def in_redis(bench_redis: Any, run_ids: list[str]) -> list[str]:
    """Of the runs, those whose journals have anything that was written by a client or a server."""
    entries = {run_id: await bench_redis.xrange(keys.journal(run_id)) for run_id in run_ids}
    return [run_id for run_id, found in entries.items() if any(b"e" in fields for _, fields in found)]


async def journal(bench: Bench, run_id: str) -> Journals:
    """A journal with two attempts of the run, which ended with the second."""
    journals = bench.reaper.endings.journals
    await journals.write_first_entries(run_id, [json.dumps({"type": SECRET}).encode()])
    await journals.start_attempt(run_id, 2)
    await journals.append(late_batch(run_id))
    await journals.end(run_id, 2, Status.COMPLETED)
    return journals


def late_batch(run_id: str) -> Batch:
    return Batch(run_id=run_id, attempt=2, first_seq=2, entries=[(Field.EVENT, SECRET.encode())])


async def passed(bench: Bench) -> None:
    """The time that the runs' clients have to read the last of them is over."""
    await bench.execute("UPDATE gone_runs SET deleted_at = deleted_at - interval '2 hours'")
    await bench.execute("UPDATE runs SET ended_at = ended_at - interval '1 hour' WHERE ended_at IS NOT NULL")


async def noted(bench: Bench) -> set[str]:
    async with bench.database.connection() as connection:
        return {row["run_id"] for row in await connection.fetch("SELECT run_id FROM gone_runs")}


async def by_the_store(bench: Bench) -> None:
    """The store's own call: of the route `threads.delete`, and of a site's code."""
    await bench.store.delete_thread("thr_1", ALICE)


async def by_its_age(bench: Bench) -> None:
    """RETENTION_DAYS."""
    await bench.execute("UPDATE threads SET updated_at = now() - interval '90 days' WHERE id = 'thr_1'")
    await bench.execute("UPDATE runs SET ended_at = now() - interval '90 days' WHERE thread_id = 'thr_1'")
    await bench.reaper.delete_old()


async def in_a_foreign_store(bench: Bench) -> None:
    """What the route does after the site's store has deleted it."""
    await bench.execute("DELETE FROM threads WHERE id = 'thr_1'")
    await bench.runs.note_gone(ALICE.owner, "thr_1")


@pytest.mark.parametrize("delete", [by_the_store, by_its_age, in_a_foreign_store])
async def test_a_deleted_thread_s_journals_and_rows_go(
    bench: Bench, delete: Callable[[Bench], Awaitable[None]]
) -> None:
    """And no other thread's."""
    for thread_id in ("thr_1", "thr_2"):
        await bench.thread(thread_id)
    gone = [await bench.run("thr_1", Status.COMPLETED) for _ in range(2)]
    stays = await bench.run("thr_2", Status.COMPLETED)
    for run_id in (*gone, stays):
        await journal(bench, run_id)
    await delete(bench)
    assert await in_redis(bench.redis, gone) == gone
    await passed(bench)
    await bench.reaper.erase_gone()
    assert await in_redis(bench.redis, [*gone, stays]) == [stays]
    assert (await bench.ids("runs"), await noted(bench)) == ({stays}, set())


async def test_a_deletion_that_is_rolled_back_notes_nothing(bench: Bench) -> None:
    await bench.thread("thr_1")
    await bench.run("thr_1", Status.COMPLETED)

    async def fail() -> None:
        async with bench.database.transaction():
            await bench.store.delete_thread("thr_1", ALICE)
            assert len(await noted(bench)) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await noted(bench) == set()


async def test_a_run_that_goes_on_is_waited_for(bench: Bench) -> None:
    """Its clients are to have its end; what ended before it does not wait for it."""
    await bench.thread("thr_1")
    ended, active = await bench.run("thr_1", Status.COMPLETED), await bench.run("thr_1", Status.RUNNING)
    for run_id in (ended, active):
        await journal(bench, run_id)
    await bench.store.delete_thread("thr_1", ALICE)
    await passed(bench)
    await bench.reaper.erase_gone()
    assert (await in_redis(bench.redis, [ended, active]), await noted(bench)) == ([active], {active})
    await bench.execute("UPDATE runs SET status = 'cancelled', ended_at = now() WHERE id = $1", active)
    await bench.reaper.erase_gone()
    assert (await in_redis(bench.redis, [active]), await noted(bench)) == ([active], {active})
    await passed(bench)
    await bench.reaper.erase_gone()
    assert (await in_redis(bench.redis, [active]), await noted(bench), await bench.ids("runs")) == (
        [],
        set(),
        set(),
    )


async def test_what_a_lost_redis_kept_goes_once_it_is_back(bench: Bench) -> None:
    await bench.thread("thr_1")
    run_id = await bench.run("thr_1", Status.COMPLETED)
    await journal(bench, run_id)
    await bench.store.delete_thread("thr_1", ALICE)
    await passed(bench)
    async with open_redis(f"redis://127.0.0.1:{free_port()}/0", connections=1) as away:
        gone_runs = GoneRuns(bench.database, JournalEraser(away))
        with pytest.raises(QueueUnavailable):
            await gone_runs.erase(await gone_runs.due(10))
    assert await noted(bench) == {run_id}
    await bench.reaper.erase_gone()
    assert (await in_redis(bench.redis, [run_id]), await noted(bench)) == ([], set())


async def test_a_batch_that_comes_late_brings_nothing_back(bench: Bench) -> None:
    """A worker that could not reach Redis sends it again and again: it would make the journal anew."""
    await bench.thread("thr_1")
    run_id = await bench.run("thr_1", Status.COMPLETED)
    journals = await journal(bench, run_id)
    await bench.store.delete_thread("thr_1", ALICE)
    await passed(bench)
    await bench.reaper.erase_gone()
    outcomes = [
        await journals.append(late_batch(run_id)),
        await journals.end(run_id, 2, Status.COMPLETED),
        await journals.start_attempt(run_id, 3),
    ]
    assert {appended.outcome for appended in outcomes} <= {"fenced", "ended"}
    assert await in_redis(bench.redis, [run_id]) == []
    assert 0 < await bench.redis.ttl(keys.journal(run_id)) <= SEAL_TTL_SECONDS


async def test_many_at_once_do_no_harm(bench: Bench) -> None:
    await bench.thread("thr_1")
    run_ids = [await bench.run("thr_1", Status.COMPLETED) for _ in range(30)]
    for run_id in run_ids:
        await journal(bench, run_id)
    await in_a_foreign_store(bench)
    await passed(bench)
    orders = [run_ids, run_ids[::-1], run_ids[::2] + run_ids[1::2]] * 3
    await asyncio.gather(*(bench.reaper.gone_runs.erase(order) for order in orders))
    await bench.reaper.erase_gone()  # what one had locked, another left
    assert (await in_redis(bench.redis, run_ids), await noted(bench), await bench.ids("runs")) == (
        [],
        set(),
        set(),
    )


async def test_a_row_that_someone_holds_stays_noted(bench: Bench) -> None:
    await bench.thread("thr_1")
    run_id = await bench.run("thr_1", Status.COMPLETED)
    await in_a_foreign_store(bench)
    await passed(bench)
    async with bench.database.transaction():
        await bench.execute("SELECT FROM runs WHERE id = $1 FOR KEY SHARE", run_id)
        await asyncio.create_task(outside(bench.reaper.erase_gone))
        assert await noted(bench) == {run_id}
    await bench.reaper.erase_gone()
    assert (await noted(bench), await bench.ids("runs")) == (set(), set())


def test_all_of_it_takes_less_than_a_minute() -> None:
    """From the deletion: two rounds of the reaper, one of which another worker may have begun, and the seal."""
    assert FOLLOWED_SECONDS + 2 * ROUND_INTERVAL_SECONDS + SEAL_TTL_SECONDS < 60


@pytest.mark.usefixtures("quick")
async def test_a_chat_that_is_deleted_in_the_midst_of_its_answer(settings: Settings, tmp_path: Path) -> None:
    """Its client has the end; then the journal goes and the row that the deletion had to leave."""
    script = Script(deltas=4, gate=str(tmp_path / "gate"), holds=[2])
    async with running(settings, ScriptedAnswers) as system:
        alice = await system.caller("alice")
        async with alice.open_stream(create(str(script))) as response:
            raw = b""
            async for chunk in response.aiter_raw():
                raw += chunk
                if b": end " not in raw and raw.count(b"thread.item.updated") >= 2:
                    answer = Answer(200, response.headers, raw)
                    await alice.ask({"type": "threads.delete", "params": {"thread_id": answer.thread_id}})
        assert Answer(200, response.headers, raw).end == "cancelled"
        await nothing_is_left(settings, [response.headers["x-run-id"]])
    open_gate(tmp_path / "gate", 2)


@pytest.mark.usefixtures("quick")
async def test_a_chat_in_a_store_of_the_site_s_own(settings: Settings, tmp_path: Path) -> None:
    notebook = str(tmp_path / "notebook.db")
    own = settings.model_copy(update={"chatkit_store": "own"})
    async with running(own, lambda: NotebookServer(notebook)) as system:
        alice = await system.caller("alice")
        first = await alice.stream(create("hi"))
        second = await alice.stream(message(first.thread_id, "and again"))
        await alice.ask({"type": "threads.delete", "params": {"thread_id": first.thread_id}})
        await nothing_is_left(own, [first.run_id, second.run_id])


@pytest.mark.usefixtures("quick")
async def test_a_deletion_that_is_repeated_notes_what_the_first_could_not(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The site's store had deleted the thread, and PostgreSQL was away: the client repeats, and is told 404."""
    own = settings.model_copy(update={"chatkit_store": "own"})
    async with running(own, lambda: NotebookServer(str(tmp_path / "notebook.db"))) as system:
        alice = await system.caller("alice")
        answer = await alice.stream(create("hi"))
        deletion = {"type": "threads.delete", "params": {"thread_id": answer.thread_id}}

        async def away(*_: object) -> None:
            raise DatabaseUnavailable

        with monkeypatch.context() as patched:
            patched.setattr(Runs, "note_gone", away)
            assert (await alice.post(deletion)).status_code == 503
        assert (await alice.post(deletion)).status_code == 404
        await nothing_is_left(own, [answer.run_id])


@pytest.mark.usefixtures("quick")
async def test_a_journal_that_cannot_be_erased_costs_itself_alone(bench: Bench, settings: Settings) -> None:
    """Redis refuses it, and with it all that is asked in the same transaction."""
    stuck_thread, other_thread = "thr_1", "thr_2"
    for thread_id in (stuck_thread, other_thread):
        await bench.thread(thread_id)
    stuck = await bench.run(stuck_thread, Status.COMPLETED)
    others = [await bench.run(other_thread, Status.COMPLETED) for _ in range(3)]
    for run_id in (stuck, *others):
        await journal(bench, run_id)
    for thread_id in (stuck_thread, other_thread):
        await bench.store.delete_thread(thread_id, ALICE)
    await passed(bench)
    before = failed_removals("journal")
    async with refused(bench.redis, settings.redis_url, stuck) as redis:
        bench.reaper.gone_runs._journals._redis = redis
        with structlog.testing.capture_logs() as logs:
            await bench.reaper.erase_gone()
    assert await in_redis(bench.redis, [stuck, *others]) == [stuck]
    assert await noted(bench) == {stuck}
    assert failed_removals("journal") - before == 1
    assert [(line["action"], line["count"]) for line in logs] == [("journals_left", 1), ("reaper_erased", 3)]
    bench.reaper.gone_runs._journals._redis = bench.redis
    await bench.reaper.erase_gone()
    assert await in_redis(bench.redis, [stuck]) == [stuck], "it is tried again in an hour, not each round"
    await passed(bench)
    await bench.reaper.erase_gone()
    assert (await in_redis(bench.redis, [stuck]), await noted(bench)) == ([], set())


@pytest.mark.usefixtures("quick")
async def test_a_whole_page_of_journals_that_cannot_be_erased_keeps_none_behind_it(
    bench: Bench, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the first deletions come first."""
    monkeypatch.setattr(reaper_module, "ASKED_AT_ONCE", 2)
    for thread_id in ("thr_1", "thr_2"):
        await bench.thread(thread_id)
    stuck = [await bench.run("thr_1", Status.COMPLETED) for _ in range(4)]
    other = await bench.run("thr_2", Status.COMPLETED)
    for run_id in (*stuck, other):
        await journal(bench, run_id)
    for thread_id in ("thr_1", "thr_2"):
        await bench.store.delete_thread(thread_id, ALICE)
    await passed(bench)
    async with refused(bench.redis, settings.redis_url, *stuck) as redis:
        bench.reaper.gone_runs._journals._redis = redis
        await bench.reaper.erase_gone()
    assert await in_redis(bench.redis, [*stuck, other]) == stuck
    assert await noted(bench) == set(stuck)


async def test_where_redis_is_away_nothing_is_left_out(bench: Bench) -> None:
    """It is no matter of one journal."""
    async with open_redis(f"redis://127.0.0.1:{free_port()}/0", connections=1) as redis:
        with pytest.raises(QueueUnavailable):
            await JournalEraser(redis).erase(["run_1", "run_2"])


@asynccontextmanager
async def refused(whole: Redis, url: str, *run_ids: str) -> AsyncIterator[Redis]:
    """Redis as a user that may do everything, but nothing to the journals of these runs."""
    allowed = [
        f"~{key.decode()}"
        async for key in whole.scan_iter()
        if key.decode() not in map(keys.journal, run_ids)
    ]
    of_all = [f"~{keys.LEASE_PREFIX}*", f"~{keys.entry_times('*')}"]
    rights = ["reset", "on", ">secret", "+@all", "allchannels", *of_all, *allowed]
    await whole.execute_command("ACL", "SETUSER", "sweeper", *rights)
    try:
        place = urlsplit(url)
        sweeper = f"redis://sweeper:secret@{place.hostname}:{place.port}{place.path}"
        async with open_redis(sweeper, connections=1) as redis:
            yield redis
    finally:
        await whole.acl_deluser("sweeper")


def failed_removals(of: str) -> float:
    return REGISTRY.get_sample_value("relaykit_removals_failed_total", {"of": of}) or 0.0


async def nothing_is_left(settings: Settings, run_ids: list[str]) -> None:
    async with open_redis(settings.redis_url, connections=1) as redis:

        async def is_gone() -> bool:
            return not await in_redis(redis, run_ids)

        await wait_until("the journals are gone", is_gone)
    connection = await asyncpg.connect(settings.database_url)
    try:

        async def rows_are_gone() -> bool:
            query = "SELECT (SELECT count(*) FROM runs) + (SELECT count(*) FROM gone_runs)"
            return await connection.fetchval(query) == 0

        await wait_until("the rows are gone", rows_are_gone)
    finally:
        await connection.close()
