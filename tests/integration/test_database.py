"""Database: the pool at start, through an outage, under cancellation, and the transaction that calls share."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from relaykit.local.data_directory import data_directory
from relaykit.local.services import services
from relaykit.local.waiting import StopRequest
from relaykit.shared.errors import DatabaseUnavailable, Fenced, SchemaOutdated, SettingsError, Stopping
from relaykit.shared.postgres import sessions
from relaykit.shared.postgres.database import Database
from relaykit.shared.postgres.migrate import migrate
from relaykit.shared.postgres.sessions import prepared
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from relaykit.worker.execution.attempt import Attempt
from relaykit.worker.execution.persist import persist
from tests.integration.persistence import ALICE, message, outside, settings_for, thread
from tests.support.network.links import Link
from tests.support.services.databases import remove_data
from tests.support.system import START_SECONDS, WAIT_SECONDS

TABLE = "CREATE TABLE notes (id integer PRIMARY KEY)"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database(settings_for(database_url, database_pool_max=3)) as database:
        async with database.connection() as connection:
            await connection.execute(TABLE)
        yield database


async def _note(database: Database, number: int) -> None:
    async with database.connection() as connection:
        await connection.execute("INSERT INTO notes VALUES ($1)", number)


async def _notes(database: Database) -> list[int]:
    async with database.connection() as connection:
        return [row["id"] for row in await connection.fetch("SELECT id FROM notes ORDER BY id")]


async def _sessions(database: Database) -> int:
    async with database.connection() as connection:
        return await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state IS NOT NULL"
        )


async def _until(what: str, condition: Callable[[], Awaitable[Any]], seconds: float = WAIT_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"never came true in {seconds} s: {what}"
        await asyncio.sleep(0.02)


class TestStart:
    async def test_it_opens_the_smallest_number_of_connections_before_the_first_request(
        self, database_url: str
    ) -> None:
        async with Database(settings_for(database_url, database_pool_min=3, database_pool_max=4)) as database:
            assert await _sessions(database) == 3

    async def test_the_first_call_finds_its_statement_prepared(self, database_url: str) -> None:
        statement = prepared("SELECT id FROM runs WHERE id = $1 AND owner = $2 /* warmed */")
        try:
            async with Database(settings_for(database_url)) as database, database.connection() as connection:
                names = await connection.fetch("SELECT statement FROM pg_prepared_statements")
        finally:
            del sessions._prepared[statement]
        assert statement in [row["statement"] for row in names]

    async def test_preparing_writes_nothing(self, database: Database) -> None:
        async with database.connection() as connection:
            for table in ("threads", "items", "attachments", "runs"):
                assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0

    async def test_a_database_that_is_away_is_one_clear_error(self) -> None:
        url = "postgresql://relaykit:secret@127.0.0.1:1/relaykit"
        with pytest.raises(DatabaseUnavailable) as raised:
            async with Database(settings_for(url)):
                pass
        assert raised.value.message.startswith("DATABASE_URL: cannot connect (ConnectionRefusedError")
        assert "secret" not in raised.value.message
        assert "\n" not in raised.value.message

    async def test_a_database_that_does_not_exist_is_one_clear_error(self, database_url: str) -> None:
        async with Link(database_url) as link:
            url = urlsplit(link.url)._replace(path="/absent").geturl()
            with pytest.raises(DatabaseUnavailable, match='database "absent" does not exist'):
                async with Database(settings_for(url)):
                    pass

    async def test_a_server_that_does_not_answer_is_an_error_within_the_timeout(
        self, database_url: str
    ) -> None:
        async with Link(database_url) as link:
            link.hold()
            with pytest.raises(DatabaseUnavailable):
                async with Database(settings_for(link.url, database_timeout_seconds=0.5)):
                    pass

    @pytest.mark.parametrize(
        "url", ["postgresql://u:sec/ret@127.0.0.1/db", "postgresql://u:sec%ret@127.0.0.1/db"]
    )
    async def test_a_malformed_url_is_an_error_that_shows_no_password(self, url: str) -> None:
        with pytest.raises(SettingsError) as raised:
            async with Database(settings_for(url)):
                pass
        assert raised.value.message == "DATABASE_URL: is not a PostgreSQL URL"
        assert raised.value.__context__ is None or raised.value.__suppress_context__

    @pytest.mark.parametrize(
        "damage",
        ["DROP SCHEMA public CASCADE; CREATE SCHEMA public", "DELETE FROM _yoyo_migration"],
        ids=["empty", "behind"],
    )
    async def test_a_schema_that_is_not_there_is_an_error_that_says_what_to_do(
        self, database_url: str, damage: str
    ) -> None:
        async with Database(settings_for(database_url)) as database, database.connection() as connection:
            await connection.execute(damage)
        with pytest.raises(SchemaOutdated, match=r"relaykit migrate"):
            async with Database(settings_for(database_url)):
                pass

    def test_importing_opens_nothing_and_reads_no_environment(self) -> None:
        subprocess.run(
            [
                sys.executable,
                "-c",
                "import relaykit.shared.attachments.store, relaykit.shared.threads.store;"
                "from relaykit.shared.postgres import database, migrate",
            ],
            env={},
            cwd=Path(__file__).parents[2],
            check=True,
            timeout=START_SECONDS,
        )


class TestOutage:
    async def test_a_cut_connection_is_unavailable_and_the_next_call_after_it_works(
        self, database_url: str
    ) -> None:
        async with Link(database_url) as link:
            settings = settings_for(link.url, database_timeout_seconds=2)
            async with Database(settings) as database:
                await database.check()
                link.refuse()
                for _ in range(3):
                    with pytest.raises(DatabaseUnavailable):
                        await database.check()
                await link.listen()
                await database.check()

    async def test_a_connection_cut_in_a_statement_is_unavailable(self, database: Database) -> None:
        async def sleep() -> None:
            async with database.connection() as connection:
                await connection.execute("SELECT pg_sleep(30)")

        sleeping = asyncio.create_task(sleep())
        await _until("the statement runs", lambda: _terminate(database, "SELECT pg_sleep(30)"))
        with pytest.raises(DatabaseUnavailable):
            await sleeping
        await database.check()

    async def test_a_connection_cut_in_a_transaction_undoes_it(self, database: Database) -> None:
        async def lose() -> None:
            async with database.transaction() as connection:
                await _note(database, 1)
                pid = await connection.fetchval("SELECT pg_backend_pid()")
                await outside_task(_kill, database, pid)
                await _note(database, 2)

        with pytest.raises(DatabaseUnavailable):
            await lose()
        assert await _notes(database) == []

    async def test_a_server_that_freezes_is_unavailable_within_the_timeout(self, database_url: str) -> None:
        async with Link(database_url) as link:
            settings = settings_for(link.url, database_timeout_seconds=1.5)
            async with Database(settings) as database:

                async def in_a_transaction() -> None:
                    async with database.transaction() as connection:
                        link.hold()
                        await connection.execute("SELECT 1")

                async def outside_of_one() -> None:
                    link.hold()
                    await database.check()

                for call in (outside_of_one, in_a_transaction):
                    with pytest.raises(DatabaseUnavailable):
                        await call()
                    link.release()
                    await database.check()

    async def test_a_session_that_was_given_to_somebody_else_is_not_used_again(
        self, database: Database
    ) -> None:
        """As a pooler does that was changed to transaction mode: the statements that were prepared are gone."""
        statement = "SELECT id FROM notes WHERE id = $1"
        async with database.connection() as connection:
            await connection.fetch(statement, 1)
            lost = await connection.fetchval("SELECT pg_backend_pid()")
            await connection.execute("DEALLOCATE ALL")
        with pytest.raises(DatabaseUnavailable):
            async with database.connection() as connection:
                await connection.fetch(statement, 1)
        async with database.connection() as connection:
            await connection.fetch(statement, 1)
            assert await connection.fetchval("SELECT pg_backend_pid()") != lost

    async def test_two_processes_give_their_statements_different_names(self, database: Database) -> None:
        """So that in a session that is shared after all a statement is missing, and never another's."""
        async with database.connection() as connection:
            names = [row["name"] for row in await connection.fetch("SELECT name FROM pg_prepared_statements")]
        assert names
        assert all(name.endswith(sessions._Session._process) for name in names)

    async def test_a_full_pool_is_unavailable_within_the_timeout(self, database_url: str) -> None:
        settings = settings_for(
            database_url, database_pool_min=1, database_pool_max=2, database_timeout_seconds=2
        )
        async with Database(settings) as database:
            async with database.connection(), database.connection():
                with pytest.raises(DatabaseUnavailable):
                    await database.check()
            await database.check()

    async def test_a_server_that_stops_and_starts_again(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """A real server: away it is DatabaseUnavailable at once, and back it is found without a restart of ours."""
        folder = tmp_path_factory.mktemp("data")
        try:
            with _own_postgres(folder) as url:
                migrate(url)
                link = Link(url)
                await link.listen()
                settings = settings_for(link.url, database_pool_min=3, database_timeout_seconds=3)
                database = await Database(settings).__aenter__()
                store, kept = PostgresStore(StoreCalls(database)), thread(title="kept")
                await store.save_thread(kept, ALICE)
            try:
                for _ in range(5):
                    with pytest.raises(DatabaseUnavailable):
                        await store.load_thread(kept.id, ALICE)
                with _own_postgres(folder) as url:
                    link.serve(url)
                    assert await store.load_thread(kept.id, ALICE) == kept
                    await store.add_thread_item(kept.id, message(kept.id), ALICE)
            finally:
                await database.__aexit__(None, None, None)
                link.refuse()
        finally:
            remove_data(folder)

    async def test_a_database_that_is_not_open_yet_is_unavailable(self, database_url: str) -> None:
        with pytest.raises(DatabaseUnavailable, match="not open"):
            await Database(settings_for(database_url)).check()


class TestErrorsOfTheCaller:
    @pytest.mark.parametrize("error", [OSError("mine"), TimeoutError("mine"), asyncpg.InterfaceError("mine")])
    @pytest.mark.parametrize("block", ["connection", "transaction"])
    async def test_what_the_caller_raises_in_a_block_leaves_it_unchanged(
        self, database: Database, block: str, error: Exception
    ) -> None:
        async def fail() -> None:
            async with getattr(database, block)():
                raise error

        with pytest.raises(type(error)) as raised:
            await fail()
        assert raised.value is error

    async def test_what_postgres_says_of_a_statement_stays_as_it_is(self, database: Database) -> None:
        await _note(database, 1)
        with pytest.raises(asyncpg.UniqueViolationError):
            await _note(database, 1)
        with pytest.raises(asyncpg.InterfaceError, match="expects 1 argument"):
            async with database.connection() as connection:
                await connection.execute("INSERT INTO notes VALUES ($1)", 1, 2)
        await database.check()


class TestTransaction:
    async def test_calls_of_the_task_and_of_its_tasks_join_it(self, database: Database) -> None:
        async with database.transaction():
            await asyncio.gather(*(_note(database, number) for number in range(20)))
            assert len(await _notes(database)) == 20
            await asyncio.create_task(outside(_expect_none, database))
        assert len(await _notes(database)) == 20

    async def test_an_exception_undoes_it(self, database: Database) -> None:
        async def fail() -> None:
            async with database.transaction():
                await _note(database, 1)
                raise KeyError

        with pytest.raises(KeyError):
            await fail()
        assert await _notes(database) == []

    async def test_a_block_inside_is_a_savepoint(self, database: Database) -> None:
        async def fail(number: int) -> None:
            async with database.transaction():
                await _note(database, number)
                raise KeyError

        async with database.transaction() as connection:
            await _note(database, 1)
            with pytest.raises(KeyError):
                await fail(2)
            with pytest.raises(asyncpg.UniqueViolationError):
                async with connection.transaction():
                    await _note(database, 1)
            async with database.transaction():
                await _note(database, 3)
        assert await _notes(database) == [1, 3]

    async def test_a_swallowed_error_of_postgres_is_not_taken_for_a_commit(self, database: Database) -> None:
        async def swallow() -> None:
            async with database.transaction():
                await _note(database, 1)
                with pytest.raises(asyncpg.UniqueViolationError):
                    await _note(database, 1)

        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await swallow()
        assert await _notes(database) == []

    async def test_a_task_that_outlives_it_goes_on_with_the_pool(self, database: Database) -> None:
        over = asyncio.Event()

        async def later() -> None:
            await over.wait()
            await _note(database, 2)

        async with database.transaction():
            await _note(database, 1)
            task = asyncio.create_task(later())
        over.set()
        await task
        assert await _notes(database) == [1, 2]

    async def test_the_end_waits_for_a_statement_that_a_task_of_it_has_begun(
        self, database: Database
    ) -> None:
        async def slow() -> None:
            async with database.connection() as connection:
                await connection.execute("INSERT INTO notes SELECT 1 FROM pg_sleep(0.2)")

        async with database.transaction():
            task = asyncio.create_task(slow())
            await asyncio.sleep(0.05)
        await task
        assert await _notes(database) == [1]

    async def test_other_tasks_do_not_see_it_before_its_end(self, database: Database) -> None:
        begun, over = asyncio.Event(), asyncio.Event()

        async def writer() -> None:
            async with database.transaction():
                await _note(database, 1)
                begun.set()
                await over.wait()

        task = asyncio.create_task(writer())
        await begun.wait()
        assert await _notes(database) == []
        over.set()
        await task
        assert await _notes(database) == [1]


class TestCancellation:
    async def test_a_cancelled_transaction_leaves_nothing_and_its_connection_is_free(
        self, database: Database
    ) -> None:
        async def work() -> None:
            async with database.transaction() as connection:
                await _note(database, 1)
                await connection.execute("SELECT pg_sleep(30)")

        task = asyncio.create_task(work())
        await _until("the statement runs", lambda: _running(database, "SELECT pg_sleep(30)"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await _notes(database) == []
        await _until("the server stops it too", lambda: _not_running(database, "SELECT pg_sleep(30)"))

    async def test_cancelling_at_any_moment_costs_no_connection_and_splits_no_transaction(
        self, database: Database
    ) -> None:
        dice = random.Random(7)
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))

        async def work(number: int) -> None:
            async with database.transaction():
                await _note(database, 2 * number)
                await _note(database, 2 * number + 1)

        for round_number in range(60):
            tasks = [asyncio.create_task(work(10 * round_number + n)) for n in range(5)]
            await asyncio.sleep(dice.random() * 0.02)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
        notes = await _notes(database)
        assert [number for number in notes if number % 2 == 0] == [
            number - 1 for number in notes if number % 2
        ]
        async with database.connection(), database.connection(), database.connection():
            pass
        assert await _sessions(database) <= 3
        assert not [context for context in complaints if "active transaction" in context["message"]]


@contextmanager
def _own_postgres(folder: Path) -> Iterator[str]:
    given = {"REDIS_URL": "redis://127.0.0.1:1"}
    with (
        data_directory(folder) as directory,
        services(directory, given, StopRequest(), durable=False) as running,
    ):
        yield running.database_url


async def outside_task(call: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    await asyncio.create_task(outside(call, *arguments))


async def _expect_none(database: Database) -> None:
    assert await _notes(database) == []


async def _kill(database: Database, pid: int) -> None:
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT pg_terminate_backend($1, 5000)", pid), "it has not ended"


async def _running(database: Database, statement: str) -> int:
    async with database.connection() as connection:
        return await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE query = $1 AND state = 'active'", statement
        )


async def _not_running(database: Database, statement: str) -> bool:
    return not await _running(database, statement)


async def _terminate(database: Database, statement: str) -> bool | None:
    async with database.connection() as connection:
        return await connection.fetchval(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE query = $1 AND state = 'active' AND datname = current_database()""",
            statement,
        )


async def test_a_pool_that_this_process_has_closed_is_no_outage_to_wait_for(database_url: str) -> None:
    """Neither by the store of a running attempt, nor by the attempt itself, which is lost."""
    async with Database(settings_for(database_url)) as closed:
        await closed.check()
    with pytest.raises(Stopping):
        await closed.check()
    store = PostgresStore(StoreCalls(closed, waits=lambda: True))
    attempt = Attempt("run")
    async with asyncio.timeout(20):
        with pytest.raises(Stopping):
            await store.load_thread("thread", ALICE)
        with pytest.raises(Fenced):
            await persist(attempt, closed.check)
