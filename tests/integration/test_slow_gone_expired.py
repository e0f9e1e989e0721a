"""Clients that read too slowly or not at all, that went away, or whose token ends while their answer comes.

Readers that lag behind or are given up are in test_hub.py too, runs that nobody follows in test_abandoned.py, dead
workers behind a heartbeat in test_watch.py.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from relaykit.shared.settings import Settings
from tests.support.clients.slow_readers import raw_stream
from tests.support.clients.stream_clients import after, asking, body, crowd, cursors, following
from tests.support.processes.crash_points import process
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.system import Caller, System, api_answers, create, free_port, running, wait_until

TOKEN_SECONDS = 4
PING_SECONDS = 0.5
GRACE_SECONDS = 2.0
HOLD = 5
SLOW_READERS = 40
MEGABYTE = 1024 * 1024


@pytest.fixture
def strict(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"jwt_leeway_seconds": 0, "token_grace_seconds": GRACE_SECONDS, "ping_seconds": PING_SECONDS}
    )


@pytest_asyncio.fixture
async def system(strict: Settings) -> AsyncIterator[System]:
    async with running(strict, ScriptedAnswers) as system:
        yield system


async def signed_in(system: System, seconds: int, **headers: str) -> Caller:
    """Alice, with a token that ends soon, and without the header that says that she can resume."""
    client = await system.stack.enter_async_context(httpx2.AsyncClient(base_url=system.urls[0], timeout=30))
    given = await client.post("/dev/token", json={"sub": "alice", "ttl_seconds": seconds})
    return Caller(client, given.json()["access_token"], {"Relaykit-Resume": "0", **headers})


def held(gate: Path) -> Script:
    return Script(deltas=10, gate=str(gate), holds=[HOLD])


async def test_a_stream_ends_with_its_token_and_goes_on_with_a_fresh_one(
    system: System, tmp_path: Path
) -> None:
    """Closed without the end; the rest comes exactly, to whoever brings a token that holds."""
    asked_at = time.monotonic()
    expiring = await signed_in(system, TOKEN_SECONDS, **{"Relaykit-Resume": "1"})
    async with asking(expiring, create(str(held(tmp_path)))) as asker:
        cut = await asker.finished()
        assert time.monotonic() - asked_at > TOKEN_SECONDS - 1
        assert cut.raw.count(b": ping") <= (TOKEN_SECONDS + 1) / PING_SECONDS
        assert cut.end is None
        assert cut.events[-1]["type"] == "thread.item.updated"
        assert (await expiring.get(f"/runs/{cut.run_id}/events")).status_code == 401
        fresh = await signed_in(system, 600, **{"Relaykit-Resume": "1"})
        async with following(fresh, cut.run_id, cursors(cut.raw)[-1]) as rest:
            open_gate(tmp_path, HOLD)
            assert (await rest.finished()).end == "completed"
        whole = await fresh.resume(cut.run_id, None)
    assert after(body(whole.raw), cursors(cut.raw)[-1]) == rest.body


async def test_who_cannot_resume_may_read_a_little_longer_to_the_end_of_the_run(
    strict: Settings, tmp_path: Path
) -> None:
    """To the stock widget EOF is the end."""
    graceful = strict.model_copy(update={"token_grace_seconds": 600})
    async with (
        running(graceful, ScriptedAnswers) as system,
        asking(expiring := await signed_in(system, TOKEN_SECONDS), create(str(held(tmp_path)))) as asker,
    ):
        await asker.until("mid-answer", lambda answer: answer.of_type("thread.item.updated"))

        async def is_over() -> bool:
            return (await expiring.get("/threads/none/run")).status_code == 401

        await wait_until("the token is over", is_over)
        open_gate(tmp_path, HOLD)
        answer = await asker.finished()
    assert answer.end == "completed"
    assert answer.of_type("error") == []


async def test_who_cannot_resume_is_told_to_retry_and_the_retry_attaches(
    system: System, tmp_path: Path
) -> None:
    """When the grace is over too: an error event that can be retried, never a cut that looks like the end."""
    expiring = await signed_in(system, TOKEN_SECONDS)
    async with asking(expiring, create(str(held(tmp_path)))) as asker:
        cut = await asker.finished()
    assert cut.end is None
    assert cut.events[-1] == {"type": "error", "code": "stream.error", "allow_retry": True}
    fresh = await signed_in(system, 600)
    message_id = cut.of_type("thread.item.done")[0]["item"]["id"]
    params = {"thread_id": cut.thread_id, "item_id": message_id}
    async with asking(fresh, {"type": "threads.retry_after_item", "params": params}) as retry:
        await retry.until("it shows the run from its start", lambda answer: answer.of_type("thread.created"))
        assert retry.run_id == cut.run_id
        open_gate(tmp_path, HOLD)
        assert (await retry.finished()).end == "completed"


async def test_clients_that_stop_reading_cost_bounded_memory_and_nobody_a_token(
    strict: Settings, tmp_path: Path
) -> None:
    """Forty of them, of a run of 12 MB: what the API holds for them is a fraction of what they have not read."""
    script = Script(deltas=1200, pad=10_000)
    port = free_port()
    async with running(strict, ScriptedAnswers) as system, AsyncExitStack() as stack:
        alice = await crowd(system, await system.caller())
        api = stack.enter_context(process("api", strict, tmp_path / "api.log", PORT=str(port)))
        url = f"http://127.0.0.1:{port}"
        await api_answers(port)
        assert api.pid is not None
        async with httpx2.AsyncClient(base_url=url, timeout=60) as client:
            elsewhere = Caller(client, alice.token)
            first = await elsewhere.stream(create(str(Script(deltas=1200, pad=9_999))))
            before = resident_bytes(api.pid)
            async with asking(elsewhere, create(str(script))) as asker:
                await asker.until("the run begins", lambda answer: answer.of_type("thread.item.added"))
                for _ in range(SLOW_READERS):
                    _, writer = await raw_stream(url, elsewhere, asker.run_id)
                    stack.callback(writer.close)
                answer = await asker.finished()
            grown = resident_bytes(api.pid) - before
    assert (first.end, answer.end) == ("completed", "completed")
    assert answer.text == "".join(script.piece(1, number) for number in range(script.deltas))
    assert grown < SLOW_READERS * 3 * MEGABYTE, (
        f"{grown / MEGABYTE:.1f} MB for {len(answer.raw) / MEGABYTE:.1f} MB"
    )


def resident_bytes(pid: int) -> int:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * 4096
