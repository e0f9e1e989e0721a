"""Real processes of the release before and of this one, side by side, in each pair."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import asyncpg
import pytest

from relaykit.shared.settings import Settings
from tests.previous.code import migrate, started
from tests.support.clients.client_view import shown, texts
from tests.support.clients.stream_clients import asking, body, crowd, following
from tests.support.servers.relay_servers import Script, open_gate
from tests.support.system import (
    Caller,
    Process,
    Processes,
    create,
    free_port,
    message,
    running_processes,
    start_process,
)

pytestmark = pytest.mark.long

SIDES = ("previous", "current")
HOLD = 6


@dataclass
class Stage:
    """An API of each release, and alice at both."""

    system: Processes
    code: dict[str, dict[str, str]]
    alice: dict[str, Caller]

    @asynccontextmanager
    async def worker(self, side: str, **more: str) -> AsyncIterator[Process]:
        process = await started(self.system, self.code[side], **more)
        try:
            yield process
        finally:
            if process.popen.poll() is None:
                process.kill()


@pytest.fixture
async def stage(deployed: Settings, code: dict[str, dict[str, str]], tmp_path: Path) -> AsyncIterator[Stage]:
    migrate(deployed)
    async with running_processes(deployed, tmp_path, apis=0, workers=0, start=start_process) as system:
        for side in SIDES:
            await system.start_api(None if side == "previous" else free_port(), **code[side])
        alice = await crowd(system, await system.caller())
        yield Stage(system, code, {"previous": alice, "current": await crowd(system, alice, api=1)})


def held(gate: Path, attempts: int = 1) -> Script:
    return Script(deltas=12, items_before=1, gate=str(gate), holds=[HOLD], hold_attempts=attempts)


MIDDLE = f'"delta":"{Script().piece(1, HOLD - 1)}"'.encode()


@pytest.mark.parametrize(("asks", "works"), list(product(SIDES, repeat=2)))
async def test_a_run_of_each_pair_is_the_same_to_both_apis(
    stage: Stage, asks: str, works: str, tmp_path: Path
) -> None:
    """Asked at one, followed at both, a message that waits behind it, a stop at the other; whoever works."""
    near = stage.alice[asks]
    far = stage.alice[SIDES[asks == "previous"]]
    async with stage.worker(works), asking(near, create(str(held(tmp_path / "gate")))) as asker:
        await asker.until("the middle", lambda answer: MIDDLE in answer.raw)
        thread_id = asker.answer.thread_id
        async with (
            following(far, asker.run_id) as follower,
            asking(far, message(thread_id, str(held(tmp_path / "second")))) as waiting,
        ):
            await waiting.until("it is admitted", lambda answer: answer.of_type("stream_options"))
            open_gate(tmp_path / "gate", HOLD)
            answer = await asker.finished()
            assert answer.end == "completed"
            assert body((await follower.finished()).raw) == body(answer.raw)
            await waiting.until("its middle", lambda answer: MIDDLE in answer.raw)
            assert (await near.cancel(waiting.run_id)).status_code == 202
            stopped_answer = await waiting.finished()
        assert stopped_answer.end == "cancelled"
        stored = await near.items(thread_id)
    kinds = [item["type"] for item in stored]
    assert kinds == ["user_message", "assistant_message", "assistant_message"] * 2
    assert texts(stored[2]) == held(tmp_path).whole(1)
    assert await ended(stage, answer.run_id) == ("completed", 1, 0)
    assert await ended(stage, waiting.run_id) == ("cancelled", 1, 0)


@pytest.mark.parametrize("way", ["killed", "drained"])
@pytest.mark.parametrize("first", SIDES)
async def test_a_run_goes_from_a_worker_of_one_to_one_of_the_other(
    stage: Stage, first: str, way: str, tmp_path: Path
) -> None:
    """What the first has shown and stored is taken back, and the answer is whole."""
    script = held(tmp_path / "gate")
    async with (
        stage.worker(first, DRAIN_SECONDS="0.5") as worker,
        asking(stage.alice[first], create(str(script))) as asker,
    ):
        await asker.until("the middle", lambda answer: MIDDLE in answer.raw)
        before = list(shown(asker.answer))[1:]
        async with stage.worker(SIDES[first == "previous"]):
            if way == "killed":
                worker.kill()
            else:
                assert await asyncio.to_thread(worker.terminate) == 0
            answer = await asker.finished()
            assert answer.end == "completed"
            assert [event["item_id"] for event in answer.of_type("thread.item.removed")] == before
            stored = await stage.alice[first].items(answer.thread_id)
            assert [item["id"] for item in stored] == list(shown(answer))
            assert [texts(item) for item in stored[1:]] == [["2 before"], script.whole(2)]
            handed_back = int(way == "drained")
            assert await ended(stage, answer.run_id) == ("completed", 2, handed_back)


async def ended(stage: Stage, run_id: str) -> tuple[str, int, int]:
    """Status, attempts, and how many of them were handed back."""
    database = await asyncpg.connect(stage.system.settings.database_url)
    row = await database.fetchrow("SELECT status, attempt, handed_back FROM runs WHERE id = $1", run_id)
    await database.close()
    return row["status"], row["attempt"], row["handed_back"]
