"""What the product asks of Redis, PostgreSQL and the sockets, counted: a change that adds a round trip fails here.

Nothing is timed. Each bound is what was counted when it was written, and where timing decides how often something
happens, a little more. A change that needs more on purpose raises the bound, and says why.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from bench.redis.commands import Commands, counted
from bench.systems.server import BenchServer, Script
from relaykit.shared.journal import Batch, Field, Journals
from relaykit.shared.redis.client import open_redis
from relaykit.shared.settings import Settings
from tests.support.clients.stream_clients import asking, crowd, following
from tests.support.journals import TTL
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import Caller, System, create, free_port, keyed, make_settings, message, running
from tests.support.work_counters import counted_statements, counted_writes

pytestmark = pytest.mark.asyncio(loop_scope="module")

RUNS = 20
SLACK = 0.25
"""Of one a run: the worker's bell also gives up after a second."""

# A run that is alone in its thread, from POST to the end that its client sees. The fair order takes some 60 commands in
# scripts: a place in two levels, a turn, a count of what runs. Eight more note which process holds the run, and forget
# it; one gives the place over that the request has taken.
COMMANDS = 13.0
COMMANDS_IN_SCRIPTS = 110.0
STATEMENTS = 4.0
# The next message of the same thread.
STATEMENTS_NEXT = 5.0
# That with an attachment: in one transaction, with what is read before.
STATEMENTS_NEXT_SHOWING = 11.0
# A piece of text, of many runs that speak at an even pace: appended, and read by the hub.
COMMANDS_A_DELTA = 0.7
# A client that comes back.
STATEMENTS_RESUMED, COMMANDS_RESUMED = 1.0, 8.0
STATEMENTS_RELOADED, COMMANDS_RELOADED = 3.0, 1.0
# Writes to the socket of a stream, whatever waits for it: the head, the retry, what waits, the end.
WRITES_OF_STREAM = 4
# Reads of a journal for all followers of a run at one API: for a notice that does not bring the entries along.
READS_A_NOTICE = 1.0


@dataclass
class Stage:
    system: System
    alice: Caller
    statements: Counter[str]

    @property
    def redis_url(self) -> str:
        return self.system.settings.redis_url

    async def answered(self, request: dict | None = None) -> str:
        """Asks, and reads to the end; the thread's id."""
        answer = await self.alice.stream(request or create(str(Script(deltas=5))), keyed(uuid4().hex))
        assert answer.end == "completed"
        return answer.thread_id if request is None else ""


