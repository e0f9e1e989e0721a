"""Redis and PostgreSQL fail over behind one address: what is new reaches the new primary, what runs goes on.

The address is a link that leads new connections elsewhere while those that are there stay, as DNS, a virtual IP or a
balancer does at a planned failover.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from tests.support.links import Link
from tests.support.postgres_standby import postgres_pair
from tests.support.redis_nodes import Node, failed_over, pair, promoted, redis_node
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.stream_clients import asking, crowd
from tests.support.system import Caller, create, free_port, keyed, make_settings, running, wait_until

HOLD = 3


@dataclass
class Stage:
    """A system on two Redis servers behind one address, with a run in mid-answer."""

    link: Link
    primary: Node
    replica: Node
    alice: Caller
    url: str
    logs: list[Any]
    asker: Any
    gate: Path

    def words(self) -> set[tuple[str, str]]:
        """Type and code of the causes that the log names."""
        return {
            (line["cause_type"], line.get("cause_code", "")) for line in self.logs if "cause_type" in line
        }

    async def is_ready(self) -> bool:
        async with httpx2.AsyncClient(timeout=20) as client:
            return (await client.get(f"{self.url}/readyz")).status_code == 200

    async def has_left(self) -> bool:
        """No connection of the product leads to the old primary any more."""
        return not await self.primary.our_connections()


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[tuple[Node, Node]]:
    async for both in pair(tmp_path):
        yield both


@asynccontextmanager
async def staged(
    primary: Node, replica: Node, database_url: str, key_file: Path, folder: Path
) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        logs = stack.enter_context(capture_logs())
        link = await stack.enter_async_context(Link(primary.url))
        settings = make_settings(
            link.url, database_url, key_file, free_port(), caller_requests_per_minute=600
        )
        system = await stack.enter_async_context(running(settings, ScriptedAnswers))
        alice = await crowd(system, await system.caller())
        gate = folder / "gate"
        gate.mkdir()
        script = create(str(Script(deltas=5, gate=str(gate), holds=[HOLD])))
        asker = await stack.enter_async_context(asking(alice, script, keyed(1)))
        await asker.until("mid-answer", lambda answer: len(answer.of_type("thread.item.updated")) >= HOLD)
        yield Stage(link, primary, replica, alice, system.urls[0], logs, asker, gate)


async def test_a_planned_failover_leaves_no_connection_at_the_old_primary_and_loses_no_answer(
    nodes: tuple[Node, Node], database_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    async with staged(*nodes, database_url, issuer_key_file, tmp_path) as stage:
        await failed_over(stage.primary, stage.replica)
        stage.link.serve(stage.replica.url)
        answer = await stage.alice.stream(create(str(Script())), keyed(2))
        assert answer.end == "completed"
        open_gate(stage.gate, HOLD)
        running_one = await stage.asker.finished()
        assert running_one.end == "completed"
        assert (await stage.alice.get(f"/runs/{running_one.run_id}")).json()["attempt"] == 1
        await wait_until("no connection is left at the old primary", stage.has_left)
        assert await stage.is_ready()
        assert {code for _, code in stage.words()} & {"READONLY", "UNBLOCKED"}, stage.words()
        again = [await stage.alice.stream(create(str(Script())), keyed(n)) for n in range(3, 6)]
        assert {one.end for one in again} == {"completed"}


async def test_an_address_that_follows_late_is_waited_for(
    nodes: tuple[Node, Node], database_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """Meanwhile the API says that it is not ready, and why."""
    async with staged(*nodes, database_url, issuer_key_file, tmp_path) as stage:
        await failed_over(stage.primary, stage.replica)
        assert not await stage.is_ready()
        assert (await stage.alice.post(create(str(Script())), keyed(2))).status_code == 503
        failed = [line for line in stage.logs if line.get("action") == "request_failed"]
        assert {line.get("cause_code") for line in failed} == {"READONLY"}, failed
        stage.link.serve(stage.replica.url)
        await wait_until("the API is ready", stage.is_ready)
        assert (await stage.alice.stream(create(str(Script())), keyed(3))).end == "completed"
        open_gate(stage.gate, HOLD)
        assert (await stage.asker.finished()).end == "completed"
        await wait_until("no connection is left at the old primary", stage.has_left)


async def test_a_killed_primary_costs_nothing_that_its_replica_has(
    nodes: tuple[Node, Node], database_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    async with staged(*nodes, database_url, issuer_key_file, tmp_path) as stage:
        stage.primary.process.kill()
        stage.primary.process.wait()
        await promoted(stage.replica)
        stage.link.serve(stage.replica.url)
        assert (await stage.alice.stream(create(str(Script())), keyed(2))).end == "completed"
        open_gate(stage.gate, HOLD)
        assert (await stage.asker.finished()).end == "completed"


async def test_a_killed_primary_whose_replica_is_empty_costs_no_accepted_run(
    database_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """The row is the truth."""
    with redis_node(tmp_path) as primary, redis_node(tmp_path) as empty:
        for node in (primary, empty):
            await wait_until("Redis answers", node.answers)
        async with staged(primary, empty, database_url, issuer_key_file, tmp_path) as stage:
            run_id = stage.asker.run_id
            primary.process.kill()
            primary.process.wait()
            stage.link.serve(empty.url)
            assert (await stage.alice.stream(create(str(Script())), keyed(2))).end == "completed"
            open_gate(stage.gate, HOLD)

            async def ended() -> dict[str, Any] | None:
                shown = (await stage.alice.get(f"/runs/{run_id}")).json()
                return shown if shown["status"] not in ("queued", "running") else None

            assert (await wait_until("the running run has ended", ended))["status"] == "completed"


async def test_a_promoted_standby_of_postgresql_goes_on_with_every_committed_run(
    redis_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """The run in mid-answer completes in its first attempt, and a new one is taken."""
    with postgres_pair() as databases:
        async with AsyncExitStack() as stack:
            link = await stack.enter_async_context(Link(databases.url))
            settings = make_settings(redis_url, link.url, issuer_key_file, free_port(), lease_seconds=10)
            system = await stack.enter_async_context(running(settings, ScriptedAnswers))
            alice = await crowd(system, await system.caller())
            gate = tmp_path / "gate"
            gate.mkdir()
            script = create(str(Script(deltas=5, gate=str(gate), holds=[HOLD])))
            asker = await stack.enter_async_context(asking(alice, script, keyed(1)))
            await asker.until("mid-answer", lambda answer: len(answer.of_type("thread.item.updated")) >= HOLD)
            await wait_until("the standby has all", databases.is_replayed)
            databases.kill_primary()
            databases.promote()
            link.serve(databases.standby_url)
            open_gate(gate, HOLD)
            answer = await asker.finished()
            assert answer.end == "completed"
            shown = (await alice.get(f"/runs/{answer.run_id}")).json()
            assert (shown["status"], shown["attempt"]) == ("completed", 1)

            async def is_taken() -> bool:
                return (await alice.post(create(str(Script())), keyed(2))).status_code == 200

            await wait_until("a new message is taken", is_taken)
            assert (await alice.get("/readyz")).status_code == 200
