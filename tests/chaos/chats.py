"""The clients: each posts, reads, loses its connection, resumes, until it knows how its message ended."""

from __future__ import annotations

import asyncio
import json
import time
from asyncio import Task
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from random import Random
from typing import Any

import httpx2

from relaykit.shared.runs.run import Status
from tests.chaos.frames import BadStream, End, Frames
from tests.chaos.harm import Harm
from tests.chaos.record import Turn
from tests.chaos.script import CALL, OUTPUT_SUFFIX, Script, tag_of
from tests.chaos.wire import Wire, passing
from tests.support.system import create, message

TURNS = (2, 4)
"""Messages of one thread, at least and at most."""
PACES = ((25, 5), (25, 40), (10, 40), (10, 120), (3, 600), (1, 600))
"""Deltas of an item, and milliseconds before each. The few slow ones are for faults between the last and its item."""
STOP_SHARE = 0.15
TALLY_SHARE = 0.5
RENEW_SHARE = 0.4
SAME_IDS_SHARE = 0.3
TITLE_SHARE = 0.15
CALL_SHARE = 0.2
HARM_SHARES = {
    Harm.BLOCK: 0.02,
    Harm.HANG: 0.01,
    Harm.KILL: 0.02,
    Harm.PANIC: 0.01,
    Harm.EXIT: 0.01,
    Harm.GROUP: 0.01,
    Harm.CANCELLED: 0.02,
}
OVERLAP_OF_CALLS_SHARE = 0.8
TOOL_SECONDS = 0.8
OVERLAP_SHARE = 0.3
SLOW_SHARE = 0.2
SLOW_SECONDS = 0.3
ITEMS_PAGE = 100


