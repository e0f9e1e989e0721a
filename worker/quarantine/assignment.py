"""Which cell a suspect goes to. Pure: cells are given as the losses of the runs in them.

A run that was lost once goes where none is that it was lost with; it never waits for others of its kind, because the
loss of a host leaves many such runs and most of them are innocent. It goes on beside runs that were lost with other
processes, and where there are more runs of its group than cells the group is parted evenly.

A run that was lost twice, or that its process has named as its fault, shares its cell with nothing but runs that it
was lost with last time, and with no more of them than an even part: of 4 cells these have 3, and a group of 50 is
parted into 17, these into 6, these into 2, and these into single ones. It waits where there is no cell for it. One cell
is left to the runs that were lost once, where there are several.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from relaykit.worker.leases.claims import Loss


def choose_cell(cells: Sequence[Sequence[Loss]], limit: int, loss: Loss) -> int | None:
    """The cell's index; the number of cells for a new one; None where the run has to wait."""
    return _choose_confined(cells, limit, loss) if is_confined(loss) else _choose_open(cells, limit, loss)


def choose_empty(cells: Sequence[Sequence[Loss]], limit: int) -> int | None:
    """The cell's index where each run has a cell to itself: an empty cell goes before a new one."""
    empty = next((index for index, runs in enumerate(cells) if not runs), len(cells))
    return empty if empty < limit else None


def is_confined(loss: Loss) -> bool:
    return loss.times > 1 or not loss.process


def _choose_open(cells: Sequence[Sequence[Loss]], limit: int, loss: Loss) -> int | None:
    open_cells = [index for index, runs in enumerate(cells) if not any(map(is_confined, runs))]
    apart = [index for index in open_cells if not _count(cells[index], loss.process)]
    if apart:
        return min(apart, key=lambda index: len(cells[index]))
    if len(cells) < limit:
        return len(cells)
    return min(
        open_cells, key=lambda index: (_count(cells[index], loss.process), len(cells[index])), default=None
    )


def _choose_confined(cells: Sequence[Sequence[Loss]], limit: int, loss: Loss) -> int | None:
    confined = [index for index, runs in enumerate(cells) if any(map(is_confined, runs))]
    confined_limit = max(1, limit - 1)
    if len(confined) < confined_limit:
        empty = next((index for index, runs in enumerate(cells) if not runs), len(cells))
        if empty < limit:
            return empty
    part = math.ceil(loss.company / max(2, confined_limit))
    shared = [index for index in confined if len(cells[index]) < part and _is_group(cells[index], loss)]
    return min(shared, key=lambda index: len(cells[index]), default=None)


def _is_group(runs: Iterable[Loss], loss: Loss) -> bool:
    return bool(loss.process) and all(is_confined(run) and run.process == loss.process for run in runs)


def _count(runs: Iterable[Loss], process: str) -> int:
    return sum(run.process == process for run in runs)
