"""PostgreSQL fails over between the hosts of DATABASE_URL: what a synchronous standby keeps, an asynchronous loses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from relaykit.worker.main import create_worker
from tests.support.clients.stream_clients import asking, crowd
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.services.postgres_standby import PostgresPair, postgres_pair
from tests.support.system import (
    Caller,
    _working,
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


@pytest.fixture
def databases() -> Iterator[PostgresPair]:
    with postgres_pair() as pair:
        yield pair


@asynccontextmanager
async def staged(
    databases: PostgresPair, redis_url: str, issuer_key_file: Path, **more: Any
) -> AsyncIterator[Caller]:
    """An API and a worker that know both hosts."""
    given = {"lease_seconds": 10, "database_pool_min": 2, **more}
    settings = make_settings(redis_url, databases.both_url, issuer_key_file, free_port(), **given)
    async with running(settings, ScriptedAnswers) as system:
        yield await crowd(system, await system.caller())


async def is_ready(alice: Caller) -> bool:
    return takes_messages(await alice.get("/readyz"))


async def test_nothing_accepted_is_lost_with_a_synchronous_standby_and_processes_find_it_by_themselves(
    databases: PostgresPair, redis_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """Messages are sent without a pause while the primary is killed. One answer is under way."""
    databases.wait_for_standby()
    accepted: list[str] = []
    refused: list[tuple[int, str, bool]] = []
    enough = asyncio.Event()

    async def send(alice: Caller, sender: int) -> None:
        number = 0
        while not enough.is_set():
            number += 1
            request = create(str(Script(deltas=2)))
            async with alice.open_stream(request, keyed(f"{sender}-{number}")) as response:
                if response.status_code == 200:
                    accepted.append(response.headers["x-run-id"])
                    continue
                await response.aread()
                code = response.json()["error"]["code"]
                refused.append((response.status_code, code, "retry-after" in response.headers))
            await asyncio.sleep(0.05)

    gate = tmp_path / "gate"
    gate.mkdir()
    held = create(str(Script(deltas=5, gate=str(gate), holds=[HOLD])))
    async with staged(databases, redis_url, issuer_key_file) as alice, asking(alice, held, keyed(1)) as asker:
        await asker.until("mid-answer", lambda answer: len(answer.of_type("thread.item.updated")) >= HOLD)
        senders = [asyncio.create_task(send(alice, sender)) for sender in range(4)]
        await wait_until("messages are accepted", lambda: len(accepted) > 10)
        await asyncio.to_thread(databases.kill_primary)
        await wait_until("messages are refused", lambda: refused)
        before = len(accepted)
        await asyncio.to_thread(databases.promote)
        await wait_until("messages are accepted again", lambda: len(accepted) > before + 10)
        enough.set()
        await asyncio.gather(*senders)
        open_gate(gate, HOLD)
        answer = await asker.finished()
        assert answer.end == "completed"
        assert set(refused) == {(503, "database_unavailable", True)}
        for run_id in [answer.run_id, *accepted]:

            async def ended(run_id: str = run_id) -> dict[str, Any] | None:
                shown = await alice.get(f"/runs/{run_id}")
                assert shown.status_code == 200, f"{run_id} was accepted: {shown.text}"
                return shown.json() if shown.json()["status"] not in ("queued", "running") else None

            assert (await wait_until(f"{run_id} has ended", ended))["status"] == "completed"
        assert await is_ready(alice)


async def test_what_the_synchronous_standby_has_not_received_is_not_accepted(
    databases: PostgresPair, redis_url: str, issuer_key_file: Path
) -> None:
    """The client is refused, and its repetition finds the run that the primary had committed by itself."""
    databases.wait_for_standby()
    async with staged(databases, redis_url, issuer_key_file, database_timeout_seconds=1) as alice:
        request = create(str(Script()))
        with databases.cut_off_standby():
            refused = await alice.post(request, keyed(1))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "database_unavailable")
        assert int(refused.headers["retry-after"]) > 0

        async def is_accepted() -> bool:
            """Each statement has a second, which is little on a machine that is busy."""
            response = await alice.post(request, keyed(1))
            return response.status_code == 200 and b": end completed" in response.content

        await wait_until("the repetition is answered", is_accepted)


async def test_a_start_that_waits_for_a_synchronous_standby_costs_a_run_one_attempt_however_often_it_is_repeated(
    databases: PostgresPair, redis_url: str, issuer_key_file: Path
) -> None:
    """Each repetition finds the row that the one before has committed at the primary alone."""
    databases.wait_for_standby()
    given: dict[str, Any] = {"lease_seconds": 10, "database_timeout_seconds": 1, "run_max_attempts": 1}
    settings = make_settings(redis_url, databases.both_url, issuer_key_file, free_port(), **given)
    async with running(settings, ScriptedAnswers, workers=0) as system:
        alice = await crowd(system, await system.caller())
        async with asking(alice, create(str(Script())), keyed(1)) as asker:
            await asker.until("it is accepted", lambda answer: answer.run_id)
            with databases.cut_off_standby(), capture_logs() as logs:
                await system.stack.enter_async_context(_working(create_worker(settings, ScriptedAnswers())))
                repeated = "service_retry"
                await wait_until(
                    "the start was repeated",
                    lambda: len([line for line in logs if line["action"] == repeated]) > 2,
                )
            answer = await asker.finished()
        assert answer.end == "completed"
        assert (await alice.get(f"/runs/{answer.run_id}")).json()["attempt"] == 1


async def test_what_an_asynchronous_standby_has_not_received_is_lost_and_harms_nothing_else(
    databases: PostgresPair, redis_url: str, issuer_key_file: Path
) -> None:
    """As docs/operations.md says: its run and thread are absent, and what comes after them is answered."""
    async with staged(databases, redis_url, issuer_key_file) as alice:
        kept = await alice.stream(create(str(Script())))
        await wait_until("the standby has all", databases.is_replayed)
        databases.cut_off()
        lost = await alice.stream(create(str(Script(deltas=3))))
        assert lost.end == "completed"
        await asyncio.to_thread(databases.kill_primary)
        await asyncio.to_thread(databases.promote)
        await wait_until("the API is ready", lambda: is_ready(alice))
        assert (await alice.get(f"/runs/{lost.run_id}")).status_code == 404
        absent = await alice.post(message(lost.thread_id, "hello"))
        assert (absent.status_code, absent.json()["error"]["code"]) == (404, "thread_not_found")
        assert (await alice.get(f"/runs/{kept.run_id}")).json()["status"] == "completed"
        assert (await alice.stream(message(kept.thread_id, str(Script())))).end == "completed"


async def test_a_process_starts_on_a_standby_and_reads_until_it_is_promoted(
    databases: PostgresPair, redis_url: str, issuer_key_file: Path
) -> None:
    """The one address leads to it: threads are read, and no process has to be restarted."""
    async with staged(databases, redis_url, issuer_key_file) as alice:
        thread_id = (await alice.stream(create(str(Script())))).thread_id
        await wait_until("the standby has all", databases.is_replayed)
    databases.kill_primary()
    settings = make_settings(redis_url, databases.standby_url, issuer_key_file, free_port())
    async with running(settings, ScriptedAnswers) as system:
        alice = await crowd(system, await system.caller())
        ready = await alice.get("/readyz")
        assert (ready.status_code, "database_read_only" in ready.json()["warnings"]) == (200, True)
        assert len(await alice.items(thread_id)) == 2
        refused = await alice.post(message(thread_id, str(Script())), keyed(1))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "database_unavailable")
        await asyncio.to_thread(databases.promote)

        async def is_accepted() -> httpx2.Response | None:
            response = await alice.post(message(thread_id, str(Script())), keyed(1))
            return response if response.status_code == 200 else None

        await wait_until("messages are accepted", is_accepted)
        await wait_until("the API says so", lambda: is_ready(alice))
