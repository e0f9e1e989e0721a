"""The worker's end of a cell: gives claims to its process, and learns when they, or the process, have ended."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.log import failure
from relaykit.shared.redis.client import retry_briefly
from relaykit.shared.settings import Settings
from relaykit.shared.tasks import end_tasks
from relaykit.worker.execution.telemetry.figures import AttemptFigures, observe
from relaykit.worker.leases.claim_queue import ClaimQueue
from relaykit.worker.leases.claims import Claim, Loss, Renewal
from relaykit.worker.quarantine.fork_server import Child, ForkServer
from relaykit.worker.quarantine.last_place import LastPlace

START_SECONDS = 60.0
"""How long a cell has to load the user's server and to reach the services, besides LIFESPAN_SECONDS."""
END_SECONDS = 5.0
"""How long a process that has closed its end of the socket has to end."""
LOOKS_PER_LEASE = 10
FROZEN_LOOKS = 5
"""A process that does not move for this many looks is killed, while its leases still hold."""

log = structlog.get_logger()


@dataclass(eq=False)
class Cell:
    """One process for runs, from `run` to its end. Its occupants are the quarantine's matter."""

    name: str
    settings: Settings
    queue: ClaimQueue
    occupants: dict[str, Loss] = field(default_factory=dict)
    """The runs in the cell, or on their way to it, each with its last loss."""
    vacated_at: float = 0.0
    """When the last run left, by the loop's clock."""
    is_over: bool = False
    """Whether it takes no other run."""
    _place: LastPlace = field(default_factory=LastPlace)
    _writer: asyncio.StreamWriter | None = None
    _ready: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Whether the process takes claims: true once it does, false where it ended before."""
    _given: dict[str, tuple[Claim, asyncio.Event]] = field(default_factory=dict)
    """The claims that the process holds, each with the event of its end."""

    async def run(self, forks: ForkServer) -> None:
        """Starts the process. Returns when it has ended and its claims have been given up."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                child = await forks.fork(theirs, self._place.file.fileno())
            if child is None:
                log.error("a cell could not be forked: its runs are tried again", action="cell_not_forked")
                return
            try:
                reader, self._writer = await asyncio.open_unix_connection(sock=ours)
                await self._follow(child, reader)
            finally:
                child.kill()
            await self._lose(await child.ended)
        finally:
            self.is_over = True
            self._say_ready(False)
            for _, ended in self._given.values():
                ended.set()
            if self._writer is not None:
                self._writer.close()
            ours.close()
            self._place.close()

    async def execute(self, claim: Claim, taken: Callable[[], object]) -> bool:
        """Has the process execute the run; `taken` is called where the process renews the lease from then on.

        Returns when the process has released the claim, or has ended. False where it never had it.
        """
        if not await asyncio.shield(self._ready) or self._writer is None:
            return False
        asked_at = time.monotonic()
        try:
            [state] = await self.queue.renew(
                [claim], self.settings.lease_seconds, self.settings.journal_ttl_seconds
            )
        except QueueUnavailable:
            return False
        if Renewal.HELD not in state or self.is_over:
            return False
        taken()
        ended = asyncio.Event()
        self._given[claim.run_id] = (claim, ended)
        uncounted = claim.loss is not None and not claim.loss.counts and self.settings.run_max_attempts > 1
        order = {
            "run_id": claim.run_id,
            "token": claim.token,
            "asked_at": asked_at,
            "uncounted": uncounted,
            "lost_by": "" if claim.loss is None else claim.loss.process,
            "lapsed_seconds": claim.lapsed_seconds,
        }
        self._writer.write(json.dumps(order).encode() + b"\n")
        await ended.wait()
        return True

    def drain(self) -> None:
        """Has the process drain, and then end."""
        self.is_over = True
        self._say_ready(False)
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write_eof()

    async def _follow(self, child: Child, reader: asyncio.StreamReader) -> None:
        """Returns when the process has ended, or has closed its end and does not end."""
        tasks = [asyncio.create_task(self._hear(reader)), asyncio.create_task(self._look_after(child))]
        try:
            ends: list[asyncio.Future[Any]] = [*tasks, child.ended]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            self.is_over = True
            await asyncio.wait({child.ended}, timeout=END_SECONDS)
        finally:
            await end_tasks(tasks)

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            async for line in reader:
                said = json.loads(line)
                if "ready" in said:
                    self._say_ready(True)
                elif "figures" in said:
                    observe(AttemptFigures(**said["figures"]))
                elif (given := self._given.pop(said["ended"], None)) is not None:
                    given[1].set()

    async def _look_after(self, child: Child) -> None:
        """Kills a process that does not start, or whose threads stand still for half as long as a lease lasts."""
        look_seconds = self.settings.lease_seconds / LOOKS_PER_LEASE
        start_seconds = START_SECONDS + self.settings.lifespan_seconds
        noted, still, limit = 0, 0, start_seconds / look_seconds
        while still < limit:  # looks are counted, not seconds: this process may have been paused itself
            await asyncio.sleep(look_seconds)
            still += 1
            if self._ready.done() and self._place.looks != noted:
                noted, still, limit = self._place.looks, 0, FROZEN_LOOKS
        log.error(
            "the process of a cell stands still: it is killed",
            action="cell_frozen",
            runs=len(self._given),
        )
        child.kill()

    async def _lose(self, status: int | None) -> None:
        lost = [claim for claim, _ in self._given.values()]
        how = _describe(status)
        if status and not lost:
            log.error("the process of a cell has ended: it had no run", action="cell_ended", how=how)
        for claim in lost:
            log.error(
                "the process of a cell has died: the run begins its next attempt, if it has one left",
                action="suspect_died",
                run_id=claim.run_id,
                how=how,
                company=len(lost),
                frames=self._place.places(claim.run_id),
            )
        try:
            await retry_briefly(lambda: self.queue.lose(lost, self.name))
        except QueueUnavailable as error:  # their leases end by themselves
            log.warning(
                "the runs of a cell could not be given up: their leases expire by themselves",
                action="suspects_kept",
                runs=len(lost),
                **failure(error),
            )

    def _say_ready(self, is_ready: bool) -> None:
        if not self._ready.done():
            self._ready.set_result(is_ready)


def _describe(status: int | None) -> str:
    """How a process ended, in words."""
    if status is None:
        return "unknown"
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
