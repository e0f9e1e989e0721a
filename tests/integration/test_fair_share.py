"""A flood of one caller keeps no other waiting: shares of slots, of the queue and of requests, in the whole stack."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from relaykit.shared.settings import Settings
from tests.integration.test_limits import assert_refused, refused, state
from tests.support.clients.stream_clients import Follower, asking
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.system import Caller, System, create, keyed, running, wait_until

LIST = {"type": "threads.list", "params": {"limit": 1}}


async def held(stack: AsyncExitStack, caller: Caller, gate: Path, name: str) -> Follower:
    """A run that holds its slot until `name` is opened, or waits for one."""
    script = Script(deltas=2, gate=str(gate / name), holds=[1])
    return await stack.enter_async_context(asking(caller, create(str(script))))


async def queued(caller: Caller, *numbers: int) -> None:
    """Runs of one delta, whose streams are left."""
    for number in numbers:
        async with caller.open_stream(create(str(Script(deltas=1))), keyed(number)) as response:
            assert response.status_code == 200, await response.aread()


async def begun(settings: Settings) -> list[str]:
    """Whose runs have begun, in that order."""
    connection = await asyncpg.connect(settings.database_url)
    try:
        rows = await connection.fetch(
            "SELECT tenant, owner FROM runs WHERE started_at IS NOT NULL ORDER BY started_at"
        )
    finally:
        await connection.close()
    return [f"{row['tenant']}/{row['owner']}" for row in rows]


async def ended(settings: Settings, count: int) -> None:
    async def all_ended() -> bool:
        connection = await asyncpg.connect(settings.database_url)
        try:
            return await connection.fetchval("SELECT count(*) FROM runs WHERE ended_at IS NOT NULL") == count
        finally:
            await connection.close()

    await wait_until(f"{count} runs have ended", all_ended)


async def is_running(follower: Follower) -> bool:
    return follower.raw.count(b"text_delta") == 1


async def test_beside_a_flood_another_tenants_run_and_another_users_take_the_next_slots(
    settings: Settings, tmp_path: Path
) -> None:
    """One slot; it is taken while ten runs of one caller wait, and then those of two others come."""
    async with running(settings.model_copy(update={"max_runs": 1}), ScriptedAnswers) as system:
        alice, bob = await system.caller("alice", "acme"), await system.caller("bob", "acme")
        carol = await system.caller("carol", "bolt")
        async with AsyncExitStack() as stack:
            first = await held(stack, alice, tmp_path, "first")
            await wait_until("the slot is taken", lambda: is_running(first))
            await queued(alice, *range(10))
            await queued(bob, 1)
            await queued(carol, 1)
            open_gate(tmp_path / "first", 1)
            await ended(settings, 13)
        order = await begun(settings)
        assert order[0] == "acme/alice"
        assert set(order[1:3]) == {"bolt/carol", "acme/bob"}


async def test_without_tenants_users_share_the_slots_by_the_weights_of_their_tiers(
    settings: Settings, tmp_path: Path
) -> None:
    weighted = settings.model_copy(
        update={"max_runs": 1, "jwt_tier_claim": "sub", "tier_weights": {"alice": 3.0, "bob": 1.0}}
    )
    async with running(weighted, ScriptedAnswers) as system:
        alice, bob, first = [await system.caller(name) for name in ("alice", "bob", "first")]
        async with AsyncExitStack() as stack:
            holding = await held(stack, first, tmp_path, "first")
            await wait_until("the slot is taken", lambda: is_running(holding))
            await queued(bob, *range(4))
            await queued(alice, *range(12))
            open_gate(tmp_path / "first", 1)
            await ended(settings, 17)
        order = await begun(settings)
        assert order[1:].count("/alice") == 12
        for until in (5, 9, 13):
            assert abs(order[1:until].count("/bob") - (until - 1) / 4) <= 1, order


@pytest.mark.parametrize(
    ("limits", "of_alice", "of_acme"),
    [
        ({"caller_max_running": 1}, 1, 2),
        ({"tenant_max_running": 1}, 1, 1),
        ({"tenant_max_running": 1, "tenant_weights": {"acme": 2.0}}, 2, 2),
    ],
)
async def test_a_limit_of_running_runs_keeps_slots_free_for_others(
    settings: Settings, tmp_path: Path, limits: dict[str, object], of_alice: int, of_acme: int
) -> None:
    """Four slots. What waits because of the limit begins as soon as a run of the same flow has ended."""
    async with running(settings.model_copy(update={"max_runs": 4, **limits}), ScriptedAnswers) as system:
        alice, bob = await system.caller("alice", "acme"), await system.caller("bob", "acme")
        carol = await system.caller("carol", "bolt")
        async with AsyncExitStack() as stack:
            of_alices = [await held(stack, alice, tmp_path, f"alice{number}") for number in range(3)]
            await wait_until(
                "the first runs have begun",
                lambda: _count(of_alices, of_alice),
            )
            bobs = await held(stack, bob, tmp_path, "bob")
            if of_acme > of_alice:
                await wait_until("another user of the tenant has a slot", lambda: is_running(bobs))
            carols = await held(stack, carol, tmp_path, "carol")
            await wait_until("another tenant has a slot", lambda: is_running(carols))
            assert await _count([*of_alices, bobs], of_acme)
            for number in range(3):
                open_gate(tmp_path / f"alice{number}", 1)
            open_gate(tmp_path / "bob", 1)
            open_gate(tmp_path / "carol", 1)
            for follower in (*of_alices, bobs, carols):
                assert (await follower.finished()).end == "completed"


async def _count(followers: list[Follower], count: int) -> bool:
    return sum([await is_running(follower) for follower in followers]) == count


async def test_a_full_queue_refuses_the_caller_who_fills_it_and_no_other(settings: Settings) -> None:
    limited = settings.model_copy(update={"queue_max_depth": 6})
    async with running(limited, ScriptedAnswers, workers=0) as system:
        alice = await system.caller("alice", "acme")
        await queued(alice, *range(6))
        before = await state(settings)
        assert_refused(await alice.post(create("one more")), 503, "queue_full")
        assert await state(settings) == before
        for other in (await system.caller("bob", "acme"), await system.caller("carol", "bolt")):
            await queued(other, 1, 2)
        dave = await system.caller("dave", "bolt")
        await queued(dave, 1)
        assert_refused(await alice.post(create("one more")), 503, "queue_full")
        assert await refused(system, "queue_full") >= 2


async def test_a_queue_that_many_have_filled_takes_a_share_of_each(settings: Settings) -> None:
    """Three tenants: beyond the depth each may have a third of it, and those with more are refused."""
    limited = settings.model_copy(update={"queue_max_depth": 6})
    async with running(limited, ScriptedAnswers, workers=0) as system:
        first = await system.caller("u", "t1")
        await queued(first, *range(6))
        for tenant in ("t2", "t3"):
            caller = await system.caller("u", tenant)
            await queued(caller, 1, 2)
        assert_refused(await caller.post(create("third")), 503, "queue_full")
        assert_refused(await first.post(create("seventh")), 503, "queue_full")


async def tenants(system: System) -> tuple[Caller, Caller, Caller]:
    return (
        await system.caller("alice", "acme"),
        await system.caller("bob", "acme"),
        await system.caller("carol", "bolt"),
    )


async def test_requests_of_a_tenant_are_limited_by_its_weight(settings: Settings) -> None:
    """A quarter of a minute's may come at once, over all its callers; bolt has twice as much."""
    limited = settings.model_copy(update={"tenant_requests_per_minute": 16, "tenant_weights": {"bolt": 2.0}})
    async with running(limited, ScriptedAnswers, workers=0) as system:
        alice, bob, carol = await tenants(system)
        for caller in (alice, bob, alice, bob):
            assert (await caller.post(LIST)).status_code == 200
        before = await state(settings)
        for caller in (alice, bob):
            assert_refused(await caller.post(create("hello")), 429, "tenant_rate_limited")
        assert (await state(settings)).rows == before.rows
        for _ in range(8):
            assert (await carol.post(LIST)).status_code == 200
        assert_refused(await carol.post(LIST), 429, "tenant_rate_limited")
        assert await refused(system, "tenant_rate_limited") >= 3


