"""ABANDON_SECONDS: a run that nobody follows is cancelled, one that somebody follows is not."""

from __future__ import annotations

from pathlib import Path

from redis.asyncio import Redis

from relaykit.shared.settings import Settings
from tests.support.clients.stream_clients import asking, crowd, following
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.system import Caller, create, running, wait_until

HOLD = 3
SECONDS = {"lease_seconds": 4, "abandon_seconds": 4}


def held(tmp_path: Path) -> str:
    return str(Script(gate=str(tmp_path), holds=[HOLD]))


async def ended(caller: Caller, run_id: str) -> dict[str, object] | None:
    shown = (await caller.get(f"/runs/{run_id}")).json()
    return shown if shown["status"] not in ("queued", "running") else None


async def test_a_run_that_nobody_follows_is_cancelled(settings: Settings, tmp_path: Path) -> None:
    """Its partial text is kept, and nobody is said to have stopped it."""
    async with running(settings.model_copy(update=SECONDS), ScriptedAnswers) as system:
        alice = await crowd(system, await system.caller())
        async with asking(alice, create(held(tmp_path))) as asker:
            await asker.until("mid-answer", lambda answer: len(answer.of_type("thread.item.updated")) == HOLD)
            answer = asker.answer
        shown = await wait_until("the run has ended", lambda: ended(alice, answer.run_id))
        assert (shown["status"], shown["error"]) == ("cancelled", "abandoned")
        whole = await alice.resume(answer.run_id, None)
        assert whole.end == "cancelled"
        items = await alice.items(answer.thread_id)
        assert [item["type"] for item in items] == ["user_message", "assistant_message"]
        assert "".join(part["text"] for part in items[1]["content"]) == "1.0 1.2 1.1 "


async def test_a_run_that_somebody_follows_goes_on(settings: Settings, tmp_path: Path) -> None:
    """From another API, and through a Redis that is emptied."""
    async with running(settings.model_copy(update=SECONDS), ScriptedAnswers, apis=2) as system:
        alice = await crowd(system, await system.caller())
        elsewhere = await crowd(system, alice, api=1)
        async with asking(alice, create(held(tmp_path))) as asker:
            await asker.until("mid-answer", lambda answer: len(answer.of_type("thread.item.updated")) == HOLD)
            run_id = asker.run_id
            follower = following(elsewhere, run_id)
            second = await follower.__aenter__()
        await second.until("mid-answer", lambda answer: len(answer.of_type("thread.item.updated")) == HOLD)
        async with Redis.from_url(settings.redis_url) as redis:
            await redis.flushdb()
        beats = 3 * SECONDS["abandon_seconds"] / 0.05
        seen = 0

        async def long_enough() -> bool:
            nonlocal seen
            seen += 1
            assert await ended(elsewhere, run_id) is None
            return seen > beats

        await wait_until("it has been followed for long", long_enough)
        open_gate(tmp_path, HOLD)
        assert (await second.finished()).end == "completed"
        await follower.__aexit__(None, None, None)


async def test_it_is_off_by_default(settings: Settings) -> None:
    assert settings.abandon_seconds == 0
