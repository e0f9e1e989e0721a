"""A PostgreSQL that is read-only, full, or gives no connection: a stable code, one line in the log, and it heals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from structlog.testing import capture_logs

from relaykit.shared.errors import DatabaseUnavailable
from relaykit.shared.postgres import sessions
from relaykit.shared.postgres.database import Database
from relaykit.shared.postgres.sessions import Opener
from tests.integration.persistence import settings_for
from tests.integration.test_losses import queued
from tests.support.both_sides import WholeRuns
from tests.support.clients.stream_clients import asking, crowd
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.services.own_postgres import OwnPostgres, fill_disk, own_postgres, small_disk
from tests.support.services.roles import limited_role
from tests.support.system import (
    Caller,
    create,
    free_port,
    keyed,
    make_settings,
    message,
    running,
    takes_messages,
    wait_until,
)

HOLD = 3
PAD = 20_000
"""Characters of each delta: the item is written into blocks of its own."""


@pytest.fixture
def server() -> Iterator[OwnPostgres]:
    with own_postgres() as own:
        yield own


@dataclass
class Stage:
    alice: Caller
    logs: list[Any]
    url: str

    def lines(self, action: str) -> list[Any]:
        return [line for line in self.logs if line.get("action") == action]

    async def warnings(self) -> list[str]:
        response = await self.alice.get("/readyz")
        assert response.status_code == 200, response.text
        return response.json().get("warnings", [])

    async def takes_messages(self) -> bool:
        return takes_messages(await self.alice.get("/readyz"))


@asynccontextmanager
async def staged(
    database_url: str, redis_url: str, issuer_key_file: Path, **more: Any
) -> AsyncIterator[Stage]:
    with capture_logs() as logs:
        settings = make_settings(redis_url, database_url, issuer_key_file, free_port(), **more)
        async with running(settings, ScriptedAnswers) as system:
            alice = await crowd(system, await system.caller())
            yield Stage(alice, logs, system.urls[0])


def assert_refused(response: httpx2.Response) -> None:
    assert (response.status_code, response.json()["error"]["code"]) == (503, "database_unavailable")
    assert int(response.headers["retry-after"]) > 0


async def test_threads_are_read_while_postgresql_is_read_only_and_messages_wait_for_it(
    server: OwnPostgres, redis_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """Also over connections that were opened then. The answer under way goes on in its first attempt."""
    gate = tmp_path / "gate"
    gate.mkdir()
    held = create(str(Script(deltas=5, gate=str(gate), holds=[HOLD])))
    async with (
        staged(server.url, redis_url, issuer_key_file) as stage,
        asking(stage.alice, held, keyed(1)) as asker,
    ):
        alice = stage.alice
        thread_id = (await alice.stream(create(str(Script())))).thread_id
        await asker.until("mid-answer", lambda answer: len(answer.of_type("thread.item.updated")) >= HOLD)
        server.set_read_only(True)
        await wait_until("the API says so", lambda: _is_in("database_read_only", stage))
        # each ends its connection, and the next is opened on a server that is read-only
        for number in range(5):
            assert_refused(await alice.post(message(thread_id, str(Script())), keyed(f"a-{number}")))
            assert len(await alice.items(thread_id)) == 2
        listed = await alice.ask({"type": "threads.list", "params": {"limit": 20, "order": "desc"}})
        assert len(listed["data"]) == 2
        open_gate(gate, HOLD)
        await wait_until(
            "the API and the worker have said so", lambda: len(stage.lines("database_read_only")) >= 2
        )
        server.set_read_only(False)
        answer = await asker.finished()
        assert answer.end == "completed"
        assert (await alice.get(f"/runs/{answer.run_id}")).json()["attempt"] == 1
        await wait_until("the API is well", stage.takes_messages)
        assert (await alice.stream(message(thread_id, str(Script())), keyed("a-0"))).end == "completed"
        assert len(stage.lines("database_read_only")) < 10, "not one a message that was refused"


async def test_writes_that_a_read_only_postgresql_refuses_do_not_cost_it_a_connection_each(
    server: OwnPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were open before it was are replaced once, and of the others one in a while."""
    monkeypatch.setattr(sessions, "REPLACE_SECONDS", 3600.0)
    opened = []
    plain = Opener.plain

    async def counted(opener: Opener, *given: Any, **more: Any) -> Any:
        opened.append(opener)
        return await plain(opener, *given, **more)

    monkeypatch.setattr(Opener, "plain", counted)

    async def write(database: Database) -> None:
        async with database.connection() as connection:
            await connection.execute("DELETE FROM runs")

    async with Database(settings_for(server.url, database_pool_min=4, database_pool_max=4)) as database:
        server.set_read_only(True)
        await wait_until("no write is taken", lambda: _is_read_only(database))
        before = len(opened)
        for _ in range(20):
            refused = await asyncio.gather(*(write(database) for _ in range(4)), return_exceptions=True)
            assert {type(error) for error in refused} == {DatabaseUnavailable}
        assert database.is_read_only
        assert len(opened) - before == 4 + 1
        server.set_read_only(False)

        async def is_taken() -> bool:
            return await asyncio.gather(write(database), return_exceptions=True) == [None]

        await wait_until("writes are taken", is_taken)