async def test_queued_runs_of_a_tenant_are_limited_by_its_weight(settings: Settings) -> None:
    limited = settings.model_copy(update={"tenant_max_queued": 2, "tenant_weights": {"bolt": 1.5}})
    async with running(limited, ScriptedAnswers, workers=0) as system:
        alice, bob, carol = await tenants(system)
        await queued(alice, 1)
        await queued(bob, 1)
        before = await state(settings)
        for caller in (alice, bob):
            assert_refused(await caller.post(create("hello")), 429, "too_many_queued")
        assert await state(settings) == before
        assert (await alice.post(LIST)).status_code == 200
        await queued(carol, 1, 2, 3)
        assert_refused(await carol.post(create("hello")), 429, "too_many_queued")
        assert await refused(system, "too_many_queued") >= 3


async def test_a_run_that_is_stopped_while_it_is_queued_leaves_its_place(settings: Settings) -> None:
    limited = settings.model_copy(update={"tenant_max_queued": 1})
    async with running(limited, ScriptedAnswers, workers=0) as system:
        alice = await system.caller("alice", "acme")
        for number in range(3):
            async with alice.open_stream(create("hello"), keyed(number)) as response:
                assert response.status_code == 200
            assert (await alice.cancel(response.headers["x-run-id"])).status_code == 202


async def test_a_user_whose_run_waits_for_a_worker_is_told_so_once(
    settings: Settings, tmp_path: Path
) -> None:
    """On the stream alone, and not to a user whose run has begun."""
    told = settings.model_copy(
        update={"max_runs": 1, "queue_notice_text": "Einen Moment\u2026", "queue_notice_seconds": 0.2}
    )
    async with running(told, ScriptedAnswers) as system, AsyncExitStack() as stack:
        alice, bob = await system.caller("alice"), await system.caller("bob")
        first = await held(stack, alice, tmp_path, "first")
        await wait_until("the slot is taken", lambda: is_running(first))
        second = await held(stack, bob, tmp_path, "second")
        await second.until("the notice", lambda answer: answer.of_type("progress_update"))
        open_gate(tmp_path / "first", 1)
        open_gate(tmp_path / "second", 1)
        answer = await second.finished()
        assert answer.of_type("progress_update") == [
            {"type": "progress_update", "text": "Einen Moment\u2026"}
        ]
        types = [event["type"] for event in (await first.finished()).events]
        begun = types.index("thread.item.added")
        assert "progress_update" not in types[begun:]  # before, its worker may have been starting
        assert not (await bob.resume(second.run_id, None)).of_type("progress_update")
        assert answer.end == "completed"
