"""A short chaos run: every fault at least once, and nothing lost."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.driver import Plan, chaos
from tests.chaos.faults import FAULTS
from tests.chaos.report import lines, loss_lines

SEED = 7
EVERY_SECONDS = 0.6


async def test_nothing_is_lost_while_everything_is_killed_frozen_restarted_and_cut(tmp_path: Path) -> None:
    """`make chaos` is the long one. The logs of its processes are in the test's own folder."""
    given = Plan(seed=SEED, chats=6, every_seconds=EVERY_SECONDS, rounds=1)
    outcome = await chaos(given, tmp_path)
    table = "\n".join(lines(outcome, [fault.name for fault in FAULTS]))
    assert not outcome.losses, "\n".join([table, "", *loss_lines(outcome), "", f"Logs: {tmp_path}"])
    assert set(outcome.injected) == {fault.name for fault in FAULTS}, table
    assert len(outcome.rows) >= given.chats, table
    print(table)