async def test_a_row_is_made_durable_whatever_was_last_seen_of_postgresql(server: OwnPostgres) -> None:
    """What a process has last seen may be over: only PostgreSQL's own refusal says that the row is a primary's."""
    async with Database(settings_for(server.url)) as database:
        runs = WholeRuns(database)
        async with database.transaction():
            await runs.admit(run := queued("run_1", None))
        versions = "SELECT xmin::text FROM runs"
        with psycopg.connect(server.url, autocommit=True) as looking:
            database._writes.note(is_read_only=True)
            before = looking.execute(versions).fetchone()
            await runs.make_durable(run)
            assert looking.execute(versions).fetchone() != before, "the row is written anew"
            assert not database.is_read_only, "a write has passed"
            server.set_read_only(True)
            await wait_until("no write is taken", lambda: _is_read_only(database))
            database.note_written()
            before = looking.execute(versions).fetchone()
            await runs.make_durable(run)
            assert looking.execute(versions).fetchone() == before


async def _is_read_only(database: Database) -> bool:
    await database.check()
    return database.is_read_only


async def _is_in(warning: str, stage: Stage) -> bool:
    return warning in await stage.warnings()


@pytest.mark.parametrize("is_superuser", [True, False], ids=["all slots", "all but the reserved slots"])
async def test_a_server_that_has_no_connection_left_loses_nothing_and_no_process_has_to_be_restarted(
    server: OwnPostgres, redis_url: str, issuer_key_file: Path, is_superuser: bool
) -> None:
    """What is open goes on; a process whose connections were all lost says 503 until the server has room."""
    with limited_role(server.url, 150) as role_url:
        url = server.url if is_superuser else role_url
        async with staged(url, redis_url, issuer_key_file, database_timeout_seconds=2) as stage:
            alice = stage.alice
            assert (await alice.stream(create(str(Script())))).end == "completed"
            other = OwnPostgres(server.url if is_superuser else role_url, server.folder)
            if not is_superuser:
                with psycopg.connect(server.url, autocommit=True) as connection:
                    connection.execute(
                        f"ALTER ROLE {role_url.split('/')[2].split(':')[0]} CONNECTION LIMIT -1"
                    )
            await asyncio.to_thread(other.take_connections)
            try:
                answers = await asyncio.gather(
                    *(alice.stream(create(str(Script())), keyed(n)) for n in range(8))
                )
                assert {answer.end for answer in answers} == {"completed"}
                with pytest.raises(DatabaseUnavailable):
                    async with Database(settings_for(url)):
                        pass
                numbers = iter(range(1_000))

                async def is_refused() -> str | None:
                    """A connection of the product may come before ours: its sessions are ended again."""
                    _end_sessions(other)
                    await asyncio.to_thread(other.take_connections)
                    key = f"refused-{next(numbers)}"
                    response = await alice.post(create(str(Script())), keyed(key))
                    if response.status_code == 200:
                        return None
                    assert_refused(response)
                    return key

                key = await wait_until("a message is refused", is_refused)
                assert (await alice.get("/readyz")).status_code == 503
                codes = {line.get("cause_code") for line in stage.lines("request_failed")}
                assert "53300" in codes, codes
            finally:
                other.give_connections()
            await wait_until("the API is ready", stage.takes_messages)
            assert (await alice.stream(create(str(Script())), keyed(key))).end == "completed"


def _end_sessions(other: OwnPostgres) -> None:
    """Those of the product; the places go to `other`."""
    with other.taken[0] as connection:
        connection.execute("""
            SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
            WHERE application_name = 'relaykit' AND usename = current_user
        """)
    other.taken.pop(0)


async def test_a_disk_that_is_full_refuses_messages_and_an_answer_under_way_waits_for_room(
    server: OwnPostgres, redis_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """A real file system without a free block."""
    with small_disk(server):
        async with full_stage(server, redis_url, issuer_key_file, tmp_path) as check:
            await asyncio.to_thread(fill_disk, server)
            await check(lambda: server.execute("DROP TABLE filler"))


async def test_the_sqlstate_of_a_full_disk_does_the_same(
    server: OwnPostgres, redis_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """Where no file system can be mounted: a trigger raises 53100."""
    async with full_stage(server, redis_url, issuer_key_file, tmp_path) as check:
        server.execute("""
            CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
            CREATE TRIGGER disk_full BEFORE INSERT OR UPDATE ON items EXECUTE FUNCTION disk_full();
        """)
        await check(lambda: server.execute("DROP FUNCTION disk_full CASCADE"))


@asynccontextmanager
async def full_stage(
    server: OwnPostgres, redis_url: str, issuer_key_file: Path, tmp_path: Path
) -> AsyncIterator[Any]:
    """An answer is under way; the block fills the disk, and calls what it is given with what makes room."""
    server.execute("ALTER TABLE items ALTER data SET STORAGE EXTERNAL")  # not compressed
    gate = tmp_path / "gate"
    gate.mkdir()
    held = create(str(Script(deltas=10, pad=PAD, gate=str(gate), holds=[HOLD])))
    async with (
        staged(server.url, redis_url, issuer_key_file) as stage,
        asking(stage.alice, held, keyed(1)) as asker,
    ):
        alice = stage.alice
        thread_id = (await alice.stream(create(str(Script())))).thread_id
        await asker.until("mid-answer", lambda answer: len(answer.of_type("thread.item.updated")) >= HOLD)

        async def check(make_room: Any) -> None:
            long_message = message(thread_id, "x" * 60_000)
            assert_refused(await alice.post(long_message, keyed("long")))
            assert "53100" in {line.get("cause_code") for line in stage.lines("request_failed")}
            assert len(await alice.items(thread_id)) == 2, "threads are read"
            open_gate(gate, HOLD)
            await wait_until(
                "the worker waits for room",
                lambda: any("53100" in (line.get("cause_code") or "") for line in stage.lines("store_retry")),
            )
            make_room()
            answer = await asker.finished()
            assert answer.end == "completed"
            assert (await alice.get(f"/runs/{answer.run_id}")).json()["attempt"] == 1
            assert (await alice.stream(long_message, keyed("long"))).end == "completed"

        yield check