@pytest.fixture(scope="module")
def stage_settings(
    redis_databases: RedisDatabases,
    databases: Databases,
    issuer_key_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Settings]:
    """With leases that need no renewal while something is counted, and nothing else that time alone would cause."""
    with redis_databases.fresh() as redis_url, databases.fresh() as database_url:
        port = free_port()
        yield make_settings(
            redis_url,
            database_url,
            issuer_key_file,
            port,
            attachments_url=tmp_path_factory.mktemp("files").as_uri(),
            attachments_key="k" * 64,
            public_url=f"http://127.0.0.1:{port}",
            lease_seconds=3600,
            database_pool_min=4,  # a connection that opens later prepares its statements then
            caller_max_runs=1000,
            caller_requests_per_minute=1_000_000,
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(stage_settings: Settings) -> AsyncIterator[Stage]:
    with pytest.MonkeyPatch.context() as patched, counted_statements() as statements:
        for cause in (
            "relaykit.worker.reaper.reaper.ROUND_INTERVAL_SECONDS",
            "relaykit.worker.claiming.arq_worker.BELL_SECONDS",
            "relaykit.api.relay.liveness.MAX_TICK_SECONDS",
            "relaykit.api.queue_watch.LOOK_SECONDS",
            "relaykit.shared.clocks.LOOK_SECONDS",
            "relaykit.shared.redis.pubsub.SILENCE_SECONDS",
        ):
            patched.setattr(cause, 3600)
        async with running(stage_settings, lambda: BenchServer(None)) as system:
            stage = Stage(system, await crowd(system, await system.caller()), statements)
            await stage.answered()
            yield stage


def within(found: float, bound: float, what: str, counts: Counter[str]) -> None:
    assert found <= bound, f"{what}: {found:g} instead of {bound:g}: {dict(counts.most_common())}"


@contextmanager
def uncollected() -> Iterator[list[object]]:
    """Gives, after the block, what has become unreachable in it without being freed: cycles."""
    garbage: list[object] = []
    gc.collect()
    gc.disable()
    try:
        yield garbage
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        garbage += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def is_ours(each: object) -> bool:
    return type(each).__module__.partition(".")[0] in ("api", "shared", "worker")


async def settled(commands: Commands, seconds: float = 0.2) -> None:
    """Returns when nothing has been asked for a while: what follows the end of a stream is counted too."""
    before = -1
    while commands.asked.total() != before:
        before = commands.asked.total()
        await asyncio.sleep(seconds)


class TestRun:
    async def test_a_run_costs_so_many_commands_and_statements(self, stage: Stage) -> None:
        async with counted(stage.redis_url) as commands:
            stage.statements.clear()
            for _ in range(RUNS):
                await stage.answered()
            await settled(commands)
        within(commands.asked.total() / RUNS, COMMANDS + SLACK, "commands", commands.asked)
        within(
            commands.in_scripts.total() / RUNS,
            COMMANDS_IN_SCRIPTS + 2 * SLACK,
            "in scripts",
            commands.in_scripts,
        )
        within(stage.statements.total() / RUNS, STATEMENTS, "statements", stage.statements)

    async def test_the_next_message_costs_no_more_than_its_thread(self, stage: Stage) -> None:
        thread_id = await stage.answered()
        stage.statements.clear()
        for _ in range(RUNS):
            await stage.answered(message(thread_id, str(Script(deltas=5))))
        within(stage.statements.total() / RUNS, STATEMENTS_NEXT, "statements", stage.statements)

    async def test_the_next_message_with_an_attachment_costs(self, stage: Stage) -> None:
        thread_id, sent = await stage.answered(), []
        for _ in range(RUNS):
            file = {"name": "a.txt", "size": 1, "mime_type": "text/plain"}
            attachment = await stage.alice.ask({"type": "attachments.create", "params": file})
            await stage.alice.client.put(attachment["upload_descriptor"]["url"], content=b"a")
            sent.append(attachment["id"])
        stage.statements.clear()
        for attachment_id in sent:
            await stage.answered(message(thread_id, str(Script(deltas=5)), attachments=[attachment_id]))
        within(stage.statements.total() / RUNS, STATEMENTS_NEXT_SHOWING, "statements", stage.statements)

    async def test_a_delta_costs_one_append_at_most(self, stage: Stage) -> None:
        script = Script(deltas=50, per_second=50)
        async with counted(stage.redis_url) as commands:
            await asyncio.gather(
                *(stage.alice.stream(create(str(script)), keyed(uuid4().hex)) for _ in range(RUNS))
            )
        asked = commands.asked.total() - COMMANDS * RUNS
        within(asked / (RUNS * script.deltas), COMMANDS_A_DELTA, "commands", commands.asked)

    async def test_nothing_of_a_run_waits_for_the_garbage_collector(self, stage: Stage) -> None:
        with uncollected() as garbage:
            for _ in range(RUNS):
                await stage.answered()
            await asyncio.sleep(0.2)
        ours = Counter(type(each).__qualname__ for each in garbage if is_ours(each))
        assert not ours, f"of {RUNS} runs there were left {ours}"


class TestRelay:
    async def test_a_resumed_stream_costs(self, stage: Stage) -> None:
        answer = await stage.alice.stream(create(str(Script(deltas=5))), keyed(uuid4().hex))
        async with counted(stage.redis_url) as commands:
            stage.statements.clear()
            for _ in range(RUNS):
                await stage.alice.resume(answer.run_id, answer.frames[0][0])
        within(commands.asked.total() / RUNS, COMMANDS_RESUMED + SLACK, "commands", commands.asked)
        within(stage.statements.total() / RUNS, STATEMENTS_RESUMED, "statements", stage.statements)

    async def test_a_reloaded_page_costs(self, stage: Stage) -> None:
        thread_id = await stage.answered()
        async with counted(stage.redis_url) as commands:
            stage.statements.clear()
            for _ in range(RUNS):
                await stage.alice.ask({"type": "threads.get_by_id", "params": {"thread_id": thread_id}})
                await stage.alice.get(f"/threads/{thread_id}/run")
        within(commands.asked.total() / RUNS, COMMANDS_RELOADED + SLACK, "commands", commands.asked)
        within(stage.statements.total() / RUNS, STATEMENTS_RELOADED, "statements", stage.statements)

    @pytest.mark.parametrize("backlog", [1, 50])
    async def test_whatever_waits_for_a_client_goes_out_in_one_write(
        self, stage: Stage, backlog: int
    ) -> None:
        answer = await stage.alice.stream(create(str(Script(deltas=backlog, parts=2))), keyed(uuid4().hex))
        with counted_writes(stage.system.settings.port) as writes:
            again = await stage.alice.resume(answer.run_id, "0-1")
        assert len(again.events) >= backlog
        assert len(writes.sizes) <= WRITES_OF_STREAM, writes.sizes

    @pytest.mark.parametrize(("entry_bytes", "reads"), [(100, 0), (2_000, READS_A_NOTICE)])
    async def test_what_comes_at_once_goes_out_to_each_client_in_one_write_after_one_read(
        self, stage: Stage, entry_bytes: int, reads: float
    ) -> None:
        """However many clients follow the run."""
        notices, entries = 3, 40
        async with (
            AsyncExitStack() as clients,
            open_redis(stage.redis_url, connections=1) as redis,
            asking(stage.alice, create(str(Script(hold_seconds=60))), keyed(uuid4().hex)) as asker,
        ):
            run_id = await asker.until(
                "the item is shown", lambda answer: answer.of_type("thread.item.added") and answer.run_id
            )
            followers = [
                await clients.enter_async_context(following(stage.alice, run_id)) for _ in range(RUNS)
            ]
            for follower in followers:
                await follower.until("it follows", lambda answer: answer.of_type("thread.item.added"))
            journals = Journals(redis, TTL)
            await _append(journals, run_id, 0, 1, entry_bytes)  # read, since another attempt begins
            shown = 1 + len(asker.answer.frames)
            for follower in followers:
                await follower.until("it has all", lambda answer: len(answer.frames) == shown)
            async with counted(stage.redis_url) as commands:
                with counted_writes(stage.system.settings.port) as writes:
                    for notice in range(notices):
                        await _append(journals, run_id, 1 + notice * entries, entries, entry_bytes)
                        came = shown + (notice + 1) * entries
                        await asker.until("all came", lambda answer, came=came: len(answer.frames) == came)
                    for follower in followers:
                        await follower.until(
                            "all came", lambda answer: len(answer.frames) == shown + notices * entries
                        )
            assert len(writes.sizes) <= notices * (RUNS + 1), writes.sizes
            within(commands.asked["XRANGE"] / notices, reads, "reads", commands.asked)
            await stage.alice.cancel(run_id)


async def _append(journals: Journals, run_id: str, after: int, count: int, entry_bytes: int) -> None:
    """As the run's worker would, which is fenced by it."""
    event = b'{"type":"progress_update","icon":null,"text":"%s"}' % (b"x" * entry_bytes)
    entries = [(Field.EVENT, event)] * count
    await journals.append(Batch(run_id=run_id, attempt=2, first_seq=after + 1, entries=entries))