class Chat:
    """One user with one thread after another. `turns` holds all that the user's client saw."""

    def __init__(
        self, number: int, wire: Wire, random: Random, streams: set[Task[None]], stopping: asyncio.Event
    ) -> None:
        self.turns: list[Turn] = []
        self.wire = wire
        self._number = number
        self._random = random
        self._streams = streams
        self._stopping = stopping
        self._slow = random.random() < SLOW_SHARE
        self._began_at = time.monotonic()
        self._naming = asyncio.Lock()

    async def talk(self) -> None:
        """Goes on until it is told to stop, and then ends what it has begun."""
        while not self._stopping.is_set():
            await self._converse()

    async def _converse(self) -> None:
        thread_id: str | None = None
        left = self._random.randint(*TURNS)
        while left > 0 and not self._stopping.is_set():
            first = self._turn(thread_id)
            left -= 1
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(self._follow(first))
                share = OVERLAP_OF_CALLS_SHARE if first.script.calls else OVERLAP_SHARE
                if left > 0 and self._random.random() < share:
                    await self._until_thread(first, following)
                    if first.thread_id is not None:
                        second = self._turn(first.thread_id)
                        left -= 1
                        tasks.create_task(self._follow(second))
            thread_id = first.thread_id
            if thread_id is None:
                return
            await asyncio.sleep(self._random.uniform(0, 0.3))

    def _turn(self, thread_id: str | None) -> Turn:
        random = self._random
        stops = random.random() < STOP_SHARE
        words, pause_ms = random.choice(PACES)
        script = Script(
            tag=f"{self._number}.{len(self.turns)}",
            items=random.randint(1, 3),
            words=words,
            pause_ms=pause_ms,
            quiet_ms=random.choice([0, 0, 1500]),
            revised=random.random() < 0.3,
            same_ids=random.random() < SAME_IDS_SHARE,
            tallies=random.random() < TALLY_SHARE,
            renews=random.random() < RENEW_SHARE,
            calls=random.random() < CALL_SHARE,
            harm=_harm(random),
        )
        turn = Turn(script, f"key-{script.tag}", thread_id)
        if stops:
            turn.stop_after = random.randint(0, script.words)
        if random.random() < TITLE_SHARE:
            turn.title, turn.title_after = f"named in {script.tag}", random.randint(1, script.words)
        self.turns.append(turn)
        return turn

    async def _until_thread(self, turn: Turn, following: Task[None]) -> None:
        while turn.thread_id is None and not following.done():
            await asyncio.sleep(0.02)
        await asyncio.sleep(self._random.uniform(0, 1.5 if turn.script.calls else 0.5))

    # --- one message

    async def _follow(self, turn: Turn) -> None:
        """The message to its end, and the client tool call that it may end with."""
        await self._follow_run(turn)
        call_id = _call_of(turn)
        if call_id is not None and turn.end == Status.COMPLETED and not turn.stop_asked:
            await asyncio.sleep(self._random.uniform(0, TOOL_SECONDS))
            script = turn.script.after_call
            output = Turn(script, f"key-{script.tag}", turn.thread_id, call_id=call_id)
            self.turns.append(output)
            await self._follow_run(output)

    async def _follow_run(self, turn: Turn) -> None:
        async with asyncio.TaskGroup() as tasks:
            failures = 0
            while turn.end is None and turn.complaint is None:
                before = len(turn.frames)
                try:
                    await self._cuttable(self._connect(turn, tasks))
                except (httpx2.TransportError, _Cut) as error:
                    self._note(turn, f"{type(error).__name__} after {turn.cursor}")
                except BadStream as error:
                    turn.complaint = str(error)
                if turn.end is None:
                    failures = 0 if len(turn.frames) > before else failures + 1
                    await self.wire.back_off(failures)

    async def _cuttable(self, connection: Coroutine[Any, Any, None]) -> None:
        """Reads until the stream closes. Raises _Cut where a fault closed the client's socket."""
        reading = asyncio.create_task(connection)
        self._streams.add(reading)
        try:
            await asyncio.wait({reading})
        finally:
            self._streams.discard(reading)
            if not reading.done():
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        if reading.cancelled():
            raise _Cut
        reading.result()

    async def _connect(self, turn: Turn, tasks: asyncio.TaskGroup) -> None:
        if turn.told_at is not None:
            await self._load(turn)
            return
        if turn.run_id is None:
            turn.posts += 1
            request = self.wire.stream("POST", "/chatkit", {"Idempotency-Key": turn.key}, _body(turn))
        else:
            turn.resumes += 1
            headers = {"Last-Event-ID": str(turn.cursor)} if turn.cursor else {}
            request = self.wire.stream("GET", f"/runs/{turn.run_id}/events", headers)
        async with request as response:
            self._note(turn, f"{response.request.method} {response.url.port} {response.status_code}")
            turn.run_id = response.headers.get("x-run-id", turn.run_id)
            match response.status_code:
                case 200 if turn.run_id is not None:
                    await self._read(turn, response, tasks)
                case 204:
                    await self._learn_end(turn)
                case 410 if turn.run_id is not None:
                    await self._load(turn)
                case status if passing(status):
                    return
                case status:
                    text = (await response.aread())[:300].decode(errors="replace")
                    turn.complaint = f"{status} without a run" if status == 200 else f"{status} {text}"

    async def _read(self, turn: Turn, response: httpx2.Response, tasks: asyncio.TaskGroup) -> None:
        frames = Frames()
        self._ask_at_the_time(turn, tasks)
        async for part in response.aiter_raw():
            for frame in frames.feed(part):
                if isinstance(frame, End):
                    turn.end = frame.status
                else:
                    turn.take(frame)
            self._ask_at_the_time(turn, tasks)
            if self._slow:
                await asyncio.sleep(self._random.uniform(0, SLOW_SECONDS))
        self._note(turn, f"closed after {turn.cursor}")

    # --- what is asked besides

    def _ask_at_the_time(self, turn: Turn, tasks: asyncio.TaskGroup) -> None:
        if (
            turn.title_after is not None
            and len(turn.frames) >= turn.title_after
            and turn.thread_id is not None
        ):
            turn.title_after = None
            tasks.create_task(self._name(turn))
        if turn.stop_after is not None and not turn.stop_asked and len(turn.frames) >= turn.stop_after:
            turn.stop_asked = True
            tasks.create_task(self._stop(turn))

    async def _name(self, turn: Turn) -> None:
        """One title after the other: of two at once nobody could say which was the last."""
        async with self._naming:
            params = {"thread_id": turn.thread_id, "title": turn.title}
            asked = {"type": "threads.update", "params": params}
            response = await self.wire.ask("POST", "/chatkit", asked, turn.title_unanswered)
            self._note(turn, f"title: {response.status_code} after {turn.title_unanswered}")
            if response.status_code != 200:
                turn.complaint = f"threads.update: {response.status_code} {response.text}"
            turn.titled_at = time.monotonic()

    async def _stop(self, turn: Turn) -> None:
        response = await self.wire.ask("POST", f"/runs/{turn.run_id}/cancel")
        self._note(turn, f"stop: {response.status_code}")
        if response.status_code != 202:
            turn.complaint = f"stop: {response.status_code} {response.text}"

    async def _learn_end(self, turn: Turn) -> None:
        """Nothing is left to send: the run has ended, and the client asks how."""
        turn.end = await self._status(turn, lambda status: True)

    async def _load(self, turn: Turn) -> None:
        """The journal is lost, and the client was told: it waits for the end of the run and loads the thread."""
        turn.told_at = turn.told_at or datetime.now(UTC)
        end = await self._status(turn, lambda status: status.ended)
        response = await self.wire.ask(
            "POST",
            "/chatkit",
            {
                "type": "items.list",
                "params": {"thread_id": turn.thread_id, "limit": ITEMS_PAGE, "order": "asc"},
            },
        )
        if response.status_code != 200:
            turn.complaint = f"items.list: {response.status_code} {response.text}"
            return
        turn.loaded = response.json()["data"]
        turn.end = end

    async def _status(self, turn: Turn, enough: Callable[[Status], bool]) -> str:
        while True:
            response = await self.wire.ask("GET", f"/runs/{turn.run_id}")
            if response.status_code != 200:
                turn.complaint = f"status: {response.status_code} {response.text}"
                return ""
            shown = response.json()
            turn.thread_id = shown["thread_id"]
            if enough(Status(shown["status"])):
                return str(shown["status"])
            await self.wire.back_off(2)

    def _note(self, turn: Turn, what: str) -> None:
        turn.history.append(f"{time.monotonic() - self._began_at:.2f} {what}")


def _harm(random: Random) -> Harm | None:
    """None for most messages."""
    drawn = random.random()
    for harm, share in HARM_SHARES.items():
        drawn -= share
        if drawn < 0:
            return harm
    return None


def _body(turn: Turn) -> dict[str, Any]:
    if turn.call_id is not None:
        result = Script(tag=turn.script.tag.removesuffix(OUTPUT_SUFFIX)).output
        params = {"thread_id": turn.thread_id, "item_id": turn.call_id, "result": result}
        return {"type": "threads.add_client_tool_output", "params": params}
    text = str(turn.script)
    return create(text) if turn.thread_id is None else message(turn.thread_id, text)


def _call_of(turn: Turn) -> str | None:
    """The id of the client tool call that a client shows for the message, by its stream or by the thread it loaded."""
    if turn.told_at is not None:
        shown = [item for item in turn.loaded or () if tag_of(item) == turn.script.tag]
    else:
        events = [json.loads(frame.data) for frame in turn.frames if b'"client_tool_call"' in frame.data]
        shown = [event["item"] for event in events if event["type"] == "thread.item.done"]
    calls = [str(item["id"]) for item in shown if item["type"] == CALL]
    return calls[-1] if calls else None


class _Cut(Exception):
    """The client closed its socket."""
