"""Redis and PostgreSQL fail over behind one address: what is new reaches the new primary, what runs goes on.

The address is a link that leads new connections elsewhere while those that are there stay, as DNS, a virtual IP or a
balancer does at a planned failover.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from relaykit.shared.journal import Journals, JournalTtl
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import open_redis
from tests.support.clients.stream_clients import asking, crowd, following
from tests.support.network.link_connection import Direction
from tests.support.network.links import Link
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.services.postgres_standby import postgres_pair
from tests.support.services.redis_nodes import Node, failed_over, pair, promoted, redis_node, replicated
from tests.support.system import (
    Answer,
    Caller,
    create,
    free_port,
    keyed,
    make_settings,
    running,
    takes_messages,
    wait_until,
)

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
            return takes_messages(await client.get(f"{self.url}/readyz"))

    async def has_left(self) -> bool:
        """No connection of the product leads to the old primary any more."""
        return not await self.primary.our_connections()


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[tuple[Node, Node]]:
    async for both in pair(tmp_path):
        yield both


@asynccontextmanager
async def staged(
    primary: Node,
    replica: Node,
    database_url: str,
    key_file: Path,
    folder: Path,
    holds: Sequence[int] = (HOLD,),
    **more: Any,
) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        logs = stack.enter_context(capture_logs())
        link = await stack.enter_async_context(Link(primary.url))
        settings = make_settings(
            link.url, database_url, key_file, free_port(), caller_requests_per_minute=600, **more
        )
        system = await stack.enter_async_context(running(settings, ScriptedAnswers))
        alice = await crowd(system, await system.caller())
        gate = folder / "gate"
        gate.mkdir()
        script = create(str(Script(deltas=max(holds) + 2, gate=str(gate), holds=[*holds])))
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


SECOND_HOLD = 7


@asynccontextmanager
async def lagging(
    database_url: str, key_file: Path, folder: Path, **more: Any
) -> AsyncIterator[tuple[Stage, str]]:
    """A replica that has taken the primary's place without the newest entries of a journal, and the cursor before them.

    The run goes on, and the one client that was there has been shown them.
    """
    async with AsyncExitStack() as stack:
        primary, replica = (stack.enter_context(redis_node(folder)) for _ in range(2))
        for node in (primary, replica):
            await wait_until("Redis answers", node.answers)
        way = await stack.enter_async_context(Link(primary.url))
        await replicated(Node(way.port, primary.process), replica, known_to=primary)
        holds = (HOLD, SECOND_HOLD)
        stage = await stack.enter_async_context(
            staged(primary, replica, database_url, key_file, folder, holds, **more)
        )
        known = stage.asker.answer.frames[-1][0]
        journal = keys.journal(stage.asker.run_id)

        async def has_the_journal() -> bool:
            async with replica.client() as client:
                found = await client.xrevrange(journal, count=1)
                return bool(found) and found[0][0] == known

        await wait_until("the replica has what the client has", has_the_journal)
        way.hold(Direction.DOWN)
        open_gate(stage.gate, HOLD)
        await stage.asker.until(
            "the client has more",
            lambda answer: len(answer.of_type("thread.item.updated")) >= SECOND_HOLD,
        )
        primary.process.kill()
        primary.process.wait()
        way.refuse()
        await promoted(replica)
        assert await has_the_journal(), "the replica has received no more"
        stage.link.serve(replica.url)
        yield stage, known


def in_order(answer: Answer) -> bool:
    places = [tuple(map(int, cursor.split("-"))) for cursor, _ in answer.frames if cursor]
    return bool(places) and places == sorted(set(places))


async def test_what_a_promoted_replica_lacks_of_a_journal_is_told_to_its_readers(
    database_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """Who was there goes on without a loss; who comes later is given what is left, and then 410 with the thread."""
    async with lagging(database_url, issuer_key_file, tmp_path, lease_seconds=600) as (stage, known):
        open_gate(stage.gate, SECOND_HOLD)
        whole = await stage.asker.finished()
        assert (whole.end, in_order(whole)) == ("completed", True)
        shown = (await stage.alice.get(f"/runs/{whole.run_id}")).json()
        assert (shown["status"], shown["attempt"]) == ("completed", 1)
        from_start = await stage.alice.resume(whole.run_id, None)
        assert (from_start.end, in_order(from_start)) == (None, True)
        assert from_start.frames == whole.frames[: len(from_start.frames)]
        assert from_start.frames[-1][0] == known
        gone = await stage.alice.get(f"/runs/{whole.run_id}/events", {"Last-Event-ID": known})
        assert (gone.status_code, gone.json()["error"]["code"]) == (410, "journal_gone")
        assert gone.json()["error"]["thread_id"] == whole.thread_id
        items = await stage.alice.items(whole.thread_id)
        assert [item["type"] for item in items] == ["user_message", "assistant_message"]


async def test_an_attempt_after_a_lost_end_of_the_one_before_is_told_to_whom_was_shown_that_end(
    database_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """The next attempt cannot take back what it does not know of, so that the client has to load the thread."""
    async with lagging(database_url, issuer_key_file, tmp_path, lease_seconds=600) as (stage, known):
        run_id, last = stage.asker.run_id, stage.asker.answer.frames[-1][0]
        assert last != known
        async with open_redis(stage.replica.url, connections=1) as client:
            ttl = JournalTtl(unfinished_seconds=60, ended_seconds=60)
            assert (await Journals(client, ttl).start_attempt(run_id, 2)).outcome == "ok"
        async with following(stage.alice, run_id, last) as later:
            await wait_until("who comes again is answered", lambda: later.response)
            assert later.response is not None
            assert later.response.status_code == 410
        live = await stage.asker.finished()
        assert (live.end, in_order(live)) == (None, True)
        async with following(stage.alice, run_id, known) as follower:
            await wait_until("who had no more than is left goes on", lambda: follower.response)
            assert follower.response is not None
            assert follower.response.status_code == 200


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
