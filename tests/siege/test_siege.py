"""A short siege: the cheapest attacks, for what they leave behind, what they are answered and what they make held."""

from __future__ import annotations

import math
from pathlib import Path

from tests.siege.attack import ATTACKS
from tests.siege.driver import Plan, siege
from tests.siege.phase import Bounds
from tests.siege.report import heading

SEED = 7
SECONDS = 3.0
HEAD_SECONDS = 1.0
CHEAP = ("head-lines", "head-url", "trailer-token", "silent", "slow-bodies", "refused")
UNTIMED = Bounds(slower_ms=math.inf)
"""The waits are judged by `make siege`, which has the machine for itself."""


async def test_clients_that_behave_well_lose_nothing_to_attacks_and_the_api_keeps_nothing_of_them(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    """`make siege` is the long one. The logs of its processes are in the test's own folder."""
    attacks = tuple(attack for attack in ATTACKS if attack.name in CHEAP)
    given = Plan(
        seed=SEED,
        seconds=SECONDS,
        head_seconds=HEAD_SECONDS,
        alone=(),
        at_once=attacks,
        visitors=4,
        deltas=10,
        bounds=UNTIMED,
    )
    lines = [heading()]
    outcome = await siege(given, tmp_path, redis_url, database_url, lines.append)
    table = "\n".join(lines)
    failed = [name for name, why in outcome.failed.items() if why]
    assert failed == [], f"{table}\n\nLogs: {tmp_path}"
    assert all(phase.runs >= given.visitors for phase in outcome.phases), table
    print(table)
