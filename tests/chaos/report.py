"""The outcome of a chaos run as a table: what was done to it, and what was lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.chaos.checks import CHECKS
from tests.chaos.record import Loss, RunRow, Turn

MAX_LOSSES_SHOWN = 20
HISTORY_SHOWN = 30


@dataclass
class Outcome:
    """All that a chaos run has to tell."""

    seed: int
    chats: int
    seconds: float = 0
    """From the first client to the last fault's end."""
    settle_seconds: float = 0
    injected: Counter[str] = field(default_factory=Counter)
    rows: list[RunRow] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    refused_starts: int = 0
    own_ends: int = 0
    """Processes that ended because of what a run did to them."""
    losses: list[Loss] = field(default_factory=list)


def lines(outcome: Outcome, faults: Iterable[str]) -> Iterator[str]:
    """The table; `faults` in its order, with those that were never injected."""
    rows, turns = outcome.rows, outcome.turns
    statuses = Counter(row.status for row in rows)
    threads = len({row.thread_id for row in rows})
    yield (
        f"seed {outcome.seed}: {outcome.chats} clients, {outcome.seconds:.0f} s of faults, "
        f"at rest {outcome.settle_seconds:.1f} s later"
    )
    yield (
        f"{threads} threads, {len(rows)} runs ({', '.join(f'{count} {name}' for name, count in statuses.items())}), "
        f"{sum(row.attempt for row in rows)} attempts, {sum(row.handed_back for row in rows)} handed back"
    )
    yield (
        f"{sum(turn.posts for turn in turns)} POSTs, {sum(turn.resumes for turn in turns)} resumes, "
        f"{sum(len(turn.frames) for turn in turns)} events, {sum(turn.stop_asked for turn in turns)} stops, "
        f"{sum(turn.told_at is not None for turn in turns)} told of a lost journal, "
        f"{outcome.refused_starts} starts refused while a service was away"
    )
    harms = Counter(turn.script.harm.value for turn in turns if turn.script.harm is not None)
    yield (
        f"{outcome.own_ends} processes ended by a run; asked for: "
        f"{', '.join(f'{count} {name}' for name, count in sorted(harms.items())) or 'no harm'}"
    )
    yield from _table("fault", "injected", {name: outcome.injected[name] for name in faults})
    counts = Counter(loss.check for loss in outcome.losses)
    yield from _table("check", "losses", {check: counts[check] for check in CHECKS})


def loss_lines(outcome: Outcome) -> Iterator[str]:
    """Each loss: which run, why, and what its client went through."""
    turns = {turn.run_id: turn for turn in outcome.turns if turn.run_id}
    rows = {row.id: row for row in outcome.rows}
    for loss in outcome.losses[:MAX_LOSSES_SHOWN]:
        yield f"LOSS {loss.check}: {loss.where}: {loss.why}"
        run_id = loss.where.partition(" ")[0]
        if (row := rows.get(run_id)) is not None:
            yield f"    row: {row.status}, attempt {row.attempt}, {row.queued_at:%H:%M:%S.%f} to {row.ended_at}"
        if (turn := turns.get(run_id)) is not None:
            yield from (f"    {line}" for line in turn.history[-HISTORY_SHOWN:])
    if len(outcome.losses) > MAX_LOSSES_SHOWN:
        yield f"and {len(outcome.losses) - MAX_LOSSES_SHOWN} more"


def _table(left: str, right: str, counts: dict[str, int]) -> Iterator[str]:
    width = max(map(len, [left, *counts]))
    yield ""
    yield f"{left:<{width}}  {right:>8}"
    for name, count in counts.items():
        yield f"{name:<{width}}  {count:>8}"
    yield f"{'in all':<{width}}  {sum(counts.values()):>8}"
