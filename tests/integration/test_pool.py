"""The pool: a new connection that is refused waits for one that is open, and only a pool without one is unavailable."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import pytest

from relaykit.shared.errors import DatabaseUnavailable
from relaykit.shared.postgres.database import Database
from relaykit.shared.settings import Settings
from tests.integration.persistence import settings_for
from tests.support.network.links import Link
from tests.support.servers.relay_servers import ScriptedAnswers
from tests.support.services.pgbouncer import pgbouncer
from tests.support.services.roles import limit, limited_role
from tests.support.system import create, keyed, running

OPEN = 2


@asynccontextmanager
async def _opened(url: str, **changes: float) -> AsyncIterator[Database]:
    """A database whose pool has OPEN connections and may have many more."""
    async with Database(
        settings_for(url, database_pool_min=OPEN, database_pool_max=8, **changes)
    ) as database:
        yield database


async def _waits_for_an_open_one(database: Database) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(OPEN):
            await stack.enter_async_context(database.connection())
        waiting = [asyncio.create_task(database.check()) for _ in range(10)]
        done, _ = await asyncio.wait(waiting, timeout=0.3)
        assert not done, [task.exception() for task in done]
    await asyncio.gather(*waiting)


class TestARefusedConnection:
    async def test_of_a_role_without_more_waits_for_an_open_one(self, database_url: str) -> None:
        with limited_role(database_url, OPEN) as url:
            async with _opened(url) as database:
                await _waits_for_an_open_one(database)

    async def test_of_a_pooler_without_more_waits_for_an_open_one(self, database_url: str) -> None:
        with pgbouncer(database_url, "session", max_client_conn=str(OPEN)) as url:
            async with _opened(url) as database:
                await _waits_for_an_open_one(database)

    async def test_without_a_descriptor_waits_for_an_open_one(self, database_url: str) -> None:
        async with _opened(database_url) as database:
            with _no_descriptor():
                await _waits_for_an_open_one(database)

    async def test_of_a_server_that_takes_no_more_waits_for_an_open_one(self, database_url: str) -> None:
        async with Link(database_url) as link, _opened(link.url) as database:
            assert link._server is not None
            link._server.close()  # what is open stays
            await _waits_for_an_open_one(database)

    async def test_is_unavailable_where_none_is_given_back_in_time(self, database_url: str) -> None:
        with limited_role(database_url, OPEN) as url:
            async with _opened(url, database_timeout_seconds=0.5) as database:
                async with database.connection(), database.connection():
                    with pytest.raises(DatabaseUnavailable):
                        await database.check()
                await database.check()

    async def test_is_unavailable_at_once_where_none_is_open(self, database_url: str) -> None:
        async with Link(database_url) as link, _opened(link.url, database_timeout_seconds=60) as database:
            link.refuse()
            async with asyncio.timeout(30):
                for outcome in await asyncio.gather(
                    *(database.check() for _ in range(20)), return_exceptions=True
                ):
                    assert isinstance(outcome, DatabaseUnavailable)
            await link.listen()
            await database.check()

    async def test_is_asked_for_again_once_there_may_be_more(self, database_url: str) -> None:
        with limited_role(database_url, OPEN) as url:
            async with _opened(url) as database, database.connection(), database.connection():
                third = asyncio.create_task(database.check())
                done, _ = await asyncio.wait([third], timeout=0.3)
                assert not done
                limit(database_url, url, OPEN + 1)
                await third


async def test_a_burst_on_a_role_with_few_connections_is_accepted_whole(settings: Settings) -> None:
    """Over a line that makes every statement last long enough for many to be under way at once."""
    with limited_role(settings.database_url, 12) as url:
        async with Link(url) as link:
            limited = settings.model_copy(update={"database_url": link.url})
            async with running(limited, ScriptedAnswers) as system:
                alice = await system.caller()
                await alice.stream(create("the worker has its connections"))
                link.delay_seconds = lambda: 0.02
                for burst in range(3):
                    answers = await asyncio.gather(
                        *(alice.post(create("hi"), keyed(f"{burst}-{number}")) for number in range(40))
                    )
                    assert [answer.status_code for answer in answers] == [200] * 40


@contextmanager
def _no_descriptor() -> Iterator[None]:
    """This process can open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
    try:
        while True:
            try:
                taken.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)
