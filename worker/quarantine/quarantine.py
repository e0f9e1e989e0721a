"""The quarantine of a worker: its cells, and the runs that wait for one: suspects, or all where runs are isolated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum
from uuid import uuid4

from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.log import failure
from relaykit.shared.settings import Settings
from relaykit.shared.site.lifetime import LEAVE_SECONDS
from relaykit.shared.tasks import end_tasks
from relaykit.worker.leases.claim_queue import ClaimQueue
from relaykit.worker.leases.claims import Claim, Loss, Renewal
from relaykit.worker.quarantine.assignment import choose_cell, choose_empty
from relaykit.worker.quarantine.cell import Cell, log
from relaykit.worker.quarantine.fork_server import ForkServer

NEVER_LOST = Loss(company=0, times=0, process="")
"""The loss of a run that is no suspect."""
IDLE_SECONDS = 30.0
"""A cell that has had no run for this long ends."""
RETRY_SECONDS = 1.0
"""A run whose cell did not start is given back after this time."""
LOOKS_PER_LEASE = 3
"""How often, within a lease, a run that waits for a cell is asked after: its user may have stopped it."""


class Stay(Enum):
    """How a run's stay in the quarantine has ended."""

    OVER = "over"
    """Its claim is released, or lost."""
    GIVEN_BACK = "given back"
    """No cell had it: the claim is to be released."""
    STOPPED = "stopped"
    """Its user has stopped it before it had a cell: it can end anywhere, because its server is not called."""


class Quarantine:
    """Executes suspects in at most SUSPECT_PROCESSES cells; with ISOLATE_RUNS each run in one, of MAX_RUNS at most."""

    def __init__(self, settings: Settings, queue: ClaimQueue, forks: ForkServer) -> None:
        self._settings = settings
        self._queue = queue
        self._forks = forks
        self._cells: dict[Cell, asyncio.Task[None]] = {}
        self._waiting: dict[asyncio.Future[Cell | None], tuple[str, Loss]] = {}
        self._draining = False

    def takes(self, claim: Claim) -> bool:
        """Whether the run is to be executed in a cell, and there can be cells."""
        is_suspect = claim.loss is not None and claim.loss.is_suspect
        return (is_suspect or self._settings.isolate_runs) and self._forks.is_alive

    async def execute(self, claim: Claim, taken: Callable[[], object]) -> Stay:
        """Has a cell execute the run; `taken` is called where the cell renews the lease from then on."""
        assigned_cell: asyncio.Future[Cell | None] = asyncio.get_running_loop().create_future()
        self._waiting[assigned_cell] = (claim.run_id, claim.loss or NEVER_LOST)
        self._assign()
        try:
            while not (
                await asyncio.wait({assigned_cell}, timeout=self._settings.lease_seconds / LOOKS_PER_LEASE)
            )[0]:
                if await self._is_stopped(claim) and not assigned_cell.done():
                    return Stay.STOPPED
        finally:
            del self._waiting[assigned_cell]
        cell = assigned_cell.result()
        if cell is None:
            return Stay.GIVEN_BACK
        try:
            had = await cell.execute(claim, taken)
        finally:
            self._vacate(cell, claim.run_id)
        if not had and not self._draining:
            await asyncio.sleep(RETRY_SECONDS)
        return Stay.OVER if had else Stay.GIVEN_BACK

    async def _is_stopped(self, claim: Claim) -> bool:
        try:
            [state] = await self._queue.renew(
                [claim], self._settings.lease_seconds, self._settings.journal_ttl_seconds
            )
        except QueueUnavailable:
            return False
        return Renewal.CANCEL in state

    def drain(self) -> None:
        """Has all cells drain; runs that wait for one are given back."""
        self._draining = True
        self._assign()
        for cell in self._cells:
            cell.drain()

    async def close(self) -> None:
        """Ends what is left of the cells, once those that have drained have left the site's lifespan."""
        if self._draining and self._cells:
            await asyncio.wait(self._cells.values(), timeout=LEAVE_SECONDS)
        await end_tasks(self._cells.values())

    def _assign(self) -> None:
        """Gives each run that waits its cell, if there is one for it."""
        for assigned_cell, (run_id, loss) in list(self._waiting.items()):
            if assigned_cell.done():
                continue
            if self._draining:
                assigned_cell.set_result(None)
                continue
            cells = [cell for cell in self._cells if not cell.is_over]
            index = self._choose([list(cell.occupants.values()) for cell in cells], loss)
            if index is None:
                continue
            cell = cells[index] if index < len(cells) else self._open()
            cell.occupants[run_id] = loss
            assigned_cell.set_result(cell)

    def _choose(self, cells: Sequence[Sequence[Loss]], loss: Loss) -> int | None:
        if self._settings.isolate_runs:
            return choose_empty(cells, self._settings.max_runs)
        return choose_cell(cells, self._settings.suspect_processes, loss)

    def _open(self) -> Cell:
        cell = Cell(uuid4().hex, self._settings, self._queue)
        task = asyncio.create_task(cell.run(self._forks), name="cell")
        self._cells[cell] = task
        task.add_done_callback(lambda task: self._closed(cell, task))
        return cell

    def _closed(self, cell: Cell, task: asyncio.Task[None]) -> None:
        self._cells.pop(cell, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error(
                "looking after a cell failed: it gets no more runs",
                action="cell_failed",
                **failure(error),
            )
        self._assign()

    def _vacate(self, cell: Cell, run_id: str) -> None:
        loop = asyncio.get_running_loop()
        cell.occupants.pop(run_id, None)
        cell.vacated_at = loop.time()
        loop.call_later(IDLE_SECONDS, self._end_if_idle, cell)
        self._assign()

    def _end_if_idle(self, cell: Cell) -> None:
        idle_seconds = asyncio.get_running_loop().time() - cell.vacated_at
        if not cell.occupants and not cell.is_over and idle_seconds > IDLE_SECONDS - 1:
            cell.drain()
