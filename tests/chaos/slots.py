"""The API and worker processes. Each has its place, where another is started whenever it ends, as orchestrators do."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from relaykit.local.child import Child
from tests.support.system import ROOT

POLL_SECONDS = 0.02
RESTART_SECONDS = 0.2
STOP_SECONDS = 60.0
"""A process that has not ended this long after SIGTERM hangs."""
CANNOT_START = 2
"""The exit code of a process that says why it does not start."""
AWAY = ("database_unavailable", "queue_unavailable")


@dataclass
class Slot:
    """A place for one process. `complaints` are ends that nobody asked for, and ends that were refused."""

    name: str
    module: str
    environment: Mapping[str, str]
    folder: Path
    starts: int = 0
    refused_starts: int = 0
    """Starts while Redis or PostgreSQL were away, which end by themselves."""
    complaints: list[str] = field(default_factory=list)
    own_ends: frozenset[int] = frozenset()
    """Exit codes with which the process may end by itself: what a run did to it."""
    ended_itself: int = 0
    """How often it did."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the fault that has hold of it."""
    _child: Child | None = None
    _asked: signal.Signals | None = None
    _closing: bool = False

    async def keep(self) -> None:
        """Starts the process, and another when it ends, until `close` or the end of the task."""
        try:
            while not self._closing:
                self._start()
                self._judge(await self._ended())
                await asyncio.sleep(RESTART_SECONDS)
        finally:
            if self._child is not None and self._child.exit_code() is None:
                self._child.send(signal.SIGKILL)
                self._child.wait(STOP_SECONDS)

    async def end(self, number: signal.Signals) -> None:
        """Ends the process by SIGKILL or SIGTERM; returns when the next one has been started."""
        before = self.starts
        self._ask(number)
        async with asyncio.timeout(STOP_SECONDS + 10):
            while self.starts == before:
                await asyncio.sleep(POLL_SECONDS)

    async def freeze(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after so long."""
        assert self._child is not None
        frozen = self._child
        frozen.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            frozen.send(signal.SIGCONT)

    def close(self) -> None:
        """SIGTERM, and no other process in its place."""
        self._closing = True
        self._ask(signal.SIGTERM)

    def _ask(self, number: signal.Signals) -> None:
        assert self._child is not None
        self._asked = number
        self._child.send(number)

    def _start(self) -> None:
        self._asked = None
        self.starts += 1
        self._child = Child.start(
            self.name,
            [sys.executable, "-m", self.module],
            log=self.log,
            env=self.environment,
            death_signal=signal.SIGKILL,
            cwd=ROOT,
        )

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.exit_code() is None

    @property
    def pid(self) -> int:
        """Of the process that is there now."""
        assert self._child is not None
        return self._child.pid

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.{self.starts}.log"

    async def _ended(self) -> int:
        assert self._child is not None
        asked_at: float | None = None
        loop = asyncio.get_running_loop()
        while (code := self._child.exit_code()) is None:
            await asyncio.sleep(POLL_SECONDS)
            if self._asked is not None:
                asked_at = asked_at or loop.time()
                if loop.time() - asked_at > STOP_SECONDS:
                    self.complaints.append(f"{self.log.name} does not end after {self._asked.name}")
                    self._ask(signal.SIGKILL)
        return code

    def _judge(self, code: int) -> None:
        match self._asked:
            case signal.SIGKILL:
                return
            case signal.SIGTERM if code in (0, -signal.SIGTERM) and self._in_order():
                return
            case _ if code == CANNOT_START and any(name in self._output() for name in AWAY):
                self.refused_starts += 1
            case _ if code in self.own_ends:
                self.ended_itself += 1
            case asked:
                how = f"after {asked.name}" if asked else "by itself"
                self.complaints.append(f"{self.log.name} ended {how} with code {code}")

    def _in_order(self) -> bool:
        """Whether it came to its last word, or had not begun when it was asked: there was nothing to stop."""
        output = self._output()
        return "_stop" in output or "_start" not in output or any(name in output for name in AWAY)

    def _output(self) -> str:
        return self.log.read_text(errors="replace")


@asynccontextmanager
async def kept(slots: list[Slot]) -> AsyncIterator[None]:
    """Keeps the processes of all slots until the block ends, by which `close` may have ended them."""
    tasks = [asyncio.create_task(slot.keep(), name=slot.name) for slot in slots]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def close_all(slots: list[Slot]) -> None:
    """Ends all processes in order, as a deployment that goes away does. An end that does not come is complained of."""
    for slot in slots:
        slot.close()
    while any(slot.alive for slot in slots):
        await asyncio.sleep(POLL_SECONDS)
