"""The feeder: writes journals as a worker does, with no agent before it, so that the relay is what is measured.

`python -m bench.journal_feeder.feeder` takes the runs on stdin and prints `ready`; then it takes orders, one
JSON a line, and answers each:

    {"rate": 20000}                      so many deltas a second over all runs in turn, until the next order; 0 stops
    {"burst": 10000, "per_append": 100}  so many deltas into each run, as fast as Redis takes them
    {"end": true}                        the end entry into each run

Each delta is an entry of its own, as the SDK serialises it, stamped when it is written. The calls are the product's
(`Journals.pipe_append`); packed here, since redis-py would cost more than all that is measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

import uvloop

from bench.journal_feeder.journal import FeederJournal
from bench.redis.pipe import Pipe, open_pipe
from relaykit.shared.journal import decode_append_reply

TICK_SECONDS = 0.005
"""What is due within it goes in one round trip, as a worker's publisher does it."""
MAX_AT_ONCE = 2_000
RUNS_AT_ONCE = 200


@dataclass
class Fed:
    """Since the order before."""

    deltas: int
    seconds: float
    behind_seconds: float
    """How late the last of them was, by the rate that was ordered."""


class Feeder:
    """`feed` must be running."""

    def __init__(self, pipe: Pipe, journals: list[FeederJournal]) -> None:
        self._pipe = pipe
        self._journals = journals
        self._next = 0
        self._rate = 0.0
        self._since = time.monotonic()
        self._deltas = 0
        self._has_rate = asyncio.Event()
        self._free = asyncio.Lock()

    async def feed(self) -> None:
        """Writes what is due, until cancelled."""
        while True:
            await self._has_rate.wait()
            async with self._free:
                due = self._due()
                if due:
                    await self._write(min(due, MAX_AT_ONCE))
            if due <= MAX_AT_ONCE:
                await asyncio.sleep(TICK_SECONDS)

    def _due(self) -> int:
        return int((time.monotonic() - self._since) * self._rate) - self._deltas

    async def _write(self, count: int) -> None:
        for _ in range(count):
            self._journals[self._next].append(self._pipe, 1)
            self._next = (self._next + 1) % len(self._journals)
        self._deltas += count
        await self._flush()

    async def _flush(self) -> None:
        for reply in await self._pipe.flush():
            if isinstance(reply, list) and decode_append_reply(reply).outcome != "ok":
                raise RuntimeError(f"an append came to {decode_append_reply(reply).outcome}")

    async def order(self, given: dict[str, Any]) -> Fed:
        """Does it, and says what was done since the one before, or by it."""
        async with self._free:
            seconds = time.monotonic() - self._since
            behind = max(0, self._due()) / self._rate if self._rate else 0.0
            fed = Fed(self._deltas, seconds, behind)
            if "rate" in given:
                self._rate = float(given["rate"])
                self._has_rate.set() if self._rate else self._has_rate.clear()
            elif "burst" in given:
                fed = await self._burst(given["burst"], given["per_append"])
            elif given["end"]:
                await self._each(lambda journal: journal.end(self._pipe))
            self._since, self._deltas = time.monotonic(), 0
            return fed

    async def _burst(self, deltas: int, per_append: int) -> Fed:
        started_at = time.monotonic()
        for done in range(0, deltas, per_append):
            count = min(per_append, deltas - done)
            await self._each(lambda journal: journal.append(self._pipe, count))  # noqa: B023  # called at once
        return Fed(deltas * len(self._journals), time.monotonic() - started_at, 0.0)

    async def begin(self) -> None:
        """What is in a journal before the first delta, and the leases that keep its run."""
        await self._each(lambda journal: journal.begin(self._pipe))

    async def end(self) -> None:
        """Leaves nothing in Redis."""
        await self._each(lambda journal: journal.delete(self._pipe))

    async def _each(self, write: Callable[[FeederJournal], None]) -> None:
        for start in range(0, len(self._journals), RUNS_AT_ONCE):
            for journal in self._journals[start : start + RUNS_AT_ONCE]:
                write(journal)
            await self._flush()


async def serve(runs: list[dict[str, Any]], line: Callable[[], Awaitable[str]]) -> None:
    """`runs` are FeederEvents as dicts."""
    async with open_pipe(os.environ["REDIS_URL"]) as pipe:
        feeder = Feeder(pipe, [FeederJournal(run) for run in runs])
        await feeder.begin()
        feeding = asyncio.create_task(feeder.feed())
        print("ready", flush=True)
        while order := await line():
            if feeding.done():
                feeding.result()
            print(json.dumps(asdict(await feeder.order(json.loads(order)))), flush=True)
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        await feeder.end()


async def _line() -> str:
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


def main() -> None:
    uvloop.run(serve(json.loads(sys.stdin.readline()), _line))


if __name__ == "__main__":
    main()
